#include "ops/gather/gather.h"

#include "ops/add/add.h"
#include "ops/gather/work.h"
#include "ops/kernels.h"

REF_DECLARE(gather);
REF_DECLARE(gather_grad);
CPU_DECLARE(gather);
CPU_DECLARE(gather_grad);
CUDA_DECLARE(gather_grad);
CUDA_DECLARE(gather);

enum { X, INDEX, TOKENS, TABLE, PLACE, INVERSE };

static const char *const in_names[] = {"x", "index", "tokens", "table", "place", "inverse"}, *const out_names[] = {"y"};
static const char *const grad_in_names[] = {"dy", "index", "inverse", "place"}, *const grad_out_names[] = {"dx", "dtokens",
                                                                                                           "dtable"};

/* Every number is read once and written once. */
static Cost moved(const Tensor *y)
{
    return (Cost){0, (y->dtype == DTYPE_BF16 ? 4.0 : 8.0) * (double)(y->rows * y->columns)};
}

static Cost cost(const Call *c)
{
    return moved(&c->out[0]);
}

static Cost grad_cost(const Call *c)
{
    return moved(&c->in[0]);
}

/* Partial sums of dtokens; on a GPU of dtable too, in the same place. */
static size_t grad_workspace(const Call *c, const Device *device)
{
    int64_t tokens = c->out[1].rows, table = c->out[2].rows, rows = c->in[0].rows;
    if (device->kind == DEVICE_CUDA) {
        int64_t a = tokens ? gather_cuda_spans(rows, tokens) * tokens : 0,
                b = table ? gather_cuda_spans(rows, table) * table : 0;
        return (size_t)((a > b ? a : b) * c->in[0].columns) * sizeof(float);
    }
    if (device->kind == DEVICE_REF || !tokens)
        return 0;
    return (size_t)(gather_spans(c->in[0].rows, tokens) * tokens * c->in[0].columns) * sizeof(float);
}

