#include "ops/unit_rows/unit_rows.h"

#include "ops/kernels.h"
#include "ops/unit_rows/work.h"

REF_DECLARE(unit_rows);
REF_DECLARE(unit_rows_grad);
CPU_DECLARE(unit_rows);
CPU_DECLARE(unit_rows_grad);
CUDA_DECLARE(unit_rows);
CUDA_DECLARE(unit_rows_grad);

static const char *const in_names[] = {"x"}, *const out_names[] = {"y"};
static const char *const grad_in_names[] = {"dy", "x"}, *const grad_out_names[] = {"dx"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){3 * n, 8 * n};
}

static Cost grad_cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){8 * n, 12 * n};
}

static const Op unit_rows_grad_op = {.name = "unit_rows_grad",
                                     .in_count = 2,
                                     .out_count = 1,
                                     .in_names = grad_in_names,
                                     .out_names = grad_out_names,
                                     .attr_size = sizeof(UnitRowsAttr),
                                     .cost = grad_cost,
                                     .in_place = {1},
                                     .ref = REF_KERNELS(unit_rows_grad),
                                     .cuda = CUDA_KERNEL(unit_rows_grad),
                                     .cpu = CPU_KERNELS(unit_rows_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dx = grad_into(tape, node->in[0], 0, &accumulate);
    tape_append(tape, &unit_rows_grad_op, node->attr, (Ref[]){grad_of(tape, node->out[0]), node->in[0]}, (Ref[]){dx},
                accumulate);
}

static Ref example(Tape *tape, int index)
{
    static const int64_t sizes[][2] = {{5, 7}, {131, 37}, {3, 64}};
    if (index > 2)
        return REF_NONE;
    return unit_rows(tape, tape_input(tape, "x", DTYPE_REAL, shape_2(sizes[index][0], sizes[index][1])), index ? 5 : 1);
}

static const Op unit_rows_op = {.name = "unit_rows",
                                .in_count = 1,
                                .out_count = 1,
                                .in_names = in_names,
                                .out_names = out_names,
                                .attr_size = sizeof(UnitRowsAttr),
                                .gradient = gradient,
                                .cost = cost,
                                .ref = REF_KERNELS(unit_rows),
                                .cuda = CUDA_KERNEL(unit_rows),
                                .cpu = CPU_KERNELS(unit_rows),
                                .example = example};

const Op *const unit_rows_room[] = {&unit_rows_op, &unit_rows_grad_op, NULL};

Ref unit_rows(Tape *tape, Ref x, double length)
{
    if (tape_failed(tape))
        return REF_NONE;
    Ref out[] = {tape_temp(tape, DTYPE_REAL, *ref_shape(tape, x), ref_needs_grad(tape, x))};
    tape_append(tape, &unit_rows_op, &(UnitRowsAttr){length}, (Ref[]){x}, out, 0);
    return out[0];
}
