/* What linear becomes where products take no prologue and no operands but bf16: each operand is made once. That the results are
 * the same is ops_test.c's affair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "graph/lower.h"
#include "ops/activation/activation.h"
#include "ops/distance/distance.h"
#include "ops/fill/fill.h"
#include "ops/linear/slots.h"

enum { ROWS = 6, WIDTH = 8, HIDDEN = 16 };

static Ref input(Tape *tape, const char *name, Shape shape)
{
    return tape_input(tape, name, DTYPE_REAL, shape);
}

static Ref vector(Tape *tape, const char *name, int64_t n)
{
    return input(tape, name, shape_1(n));
}

/* Appends the squared distance of y to something, and all gradients. */
static void differentiate(Tape *tape, Ref y)
{
    double scale = 1;
    Ref loss = distance(tape, (DistanceArgs){.pred = y,
                                             .target = tape_constant_example(tape, shape_2(ROWS, WIDTH)),
                                             .weight = REF_NONE,
                                             .scale = tape_constant(tape, shape_0(), &scale),
                                             .kind = DISTANCE_L2});
    tape_gradient(tape, &loss, (double[]){1}, 1, fill);
}

/* x + W2 gelu(W1 norm(x) + b1) + b2, its squared distance to something, and all gradients. */
static Tape *mlp(DType activation)
{
    Tape *tape = tape_new();
    assert_non_null(tape);
    tape_segment(tape, SEGMENT_ONLY);
    tape_set_activation(tape, activation);
    tape_differentiate_inputs(tape);
    Ref x = input(tape, "x", shape_2(ROWS, WIDTH));
    Ref hidden = linear(tape, (LinearArgs){.x = x,
                                           .w = input(tape, "w1", shape_2(HIDDEN, WIDTH)),
                                           .b = vector(tape, "b1", HIDDEN),
                                           .prologue = PROLOGUE_LAYER_NORM,
                                           .gamma = vector(tape, "gamma", WIDTH),
                                           .beta = vector(tape, "beta", WIDTH),
                                           .eps = 1e-6,
                                           .column_scale = REF_NONE,
                                           .row_scale = REF_NONE,
                                           .residual = REF_NONE,
                                           .dtype = activation});
    Ref y = linear(tape, (LinearArgs){.x = hidden,
                                      .w = input(tape, "w2", shape_2(WIDTH, HIDDEN)),
                                      .b = vector(tape, "b2", WIDTH),
                                      .prologue = PROLOGUE_GELU,
                                      .gamma = REF_NONE,
                                      .beta = REF_NONE,
                                      .column_scale = REF_NONE,
                                      .row_scale = REF_NONE,
                                      .residual = x,
                                      .dtype = DTYPE_REAL});
    differentiate(tape, y);
    assert_false(tape_failed(tape));
    return tape;
}

static int count_of(const Lowering *l, const char *op)
{
    int count = 0;
    for (size_t i = 0; i < l->count; i++)
        count += !strcmp(l->nodes[i].op->name, op);
    return count;
}

static void operands_are_made_once(void **state)
{
    (void)state;
    Lowering l;
    Tape *tape = mlp(DTYPE_BF16);
    assert_true(lower_tape(
        &l, tape, &(Device){.kind = DEVICE_REF, .threads = 1, .lacks = DEVICE_LACKS_PROLOGUE | DEVICE_LACKS_ROUNDING}));
    /* Both weights, the bias that is added in bf16, and the gradient of y; that of `hidden` is bf16 already. */
    assert_int_equal(count_of(&l, "operand"), 4);
    /* What dw multiplies comes out of these gradients. */
    assert_int_equal(count_of(&l, "layer_norm"), 1);
    assert_int_equal(count_of(&l, "activation"), 1);
    assert_int_equal(count_of(&l, "layer_norm_grad"), 1);
    assert_int_equal(count_of(&l, "activation_grad"), 1);
    assert_int_equal(count_of(&l, "linear"), 2);
    assert_int_equal(count_of(&l, "linear_dx"), 2);
    assert_int_equal(count_of(&l, "linear_dw"), 2);
    memory_free(l.nodes);
    tape_free(tape);
}

