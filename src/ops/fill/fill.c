#include "ops/fill/fill.h"

#include "ops/fill/attr.h"
#include "ops/kernels.h"

REF_DECLARE(fill);
CUDA_DECLARE(fill);

static const char *const out_names[] = {"target"};

static const Op fill_op = {.name = "fill",
                           .out_count = 1,
                           .out_names = out_names,
                           .attr_size = sizeof(FillAttr),
                           .ref = REF_KERNELS(fill),
                           .cuda = CUDA_KERNEL(fill)};

const Op *const fill_room[] = {&fill_op, NULL};

void fill(Tape *tape, Ref target, double value)
{
    tape_append(tape, &fill_op, &(FillAttr){value}, NULL, (Ref[]){target}, 0);
}
