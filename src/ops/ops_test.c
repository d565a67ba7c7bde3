/* Every op: gradients against differences, kernels and lowered forms against the reference, and proof that the gradient check
 * finds bugs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "graph/program.h"
#include "ops/activation/activation.h"
#include "ops/add/add.h"
#include "ops/attention/slots.h"
#include "ops/check.h"
#include "ops/distance/distance.h"
#include "ops/fill/fill.h"
#include "ops/gather/gather.h"
#include "ops/key_free_bias/key_free_bias.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/slots.h"
#include "ops/ops.h"

static void gradients_match_differences(void **state)
{
    (void)state;
    int checked = 0;
    for (int i = 0; ops_at(i); i++) {
        const Op *op = ops_at(i);
        if (!op->gradient || !op->example)
            continue;
        double error;
        CheckOutcome outcome;
        for (int k = 0; (outcome = check_gradient(op->example, k, NULL, NULL, &error)) == CHECK_DONE; k++) {
            if (error > 1e-6)
                fail_msg("%s, example %d: gradient is off by %g", op->name, k, error);
            checked++;
        }
        if (outcome == CHECK_ERROR)
            fail_msg("%s: %s", op->name, error_text());
    }
    assert_true(checked >= 25);
}

/* ---- random compositions of shape (2, 6, 8) */

static Ref random_composition(Tape *tape, int index)
{
    enum { COUNT = 30, STEPS = 6, WIDTH = 8 };
    static const int32_t order[] = {3, -1, 5, 0, 1, 2, 9, 8, -1, 6, 7, 11},
                         inverse[] = {3, 4, 5, 0, -1, 2, 9, 10, 7, 6, -1, 11};
    if (index >= COUNT)
        return REF_NONE;
    Random r = random_stream(11, RANDOM_TEST, 0, 0, (uint64_t)index);
    Ref past[STEPS + 1] = {tape_input(tape, "x", DTYPE_REAL, shape_3(2, 6, WIDTH))}, x = past[0];
    for (int step = 0; step < STEPS; step++) {
        char name[6][32];
        for (int i = 0; i < 6; i++)
            snprintf(name[i], sizeof name[i], "p%d.%d", step, i);
        Ref earlier = past[random_below(&r, (uint32_t)step + 1)];
        Ref gamma = tape_input(tape, name[0], DTYPE_REAL, shape_1(WIDTH)),
            beta = tape_input(tape, name[1], DTYPE_REAL, shape_1(WIDTH));
        switch (random_below(&r, 6)) {
        case 0:
        case 1:
            x = linear(tape, (LinearArgs){.x = x,
                                          .w = tape_input(tape, name[2], DTYPE_REAL, shape_2(WIDTH, WIDTH)),
                                          .b = gamma,
                                          .prologue = (Prologue)random_below(&r, 4),
                                          .gamma = gamma,
                                          .beta = beta,
                                          .eps = 1e-2,
                                          .column_scale = random_below(&r, 2) ? beta : REF_NONE,
                                          .row_scale = random_below(&r, 2) ? tape_constant_example(tape, shape_1(2)) : REF_NONE,
                                          .residual = random_below(&r, 2) ? earlier : REF_NONE});
            break;
        case 2: {
            Ref qkv = linear(tape, (LinearArgs){.x = x,
                                                .w = tape_input(tape, name[3], DTYPE_REAL, shape_2(3 * WIDTH, WIDTH)),
                                                .b = key_free_bias(tape, gamma, beta),
                                                .prologue = PROLOGUE_LAYER_NORM,
                                                .gamma = gamma,
                                                .beta = beta,
                                                .eps = 1e-2,
                                                .column_scale = REF_NONE,
                                                .row_scale = REF_NONE,
                                                .residual = REF_NONE,
                                                .dtype = tape_activation(tape)});
            x = linear(tape, (LinearArgs){.x = self_attention(tape, qkv, 2, REF_NONE),
                                          .w = tape_input(tape, name[2], DTYPE_REAL, shape_2(WIDTH, WIDTH)),
                                          .b = REF_NONE,
                                          .gamma = REF_NONE,
                                          .beta = REF_NONE,
                                          .column_scale = REF_NONE,
                                          .row_scale = REF_NONE,
                                          .residual = x});
            break;
        }
        case 3:
            x = layer_norm(tape, x, gamma, beta, 1e-2);
            break;
        case 4:
            x = add(tape, activation(tape, x, random_below(&r, 2) ? ACTIVATION_GELU : ACTIVATION_QUICK_GELU), earlier);
            break;
        default:
            x = gather(tape, (GatherArgs){.x = x,
                                          .index = tape_constant_i32(tape, shape_1(12), order),
                                          .inverse = tape_constant_i32(tape, shape_1(12), inverse),
                                          .tokens = tape_input(tape, name[4], DTYPE_REAL, shape_2(1, WIDTH)),
                                          .table = tape_input(tape, name[5], DTYPE_REAL, shape_2(6, WIDTH)),
                                          .place = REF_NONE,
                                          .shape = shape_3(2, 6, WIDTH)});
        }
        past[step + 1] = x;
    }
    return x;
}

