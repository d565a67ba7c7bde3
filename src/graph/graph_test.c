/* The graph without any real op: versions, plans, segments, in-place outputs. A fake op writes a pattern of its own into each
 * output and notes when an input no longer holds the pattern that its writer left there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "graph/program.h"

/* ---- a fake op: out = pattern of `stamp`; checks that in[i] is the pattern of `expect[i]` */

typedef struct {
    int stamp;
    int expect[3];
} FakeAttr;

static int broken; /* inputs found overwritten */

static float pattern(int stamp, int64_t i)
{
    return (float)((stamp * 7919 + (int)i * 31) % 65521);
}

static void fake_kernel(const Call *c, Worker *w)
{
    (void)w;
    const FakeAttr *a = c->attr;
    for (int k = 0; k < 3; k++) {
        const float *x = c->in[k].data;
        for (int64_t i = 0; x && i < c->in[k].rows * c->in[k].columns; i++)
            if (x[i] != pattern(a->expect[k], i)) {
                broken++;
                break;
            }
    }
    if (c->work)
        memset(c->work, 0xff, 777);
    float *y = c->out[0].data;
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns; i++)
        y[i] = pattern(a->stamp, i);
}

static size_t fake_workspace(const Call *c, const Device *device)
{
    (void)device;
    return ((const FakeAttr *)c->attr)->stamp % 3 ? 777 : 0;
}

static const char *const in_names[] = {"first", "second", "third"};
static const Op fake = {.name = "fake",
                        .in_count = 3,
                        .out_count = 1,
                        .in_names = in_names,
                        .attr_size = sizeof(FakeAttr),
                        .workspace = fake_workspace,
                        .in_place = {1},
                        .ref = {fake_kernel, fake_kernel}};

static Device reference(void)
{
    Device device;
    assert_true(device_open("ref", 1, &device));
    return device;
}

static void no_live_value_is_overwritten(void **state)
{
    (void)state;
    Device device = reference();
    for (uint64_t seed = 0; seed < 300; seed++) {
        Random r = random_stream(seed, RANDOM_TEST, 0, 0, 0);
        Tape *tape = tape_new();
        enum { NODES = 40 };
        Ref made[NODES];
        int stamps[NODES];
        for (int n = 0; n < NODES; n++) {
            /* Two segments, which share the arena; values of the first are now and then read in the second. */
            if (n == 0)
                tape_segment(tape, SEGMENT_ONLY);
            if (n == NODES / 2)
                tape_segment(tape, SEGMENT_UPDATE);
            FakeAttr attr = {.stamp = n + 1};
            Ref ins[3] = {REF_NONE, REF_NONE, REF_NONE};
            for (int k = 0; k < 3 && n > 0; k++)
                if (random_below(&r, 3)) {
                    int back = 1 + (int)random_below(&r, random_below(&r, 5) ? 4 : (uint32_t)n);
                    int from = n - back < 0 ? 0 : n - back;
                    ins[k] = made[from];
                    attr.expect[k] = stamps[from];
                }
            Ref out[] = {tape_temp(tape, DTYPE_REAL, shape_2(1 + random_below(&r, 5), 1 + random_below(&r, 90)), false)};
            tape_append(tape, &fake, &attr, ins, out, 0);
            made[n] = out[0];
            stamps[n] = n + 1;
            if (random_below(&r, 10) == 0 || n == NODES - 1)
                tape_keep(tape, out[0], "kept");
        }
        Program *p = program_make(tape, &device, NULL, 0);
        assert_non_null(p);
        assert_true(program_plan_is_sound(p));
        broken = 0;
        for (int run = 0; run < 2; run++) {
            program_run(p, SEGMENT_ONLY);
            program_run(p, SEGMENT_UPDATE);
        }
        assert_int_equal(broken, 0);
        assert_true((double)program_arena_bytes(p) <= 1.1 * (double)program_floor_bytes(p));
        program_free(p);
        tape_free(tape);
    }
}

