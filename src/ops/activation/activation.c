#include "ops/activation/activation.h"

#include "ops/kernels.h"

REF_DECLARE(activation);
REF_DECLARE(activation_grad);
CPU_DECLARE(activation);
CPU_DECLARE(activation_grad);
CUDA_DECLARE(activation_grad);
CUDA_DECLARE(activation);

static const char *const in_names[] = {"x"}, *const out_names[] = {"y"};
static const char *const grad_in_names[] = {"dy", "x"}, *const grad_out_names[] = {"dx", "y"};

static Cost cost(const Call *c)
{
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){20 * n, tensor_bytes(&c->in[0]) + tensor_bytes(&c->out[0])};
}

static Cost grad_cost(const Call *c)
{
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){20 * n,
                  tensor_bytes(&c->in[0]) + tensor_bytes(&c->in[1]) + tensor_bytes(&c->out[0]) + tensor_bytes(&c->out[1])};
}

const Op activation_grad_op = {.name = "activation_grad",
                               .in_count = 2,
                               .out_count = 2,
                               .in_names = grad_in_names,
                               .out_names = grad_out_names,
                               .attr_size = sizeof(ActivationAttr),
                               .cost = grad_cost,
                               .in_place = {1},
                               .ref = REF_KERNELS(activation_grad),
                               .cuda = CUDA_KERNEL(activation_grad),
                               .cpu = CPU_KERNELS(activation_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dx = grad_into(tape, node->in[0], 0, &accumulate);
    tape_append(tape, &activation_grad_op, node->attr, (Ref[]){grad_of(tape, node->out[0]), node->in[0]}, (Ref[]){dx, REF_NONE},
                accumulate);
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