static void random_compositions_match_differences(void **state)
{
    (void)state;
    double error;
    CheckOutcome outcome;
    int k = 0;
    for (; (outcome = check_gradient(random_composition, k, NULL, NULL, &error)) == CHECK_DONE; k++)
        if (error > 2e-6)
            fail_msg("composition %d: gradient is off by %g", k, error);
    if (outcome == CHECK_ERROR)
        fail_msg("composition %d: %s", k, error_text());
    assert_int_equal(k, 30);
}

/* ---- planted bugs */

typedef enum { CLEAR_ACCUMULATE, DROP_INPUT, SWAP_INPUTS, DOUBLE_FIRST, CHANGE_DOUBLE, CHANGE_INT, REPLACE_OP } BugKind;

typedef struct {
    const char *says;
    const char *built_from; /* op whose examples are used; NULL: the random compositions */
    const char *in_op;      /* the node that is changed: the first of this op */
    BugKind kind;
    int a, b;     /* input or output numbers; CHANGE: offset in the attributes, and the number to be there now (-1: any) */
    double value; /* new value, or factor for CHANGE_DOUBLE */
} Bug;

static const Bug bugs[] = {
    {"dW recomputes LayerNorm with gamma and beta swapped", "linear", "linear_dw", SWAP_INPUTS, DW_GAMMA, DW_BETA, 0},
    {"dW recomputes the input without its activation", "linear", "linear_dw", CHANGE_INT, offsetof(LinearAttr, prologue),
     PROLOGUE_GELU, PROLOGUE_NONE},
    {"dW ignores drop path", "linear", "linear_dw", DROP_INPUT, DW_ROW_SCALE, 0, 0},
    {"dW ignores the layer scale", "linear", "linear_dw", DROP_INPUT, DW_COLUMN_SCALE, 0, 0},
    {"the layer scale's gradient forgets the bias", "linear", "linear_dw", DROP_INPUT, DW_B, 0, 0},
    {"dx ignores drop path", "linear", "linear_dx", DROP_INPUT, DX_ROW_SCALE, 0, 0},
    {"dx ignores the layer scale", "linear", "linear_dx", DROP_INPUT, DX_COLUMN_SCALE, 0, 0},
    {"dx leaves the activation's slope out", "linear", "linear_dx", CHANGE_INT, offsetof(LinearAttr, prologue), PROLOGUE_GELU,
     PROLOGUE_NONE},
    {"dx takes the other activation's slope", "linear", "linear_dx", CHANGE_INT, offsetof(LinearAttr, prologue), PROLOGUE_GELU,
     PROLOGUE_QUICK_GELU},
    {"a sum of gradients doubles the first instead", NULL, "add_to", DOUBLE_FIRST, 0, 0, 0},
    {"a residual's gradient is lost", NULL, "linear_dx", CLEAR_ACCUMULATE, DX_DX, 0, 0},
    {"the gradient of a shared gamma is overwritten", NULL, "linear_dx", CLEAR_ACCUMULATE, DX_DGAMMA, 0, 0},
    {"a LayerNorm's gradient overwrites", NULL, "layer_norm_grad", CLEAR_ACCUMULATE, 0, 0, 0},
    {"an activation's gradient overwrites", NULL, "activation_grad", CLEAR_ACCUMULATE, 0, 0, 0},
    {"attention's gradient has another scale", "attention", "attention_grad", CHANGE_DOUBLE, offsetof(AttentionAttr, scale), 0,
     1.05},
    {"attention's gradient splits heads otherwise", "attention", "attention_grad", CHANGE_INT, offsetof(AttentionAttr, heads),
     -1, 1},
    {"attention's gradient takes the output for its gradient", "attention", "attention_grad", SWAP_INPUTS, ATTENTION_GRAD_DO,
     ATTENTION_GRAD_O, 0},
    {"attention's gradient takes q for k", "attention", "attention_grad", CHANGE_INT, offsetof(AttentionAttr, k_column), -1, 0},
    {"LayerNorm's gradient swaps dy and x", "layer_norm", "layer_norm_grad", SWAP_INPUTS, 0, 1, 0},
    {"GELU's gradient swaps dy and x", "activation", "activation_grad", SWAP_INPUTS, 0, 1, 0},
    {"GELU's gradient is quick GELU's", "activation", "activation_grad", CHANGE_INT, offsetof(ActivationAttr, kind),
     ACTIVATION_GELU, ACTIVATION_QUICK_GELU},
    {"dropped rows come back to the wrong place", "gather", "gather_grad", SWAP_INPUTS, 1, 3, 0},
    {"gather's gradient takes rows in order", "gather", "gather_grad", DROP_INPUT, 2, 0, 0},
    {"positions' gradient takes rows in order", "gather", "gather_grad", DROP_INPUT, 3, 0, 0},
    {"the loss's gradient swaps prediction and target", "distance", "distance_grad", SWAP_INPUTS, 0, 1, 0},
    {"the loss's gradient counts hidden and visible alike", "distance", "distance_grad", DROP_INPUT, 2, 0, 0},
    {"the loss's gradient is another loss's", "distance", "distance_grad", CHANGE_INT, 0, 0, 1},
    {"BatchNorm's gradient swaps dy and x", "batch_norm", "batch_norm_grad", SWAP_INPUTS, 0, 1, 0},
    {"cross-entropy's gradient has other smoothing", "cross_entropy", "cross_entropy_grad", CHANGE_DOUBLE, 0, 0, 1.3},
    {"smooth L1's gradient has another beta", "distance", "distance_grad", CHANGE_DOUBLE, 8, 0, 1.3},
};