/* An element would lie where another thread has yet to read one. */
static void values_of_another_type_do_not_take_over(void **state)
{
    (void)state;
    Device device = reference();
    Op typed = fake;
    typed.takes_bf16 = true;
    for (int other = 0; other < 2; other++) {
        Tape *tape = tape_new();
        tape_segment(tape, SEGMENT_ONLY);
        Ref value[3] = {REF_NONE};
        for (int n = 0; n < 3; n++) {
            value[n] = tape_temp(tape, other && n == 1 ? DTYPE_BF16 : DTYPE_REAL, shape_1(64), false);
            tape_append(tape, &typed, &(FakeAttr){.stamp = 3}, (Ref[]){n ? value[n - 1] : REF_NONE, REF_NONE, REF_NONE},
                        &value[n], 0);
        }
        tape_keep(tape, value[2], "kept");
        Program *p = program_make(tape, &device, NULL, 0);
        assert_non_null(p);
        /* What is kept has a place of its own. */
        assert_int_equal(program_arena_bytes(p), 256 + 256 + (other ? 128 : 0));
        program_free(p);
        tape_free(tape);
    }
}

static Ref append(Tape *tape, Ref in, Ref out, uint32_t accumulate)
{
    Ref outs[] = {out};
    tape_append(tape, &fake, &(FakeAttr){.stamp = 1}, (Ref[]){in, REF_NONE, REF_NONE}, outs, accumulate);
    return outs[0];
}

/* Neither what nobody reads nor what is read for that alone; a storage and a kept value are read by the host. */
static void what_nobody_reads_is_left_out(void **state)
{
    (void)state;
    Device device = reference();
    Tape *tape = tape_new();
    Ref temps[6];
    tape_segment(tape, SEGMENT_ONLY);
    for (int i = 0; i < 6; i++)
        temps[i] = tape_temp(tape, DTYPE_REAL, shape_1(4), false);
    temps[0] = append(tape, REF_NONE, temps[0], 0);
    temps[1] = append(tape, temps[0], temps[1], 0); /* read by 2 alone, which nobody reads */
    temps[2] = append(tape, temps[1], temps[2], 0);
    temps[3] = append(tape, temps[0], temps[3], 0);
    append(tape, temps[3], tape_storage(tape, "metrics", 4), 0);
    temps[4] = append(tape, REF_NONE, temps[4], 0);
    temps[4] = append(tape, REF_NONE, temps[4], 1);
    temps[5] = append(tape, temps[4], temps[5], 0);
    tape_keep(tape, temps[5], "kept");
    Program *p = program_make(tape, &device, NULL, 0);
    assert_non_null(p);
    assert_int_equal(program_step_count(p, SEGMENT_ONLY), 6);
    program_free(p);
    tape_free(tape);
}

static void the_plan_check_finds_an_overlap(void **state)
{
    (void)state;
    PlanItem items[] = {{100, 0, 3, 0}, {100, 3, 5, 128}, {64, 4, 4, 0}};
    assert_true(plan_is_sound(items, 3));
    items[1].offset = 64;
    assert_false(plan_is_sound(items, 3)); /* both alive at 3 */
    items[1].first = 4;
    assert_true(plan_is_sound(items, 2));
}

static void reading_an_overwritten_value_is_refused(void **state)
{
    (void)state;
    Device device = reference();
    Tape *tape = tape_new();
    tape_segment(tape, SEGMENT_ONLY);
    scope_push(tape, "blocks.%d", 3);
    Ref old = append(tape, REF_NONE, tape_temp(tape, DTYPE_REAL, shape_1(4), false), 0);
    append(tape, REF_NONE, old, 0);
    append(tape, old, tape_temp(tape, DTYPE_REAL, shape_1(4), false), 0);
    assert_null(program_make(tape, &device, NULL, 0));
    assert_string_equal(error_text(), "blocks.3: fake reads first after it was overwritten");
    tape_free(tape);
}

static void reading_before_writing_is_refused(void **state)
{
    (void)state;
    Device device = reference();
    for (int kind = 0; kind < 2; kind++) {
        Tape *tape = tape_new();
        tape_segment(tape, SEGMENT_ONLY);
        Ref never = tape_temp(tape, DTYPE_REAL, shape_1(4), false);
        if (kind == 0)
            append(tape, never, tape_temp(tape, DTYPE_REAL, shape_1(4), false), 0);
        else
            append(tape, REF_NONE, never, 1);
        assert_null(program_make(tape, &device, NULL, 0));
        assert_non_null(strstr(error_text(), kind == 0 ? "before it is written" : "never written"));
        tape_free(tape);
    }
}

