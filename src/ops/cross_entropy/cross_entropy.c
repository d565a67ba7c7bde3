#include "ops/cross_entropy/cross_entropy.h"

#include "ops/cross_entropy/work.h"
#include "ops/kernels.h"

REF_DECLARE(cross_entropy);
REF_DECLARE(cross_entropy_grad);
CPU_DECLARE(cross_entropy);
CPU_DECLARE(cross_entropy_grad);
CUDA_DECLARE(cross_entropy_grad);
CUDA_DECLARE(cross_entropy);

static const char *const in_names[] = {"logits", "labels", "targets", "scale"}, *const out_names[] = {"loss"};
static const char *const grad_in_names[] = {"logits", "labels", "targets", "scale", "dloss"}, *const grad_out_names[] = {
                                                                                                  "dlogits"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){20 * n, 4 * n};
}

static Cost grad_cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){22 * n, 8 * n};
}

static size_t workspace(const Call *c, const Device *device)
{
    size_t tiles = (size_t)(c->in[0].rows + CROSS_ENTROPY_TILE - 1) / CROSS_ENTROPY_TILE;
    return device->kind == DEVICE_REF ? 0 : tiles * sizeof(double);
}

static const Op cross_entropy_grad_op = {.name = "cross_entropy_grad",
                                         .in_count = 5,
                                         .out_count = 1,
                                         .in_names = grad_in_names,
                                         .out_names = grad_out_names,
                                         .attr_size = sizeof(CrossEntropyAttr),
                                         .cost = grad_cost,
                                         .in_place = {1},
                                         .ref = REF_KERNELS(cross_entropy_grad),
                                         .cuda = CUDA_KERNEL(cross_entropy_grad),
                                         .cpu = CPU_KERNELS(cross_entropy_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dlogits = grad_into(tape, node->in[0], 0, &accumulate);
    tape_append(tape, &cross_entropy_grad_op, node->attr,
                (Ref[]){node->in[0], node->in[1], node->in[2], node->in[3], grad_of(tape, node->out[0])}, (Ref[]){dlogits},
                accumulate);
}

static Ref example(Tape *tape, int index)
{
    static const double scale[] = {0.25};
    static const int32_t few[] = {3, 0, -1, 6, 2};
    if (index > 4)
        return REF_NONE;
    int64_t rows = index < 4 ? 5 : 131, classes = index == 3 ? 37 : 7, heads = index == 2 ? 3 : 1;
    int32_t many[131];
    for (int i = 0; i < 131; i++)
        many[i] = i * 5 % 7;
    bool dense = index == 3;
    return cross_entropy(
        tape, (CrossEntropyArgs){.logits = tape_input(tape, "logits", DTYPE_REAL, shape_2(rows, heads * classes)),
                                 .classes = classes,
                                 .labels = dense ? REF_NONE : tape_constant_i32(tape, shape_1(rows), rows == 5 ? few : many),
                                 .targets = dense ? tape_constant_example(tape, shape_2(rows, classes)) : REF_NONE,
                                 .scale = tape_constant(tape, shape_0(), scale),
                                 .smoothing = index == 1 ? 0.3 : 0});
}

static const Op cross_entropy_op = {.name = "cross_entropy",
                                    .in_count = 4,
                                    .out_count = 1,
                                    .in_names = in_names,
                                    .out_names = out_names,
                                    .attr_size = sizeof(CrossEntropyAttr),
                                    .gradient = gradient,
                                    .workspace = workspace,
                                    .cost = cost,
                                    .ref = REF_KERNELS(cross_entropy),
                                    .cuda = CUDA_KERNEL(cross_entropy),
                                    .cpu = CPU_KERNELS(cross_entropy),
                                    .example = example};

const Op *const cross_entropy_room[] = {&cross_entropy_op, &cross_entropy_grad_op, NULL};

Ref cross_entropy(Tape *tape, CrossEntropyArgs a)
{
    if (tape_failed(tape))
        return REF_NONE;
    int64_t rows = ref_rows(tape, a.logits);
    if (a.classes < 1 || ref_columns(tape, a.logits) % a.classes)
        return tape_fail(tape, "cross_entropy: %lld logits are no heads of %lld classes",
                         (long long)ref_columns(tape, a.logits), (long long)a.classes);
    if (ref_given(a.labels) == ref_given(a.targets))
        return tape_fail(tape, "cross_entropy: either labels or targets are wanted");
    if (ref_given(a.labels) && ref_count(tape, a.labels) != rows)
        return tape_fail(tape, "cross_entropy: there is not a label for each row");
    if (ref_given(a.targets) && (ref_rows(tape, a.targets) != rows || ref_columns(tape, a.targets) != a.classes))
        return tape_fail(tape, "cross_entropy: targets are not (rows, classes)");
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape_0(), ref_needs_grad(tape, a.logits))};
    tape_append(tape, &cross_entropy_op, &(CrossEntropyAttr){a.smoothing, a.classes},
                (Ref[]){a.logits, a.labels, a.targets, a.scale}, out, 0);
    return out[0];
}