static char changed_attr[256];

/* Changes the first node of that op in which the change makes a difference. */
static bool plant(Tape *tape, const void *what)
{
    const Bug *bug = what;
    for (size_t i = 0; i < tape_node_count(tape); i++) {
        Node *node = tape_node_to_break(tape, i);
        if (strcmp(node->op->name, bug->in_op) != 0)
            continue;
        if (bug->kind == CLEAR_ACCUMULATE && (node->accumulate >> bug->a & 1)) {
            node->accumulate &= ~(1u << bug->a);
            return true;
        }
        if (bug->kind == DROP_INPUT && ref_given(node->in[bug->a])) {
            node->in[bug->a] = REF_NONE;
            return true;
        }
        if (bug->kind == SWAP_INPUTS && ref_given(node->in[bug->a]) && ref_given(node->in[bug->b])) {
            Ref kept = node->in[bug->a];
            node->in[bug->a] = node->in[bug->b];
            node->in[bug->b] = kept;
            return true;
        }
        if (bug->kind == DOUBLE_FIRST && node->accumulate) {
            node->in[0] = node->out[0];
            node->in[0].version--;
            return true;
        }
        if (bug->kind == CHANGE_DOUBLE || bug->kind == CHANGE_INT) {
            memcpy(changed_attr, node->attr, node->op->attr_size);
            if (bug->kind == CHANGE_DOUBLE) {
                double value;
                memcpy(&value, changed_attr + bug->a, sizeof value);
                value *= bug->value;
                memcpy(changed_attr + bug->a, &value, sizeof value);
            } else {
                int value = (int)bug->value, present;
                memcpy(&present, changed_attr + bug->a, sizeof present);
                if (present == value || (bug->b >= 0 && present != bug->b))
                    continue;
                memcpy(changed_attr + bug->a, &value, sizeof value);
            }
            node->attr = changed_attr;
            return true;
        }
    }
    return false;
}

