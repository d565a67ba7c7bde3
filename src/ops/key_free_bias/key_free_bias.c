#include "ops/key_free_bias/key_free_bias.h"

#include "ops/kernels.h"

REF_DECLARE(key_free_bias);
REF_DECLARE(key_free_bias_grad);
CUDA_DECLARE(key_free_bias_grad);
CUDA_DECLARE(key_free_bias);

static const char *const in_names[] = {"q_bias", "v_bias"}, *const out_names[] = {"bias"};
static const char *const grad_in_names[] = {"dbias", "v_bias"}, *const grad_out_names[] = {"dq_bias", "dv_bias"};

static const Op key_free_bias_grad_op = {.name = "key_free_bias_grad",
                                         .in_count = 2,
                                         .out_count = 2,
                                         .in_names = grad_in_names,
                                         .out_names = grad_out_names,
                                         .ref = REF_KERNELS(key_free_bias_grad),
                                         .cuda = CUDA_KERNEL(key_free_bias_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dq = grad_into(tape, node->in[0], 0, &accumulate), dv = grad_into(tape, node->in[1], 1, &accumulate);
    tape_append(tape, &key_free_bias_grad_op, NULL, (Ref[]){grad_of(tape, node->out[0]), node->in[1]}, (Ref[]){dq, dv},
                accumulate);
}

static Ref example(Tape *tape, int index)
{
    if (index > 1)
        return REF_NONE;
    Ref q = index ? REF_NONE : tape_input(tape, "q", DTYPE_REAL, shape_1(5));
    return key_free_bias(tape, q, tape_input(tape, "v", DTYPE_REAL, shape_1(5)));
}

static const Op key_free_bias_op = {.name = "key_free_bias",
                                    .in_count = 2,
                                    .out_count = 1,
                                    .in_names = in_names,
                                    .out_names = out_names,
                                    .gradient = gradient,
                                    .ref = REF_KERNELS(key_free_bias),
                                    .cuda = CUDA_KERNEL(key_free_bias),
                                    .example = example};

const Op *const key_free_bias_room[] = {&key_free_bias_op, &key_free_bias_grad_op, NULL};

Ref key_free_bias(Tape *tape, Ref q, Ref v)
{
    if (tape_failed(tape))
        return REF_NONE;
    if (ref_given(q) && ref_count(tape, q) != ref_count(tape, v))
        return tape_fail(tape, "key_free_bias: q and v differ in length");
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape_1((ref_given(q) ? 3 : 2) * ref_count(tape, v)),
                           ref_needs_grad(tape, q) || ref_needs_grad(tape, v))};
    tape_append(tape, &key_free_bias_op, NULL, (Ref[]){q, v}, out, 0);
    return out[0];
}
