#include "ops/cosine/cosine.h"

#include "ops/cosine/work.h"
#include "ops/kernels.h"

REF_DECLARE(cosine);
REF_DECLARE(cosine_grad);
CPU_DECLARE(cosine);
CPU_DECLARE(cosine_grad);
CUDA_DECLARE(cosine_grad);
CUDA_DECLARE(cosine);

static const char *const in_names[] = {"pred", "target", "weight", "scale"}, *const out_names[] = {"loss"};
static const char *const grad_in_names[] = {"pred", "target", "weight", "scale", "dloss"}, *const grad_out_names[] = {"dpred"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){6 * n, 8 * n};
}

static size_t workspace(const Call *c, const Device *device)
{
    size_t tiles = (size_t)(c->in[0].rows + COSINE_TILE - 1) / COSINE_TILE;
    return device->kind == DEVICE_REF ? 0 : tiles * sizeof(double);
}

static const Op cosine_grad_op = {.name = "cosine_grad",
                                  .in_count = 5,
                                  .out_count = 1,
                                  .in_names = grad_in_names,
                                  .out_names = grad_out_names,
                                  .cost = cost,
                                  .in_place = {1},
                                  .ref = REF_KERNELS(cosine_grad),
                                  .cuda = CUDA_KERNEL(cosine_grad),
                                  .cpu = CPU_KERNELS(cosine_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dpred = grad_into(tape, node->in[0], 0, &accumulate);
    tape_append(tape, &cosine_grad_op, NULL,
                (Ref[]){node->in[0], node->in[1], node->in[2], node->in[3], grad_of(tape, node->out[0])}, (Ref[]){dpred},
                accumulate);
}

static Ref example(Tape *tape, int index)
{
    static const double scale[] = {0.25}, weights[] = {1, 0, 1, 1, 0};
    if (index > 2)
        return REF_NONE;
    Shape shape = index == 2 ? shape_2(131, 37) : shape_2(5, 7);
    return cosine(tape, (CosineArgs){.pred = tape_input(tape, "pred", DTYPE_REAL, shape),
                                     .target = tape_constant_example(tape, shape),
                                     .weight = index == 1 ? tape_constant(tape, shape_1(5), weights) : REF_NONE,
                                     .scale = tape_constant(tape, shape_0(), scale)});
}

static const Op cosine_op = {.name = "cosine",
                             .in_count = 4,
                             .out_count = 1,
                             .in_names = in_names,
                             .out_names = out_names,
                             .gradient = gradient,
                             .workspace = workspace,
                             .cost = cost,
                             .ref = REF_KERNELS(cosine),
                             .cuda = CUDA_KERNEL(cosine),
                             .cpu = CPU_KERNELS(cosine),
                             .example = example};

const Op *const cosine_room[] = {&cosine_op, &cosine_grad_op, NULL};

Ref cosine(Tape *tape, CosineArgs a)
{
    if (tape_failed(tape))
        return REF_NONE;
    if (ref_count(tape, a.pred) != ref_count(tape, a.target) || ref_columns(tape, a.pred) != ref_columns(tape, a.target))
        return tape_fail(tape, "cosine: prediction and target differ in shape");
    if (ref_given(a.weight) && ref_count(tape, a.weight) != ref_rows(tape, a.pred))
        return tape_fail(tape, "cosine: the weight does not have a number for each place");
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape_0(), ref_needs_grad(tape, a.pred))};
    tape_append(tape, &cosine_op, NULL, (Ref[]){a.pred, a.target, a.weight, a.scale}, out, 0);
    return out[0];
}