static const Op *find_op(const char *name)
{
    for (int i = 0; ops_at(i); i++)
        if (!strcmp(ops_at(i)->name, name))
            return ops_at(i);
    return NULL;
}

static void planted_bugs_are_found(void **state)
{
    (void)state;
    int found = 0;
    for (size_t b = 0; b < sizeof bugs / sizeof *bugs; b++) {
        const Bug *bug = &bugs[b];
        CheckBuild build = bug->built_from ? find_op(bug->built_from)->example : random_composition;
        double worst = 0;
        int planted = 0;
        for (int k = 0; k < 30; k++) {
            double error = 0;
            CheckOutcome outcome = check_gradient(build, k, plant, bug, &error);
            if (outcome == CHECK_END)
                break;
            if (outcome == CHECK_DONE) {
                planted++;
                worst = error > worst ? error : worst;
            } else if (!strstr(error_text(), "could not be planted")) {
                fail_msg("%s: example %d: %s", bug->says, k, error_text());
            }
        }
        if (!planted)
            fail_msg("%s: found no place for it", bug->says);
        if (worst < 1e-3)
            fail_msg("%s: not found, the check says %g", bug->says, worst);
        found++;
    }
    assert_true(found >= 20);
}

/* ---- kernels and lowering against the reference */

/* Runs all examples on the device and holds them against the reference in f64. Returns how many. */
static int compare_with_reference(const Device *device, DType activation, double tolerance)
{
    Device ref;
    assert_true(device_open("ref64", 1, &ref));
    int compared = 0;
    /* Roundings grow too much on the way through a composition. */
    for (int i = activation == DTYPE_BF16 ? 0 : -1; i < 0 || ops_at(i); i++) {
        CheckBuild build = i < 0 ? random_composition : ops_at(i)->example;
        if (!build)
            continue;
        for (int k = 0;; k++) {
            CheckResult expect, got;
            CheckOutcome outcome = check_run(build, k, activation, &ref, &expect);
            if (outcome == CHECK_END)
                break;
            if (outcome == CHECK_ERROR || check_run(build, k, activation, device, &got) != CHECK_DONE)
                fail_msg("%s, example %d: %s", i < 0 ? "composition" : ops_at(i)->name, k, error_text());
            double error = check_difference(&got, &expect);
            if (error > tolerance)
                fail_msg("%s, example %d on %s: off by %g", i < 0 ? "composition" : ops_at(i)->name, k, device_describe(device),
                         error);
            check_free(&expect);
            check_free(&got);
            compared++;
        }
    }
    return compared;
}

static void kernels_match_the_reference(void **state)
{
    (void)state;
    CpuLevel best;
    unsetenv("LACUNA_CPU");
    assert_true(cpu_level(&best));
    Device ref;
    assert_true(device_open("ref", 1, &ref));
    assert_true(compare_with_reference(&ref, DTYPE_REAL, 1e-4) > 50);
    for (int level = CPU_WIDE; level <= (int)best; level++)
        for (int threads = 1; threads <= 3; threads++)
            assert_true(compare_with_reference(&(Device){.kind = DEVICE_CPU, .level = (CpuLevel)level, .threads = threads},
                                               DTYPE_REAL, 2e-4) > 50);
}

