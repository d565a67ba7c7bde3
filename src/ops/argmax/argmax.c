#include "ops/argmax/argmax.h"

#include "ops/kernels.h"

REF_DECLARE(argmax);
CPU_DECLARE(argmax);
CUDA_DECLARE(argmax);

static const char *const in_names[] = {"x", "weight"}, *const out_names[] = {"column"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){n, 4 * n};
}

/* Random numbers, and rows with several largest ones. */
static Ref example(Tape *tape, int index)
{
    static const int sizes[][2] = {{5, 27}, {3, 1}, {70, 133}, {4, 9}};
    static const double weights[] = {1, 0, 1, 1, 0}, equal[] = {1,  3,  3,  3,  0,  1,  3,  2,  3,  0, 0, 0, 0, 0, 0, 0, 0, 0,
                                                                -1, -2, -1, -3, -9, -9, -9, -9, -9, 0, 0, 0, 0, 0, 0, 0, 0, 5};
    if (index > 3)
        return REF_NONE;
    Shape shape = shape_2(sizes[index][0], sizes[index][1]);
    return argmax(tape,
                  (ArgmaxArgs){.x = index == 3 ? tape_constant(tape, shape, equal) : tape_input(tape, "x", DTYPE_REAL, shape),
                               .weight = index == 0 ? tape_constant(tape, shape_1(5), weights) : REF_NONE});
}

static const Op argmax_op = {.name = "argmax",
                             .in_count = 2,
                             .out_count = 1,
                             .in_names = in_names,
                             .out_names = out_names,
                             .cost = cost,
                             .ref = REF_KERNELS(argmax),
                             .cuda = CUDA_KERNEL(argmax),
                             .cpu = CPU_KERNELS(argmax),
                             .example = example};

const Op *const argmax_room[] = {&argmax_op, NULL};

Ref argmax(Tape *tape, ArgmaxArgs a)
{
    if (tape_failed(tape))
        return REF_NONE;
    int64_t rows = ref_rows(tape, a.x);
    if (ref_columns(tape, a.x) > INT32_MAX)
        return tape_fail(tape, "argmax: more columns than can be numbered");
    if (ref_given(a.weight) && ref_count(tape, a.weight) != rows)
        return tape_fail(tape, "argmax: there is not a weight for each row");
    if (ref_needs_grad(tape, a.x))
        return tape_fail(tape, "argmax: no gradient flows through a choice");
    Ref out[] = {tape_temp(tape, DTYPE_I32, shape_1(rows), false)};
    tape_append(tape, &argmax_op, NULL, (Ref[]){a.x, a.weight}, out, 0);
    return out[0];
}
