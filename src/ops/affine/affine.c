#include "ops/affine/affine.h"

#include "ops/affine/work.h"
#include "ops/kernels.h"

REF_DECLARE(affine_relu);
REF_DECLARE(affine_relu_grad);
CPU_DECLARE(affine_relu);
CPU_DECLARE(affine_relu_grad);
CUDA_DECLARE(affine_relu);
CUDA_DECLARE(affine_relu_grad);

static const char *const in_names[] = {"x", "gamma", "beta"}, *const out_names[] = {"y"};
static const char *const grad_in_names[] = {"dy", "x", "gamma", "beta"}, *const grad_out_names[] = {"dx", "dgamma", "dbeta"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){3 * n, 8 * n};
}

static Cost grad_cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){7 * n, 12 * n};
}

static size_t grad_workspace(const Call *c, const Device *device)
{
    size_t tiles = (size_t)(c->in[0].rows + AFFINE_TILE - 1) / AFFINE_TILE;
    return device->kind == DEVICE_REF ? 0 : tiles * 2 * (size_t)c->in[0].columns * sizeof(float);
}

static const Op affine_relu_grad_op = {.name = "affine_relu_grad",
                                       .in_count = 4,
                                       .out_count = 3,
                                       .in_names = grad_in_names,
                                       .out_names = grad_out_names,
                                       .workspace = grad_workspace,
                                       .cost = grad_cost,
                                       .in_place = {1},
                                       .ref = REF_KERNELS(affine_relu_grad),
                                       .cuda = CUDA_KERNEL(affine_relu_grad),
                                       .cpu = CPU_KERNELS(affine_relu_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dx = grad_into(tape, node->in[0], 0, &accumulate), dgamma = grad_into(tape, node->in[1], 1, &accumulate),
        dbeta = grad_into(tape, node->in[2], 2, &accumulate);
    tape_append(tape, &affine_relu_grad_op, NULL, (Ref[]){grad_of(tape, node->out[0]), node->in[0], node->in[1], node->in[2]},
                (Ref[]){dx, dgamma, dbeta}, accumulate);
}

static Ref example(Tape *tape, int index)
{
    static const int64_t sizes[][2] = {{5, 7}, {131, 12}, {3, 40}};
    if (index > 2)
        return REF_NONE;
    int64_t n = sizes[index][1];
    return affine_relu(tape, tape_input(tape, "x", DTYPE_REAL, shape_2(sizes[index][0], n)),
                       tape_input(tape, "gamma", DTYPE_REAL, shape_1(n)), tape_input(tape, "beta", DTYPE_REAL, shape_1(n)));
}

static const Op affine_relu_op = {.name = "affine_relu",
                                  .in_count = 3,
                                  .out_count = 1,
                                  .in_names = in_names,
                                  .out_names = out_names,
                                  .gradient = gradient,
                                  .cost = cost,
                                  .ref = REF_KERNELS(affine_relu),
                                  .cuda = CUDA_KERNEL(affine_relu),
                                  .cpu = CPU_KERNELS(affine_relu),
                                  .example = example};

const Op *const affine_room[] = {&affine_relu_op, &affine_relu_grad_op, NULL};

Ref affine_relu(Tape *tape, Ref x, Ref gamma, Ref beta)
{
    if (tape_failed(tape))
        return REF_NONE;
    int64_t n = ref_columns(tape, x);
    if (ref_count(tape, gamma) != n || ref_count(tape, beta) != n)
        return tape_fail(tape, "affine_relu: gamma and beta do not have the width %lld", (long long)n);
    bool needs_grad = ref_needs_grad(tape, x) || ref_needs_grad(tape, gamma) || ref_needs_grad(tape, beta);
    Ref out[] = {tape_temp(tape, DTYPE_REAL, *ref_shape(tape, x), needs_grad)};
    tape_append(tape, &affine_relu_op, NULL, (Ref[]){x, gamma, beta}, out, 0);
    return out[0];
}