/* The reference reads and stores bf16 but multiplies exactly; kernels may round what they multiply. A number has 8 bits, so
 * the largest of many errors is a few percent of the root mean square. */
static void bf16_kernels_match_the_reference(void **state)
{
    (void)state;
    CpuLevel best;
    assert_true(cpu_level(&best));
    for (int level = CPU_WIDE; level <= (int)best; level++)
        for (int threads = 1; threads <= 3; threads++)
            assert_true(compare_with_reference(&(Device){.kind = DEVICE_CPU, .level = (CpuLevel)level, .threads = threads},
                                               DTYPE_BF16, 0.06) > 30);
}

static void lowered_forms_match_the_reference(void **state)
{
    (void)state;
    Device device;
    for (uint32_t lacks = 1; lacks <= (DEVICE_LACKS_PROLOGUE | DEVICE_LACKS_EPILOGUE | DEVICE_LACKS_ROUNDING); lacks++) {
        assert_true(device_open("ref64", 1, &device));
        device.lacks = lacks;
        assert_true(compare_with_reference(&device, DTYPE_REAL, 1e-9) > 50);
        /* What is rounded before it is multiplied is off as in fast kernels. */
        assert_true(compare_with_reference(&device, DTYPE_BF16, lacks & DEVICE_LACKS_ROUNDING ? 0.06 : 0.03) > 30);
    }
}

/* The same weights twice, with each prologue, with and without scales: gradients that two nodes add to. */
static Ref weights_used_twice(Tape *tape, int index)
{
    enum { ROWS = 12, WIDTH = 8 };
    if (index >= 8)
        return REF_NONE;
    Ref x = tape_input(tape, "x", DTYPE_REAL, shape_2(ROWS, WIDTH)), vectors[4];
    static const char *const names[] = {"b", "gamma", "beta", "scale"};
    for (int i = 0; i < 4; i++)
        vectors[i] = i < 3 || index >= 4 ? tape_input(tape, names[i], DTYPE_REAL, shape_1(WIDTH)) : REF_NONE;
    for (int twice = 0; twice < 2; twice++)
        x = linear(tape, (LinearArgs){.x = x,
                                      .w = tape_input(tape, "w", DTYPE_REAL, shape_2(WIDTH, WIDTH)),
                                      .b = vectors[0],
                                      .prologue = (Prologue)(index % 4),
                                      .gamma = vectors[1],
                                      .beta = vectors[2],
                                      .eps = 1e-2,
                                      .column_scale = vectors[3],
                                      .row_scale = index >= 4 ? tape_constant_example(tape, shape_1(3)) : REF_NONE,
                                      .residual = x});
    return x;
}

/* Layers whose values are stored in bf16: their gradients are written by those of activations, with the sums that biases and
 * scales before them need, where these are the sums of the whole and none of what lies between adds to the same. */
