#include "ops/patches/patches.h"

#include "ops/kernels.h"
#include "ops/patches/attr.h"

REF_DECLARE(patches);
REF_DECLARE(patches_standardised);
CPU_DECLARE(patches);
CUDA_DECLARE(patches);
CUDA_DECLARE(patches_standardised);

static const char *const in_names[] = {"image", "index"}, *const out_names[] = {"patches"};

static Cost cost(const Call *c)
{
    return (Cost){0, 8.0 * (double)(c->out[0].rows * c->out[0].columns)};
}

static Ref example(Tape *tape, int index)
{
    static const int32_t rows[] = {11, 0, 5, 6, 3};
    if (index > 2)
        return REF_NONE;
    Ref image = tape_input(tape, "image", DTYPE_REAL, shape_4(2, 3, 6, 9));
    Ref some = index == 2 ? tape_constant_i32(tape, shape_1(5), rows) : REF_NONE;
    return patches(tape, image, some, 3, index == 1 ? PATCH_CHANNEL_FIRST : PATCH_CHANNEL_LAST);
}

const Op patches_op = {.name = "patches",
                       .in_count = 2,
                       .out_count = 1,
                       .in_names = in_names,
                       .out_names = out_names,
                       .attr_size = sizeof(PatchesAttr),
                       .cost = cost,
                       .ref = REF_KERNELS(patches),
                       .cuda = CUDA_KERNEL(patches),
                       .cpu = CPU_KERNELS(patches),
                       .example = example};

static Cost standardised_cost(const Call *c)
{
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){6 * n, 8 * n};
}

static Ref standardised_example(Tape *tape, int index)
{
    static const int32_t rows[] = {11, 0, 5, 6, 3};
    /* Sides of a patch; the second time rows are taken in packs. */
    static const int sides[] = {3, 4, 3};
    if (index > 2)
        return REF_NONE;
    int side = sides[index];
    Ref image = tape_input(tape, "image", DTYPE_REAL, shape_4(2, 3, 2 * side, 3 * side));
    Ref some = index == 2 ? tape_constant_i32(tape, shape_1(5), rows) : REF_NONE;
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape_2(index == 2 ? 5 : 12, (int64_t)3 * side * side), false)};
    tape_append(tape, &patches_standardised_op, &(PatchesAttr){side, index == 1 ? PATCH_CHANNEL_LAST : PATCH_CHANNEL_FIRST},
                (Ref[]){image, some}, out, 0);
    return out[0];
}

const Op patches_standardised_op = {.name = "patches_standardised",
                                    .in_count = 2,
                                    .out_count = 1,
                                    .in_names = in_names,
                                    .out_names = out_names,
                                    .attr_size = sizeof(PatchesAttr),
                                    .cost = standardised_cost,
                                    .ref = REF_KERNELS(patches_standardised),
                                    .cuda = CUDA_KERNEL(patches_standardised),
                                    .example = standardised_example};

const Op *const patches_room[] = {&patches_op, &patches_standardised_op, NULL};

Ref patches(Tape *tape, Ref image, Ref index, int patch, PatchOrder order)
{
    if (tape_failed(tape))
        return REF_NONE;
    const Shape *s = ref_shape(tape, image);
    if (s->n != 4 || patch < 1 || s->d[2] % patch || s->d[3] % patch)
        return tape_fail(tape, "patches: the picture's sides are not multiples of the patch side %d", patch);
    if (ref_needs_grad(tape, image))
        return tape_fail(tape, "patches: no gradient flows to pictures");
    int64_t width = s->d[1] * patch * patch, places = s->d[2] / patch * (s->d[3] / patch);
    Shape shape = ref_given(index) ? shape_2(ref_count(tape, index), width) : shape_3(s->d[0], places, width);
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape, false)};
    tape_append(tape, &patches_op, &(PatchesAttr){patch, order}, (Ref[]){image, index}, out, 0);
    return out[0];
}
