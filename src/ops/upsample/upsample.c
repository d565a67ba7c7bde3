#include "ops/upsample/upsample.h"

#include "ops/kernels.h"
#include "ops/upsample/work.h"

REF_DECLARE(upsample);
REF_DECLARE(upsample_grad);
CPU_DECLARE(upsample);
CPU_DECLARE(upsample_grad);
CUDA_DECLARE(upsample_grad);
CUDA_DECLARE(upsample);

static const char *const in_names[] = {"x"}, *const out_names[] = {"y"};
static const char *const grad_in_names[] = {"dy"}, *const grad_out_names[] = {"dx"};

static Cost cost(const Call *c)
{
    double in = (double)(c->in[0].rows * c->in[0].columns), out = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){7 * (in > out ? in : out), 4 * (in + out)};
}

static const Op upsample_grad_op = {.name = "upsample_grad",
                                    .in_count = 1,
                                    .out_count = 1,
                                    .in_names = grad_in_names,
                                    .out_names = grad_out_names,
                                    .attr_size = sizeof(UpsampleAttr),
                                    .cost = cost,
                                    .ref = REF_KERNELS(upsample_grad),
                                    .cuda = CUDA_KERNEL(upsample_grad),
                                    .cpu = CPU_KERNELS(upsample_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dx = grad_into(tape, node->in[0], 0, &accumulate);
    tape_append(tape, &upsample_grad_op, node->attr, (Ref[]){grad_of(tape, node->out[0])}, (Ref[]){dx}, accumulate);
}

static Ref example(Tape *tape, int index)
{
    /* Larger, the same size, much larger with many channels, smaller along one axis, a single token. */
    static const int64_t sizes[][6] = {
        {2, 3, 2, 7, 5, 3}, {1, 4, 3, 4, 3, 21}, {3, 2, 3, 17, 9, 40}, {1, 5, 2, 3, 6, 4}, {2, 1, 1, 3, 2, 1}};
    if (index > 4)
        return REF_NONE;
    const int64_t *s = sizes[index];
    return upsample(tape, tape_input(tape, "x", DTYPE_REAL, shape_3(s[0], s[1] * s[2], s[5])), s[1], s[2], s[3], s[4]);
}

static const Op upsample_op = {.name = "upsample",
                               .in_count = 1,
                               .out_count = 1,
                               .in_names = in_names,
                               .out_names = out_names,
                               .attr_size = sizeof(UpsampleAttr),
                               .gradient = gradient,
                               .cost = cost,
                               .ref = REF_KERNELS(upsample),
                               .cuda = CUDA_KERNEL(upsample),
                               .cpu = CPU_KERNELS(upsample),
                               .example = example};

const Op *const upsample_room[] = {&upsample_op, &upsample_grad_op, NULL};

Ref upsample(Tape *tape, Ref x, int64_t rows, int64_t columns, int64_t height, int64_t width)
{
    if (tape_failed(tape))
        return REF_NONE;
    const Shape *shape = ref_shape(tape, x);
    if (shape->n != 3 || rows < 1 || columns < 1 || shape->d[1] != rows * columns)
        return tape_fail(tape, "upsample: x is not (pictures, %lld x %lld tokens, width)", (long long)rows, (long long)columns);
    if (height < 1 || width < 1)
        return tape_fail(tape, "upsample: there are no pictures of %lld x %lld", (long long)height, (long long)width);
    UpsampleAttr attr = {rows, columns, height, width};
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape_3(shape->d[0], height * width, shape->d[2]), ref_needs_grad(tape, x))};
    tape_append(tape, &upsample_op, &attr, (Ref[]){x}, out, 0);
    return out[0];
}
