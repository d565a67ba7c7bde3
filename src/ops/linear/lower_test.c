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
        cmocka_unit_test(scales_have_operands_of_their_own),
        cmocka_unit_test(nothing_is_rounded_in_f32),
        cmocka_unit_test(segments_share_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
