#include "ops/distance/distance.h"

#include "ops/distance/attr.h"
#include "ops/kernels.h"

REF_DECLARE(distance);
REF_DECLARE(distance_grad);
CPU_DECLARE(distance);
CPU_DECLARE(distance_grad);
CUDA_DECLARE(distance_grad);
CUDA_DECLARE(distance);

static const char *const in_names[] = {"pred", "target", "weight", "scale"}, *const out_names[] = {"loss"};
static const char *const grad_in_names[] = {"pred", "target", "weight", "scale", "dloss"}, *const grad_out_names[] = {"dpred"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){3 * n, 8 * n};
}

static size_t workspace(const Call *c, const Device *device)
{
    size_t tiles = (size_t)(c->in[0].rows + DISTANCE_TILE - 1) / DISTANCE_TILE;
    return device->kind == DEVICE_REF ? 0 : tiles * sizeof(double);
}

static const Op distance_grad_op = {.name = "distance_grad",
                                    .in_count = 5,
                                    .out_count = 1,
                                    .in_names = grad_in_names,
                                    .out_names = grad_out_names,
                                    .attr_size = sizeof(DistanceAttr),
                                    .cost = cost,
                                    .in_place = {1},
                                    .ref = REF_KERNELS(distance_grad),
                                    .cuda = CUDA_KERNEL(distance_grad),
                                    .cpu = CPU_KERNELS(distance_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dpred = grad_into(tape, node->in[0], 0, &accumulate);
    tape_append(tape, &distance_grad_op, node->attr,
                (Ref[]){node->in[0], node->in[1], node->in[2], node->in[3], grad_of(tape, node->out[0])}, (Ref[]){dpred},
                accumulate);
}

static Ref example(Tape *tape, int index)
{
    static const double count[] = {0.25}, weights[] = {1, 0, 1, 1, 0};
    if (index > 3)
        return REF_NONE;
    int64_t rows = index == 3 ? 131 : 5;
    return distance(tape, (DistanceArgs){.pred = tape_input(tape, "pred", DTYPE_REAL, shape_2(rows, 7)),
                                         .target = tape_constant_example(tape, shape_2(rows, 7)),
                                         .weight = index == 1 ? tape_constant(tape, shape_1(5), weights) : REF_NONE,
                                         .scale = tape_constant(tape, shape_0(), count),
                                         .kind = index == 3 ? DISTANCE_L2 : (DistanceKind)index,
                                         .beta = 0.7});
}

static const Op distance_op = {.name = "distance",
                               .in_count = 4,
                               .out_count = 1,
                               .in_names = in_names,
                               .out_names = out_names,
                               .attr_size = sizeof(DistanceAttr),
                               .gradient = gradient,
                               .workspace = workspace,
                               .cost = cost,
                               .ref = REF_KERNELS(distance),
                               .cuda = CUDA_KERNEL(distance),
                               .cpu = CPU_KERNELS(distance),
                               .example = example};

const Op *const distance_room[] = {&distance_op, &distance_grad_op, NULL};

Ref distance(Tape *tape, DistanceArgs a)
{
    if (tape_failed(tape))
        return REF_NONE;
    if (ref_count(tape, a.pred) != ref_count(tape, a.target) || ref_columns(tape, a.pred) != ref_columns(tape, a.target))
        return tape_fail(tape, "distance: prediction and target differ in shape");
    if (ref_given(a.weight) && ref_count(tape, a.weight) != ref_rows(tape, a.pred))
        return tape_fail(tape, "distance: the weight does not have a number for each place");
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape_0(), ref_needs_grad(tape, a.pred))};
    tape_append(tape, &distance_op, &(DistanceAttr){a.kind, a.beta}, (Ref[]){a.pred, a.target, a.weight, a.scale}, out, 0);
    return out[0];
}