/* What linear is given in the tests of sums; the rest is left out. */
static Ref layer(Tape *tape, Ref x, const char *w, Ref b, Prologue prologue, Ref column_scale, DType dtype)
{
    return linear(tape, (LinearArgs){.x = x,
                                     .w = input(tape, w, shape_2(WIDTH, WIDTH)),
                                     .b = b,
                                     .prologue = prologue,
                                     .gamma = REF_NONE,
                                     .beta = REF_NONE,
                                     .column_scale = column_scale,
                                     .row_scale = REF_NONE,
                                     .residual = REF_NONE,
                                     .dtype = dtype});
}

static Tape *bf16_tape(void)
{
    Tape *tape = tape_new();
    assert_non_null(tape);
    tape_segment(tape, SEGMENT_ONLY);
    tape_set_activation(tape, DTYPE_BF16);
    tape_differentiate_inputs(tape);
    return tape;
}

static void lower_like_a_gpu(Lowering *l, Tape *tape)
{
    assert_false(tape_failed(tape));
    assert_true(lower_tape(
        l, tape, &(Device){.kind = DEVICE_REF, .threads = 1, .lacks = DEVICE_LACKS_PROLOGUE | DEVICE_LACKS_ROUNDING}));
}

/* The node of that op, the nth from 0 on. */
static const Node *nth(const Lowering *l, const char *op, int n)
{
    for (size_t i = 0; i < l->count; i++)
        if (!strcmp(l->nodes[i].op->name, op) && n-- == 0)
            return &l->nodes[i];
    fail_msg("there are fewer %s", op);
    return NULL;
}

/* Whether the node's output is the gradient of the input of that name, and is added to or not. */
static bool writes(const Tape *tape, const Node *node, int out, const char *name, bool adds)
{
    for (size_t i = 0; i < tape_value_count(tape); i++) {
        const Value *v = tape_value(tape, (int32_t)i);
        if (v->name && !strcmp(v->name, name))
            return ref_given(v->grad) && node->out[out].slot == v->grad.slot && (node->accumulate >> out & 1) == adds;
    }
    fail_msg("there is no input %s", name);
    return false;
}

/* Of a hidden layer the bias's gradient is taken where the activation's gradient is written, of y where it is rounded: neither
 * is a pass of its own. */
static void an_activations_gradient_has_its_sums(void **state)
{
    (void)state;
    Lowering l;
    Tape *tape = mlp(DTYPE_BF16);
    lower_like_a_gpu(&l, tape);
    assert_true(writes(tape, nth(&l, "activation_grad", 0), ACTIVATION_GRAD_SUMS, "b1", false));
    for (int i = 0; i < 2; i++)
        assert_false(ref_given(nth(&l, "linear_dw", i)->out[DW_DB]));
    memory_free(l.nodes);
    tape_free(tape);

    tape = mlp(DTYPE_REAL);
    lower_like_a_gpu(&l, tape);
    assert_false(ref_given(nth(&l, "activation_grad", 0)->out[ACTIVATION_GRAD_SUMS]));
    assert_true(writes(tape, nth(&l, "linear_dw", 0), DW_DB, "b2", false));
    assert_true(writes(tape, nth(&l, "linear_dw", 1), DW_DB, "b1", false));
    memory_free(l.nodes);
    tape_free(tape);
}

/* Of a layer with a column scale the sums go to dw, which writes both gradients; those of a bias that two layers share are
 * added to the gradient that is there. */
