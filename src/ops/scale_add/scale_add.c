#include "ops/scale_add/scale_add.h"

#include "ops/kernels.h"

REF_DECLARE(scale_add);
CPU_DECLARE(scale_add);
CUDA_DECLARE(scale_add);

static const char *const in_names[] = {"z", "column_scale", "row_scale", "residual"}, *const out_names[] = {"y"};

static Cost cost(const Call *c)
{
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){3 * n, 12 * n};
}

const Op scale_add_op = {.name = "scale_add",
                         .in_count = 4,
                         .out_count = 1,
                         .in_names = in_names,
                         .out_names = out_names,
                         .cost = cost,
                         .in_place = {1},
                         .ref = REF_KERNELS(scale_add),
                         .cuda = CUDA_KERNEL(scale_add),
                         .cpu = CPU_KERNELS(scale_add)};

const Op *const scale_add_room[] = {&scale_add_op, NULL};
