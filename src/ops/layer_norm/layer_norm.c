#include "ops/layer_norm/layer_norm.h"

#include "ops/kernels.h"
#include "ops/layer_norm/work.h"

REF_DECLARE(layer_norm);
REF_DECLARE(layer_norm_grad);
CPU_DECLARE(layer_norm);
CPU_DECLARE(layer_norm_grad);
CUDA_DECLARE(layer_norm_grad);
CUDA_DECLARE(layer_norm);

static const char *const in_names[] = {"x", "gamma", "beta"}, *const out_names[] = {"y", "stats"};
static const char *const grad_in_names[] = {"dy", "x", "stats", "gamma", "beta"}, *const grad_out_names[] = {"dx", "dgamma",
                                                                                                             "dbeta", "y"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){8 * n, tensor_bytes(&c->in[0]) + tensor_bytes(&c->out[0])};
}

static Cost grad_cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){12 * n,
                  tensor_bytes(&c->in[0]) + tensor_bytes(&c->in[1]) + tensor_bytes(&c->out[0]) + tensor_bytes(&c->out[3])};
}

/* Partial sums of dgamma and dbeta, two rows of D for each tile of LAYER_NORM_TILE rows. */
static size_t grad_workspace(const Call *c, const Device *device)
{
    size_t tiles = (size_t)(c->in[0].rows + LAYER_NORM_TILE - 1) / LAYER_NORM_TILE;
    return device->kind == DEVICE_REF ? 0 : tiles * 2 * (size_t)c->in[0].columns * device_element(device, DTYPE_REAL);
}

const Op layer_norm_grad_op = {.name = "layer_norm_grad",
                               .in_count = 5,
                               .out_count = 4,
                               .in_names = grad_in_names,
                               .out_names = grad_out_names,
                               .attr_size = sizeof(LayerNormAttr),
                               .workspace = grad_workspace,
                               .cost = grad_cost,
                               .in_place = {1},
                               .ref = REF_KERNELS(layer_norm_grad),
                               .cuda = CUDA_KERNEL(layer_norm_grad),
                               .cpu = CPU_KERNELS(layer_norm_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dx = grad_into(tape, node->in[0], 0, &accumulate), dgamma = grad_into(tape, node->in[1], 1, &accumulate),
        dbeta = grad_into(tape, node->in[2], 2, &accumulate);
    tape_append(tape, &layer_norm_grad_op, node->attr,
                (Ref[]){grad_of(tape, node->out[0]), node->in[0], node->out[1], node->in[1], REF_NONE},
                (Ref[]){dx, dgamma, dbeta, REF_NONE}, accumulate);
}

static Ref example(Tape *tape, int index)
{
    static const int sizes[][2] = {{5, 7}, {130, 12}, {3, 40}};
    if (index > 2)
        return REF_NONE;
    int64_t n = sizes[index][1];
    return layer_norm(tape, tape_input(tape, "x", DTYPE_REAL, shape_2(sizes[index][0], n)),
                      tape_input(tape, "gamma", DTYPE_REAL, shape_1(n)), tape_input(tape, "beta", DTYPE_REAL, shape_1(n)),
                      1e-3);
}

const Op layer_norm_op = {.name = "layer_norm",
                          .in_count = 3,
                          .out_count = 2,
                          .in_names = in_names,
                          .out_names = out_names,
                          .attr_size = sizeof(LayerNormAttr),
                          .gradient = gradient,
                          .cost = cost,
                          .ref = REF_KERNELS(layer_norm),
                          .cuda = CUDA_KERNEL(layer_norm),
                          .cpu = CPU_KERNELS(layer_norm),
                          .example = example};

const Op *const layer_norm_room[] = {&layer_norm_op, &layer_norm_grad_op, NULL};

Ref layer_norm(Tape *tape, Ref x, Ref gamma, Ref beta, double eps)
{
    if (tape_failed(tape))
        return REF_NONE;
    int64_t n = ref_columns(tape, x);
    if (ref_count(tape, gamma) != n || ref_count(tape, beta) != n)
        return tape_fail(tape, "layer_norm: gamma and beta do not have the width %lld", (long long)n);
    bool needs_grad = ref_needs_grad(tape, x) || ref_needs_grad(tape, gamma) || ref_needs_grad(tape, beta);
    Ref out[] = {tape_temp(tape, DTYPE_REAL, *ref_shape(tape, x), needs_grad),
                 tape_temp(tape, DTYPE_REAL, shape_2(ref_rows(tape, x), 2), false)};
    tape_append(tape, &layer_norm_op, &(LayerNormAttr){eps}, (Ref[]){x, gamma, beta}, out, 0);
    return out[0];
}