/* Writing the whole of a buffer overwrites its parts. */
static void parts_of_a_storage_know_of_writes_to_the_whole(void **state)
{
    (void)state;
    Device device = reference();
    for (int stale = 0; stale < 2; stale++) {
        Tape *tape = tape_new();
        tape_segment(tape, SEGMENT_ONLY);
        Ref whole = tape_storage(tape, "weights", 32), part = tape_storage_part(tape, "weights", 16, shape_1(4));
        append(tape, REF_NONE, whole, 0);
        append(tape, stale ? part : tape_latest(tape, part), tape_temp(tape, DTYPE_REAL, shape_1(4), false), 0);
        Program *p = program_make(tape, &device, NULL, 0);
        assert_true(stale ? p == NULL : p != NULL);
        program_free(p);
        tape_free(tape);
    }
}

static void writing_an_input_is_refused(void **state)
{
    (void)state;
    Tape *tape = tape_new();
    append(tape, REF_NONE, tape_input(tape, "x", DTYPE_REAL, shape_1(4)), 0);
    assert_true(tape_failed(tape));
    tape_free(tape);
}

static void a_kept_value_cannot_be_overwritten(void **state)
{
    (void)state;
    Tape *tape = tape_new();
    Ref kept = append(tape, REF_NONE, tape_temp(tape, DTYPE_REAL, shape_1(4), false), 0);
    tape_keep(tape, kept, "kept");
    assert_false(tape_failed(tape));
    append(tape, REF_NONE, kept, 0);
    assert_true(tape_failed(tape));
    assert_non_null(strstr(error_text(), "kept"));
    tape_free(tape);
}

static void shapes_beyond_counting_are_refused(void **state)
{
    (void)state;
    Tape *tape = tape_new();
    ParamSet set = {0};
    const Init zero = {INIT_CONSTANT, 0, 0};
    const int64_t big = (int64_t)1 << 31;
    assert_int_equal(param_add(&set, "w", shape_2(big, big), PARAM_TRAINED, zero, true, 0), -1);
    assert_int_equal(set.count, 0);
    tape_temp(tape, DTYPE_REAL, shape_3(big, big, 4), false);
    assert_true(tape_failed(tape));
    assert_non_null(strstr(error_text(), "counted"));
    tape_free(tape);
    param_set_free(&set);
}

static void parameters_are_named_by_their_scope(void **state)
{
    (void)state;
    ParamSet set = {0};
    Tape *tape = tape_new();
    tape_use_params(tape, &set, "params", true);
    static const char *const exempt[] = {"blocks.0.special"};
    tape_decay_rule(tape, exempt, 1, false);
    scope_push(tape, "blocks.0");
    tape_layer(tape, 1);
    const Init zero = {INIT_CONSTANT, 0, 0};
    Ref w = param(tape, "weight", shape_2(3, 5), zero);
    param(tape, "bias", shape_2(3, 1), zero);
    param(tape, "special", shape_2(3, 1), zero);
    param(tape, "gamma", shape_1(3), zero);
    param_fixed(tape, "table", shape_2(3, 5), zero);
    scope_pop(tape);
    assert_int_equal(set.count, 5);
    assert_string_equal(set.params[0].name, "blocks.0.weight");
    const bool decays[] = {true, false, false, false, false};
    for (size_t i = 0; i < set.count; i++) {
        assert_int_equal(set.params[i].decay, decays[i]);
        assert_int_equal(set.params[i].offset % PARAM_ALIGN, 0);
        assert_int_equal(set.params[i].layer, 1);
    }
    assert_int_equal(set.trained_count, 4 * 16);
    assert_int_equal(set.fixed_count, 16);
    scope_push(tape, "blocks.0");
    assert_int_equal(param(tape, "weight", shape_2(3, 5), zero).slot, w.slot);
    assert_int_equal(set.count, 5);
    param(tape, "weight", shape_2(5, 3), zero);
    assert_true(tape_failed(tape));
    assert_non_null(strstr(error_text(), "two shapes"));
    tape_free(tape);
    param_set_free(&set);
}

