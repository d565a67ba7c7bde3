#include "ops/activation/activation.h"

#include "ops/kernels.h"
#include "ops/operand/work.h"

REF_DECLARE(activation);
REF_DECLARE(activation_grad);
CPU_DECLARE(activation);
CPU_DECLARE(activation_grad);
CUDA_DECLARE(activation_grad);
CUDA_DECLARE(activation);

static const char *const in_names[] = {"x"}, *const out_names[] = {"y"};
static const char *const grad_in_names[] = {"dy", "x"}, *const grad_out_names[] = {"dx", "y", "sums"};

static Cost cost(const Call *c)
{
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){20 * n, tensor_bytes(&c->in[0]) + tensor_bytes(&c->out[0])};
}

static Cost grad_cost(const Call *c)
{
    const Tensor *dx = &c->out[ACTIVATION_GRAD_DX];
    double bytes = tensor_bytes(&c->in[ACTIVATION_GRAD_DY]) + tensor_bytes(&c->in[ACTIVATION_GRAD_X]);
    for (int i = 0; i < ACTIVATION_GRAD_OUT; i++)
        bytes += tensor_bytes(&c->out[i]);
    return (Cost){20 * (double)(dx->rows * dx->columns), bytes};
}

/* Sums of the columns of each tile of rows. */
static size_t grad_workspace(const Call *c, const Device *device)
{
    const Tensor *dx = &c->out[ACTIVATION_GRAD_DX];
    size_t tiles = (size_t)(dx->rows + OPERAND_TILE - 1) / OPERAND_TILE;
    return device->kind == DEVICE_CUDA && c->out[ACTIVATION_GRAD_SUMS].rows ? tiles * (size_t)dx->columns * sizeof(float) : 0;
}

const Op activation_grad_op = {.name = "activation_grad",
                               .in_count = ACTIVATION_GRAD_IN,
                               .out_count = ACTIVATION_GRAD_OUT,
                               .in_names = grad_in_names,
                               .out_names = grad_out_names,
                               .attr_size = sizeof(ActivationAttr),
                               .workspace = grad_workspace,
                               .cost = grad_cost,
                               .in_place = {1},
                               .ref = REF_KERNELS(activation_grad),
                               .cuda = CUDA_KERNEL(activation_grad),
                               .cpu = CPU_KERNELS(activation_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref ins[ACTIVATION_GRAD_IN] = {grad_of(tape, node->out[0]), node->in[0]};
    Ref outs[ACTIVATION_GRAD_OUT] = {grad_into(tape, node->in[0], ACTIVATION_GRAD_DX, &accumulate), REF_NONE, REF_NONE};
    tape_append(tape, &activation_grad_op, node->attr, ins, outs, accumulate);
}

static Ref example(Tape *tape, int index)
{
    if (index > 1)
        return REF_NONE;
    return activation(tape, tape_input(tape, "x", DTYPE_REAL, shape_2(7, 13)), index ? ACTIVATION_QUICK_GELU : ACTIVATION_GELU);
}

const Op activation_op = {.name = "activation",
                          .in_count = 1,
                          .out_count = 1,
                          .in_names = in_names,
                          .out_names = out_names,
                          .attr_size = sizeof(ActivationAttr),
                          .gradient = gradient,
                          .cost = cost,
                          .in_place = {1},
                          .ref = REF_KERNELS(activation),
                          .cuda = CUDA_KERNEL(activation),
                          .cpu = CPU_KERNELS(activation),
                          .example = example};

const Op *const activation_room[] = {&activation_op, &activation_grad_op, NULL};

Ref activation(Tape *tape, Ref x, Activation kind)
{
    if (tape_failed(tape))
        return REF_NONE;
    Ref out[] = {tape_temp(tape, DTYPE_REAL, *ref_shape(tape, x), ref_needs_grad(tape, x))};
    tape_append(tape, &activation_op, &(ActivationAttr){kind}, (Ref[]){x}, out, 0);
    return out[0];
}