static Ref hidden_layers(Tape *tape, int index)
{
    enum { ROWS = 12, WIDTH = 8, SHARED = 1, SCALED = 2, SCALED_BY_BIAS = 4, TWICE = 8, BY_ROWS = 16, ALL = 32 };
    if (index >= ALL)
        return REF_NONE;
    Ref b[3], w[3], x = tape_input(tape, "x", tape_activation(tape), shape_2(ROWS, WIDTH)), y = REF_NONE;
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%d", i);
        w[i] = tape_input(tape, name, DTYPE_REAL, shape_2(WIDTH, WIDTH));
        snprintf(name, sizeof name, "b%d", index & SHARED ? 0 : i);
        b[i] = tape_input(tape, name, DTYPE_REAL, shape_1(WIDTH));
    }
    for (int i = 0; i < 3; i++) {
        LinearArgs a = {.x = x,
                        .w = w[i],
                        .b = b[i],
                        .prologue = i == 1   ? PROLOGUE_GELU
                                    : i == 2 ? PROLOGUE_QUICK_GELU
                                             : PROLOGUE_NONE,
                        .gamma = REF_NONE,
                        .beta = REF_NONE,
                        .column_scale = REF_NONE,
                        .row_scale = REF_NONE,
                        .residual = REF_NONE,
                        .dtype = i < 2 ? tape_activation(tape) : DTYPE_REAL};
        if (i == 1 && (index & SCALED))
            a.column_scale = tape_input(tape, "scale", DTYPE_REAL, shape_1(WIDTH));
        if (i == 2 && (index & SCALED_BY_BIAS))
            a.column_scale = b[1];
        if (i == 0 && (index & BY_ROWS))
            a.row_scale = tape_constant_example(tape, shape_1(3));
        if (i == 2 && (index & TWICE)) {
            a.w = w[0];
            y = linear(tape, a);
            a.w = w[2];
            a.residual = y;
        }
        x = linear(tape, a);
    }
    return x;
}

/* On one that rounds the operands of its products before, and one that multiplies exactly. */
static int compare_rounded(CheckBuild build, double most)
{
    Device exact, rounded;
    int k = 0;
    assert_true(device_open("ref64", 1, &exact));
    rounded = exact;
    rounded.lacks = DEVICE_LACKS_PROLOGUE | DEVICE_LACKS_ROUNDING;
    for (;; k++) {
        CheckResult expect, got;
        CheckOutcome outcome = check_run(build, k, DTYPE_BF16, &exact, &expect);
        if (outcome == CHECK_END)
            return k;
        if (outcome == CHECK_ERROR || check_run(build, k, DTYPE_BF16, &rounded, &got) != CHECK_DONE)
            fail_msg("%d: %s", k, error_text());
        double spread = check_spread(&got, &expect);
        if (!(spread <= most))
            fail_msg("%d: off by %g", k, spread);
        check_free(&expect);
        check_free(&got);
    }
}

/* Operands that several products share, and gradients that several nodes add to: each may round, but none may be missing or be
 * taken in another order. Roundings grow much on the way through a composition. */
static void operands_are_shared(void **state)
{
    (void)state;
    assert_int_equal(compare_rounded(weights_used_twice, 0.03), 8);
    assert_int_equal(compare_rounded(hidden_layers, 0.03), 32);
    assert_int_equal(compare_rounded(random_composition, 0.4), 30);
}

/* The gradients of the parameters of hidden layers, of two segments, of which the second adds to the first's. */
static void gradients_of_segments(const Device *device, double *gradient, size_t count)
{
    enum { ROWS = 12, WIDTH = 8 };
    ParamSet set = {0};
    Tape *tape = tape_new();
    assert_non_null(tape);
    tape_set_activation(tape, DTYPE_BF16);
    tape_use_params(tape, &set, "params", true);
    for (int s = SEGMENT_FIRST; s <= SEGMENT_MORE; s++) {
        tape_segment(tape, (Segment)s);
        Ref x = tape_constant_example(tape, shape_2(ROWS, WIDTH));
        for (int i = 0; i < 3; i++) {
            scope_push(tape, "%d", i);
            x = linear(tape, (LinearArgs){.x = x,
                                          .w = param(tape, "w", shape_2(WIDTH, WIDTH), (Init){INIT_CONSTANT, 0, 0}),
                                          .b = param(tape, "b", shape_1(WIDTH), (Init){INIT_CONSTANT, 0, 0}),
                                          .prologue = i ? PROLOGUE_GELU : PROLOGUE_NONE,
                                          .gamma = REF_NONE,
                                          .beta = REF_NONE,
                                          .column_scale = REF_NONE,
                                          .row_scale = REF_NONE,
                                          .residual = REF_NONE,
                                          .dtype = i < 2 ? DTYPE_BF16 : DTYPE_REAL});
            scope_pop(tape);
        }
        double scale = s == SEGMENT_FIRST ? 1 : 2;
        Ref loss = distance(tape, (DistanceArgs){.pred = x,
                                                 .target = tape_constant_example(tape, shape_2(ROWS, WIDTH)),
                                                 .weight = REF_NONE,
                                                 .scale = tape_constant(tape, shape_0(), &scale),
                                                 .kind = DISTANCE_L2});
        tape_gradient(tape, &loss, (double[]){1}, 1, fill);
    }
    Program *p = program_make(tape, device, NULL, 0);
    if (!p)
        fail_msg("%s", error_text());
    assert_int_equal(set.trained_count, count);
    Random random = random_stream(37, RANDOM_TEST, 0, 0, 0);
    double *weights = program_storage(p, "params");
    for (size_t i = 0; i < count; i++)
        weights[i] = (float)random_normal(&random);
    assert_true(program_run(p, SEGMENT_FIRST) && program_run(p, SEGMENT_MORE));
    memcpy(gradient, program_storage(p, "params.grad"), count * sizeof *gradient);
    program_free(p);
    tape_free(tape);
    param_set_free(&set);
}