static const Op gather_grad_op = {.name = "gather_grad",
                                  .takes_bf16 = true,
                                  .in_count = 4,
                                  .out_count = 3,
                                  .in_names = grad_in_names,
                                  .out_names = grad_out_names,
                                  .workspace = grad_workspace,
                                  .cost = grad_cost,
                                  .ref = REF_KERNELS(gather_grad),
                                  .cuda = CUDA_KERNEL(gather_grad),
                                  .cpu = CPU_KERNELS(gather_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    bool moves = ref_given(node->in[INDEX]);
    Ref dy = grad_of(tape, node->out[0]);
    Ref dx = moves ? grad_into(tape, node->in[X], 0, &accumulate) : REF_NONE,
        dtokens = grad_into(tape, node->in[TOKENS], 1, &accumulate), dtable = grad_into(tape, node->in[TABLE], 2, &accumulate);
    if (ref_given(dx) || ref_given(dtokens) || ref_given(dtable))
        tape_append(tape, &gather_grad_op, NULL, (Ref[]){dy, node->in[INDEX], node->in[INVERSE], node->in[PLACE]},
                    (Ref[]){dx, dtokens, dtable}, accumulate);
    if (!moves)
        grad_pass(tape, node->in[X], dy, add_to);
}

static Ref example(Tape *tape, int index)
{
    /* Two sequences of four: a class token, then two of three rows of x and a mask token; row 1 and 5 of x are not read. */
    static const int32_t rows[] = {-1, 2, -2, 0, -1, 3, 4, -2}, inverse[] = {3, -1, 1, 5, 6, -1},
                         place[] = {0, 3, 1, 2, 0, 1, 2, 3};
    if (index > 4)
        return REF_NONE;
    GatherArgs args = {.x = tape_input(tape, "x", DTYPE_REAL, shape_2(6, 5)),
                       .index = REF_NONE,
                       .inverse = REF_NONE,
                       .tokens = REF_NONE,
                       .table = tape_input(tape, "table", DTYPE_REAL, shape_2(index == 3 ? 3 : 4, 5)),
                       .place = REF_NONE,
                       .shape = shape_3(2, 4, 5)};
    if (index == 3) {
        args.shape = shape_2(6, 5);
        return gather(tape, args);
    }
    if (index == 4) {
        static const int32_t shared[] = {-2, -1, -2, -2, -1, -3, -1, -2};
        args.x = REF_NONE;
        args.index = tape_constant_i32(tape, shape_1(8), shared);
        args.tokens = tape_input(tape, "tokens", DTYPE_REAL, shape_2(3, 5));
        return gather(tape, args);
    }
    args.index = tape_constant_i32(tape, shape_1(8), rows);
    args.inverse = tape_constant_i32(tape, shape_1(6), inverse);
    args.tokens = tape_input(tape, "tokens", DTYPE_REAL, shape_2(2, 5));
    if (index == 0)
        args.place = tape_constant_i32(tape, shape_1(8), place);
    if (index == 2)
        args.table = REF_NONE;
    return gather(tape, args);
}

static const Op gather_op = {.name = "gather",
                             .takes_bf16 = true,
                             .in_count = 6,
                             .out_count = 1,
                             .in_names = in_names,
                             .out_names = out_names,
                             .gradient = gradient,
                             .cost = cost,
                             .ref = REF_KERNELS(gather),
                             .cuda = CUDA_KERNEL(gather),
                             .cpu = CPU_KERNELS(gather),
                             .example = example};

const Op *const gather_room[] = {&gather_op, &gather_grad_op, NULL};

static bool has_columns(const Tape *tape, Ref r, int64_t columns)
{
    return !ref_given(r) || ref_columns(tape, r) == columns;
}

static DType type_of(const Tape *tape, Ref r)
{
    return tape_value(tape, r.slot)->dtype;
}

Ref gather(Tape *tape, GatherArgs a)
{
    if (tape_failed(tape))
        return REF_NONE;
    int64_t columns = shape_columns(&a.shape), rows = shape_rows(&a.shape);
    if (!ref_given(a.x) && !ref_given(a.tokens))
        return tape_fail(tape, "gather: there are neither rows nor tokens to take");
    if (!has_columns(tape, a.x, columns) || !has_columns(tape, a.tokens, columns) || !has_columns(tape, a.table, columns))
        return tape_fail(tape, "gather: widths differ");
    DType dtype = type_of(tape, ref_given(a.x) ? a.x : a.tokens);
    if ((ref_given(a.tokens) && type_of(tape, a.tokens) != dtype) || (ref_given(a.table) && dtype != DTYPE_REAL))
        return tape_fail(tape, "gather: rows, tokens and table are of different types, or a table is added to bf16");
    if (ref_given(a.index) ? ref_count(tape, a.index) != rows : ref_rows(tape, a.x) != rows)
        return tape_fail(tape, "gather: the index does not have a number for each of the %lld rows", (long long)rows);
    if (ref_given(a.index) && ref_needs_grad(tape, a.x) &&
        (!ref_given(a.inverse) || ref_count(tape, a.inverse) != ref_rows(tape, a.x)))
        return tape_fail(tape, "gather: the gradient of x needs an inverse index, one number a row of x");
    if (ref_given(a.tokens) && !ref_given(a.index))
        return tape_fail(tape, "gather: tokens are named by an index, and there is none");
    if (ref_given(a.place) && ref_count(tape, a.place) != rows)
        return tape_fail(tape, "gather: place does not have a number for each row");
    bool needs_grad = ref_needs_grad(tape, a.x) || ref_needs_grad(tape, a.tokens) || ref_needs_grad(tape, a.table);
    Ref ins[] = {[X] = a.x,         [INDEX] = a.index, [TOKENS] = a.tokens,
                 [TABLE] = a.table, [PLACE] = a.place, [INVERSE] = ref_given(a.index) ? a.inverse : REF_NONE};
    Ref out[] = {tape_temp(tape, dtype, a.shape, needs_grad)};
    tape_append(tape, &gather_op, NULL, ins, out, 0);
    return out[0];
}