static void sums_go_to_dw_or_are_added(void **state)
{
    (void)state;
    Lowering l;
    Tape *tape = bf16_tape();
    Ref x = input(tape, "x", shape_2(ROWS, WIDTH)), b = vector(tape, "b", WIDTH);
    x = layer(tape, x, "w1", b, PROLOGUE_NONE, vector(tape, "scale", WIDTH), DTYPE_BF16);
    x = layer(tape, x, "w2", vector(tape, "c", WIDTH), PROLOGUE_GELU, REF_NONE, DTYPE_BF16);
    differentiate(tape, layer(tape, x, "w3", vector(tape, "c", WIDTH), PROLOGUE_QUICK_GELU, REF_NONE, DTYPE_REAL));
    lower_like_a_gpu(&l, tape);
    const Node *operand = nth(&l, "operand", 0);
    for (int i = 1; !ref_given(operand->out[1]); i++)
        operand = nth(&l, "operand", i);
    assert_true(writes(tape, operand, 1, "c", false));
    assert_true(writes(tape, nth(&l, "activation_grad", 0), ACTIVATION_GRAD_SUMS, "c", true));
    const Node *given = nth(&l, "activation_grad", 1), *dw = nth(&l, "linear_dw", 2);
    assert_true(ref_given(given->out[ACTIVATION_GRAD_SUMS]));
    assert_memory_equal(&given->out[ACTIVATION_GRAD_SUMS], &dw->in[DW_SUMS], sizeof(Ref));
    assert_true(writes(tape, dw, DW_DB, "b", false));
    assert_true(writes(tape, dw, DW_DCOLUMN, "scale", false));
    memory_free(l.nodes);
    tape_free(tape);
}

/* A bias that is the next layer's scale gets that gradient first, which is written behind the activation's. */
static void what_lies_between_keeps_its_order(void **state)
{
    (void)state;
    Lowering l;
    Tape *tape = bf16_tape();
    Ref x = input(tape, "x", shape_2(ROWS, WIDTH)), b = vector(tape, "b", WIDTH);
    x = layer(tape, x, "w1", b, PROLOGUE_NONE, REF_NONE, DTYPE_BF16);
    differentiate(tape, layer(tape, x, "w2", REF_NONE, PROLOGUE_GELU, b, DTYPE_REAL));
    lower_like_a_gpu(&l, tape);
    assert_false(ref_given(nth(&l, "activation_grad", 0)->out[ACTIVATION_GRAD_SUMS]));
    assert_true(writes(tape, nth(&l, "linear_dw", 0), DW_DCOLUMN, "b", false));
    assert_true(writes(tape, nth(&l, "linear_dw", 1), DW_DB, "b", true));
    memory_free(l.nodes);
    tape_free(tape);
}

/* Two layers read the hidden one: what either adds to its gradient has not the sums of the whole. */
static void a_gradient_of_two_parts_is_summed_behind_both(void **state)
{
    (void)state;
    Lowering l;
    Tape *tape = bf16_tape();
    Ref x = input(tape, "x", shape_2(ROWS, WIDTH));
    x = layer(tape, x, "w1", vector(tape, "b", WIDTH), PROLOGUE_NONE, REF_NONE, DTYPE_BF16);
    Ref y = layer(tape, x, "w2", REF_NONE, PROLOGUE_GELU, REF_NONE, DTYPE_REAL);
    differentiate(tape, linear(tape, (LinearArgs){.x = x,
                                                  .w = input(tape, "w3", shape_2(WIDTH, WIDTH)),
                                                  .b = REF_NONE,
                                                  .prologue = PROLOGUE_QUICK_GELU,
                                                  .gamma = REF_NONE,
                                                  .beta = REF_NONE,
                                                  .column_scale = REF_NONE,
                                                  .row_scale = REF_NONE,
                                                  .residual = y}));
    lower_like_a_gpu(&l, tape);
    assert_int_equal(nth(&l, "activation_grad", 1)->accumulate, 1);
    for (int i = 0; i < 2; i++)
        assert_false(ref_given(nth(&l, "activation_grad", i)->out[ACTIVATION_GRAD_SUMS]));
    assert_true(writes(tape, nth(&l, "linear_dw", 2), DW_DB, "b", false));
    memory_free(l.nodes);
    tape_free(tape);
}

