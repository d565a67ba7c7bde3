#include "ops/hog/hog.h"

#include "ops/hog/attr.h"
#include "ops/kernels.h"

REF_DECLARE(hog);
CPU_DECLARE(hog);
CUDA_DECLARE(hog);

static const char *const in_names[] = {"image", "index"}, *const out_names[] = {"histograms"};

/* Of a pixel: two sums of six differences, a length, and the search for a bin. */
static Cost cost(const Call *c)
{
    const HogAttr *attr = c->attr;
    double pixels = (double)c->out[0].rows * (double)c->in[0].shape.d[1] * attr->patch * attr->patch;
    return (Cost){pixels * (20 + 3.0 * attr->bins), 4 * pixels + tensor_bytes(&c->out[0])};
}

static Ref example(Tape *tape, int index)
{
    static const int32_t rows[] = {3, 0, 5};
    static const HogArgs cases[] = {{.patch = 8, .cell = 4, .bins = 9},
                                    {.patch = 4, .cell = 4, .bins = 5, .gaussian = 6},
                                    {.patch = 6, .cell = 2, .bins = 9}};
    static const int sizes[][4] = {{2, 3, 8, 24}, {1, 2, 12, 16}, {2, 1, 6, 18}};
    if (index > 2)
        return REF_NONE;
    HogArgs args = cases[index];
    args.image =
        tape_input(tape, "image", DTYPE_REAL, shape_4(sizes[index][0], sizes[index][1], sizes[index][2], sizes[index][3]));
    args.index = index == 2 ? tape_constant_i32(tape, shape_1(3), rows) : REF_NONE;
    return hog(tape, args);
}

static const Op hog_op = {.name = "hog",
                          .in_count = 2,
                          .out_count = 1,
                          .in_names = in_names,
                          .out_names = out_names,
                          .attr_size = sizeof(HogAttr),
                          .cost = cost,
                          .ref = REF_KERNELS(hog),
                          .cuda = CUDA_KERNEL(hog),
                          .cpu = CPU_KERNELS(hog),
                          .example = example};

const Op *const hog_room[] = {&hog_op, NULL};

Ref hog(Tape *tape, HogArgs a)
{
    if (tape_failed(tape))
        return REF_NONE;
    const Shape *s = ref_shape(tape, a.image);
    if (a.patch < 1 || a.cell < 1 || a.patch % a.cell)
        return tape_fail(tape, "hog: the patch side %d is not a multiple of the cell side %d", a.patch, a.cell);
    if (s->n != 4 || s->d[2] < 2 || s->d[3] < 2 || s->d[2] % a.patch || s->d[3] % a.patch)
        return tape_fail(tape, "hog: the picture's sides are not multiples of the patch side %d, or less than 2", a.patch);
    if (a.bins < 1 || a.bins > HOG_BINS_MOST || a.gaussian == 1 || a.gaussian < 0)
        return tape_fail(tape, "hog: %d bins with a window of %d", a.bins, a.gaussian);
    if (ref_needs_grad(tape, a.image))
        return tape_fail(tape, "hog: no gradient flows to pictures");
    int64_t cells = a.patch / a.cell, width = s->d[1] * a.bins * cells * cells,
            places = s->d[2] / a.patch * (s->d[3] / a.patch);
    Shape shape = ref_given(a.index) ? shape_2(ref_count(tape, a.index), width) : shape_3(s->d[0], places, width);
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape, false)};
    tape_append(tape, &hog_op, &(HogAttr){a.patch, a.cell, a.bins, a.gaussian}, (Ref[]){a.image, a.index}, out, 0);
    return out[0];
}
