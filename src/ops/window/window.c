#include "ops/window/window.h"

#include "ops/kernels.h"
#include "ops/window/attr.h"

REF_DECLARE(window_standardise);
CPU_DECLARE(window_standardise);
CUDA_DECLARE(window_standardise);

static const char *const in_names[] = {"image"}, *const out_names[] = {"y"};

static Cost cost(const Call *c)
{
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){20 * n, 8 * n};
}

/* Two sums a column and a thread. */
static size_t workspace(const Call *c, const Device *device)
{
    return device->kind != DEVICE_CPU ? 0 : (size_t)device->threads * 2 * (size_t)c->in[0].columns * sizeof(double);
}

static Ref example(Tape *tape, int index)
{
    static const int sizes[][5] = {{2, 3, 7, 9, 3}, {1, 2, 5, 4, 47}, {1, 1, 1, 6, 3}};
    if (index > 2)
        return REF_NONE;
    const int *s = sizes[index];
    return window_standardise(tape, tape_input(tape, "image", DTYPE_REAL, shape_4(s[0], s[1], s[2], s[3])), s[4]);
}

static const Op window_op = {.name = "window_standardise",
                             .in_count = 1,
                             .out_count = 1,
                             .in_names = in_names,
                             .out_names = out_names,
                             .attr_size = sizeof(WindowAttr),
                             .workspace = workspace,
                             .cost = cost,
                             .ref = REF_KERNELS(window_standardise),
                             .cuda = CUDA_KERNEL(window_standardise),
                             .cpu = CPU_KERNELS(window_standardise),
                             .example = example};

const Op *const window_room[] = {&window_op, NULL};

Ref window_standardise(Tape *tape, Ref image, int side)
{
    if (tape_failed(tape))
        return REF_NONE;
    const Shape *s = ref_shape(tape, image);
    if (s->n != 4 || side < 3 || side % 2 == 0 || s->d[2] * s->d[3] < 2)
        return tape_fail(tape, "window_standardise: a window of side %d over the picture is not odd, or holds one pixel", side);
    if (ref_needs_grad(tape, image))
        return tape_fail(tape, "window_standardise: targets carry no gradient");
    Ref out[] = {tape_temp(tape, DTYPE_REAL, *s, false)};
    tape_append(tape, &window_op, &(WindowAttr){side}, (Ref[]){image}, out, 0);
    return out[0];
}
