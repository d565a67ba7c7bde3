#include "ops/relative_bias/relative_bias.h"

#include "ops/kernels.h"
#include "ops/relative_bias/attr.h"

REF_DECLARE(relative_bias);
REF_DECLARE(relative_bias_grad);
CPU_DECLARE(relative_bias);
CPU_DECLARE(relative_bias_grad);
CUDA_DECLARE(relative_bias_grad);
CUDA_DECLARE(relative_bias);

static const char *const in_names[] = {"table"}, *const out_names[] = {"bias"};
static const char *const grad_in_names[] = {"dbias"}, *const grad_out_names[] = {"dtable"};

static Cost cost(const Call *c)
{
    return (Cost){0, tensor_bytes(&c->in[0]) + tensor_bytes(&c->out[0])};
}

static const Op relative_bias_grad_op = {.name = "relative_bias_grad",
                                         .in_count = 1,
                                         .out_count = 1,
                                         .in_names = grad_in_names,
                                         .out_names = grad_out_names,
                                         .attr_size = sizeof(RelativeBiasAttr),
                                         .cost = cost,
                                         .ref = REF_KERNELS(relative_bias_grad),
                                         .cuda = CUDA_KERNEL(relative_bias_grad),
                                         .cpu = CPU_KERNELS(relative_bias_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dtable = grad_into(tape, node->in[0], 0, &accumulate);
    tape_append(tape, &relative_bias_grad_op, node->attr, (Ref[]){grad_of(tape, node->out[0])}, (Ref[]){dtable}, accumulate);
}

static Ref example(Tape *tape, int index)
{
    static const int sizes[][4] = {{2, 3, 1, 2}, {3, 3, 0, 1}, {4, 1, 2, 3}};
    if (index > 2)
        return REF_NONE;
    const int *s = sizes[index];
    Ref table = tape_input(tape, "table", DTYPE_REAL, shape_2(relative_bias_rows(s[0], s[1]), s[3]));
    return relative_bias(tape, (RelativeBiasArgs){table, s[0], s[1], s[2]});
}

static const Op relative_bias_op = {.name = "relative_bias",
                                    .in_count = 1,
                                    .out_count = 1,
                                    .in_names = in_names,
                                    .out_names = out_names,
                                    .attr_size = sizeof(RelativeBiasAttr),
                                    .gradient = gradient,
                                    .cost = cost,
                                    .ref = REF_KERNELS(relative_bias),
                                    .cuda = CUDA_KERNEL(relative_bias),
                                    .cpu = CPU_KERNELS(relative_bias),
                                    .example = example};

const Op *const relative_bias_room[] = {&relative_bias_op, &relative_bias_grad_op, NULL};

int64_t relative_bias_rows(int rows, int columns)
{
    return (2 * (int64_t)rows - 1) * (2 * (int64_t)columns - 1) + 3;
}

Ref relative_bias(Tape *tape, RelativeBiasArgs a)
{
    if (tape_failed(tape))
        return REF_NONE;
    const Shape *s = ref_shape(tape, a.table);
    if (s->n != 2 || a.rows < 1 || a.columns < 1 || a.class_tokens < 0 || s->d[0] != relative_bias_rows(a.rows, a.columns))
        return tape_fail(tape, "relative_bias: the table is not (offsets of a %d x %d grid and 3 more, heads)", a.rows,
                         a.columns);
    int64_t tokens = a.class_tokens + (int64_t)a.rows * a.columns;
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape_3(s->d[1], tokens, tokens), ref_needs_grad(tape, a.table))};
    tape_append(tape, &relative_bias_op, &(RelativeBiasAttr){a.rows, a.columns, a.class_tokens}, (Ref[]){a.table}, out, 0);
    return out[0];
}
