#include "ops/standardise/standardise.h"

#include "ops/kernels.h"
#include "ops/patches/lower.h"

REF_DECLARE(standardise);
CPU_DECLARE(standardise);
CUDA_DECLARE(standardise);

static const char *const in_names[] = {"x"}, *const out_names[] = {"y"};

static Cost cost(const Call *c)
{
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){6 * n, 8 * n};
}

static Ref example(Tape *tape, int index)
{
    static const int sizes[][2] = {{5, 27}, {3, 2}, {37, 48}};
    if (index > 2)
        return REF_NONE;
    return standardise(tape, tape_input(tape, "x", DTYPE_REAL, shape_2(sizes[index][0], sizes[index][1])));
}

static const Op standardise_op = {.name = "standardise",
                                  .in_count = 1,
                                  .out_count = 1,
                                  .in_names = in_names,
                                  .out_names = out_names,
                                  .lower = patches_standardise_lower,
                                  .cost = cost,
                                  .in_place = {1},
                                  .ref = REF_KERNELS(standardise),
                                  .cuda = CUDA_KERNEL(standardise),
                                  .cpu = CPU_KERNELS(standardise),
                                  .example = example};

const Op *const standardise_room[] = {&standardise_op, NULL};

Ref standardise(Tape *tape, Ref x)
{
    if (tape_failed(tape))
        return REF_NONE;
    if (ref_columns(tape, x) < 2)
        return tape_fail(tape, "standardise: a row of one number has no variance");
    if (ref_needs_grad(tape, x))
        return tape_fail(tape, "standardise: targets carry no gradient");
    Ref out[] = {tape_temp(tape, DTYPE_REAL, *ref_shape(tape, x), false)};
    tape_append(tape, &standardise_op, NULL, (Ref[]){x}, out, 0);
    return out[0];
}