/* With scales dx multiplies another operand than dw, which is given the sums that were taken before dy was rounded. */
static void scales_have_operands_of_their_own(void **state)
{
    (void)state;
    Lowering l;
    Tape *tape = tape_new();
    tape_segment(tape, SEGMENT_ONLY);
    tape_set_activation(tape, DTYPE_BF16);
    tape_differentiate_inputs(tape);
    Ref y = linear(tape, (LinearArgs){.x = input(tape, "x", shape_2(ROWS, WIDTH)),
                                      .w = input(tape, "w", shape_2(WIDTH, WIDTH)),
                                      .b = vector(tape, "b", WIDTH),
                                      .gamma = REF_NONE,
                                      .beta = REF_NONE,
                                      .column_scale = vector(tape, "scale", WIDTH),
                                      .row_scale = tape_constant_example(tape, shape_1(2)),
                                      .residual = REF_NONE,
                                      .dtype = DTYPE_REAL});
    differentiate(tape, y);
    assert_true(lower_tape(&l, tape, &(Device){.kind = DEVICE_REF, .threads = 1, .lacks = DEVICE_LACKS_ROUNDING}));
    assert_int_equal(count_of(&l, "operand"), 4); /* x, the weight, dy by rows, dy by rows and columns */
    for (size_t i = 0; i < l.count; i++)
        if (!strcmp(l.nodes[i].op->name, "linear_dw"))
            assert_true(ref_given(l.nodes[i].in[DW_SUMS]));
    memory_free(l.nodes);
    tape_free(tape);
}

/* In f32 nothing is rounded, and dw makes what it multiplies anew. */
static void nothing_is_rounded_in_f32(void **state)
{
    (void)state;
    Lowering l;
    Tape *tape = mlp(DTYPE_REAL);
    assert_true(lower_tape(
        &l, tape, &(Device){.kind = DEVICE_REF, .threads = 1, .lacks = DEVICE_LACKS_PROLOGUE | DEVICE_LACKS_ROUNDING}));
    assert_int_equal(count_of(&l, "operand"), 0);
    assert_int_equal(count_of(&l, "layer_norm"), 2);
    assert_int_equal(count_of(&l, "activation"), 2);
    memory_free(l.nodes);
    tape_free(tape);
}

/* A segment's operands are its own: segments run by themselves. */
static void segments_share_nothing(void **state)
{
    (void)state;
    Lowering l;
    Tape *tape = tape_new();
    tape_set_activation(tape, DTYPE_BF16);
    for (int s = SEGMENT_ONLY; s <= (int)SEGMENT_FIRST; s++) {
        tape_segment(tape, (Segment)s);
        for (int twice = 0; twice < 2; twice++)
            tape_keep(tape,
                      linear(tape, (LinearArgs){.x = input(tape, "x", shape_2(ROWS, WIDTH)),
                                                .w = input(tape, "w", shape_2(WIDTH, WIDTH)),
                                                .b = REF_NONE,
                                                .gamma = REF_NONE,
                                                .beta = REF_NONE,
                                                .column_scale = REF_NONE,
                                                .row_scale = REF_NONE,
                                                .residual = REF_NONE}),
                      twice ? "two" : "one");
    }
    assert_false(tape_failed(tape));
    assert_true(lower_tape(&l, tape, &(Device){.kind = DEVICE_REF, .threads = 1, .lacks = DEVICE_LACKS_ROUNDING}));
    assert_int_equal(count_of(&l, "linear"), 4);
    assert_int_equal(count_of(&l, "operand"), 4);
    memory_free(l.nodes);
    tape_free(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operands_are_made_once),
        cmocka_unit_test(an_activations_gradient_has_its_sums),
        cmocka_unit_test(sums_go_to_dw_or_are_added),
        cmocka_unit_test(what_lies_between_keeps_its_order),
        cmocka_unit_test(a_gradient_of_two_parts_is_summed_behind_both),
        cmocka_unit_test(scales_have_operands_of_their_own),
        cmocka_unit_test(nothing_is_rounded_in_f32),
        cmocka_unit_test(segments_share_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