/* ---- gradients of parts of parameters: the gradient of `reads` is its stamp, everywhere */

static void stamp_kernel(const Call *c, Worker *w)
{
    (void)w;
    float *to = c->out[0].data;
    for (int64_t i = 0; to && i < c->out[0].rows * c->out[0].columns; i++)
        to[i] = (float)((const FakeAttr *)c->attr)->stamp + (call_accumulates(c, 0) ? to[i] : 0);
}

static const Op writes = {.name = "writes", .out_count = 1, .attr_size = sizeof(FakeAttr), .ref = {stamp_kernel, stamp_kernel}};

static void write_zeros(Tape *tape, Ref target, double value)
{
    tape_append(tape, &writes, &(FakeAttr){.stamp = (int)value}, NULL, (Ref[]){target}, 0);
}

static void reads_gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref outs[] = {grad_into(tape, node->in[0], 0, &accumulate)};
    tape_append(tape, &writes, node->attr, NULL, outs, accumulate);
}

static const Op reads = {.name = "reads",
                         .in_count = 1,
                         .out_count = 1,
                         .attr_size = sizeof(FakeAttr),
                         .gradient = reads_gradient,
                         .ref = {stamp_kernel, stamp_kernel}};

static Ref read_of(Tape *tape, Ref in, int stamp)
{
    Ref outs[] = {tape_temp(tape, DTYPE_REAL, shape_0(), true)};
    tape_append(tape, &reads, &(FakeAttr){.stamp = stamp}, (Ref[]){in}, outs, 0);
    return outs[0];
}

static void rows_of_parameters_have_their_gradient(void **state)
{
    (void)state;
    enum { COUNT = 16 + 32 + 16 };
    Device device = reference();
    ParamSet set = {0};
    const Init zero = {INIT_CONSTANT, 0, 0};
    Tape *tape = tape_new();
    for (int segment = SEGMENT_FIRST; segment <= SEGMENT_LAST; segment++) {
        tape_segment(tape, (Segment)segment);
        tape_use_params(tape, &set, "params", true);
        Ref all = param(tape, "all", shape_1(6), zero), some = param(tape, "some", shape_2(7, 3), zero);
        param(tape, "never", shape_1(5), zero);
        /* Of `all` each row, those of the first part twice; of `some` rows 1, 2 and 4. */
        Ref losses[] = {read_of(tape, param_rows(tape, all, 0, 2), 1), read_of(tape, param_rows(tape, all, 2, 4), 2),
                        read_of(tape, param_rows(tape, all, 0, 2), 4), read_of(tape, param_rows(tape, some, 4, 1), 8),
                        read_of(tape, param_rows(tape, some, 1, 2), 16)};
        tape_gradient(tape, losses, (double[]){1, 1, 1, 1, 1}, 5, write_zeros);
    }
    float gradient[COUNT] __attribute__((aligned(64)));
    for (int i = 0; i < COUNT; i++)
        gradient[i] = 99;
    Program *p = program_make(tape, &device, (Binding[]){{"params.grad", gradient}}, 1);
    if (!p)
        fail_msg("%s", error_text());
    program_run(p, SEGMENT_FIRST);
    for (int times = 1; times <= 3; times++) {
        for (int i = 0; i < 6; i++)
            assert_int_equal((int)gradient[i], times * (i < 2 ? 5 : 2));
        for (int i = 0; i < 21; i++)
            assert_int_equal((int)gradient[16 + i], times * (i / 3 == 4 ? 8 : i / 3 == 1 || i / 3 == 2 ? 16 : 0));
        for (int i = 0; i < 5; i++)
            assert_int_equal((int)gradient[48 + i], 0);
        for (int i = 6; i < 16; i++)
            assert_int_equal((int)gradient[i], 99); /* padding is nobody's */
        if (times < 3)
            program_run(p, times == 1 ? SEGMENT_MORE : SEGMENT_LAST);
    }
    program_free(p);
    tape_free(tape);
    param_set_free(&set);
}