static void sums_are_added_over_segments(void **state)
{
    (void)state;
    enum { COUNT = 3 * (64 + 16) }; /* a bias of 8 is padded */
    double expect[COUNT], got[COUNT];
    Device device;
    assert_true(device_open("ref64", 1, &device));
    gradients_of_segments(&device, expect, COUNT);
    device.lacks = DEVICE_LACKS_PROLOGUE | DEVICE_LACKS_ROUNDING;
    gradients_of_segments(&device, got, COUNT);
    for (int layer = 0; layer < 3; layer++) {
        double square = 0, wrong = 0;
        for (int i = layer * 80 + 64; i < layer * 80 + 72; i++) {
            square += expect[i] * expect[i];
            wrong += (got[i] - expect[i]) * (got[i] - expect[i]);
        }
        if (!(sqrt(wrong) <= 0.02 * sqrt(square)))
            fail_msg("the bias of layer %d: off by %g", layer, sqrt(wrong / square));
    }
}

/* The same bits whoever computes which tile. */
static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    CpuLevel best;
    assert_true(cpu_level(&best));
    int compared = 0;
    for (int level = CPU_WIDE; level <= (int)best; level++)
        for (int i = -1; i < 0 || ops_at(i); i++)
            for (int k = 0; i < 0 || ops_at(i)->example; k++) {
                CheckBuild build = i < 0 ? random_composition : ops_at(i)->example;
                DType activation = k % 2 ? DTYPE_BF16 : DTYPE_REAL;
                CheckResult one, many;
                CheckOutcome outcome = check_run(build, k / 2, activation,
                                                 &(Device){.kind = DEVICE_CPU, .level = (CpuLevel)level, .threads = 1}, &one);
                if (outcome == CHECK_END)
                    break;
                assert_int_equal(outcome, CHECK_DONE);
                compared++;
                for (int threads = 2; threads <= 4; threads++) {
                    Device device = {.kind = DEVICE_CPU, .level = (CpuLevel)level, .threads = threads};
                    assert_int_equal(check_run(build, k / 2, activation, &device, &many), CHECK_DONE);
                    assert_int_equal(one.count, many.count);
                    assert_memory_equal(one.values, many.values, one.count * sizeof *one.values);
                    check_free(&many);
                }
                check_free(&one);
            }
    assert_true(best == CPU_REF || compared > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_match_differences),  cmocka_unit_test(random_compositions_match_differences),
        cmocka_unit_test(planted_bugs_are_found),       cmocka_unit_test(lowered_forms_match_the_reference),
        cmocka_unit_test(kernels_match_the_reference),  cmocka_unit_test(bf16_kernels_match_the_reference),
        cmocka_unit_test(threads_do_not_change_a_bit),  cmocka_unit_test(operands_are_shared),
        cmocka_unit_test(sums_are_added_over_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
