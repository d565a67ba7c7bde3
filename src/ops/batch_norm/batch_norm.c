#include "ops/batch_norm/batch_norm.h"

#include "ops/batch_norm/attr.h"
#include "ops/kernels.h"

REF_DECLARE(batch_norm);
REF_DECLARE(batch_norm_grad);
REF_DECLARE(batch_norm_fixed);
REF_DECLARE(batch_norm_fixed_grad);
CPU_DECLARE(batch_norm);
CPU_DECLARE(batch_norm_grad);
CPU_DECLARE(batch_norm_fixed);
CPU_DECLARE(batch_norm_fixed_grad);
CUDA_DECLARE(batch_norm_grad);
CUDA_DECLARE(batch_norm);
CUDA_DECLARE(batch_norm_fixed_grad);
CUDA_DECLARE(batch_norm_fixed);

static const char *const in_names[] = {"x"}, *const out_names[] = {"y", "stats", "running"};
static const char *const grad_in_names[] = {"dy", "x", "stats"}, *const grad_out_names[] = {"dx"};
static const char *const fixed_in_names[] = {"x", "running"}, *const fixed_out_names[] = {"y"};
static const char *const fixed_grad_in_names[] = {"dy", "running"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){7 * n, 8 * n};
}

static Cost grad_cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){9 * n, 12 * n};
}

static const Op batch_norm_grad_op = {.name = "batch_norm_grad",
                                      .in_count = 3,
                                      .out_count = 1,
                                      .in_names = grad_in_names,
                                      .out_names = grad_out_names,
                                      .attr_size = sizeof(BatchNormAttr),
                                      .cost = grad_cost,
                                      .couples_samples = true,
                                      .ref = REF_KERNELS(batch_norm_grad),
                                      .cuda = CUDA_KERNEL(batch_norm_grad),
                                      .cpu = CPU_KERNELS(batch_norm_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dx = grad_into(tape, node->in[0], 0, &accumulate);
    tape_append(tape, &batch_norm_grad_op, node->attr, (Ref[]){grad_of(tape, node->out[0]), node->in[0], node->out[1]},
                (Ref[]){dx}, accumulate);
}

static Ref example(Tape *tape, int index)
{
    static const int64_t sizes[][2] = {{5, 7}, {131, 12}, {70, 75}};
    if (index > 2)
        return REF_NONE;
    return batch_norm(tape, tape_input(tape, "x", DTYPE_REAL, shape_2(sizes[index][0], sizes[index][1])), REF_NONE, 0.1, 1e-3);
}

static const Op batch_norm_op = {.name = "batch_norm",
                                 .in_count = 1,
                                 .out_count = 3,
                                 .in_names = in_names,
                                 .out_names = out_names,
                                 .attr_size = sizeof(BatchNormAttr),
                                 .gradient = gradient,
                                 .cost = cost,
                                 .couples_samples = true,
                                 .ref = REF_KERNELS(batch_norm),
                                 .cuda = CUDA_KERNEL(batch_norm),
                                 .cpu = CPU_KERNELS(batch_norm),
                                 .example = example};

static const Op batch_norm_fixed_grad_op = {.name = "batch_norm_fixed_grad",
                                            .in_count = 2,
                                            .out_count = 1,
                                            .in_names = fixed_grad_in_names,
                                            .out_names = grad_out_names,
                                            .attr_size = sizeof(BatchNormAttr),
                                            .cost = grad_cost,
                                            .in_place = {1},
                                            .ref = REF_KERNELS(batch_norm_fixed_grad),
                                            .cuda = CUDA_KERNEL(batch_norm_fixed_grad),
                                            .cpu = CPU_KERNELS(batch_norm_fixed_grad)};

static void fixed_gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dx = grad_into(tape, node->in[0], 0, &accumulate);
    tape_append(tape, &batch_norm_fixed_grad_op, node->attr, (Ref[]){grad_of(tape, node->out[0]), node->in[1]}, (Ref[]){dx},
                accumulate);
}

static Ref fixed_example(Tape *tape, int index)
{
    static const double running[] = {0.1, -0.4, 0.2, 0, 1.3, 0.6, -2, 1, 0.5, 2, 0.01, 1.4, 3, 0.7};
    if (index > 0)
        return REF_NONE;
    return batch_norm_fixed(tape, tape_input(tape, "x", DTYPE_REAL, shape_2(5, 7)), tape_constant(tape, shape_2(2, 7), running),
                            1e-3);
}

static const Op batch_norm_fixed_op = {.name = "batch_norm_fixed",
                                       .in_count = 2,
                                       .out_count = 1,
                                       .in_names = fixed_in_names,
                                       .out_names = fixed_out_names,
                                       .attr_size = sizeof(BatchNormAttr),
                                       .gradient = fixed_gradient,
                                       .cost = cost,
                                       .in_place = {1},
                                       .ref = REF_KERNELS(batch_norm_fixed),
                                       .cuda = CUDA_KERNEL(batch_norm_fixed),
                                       .cpu = CPU_KERNELS(batch_norm_fixed),
                                       .example = fixed_example};

const Op *const batch_norm_room[] = {&batch_norm_op, &batch_norm_grad_op, &batch_norm_fixed_op, &batch_norm_fixed_grad_op,
                                     NULL};

Ref batch_norm(Tape *tape, Ref x, Ref running, double momentum, double eps)
{
    if (tape_failed(tape))
        return REF_NONE;
    int64_t n = ref_columns(tape, x);
    if (ref_rows(tape, x) < 2)
        return tape_fail(tape, "batch_norm: a batch of one row has no variance");
    if (ref_given(running) && ref_count(tape, running) != 2 * n)
        return tape_fail(tape, "batch_norm: the running statistics are not two rows of %lld", (long long)n);
    Ref out[] = {tape_temp(tape, DTYPE_REAL, *ref_shape(tape, x), ref_needs_grad(tape, x)),
                 tape_temp(tape, DTYPE_REAL, shape_2(2, n), false), running};
    /* The running statistics are read too, which is what "added to" says. */
    tape_append(tape, &batch_norm_op, &(BatchNormAttr){eps, momentum}, (Ref[]){x}, out, ref_given(running) ? 4 : 0);
    return out[0];
}

Ref batch_norm_fixed(Tape *tape, Ref x, Ref running, double eps)
{
    if (tape_failed(tape))
        return REF_NONE;
    if (ref_count(tape, running) != 2 * ref_columns(tape, x))
        return tape_fail(tape, "batch_norm: the running statistics are not two rows of %lld", (long long)ref_columns(tape, x));
    Ref out[] = {tape_temp(tape, DTYPE_REAL, *ref_shape(tape, x), ref_needs_grad(tape, x))};
    tape_append(tape, &batch_norm_fixed_op, &(BatchNormAttr){eps, 0}, (Ref[]){x, running}, out, 0);
    return out[0];
}