static void rows_that_overlap_are_refused(void **state)
{
    (void)state;
    const Init zero = {INIT_CONSTANT, 0, 0};
    for (int kind = 0; kind < 5; kind++) {
        ParamSet set = {0};
        Tape *tape = tape_new();
        tape_segment(tape, SEGMENT_ONLY);
        tape_use_params(tape, &set, "params", true);
        scope_push(tape, "blocks.0");
        Ref w = param(tape, "w", shape_2(6, 4), zero);
        if (kind < 3) {
            Ref losses[] = {read_of(tape, kind == 1 ? w : param_rows(tape, w, 0, 4), 1),
                            read_of(tape, kind == 2 ? w : param_rows(tape, w, 3, 3), 1)};
            assert_false(tape_failed(tape));
            tape_gradient(tape, losses, (double[]){1, 1}, 2, write_zeros);
            assert_true(tape_failed(tape));
            assert_non_null(strstr(error_text(), "gradients reach blocks.0.w as a whole and in parts"));
        } else {
            param_rows(tape, w, kind == 3 ? 3 : -1, 4);
            assert_true(tape_failed(tape));
        }
        tape_free(tape);
        param_set_free(&set);
    }
}

/* A step of the optimizer writes the whole buffer: a part that was named before is then of the past. */
static void rows_of_parameters_know_of_writes_to_the_whole(void **state)
{
    (void)state;
    Device device = reference();
    for (int stale = 0; stale < 2; stale++) {
        ParamSet set = {0};
        Tape *tape = tape_new();
        tape_segment(tape, SEGMENT_ONLY);
        tape_use_params(tape, &set, "params", true);
        Ref part = param_rows(tape, param(tape, "w", shape_2(6, 4), (Init){INIT_CONSTANT, 0, 0}), 2, 3);
        append(tape, REF_NONE, tape_params_whole(tape, "params", ""), 0);
        append(tape, stale ? part : tape_latest(tape, part), tape_temp(tape, DTYPE_REAL, shape_1(4), false), 0);
        Program *p = program_make(tape, &device, NULL, 0);
        assert_true(stale ? p == NULL : p != NULL);
        program_free(p);
        tape_free(tape);
        param_set_free(&set);
    }
}

static void plans_are_tight(void **state)
{
    (void)state;
    /* Like a training step: values made on the way there are used on the way back. */
    enum { N = 60 };
    PlanItem items[3 * N];
    for (int i = 0; i < N; i++) {
        items[i] = (PlanItem){.bytes = 1000 + 640 * (i % 5), .first = i, .last = 2 * N - i};
        items[N + i] = (PlanItem){.bytes = 3000 + 100 * (i % 7), .first = N + i, .last = N + i + 1};
        items[2 * N + i] = (PlanItem){.bytes = 5000, .first = i, .last = i};
    }
    int64_t bytes;
    assert_true(plan_place(items, 3 * N, &bytes));
    assert_true(plan_is_sound(items, 3 * N));
    assert_true((double)bytes <= 1.1 * (double)plan_floor(items, 3 * N));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_live_value_is_overwritten),
        cmocka_unit_test(values_of_another_type_do_not_take_over),
        cmocka_unit_test(what_nobody_reads_is_left_out),
        cmocka_unit_test(the_plan_check_finds_an_overlap),
        cmocka_unit_test(reading_an_overwritten_value_is_refused),
        cmocka_unit_test(reading_before_writing_is_refused),
        cmocka_unit_test(parts_of_a_storage_know_of_writes_to_the_whole),
        cmocka_unit_test(writing_an_input_is_refused),
        cmocka_unit_test(a_kept_value_cannot_be_overwritten),
        cmocka_unit_test(shapes_beyond_counting_are_refused),
        cmocka_unit_test(parameters_are_named_by_their_scope),
        cmocka_unit_test(rows_of_parameters_have_their_gradient),
        cmocka_unit_test(rows_that_overlap_are_refused),
        cmocka_unit_test(rows_of_parameters_know_of_writes_to_the_whole),
        cmocka_unit_test(plans_are_tight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
