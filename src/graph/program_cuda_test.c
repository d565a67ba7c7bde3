/* Programs on a GPU, on the fake runtime: the same numbers as on the reference device, captured or not, with the same work in
 * the same order; with a second lane in the orders that its events allow and that differ most; inputs are uploaded once;
 * whichever call fails, there is an error and nothing is lost. The fake's memory cannot be touched by the host, so a program
 * that does would not get through this. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "device/buffer.h"
#include "device/cuda/cuda.h"
#include "device/cuda/fake.h"
#include "graph/program.h"
#include "ops/window/window.h"

enum { N = 70, RUNS = 4 };

/* ---- an op: out = 2 a + b, or added to out */

static void mix(const Call *c)
{
    const float *a = c->in[0].data, *b = c->in[1].data;
    float *y = c->out[0].data;
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns; i++) {
        float value = 2 * a[i] + (b ? b[i] : 0);
        y[i] = call_accumulates(c, 0) ? y[i] + value : value;
    }
}

static void mix_ref(const Call *c, Worker *w)
{
    (void)w;
    mix(c);
}

/* On the fake two launches with the workspace between them. */
static void mix_double(void *data)
{
    const Call *c = data;
    float *twice = c->work;
    for (int i = 0; i < N; i++)
        twice[i] = i < c->in[0].rows * c->in[0].columns ? 2 * ((const float *)c->in[0].data)[i] : 0;
}

static void mix_add(void *data)
{
    const Call *c = data;
    const float *twice = c->work, *b = c->in[1].data;
    float *y = c->out[0].data;
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns; i++) {
        float value = twice[i] + (b ? b[i] : 0);
        y[i] = call_accumulates(c, 0) ? y[i] + value : value;
    }
}

static bool mix_cuda(const Call *c, CudaStream *s)
{
    void (*const launches[])(void *) = {mix_double, mix_add};
    for (int i = 0; i < 2; i++) {
        Call *copy = malloc(sizeof *copy);
        assert_non_null(copy);
        *copy = *c;
        fake_enqueue(s->handle, "mix", launches[i], free, copy);
    }
    return cuda_launched(s, "mix");
}

static size_t mix_work(const Call *c, const Device *device)
{
    (void)c;
    return device->kind == DEVICE_CUDA ? N * sizeof(float) : 0;
}

static const char *const in_names[] = {"a", "b"};
static const Op mix_op = {.name = "mix",
                          .in_count = 2,
                          .out_count = 1,
                          .in_names = in_names,
                          .workspace = mix_work,
                          .ref = {mix_ref, NULL},
                          .cuda = mix_cuda};
static const Op aside_op = {.name = "aside",
                            .in_count = 2,
                            .out_count = 1,
                            .in_names = in_names,
                            .aside = true,
                            .workspace = mix_work,
                            .ref = {mix_ref, NULL},
                            .cuda = mix_cuda};
static const Op ref_only_op = {.name = "ref_only", .in_count = 2, .out_count = 1, .in_names = in_names, .ref = {mix_ref, NULL}};

static Ref append(Tape *tape, const Op *op, Ref a, Ref b, Ref out, uint32_t accumulate)
{
    Ref outs[] = {out};
    tape_append(tape, op, NULL, (Ref[]){a, b}, outs, accumulate);
    return outs[0];
}

/* A step of two segments over weights, a constant and two inputs, one of them the update's. */
static Tape *build(const Op *op)
{
    Tape *tape = tape_new();
    double numbers[N];
    for (int i = 0; i < N; i++)
        numbers[i] = i % 5;
    tape_segment(tape, SEGMENT_ONLY);
    Ref weights = tape_storage(tape, "weights", N), x = tape_input(tape, "x", DTYPE_REAL, shape_1(N));
    Ref constant = tape_constant(tape, shape_1(N), numbers);
    Ref y = append(tape, op, x, constant, tape_temp(tape, DTYPE_REAL, shape_1(N), false), 0);
    Ref z = append(tape, op, y, weights, tape_temp(tape, DTYPE_REAL, shape_1(N), false), 0);
    tape_keep(tape, z, "z");
    Ref unread = tape_input(tape, "between", DTYPE_REAL, shape_1(3));
    append(tape, op, unread, REF_NONE, tape_storage(tape, "more", 3), 0);
    append(tape, op, z, REF_NONE, tape_storage(tape, "metrics", N), 0);
    tape_segment(tape, SEGMENT_UPDATE);
    append(tape, op, tape_input(tape, "rate", DTYPE_REAL, shape_1(N)), REF_NONE, weights, 1);
    return tape;
}

typedef struct {
    float z[RUNS][N], metrics[RUNS][N], weights[N];
} Numbers;

static bool fill_inputs(Program *p, int run)
{
    float *x = program_input(p, "x"), *between = program_input(p, "between");
    if (!x || !between)
        return false;
    for (int i = 0; i < N; i++)
        x[i] = (float)(run * 100 + i);
    between[0] = (float)run;
    return true;
}

/* Steps as a trainer takes them: the next one is begun before the metrics of the last are looked at, every other one's inputs
 * are uploaded before. */
static bool take_steps(Program *p, Numbers *out)
{
    for (int run = 0; run <= RUNS; run++) {
        if (run < RUNS) {
            if ((run % 2 == 0 && !fill_inputs(p, run)) || !program_run(p, SEGMENT_ONLY))
                return false;
            float *rate = program_input(p, "rate");
            for (int i = 0; rate && i < N; i++)
                rate[i] = (float)(run + 1);
            if (!rate || !program_run(p, SEGMENT_UPDATE) || !program_fetch(p, "metrics", run % 2) ||
                (run % 2 == 0 && !(fill_inputs(p, run + 1) && program_upload(p))))
                return false;
        }
        if (run > 0) {
            const float *m = program_fetched(p, (run - 1) % 2);
            if (!m)
                return false;
            memcpy(out->metrics[run - 1], m, sizeof out->metrics[0]);
        }
        if (run < RUNS) {
            const float *z = program_kept(p, SEGMENT_ONLY, "z");
            if (!z)
                return false;
            memcpy(out->z[run], z, sizeof out->z[0]);
        }
    }
    const float *weights = program_storage(p, "weights");
    if (weights)
        memcpy(out->weights, weights, sizeof out->weights);
    return weights != NULL;
}

/* On that device, opened before. */
static bool run_on(const Device *device, const Op *op, Numbers *out)
{
    memset(out, 0, sizeof *out);
    Tape *tape = build(op);
    Program *p = program_make(tape, device, NULL, 0);
    fake_log_clear();
    bool ok = p && take_steps(p, out);
    program_free(p);
    tape_free(tape);
    return ok;
}

static void captured_or_not_it_is_the_same(void **state)
{
    (void)state;
    Device ref, cuda;
    Numbers expect, captured, single;
    fake_reset();
    assert_true(device_open("ref", 1, &ref) && device_open("cuda", 1, &cuda));
    assert_true(run_on(&ref, &mix_op, &expect));
    assert_true(expect.z[1][3] != expect.z[2][3]);
    assert_true(run_on(&cuda, &mix_op, &captured));
    assert_int_equal(fake_graph_launches(), 2 * RUNS);
    char *work = strdup(fake_log());
    assert_non_null(work);
    cuda.one_by_one = true;
    assert_true(run_on(&cuda, &mix_op, &single));
    assert_int_equal(fake_graph_launches(), 0);
    assert_string_equal(work, fake_log());
    free(work);
    assert_memory_equal(&expect, &captured, sizeof expect);
    assert_memory_equal(&expect, &single, sizeof expect);
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

/* ---- lanes */

enum { LINKS = 6, LINK_NODES = 2 * LINKS + 2 };

/* A chain whose links each have a gradient computed beside it. What they read is overwritten later, by other links in the arena
 * and by "stream"; "sum" reads a gradient, and "last" is overwritten when one was added to it. */
static Tape *build_lanes(void)
{
    Tape *tape = tape_new();
    Shape shape = shape_1(N);
    tape_segment(tape, SEGMENT_ONLY);
    Ref at = append(tape, &mix_op, tape_input(tape, "x", DTYPE_REAL, shape), REF_NONE, tape_storage(tape, "stream", N), 0);
    Ref temp = append(tape, &mix_op, at, REF_NONE, tape_temp(tape, DTYPE_REAL, shape, false), 0);
    tape_storage(tape, "grads", (int64_t)LINKS * N);
    for (int i = 0; i < LINKS; i++) {
        append(tape, &aside_op, temp, at, tape_storage_part(tape, "grads", (int64_t)i * N, shape), 0);
        temp = append(tape, &mix_op, at, REF_NONE, tape_temp(tape, DTYPE_REAL, shape, false), 0);
        Ref other = append(tape, &mix_op, temp, REF_NONE, tape_temp(tape, DTYPE_REAL, shape, false), 0);
        at = i % 3 == 1 ? append(tape, &mix_op, other, REF_NONE, tape_storage(tape, "stream", N), 0) : other;
    }
    Ref read = tape_storage_part(tape, "grads", (int64_t)(LINKS - 1) * N, shape);
    append(tape, &mix_op, read, at, tape_storage(tape, "sum", N), 0);
    append(tape, &aside_op, read, REF_NONE, tape_storage(tape, "last", N), 1);
    append(tape, &mix_op, at, REF_NONE, tape_storage(tape, "last", N), 0);
    append(tape, &aside_op, read, REF_NONE, tape_storage(tape, "end", N), 0);
    return tape;
}

typedef struct {
    float grads[LINKS * N], sum[N], last[N];
} Gradients;

static bool take_gradients(const Device *device, Gradients *out)
{
    Tape *tape = build_lanes();
    Program *p = program_make(tape, device, NULL, 0);
    bool ok = p != NULL;
    fake_log_clear();
    for (int run = 0; ok && run < 3; run++) {
        float *x = program_input(p, "x");
        for (int i = 0; x && i < N; i++)
            x[i] = (float)(run + i);
        ok = x && program_run(p, SEGMENT_ONLY);
    }
    const float *grads = ok ? program_storage(p, "grads") : NULL, *sum = grads ? program_storage(p, "sum") : NULL,
                *last = sum ? program_storage(p, "last") : NULL;
    if (last) {
        memcpy(out->grads, grads, sizeof out->grads);
        memcpy(out->sum, sum, sizeof out->sum);
        memcpy(out->last, last, sizeof out->last);
    }
    program_free(p);
    tape_free(tape);
    return last != NULL;
}

/* In the orders in which a GPU may carry them out and that differ most. None of the links waits for the gradient beside it,
 * though memory is used again. */
static void a_second_lane_changes_nothing(void **state)
{
    (void)state;
    Device ref, cuda;
    Gradients expect, got;
    fake_reset();
    assert_true(device_open("ref", 1, &ref) && device_open("cuda", 1, &cuda));
    assert_true(take_gradients(&ref, &expect));
    for (int lanes = 1; lanes <= 2; lanes++)
        for (int order = FAKE_AS_PUT; order <= FAKE_IN_TURN; order++) {
            fake_set_order(order);
            cuda.second_lane = lanes == 2;
            memset(&got, 0, sizeof got);
            assert_true(take_gradients(&cuda, &got));
            if (memcmp(&got, &expect, sizeof got) != 0)
                fail_msg("%d lanes in order %d give other numbers", lanes, order);
            if (lanes == 1 || order == FAKE_AS_PUT)
                assert_int_equal(fake_overtaking(), 0);
            else if (order == FAKE_ASIDE_LAST)
                assert_int_equal(fake_overtaking(), 3 * 2 * LINK_NODES);
        }
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

typedef enum { WAY_GRAPHS, WAY_ONE_BY_ONE, WAY_LANES, WAYS } Way;

/* A segment in pieces makes the same numbers, and what a piece has written can be read while those behind it have still to run:
 * the copy waits for none of them. */
static void pieces_are_read_before_the_end(void **state)
{
    (void)state;
    Device ref, cuda;
    Gradients expect;
    fake_reset();
    assert_true(device_open("ref", 1, &ref) && device_open("cuda", 1, &cuda));
    assert_true(take_gradients(&ref, &expect));
    for (Way way = 0; way < WAYS; way++) {
        cuda.one_by_one = way == WAY_ONE_BY_ONE;
        cuda.second_lane = way == WAY_LANES;
        fake_set_order(way == WAY_LANES ? FAKE_ASIDE_LAST : FAKE_AS_PUT);
        Tape *tape = build_lanes();
        float *grads = buffer_new(&cuda, (size_t)LINKS * N, sizeof *grads);
        Program *p = program_make(tape, &cuda, &(Binding){"grads", grads}, 1);
        assert_true(grads && p);
        size_t all = program_step_count(p, SEGMENT_ONLY), ends[] = {7, 8, all};
        assert_true(program_cut(p, SEGMENT_ONLY, (size_t[]){all / 2, all}, 2) && program_cut(p, SEGMENT_ONLY, ends, 3));
        for (int run = 0; run < 3; run++) {
            float *x = program_input(p, "x"), first[N];
            for (int i = 0; x && i < N; i++)
                x[i] = (float)(run + i);
            assert_true(x && program_run(p, SEGMENT_ONLY));
            for (int piece = 0; piece < 3; piece++) {
                int behind = way == WAY_ONE_BY_ONE ? 2 * (int)(all - ends[piece]) : 2 - piece;
                assert_int_equal(program_piece_end(p, SEGMENT_ONLY, piece), ends[piece]);
                fake_log_clear();
                assert_true(program_read_piece(p, SEGMENT_ONLY, piece, grads, first, sizeof first));
                assert_int_equal(fake_slack(), behind);
                assert_true(run < 2 || !memcmp(first, expect.grads, sizeof first));
            }
        }
        const float *whole = program_storage(p, "grads");
        assert_true(whole && !memcmp(whole, expect.grads, sizeof expect.grads));
        program_free(p);
        tape_free(tape);
        buffer_free(&cuda, grads);
    }
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

/* A sum over GPUs waits for its piece and none behind it, the host for nothing, and what runs next for all sums. */
static void pieces_are_summed_before_the_end(void **state)
{
    (void)state;
    Device cuda;
    fake_reset();
    fake_set_sums(FAKE_SUMS_ALONE);
    assert_true(device_open("cuda", 1, &cuda));
    CudaSums *sums = cuda_sums_open(cuda.cuda);
    CudaSumsName name = {{0}};
    Tape *tape = build_lanes();
    float *grads = buffer_new(&cuda, (size_t)LINKS * N, sizeof *grads);
    Program *p = program_make(tape, &cuda, &(Binding){"grads", grads}, 1);
    assert_true(sums && cuda_sums_join(sums, &name, 0, 2) && grads && p);
    size_t ends[] = {7, 8, program_step_count(p, SEGMENT_ONLY)};
    assert_true(program_cut(p, SEGMENT_ONLY, ends, 3) && program_run(p, SEGMENT_ONLY));
    fake_log_clear();
    for (int piece = 0; piece < 3; piece++) {
        fake_log_clear();
        assert_true(program_sum_piece(p, SEGMENT_ONLY, piece, sums, grads + (size_t)N * (size_t)piece, N));
        assert_int_equal(fake_slack(), 2 - piece);
        assert_string_equal(fake_log(), "sum 280\n");
        assert_int_equal(fake_waits(), 0);
        assert_int_equal(fake_unjoined(), piece + 1);
    }
    assert_true(program_sum_join(p));
    assert_int_equal(fake_unjoined(), 0);
    program_free(p);
    cuda_sums_close(sums, true);
    tape_free(tape);
    buffer_free(&cuda, grads);
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

static int count_lines(const char *log, const char *line)
{
    int count = 0;
    for (const char *at = log; (at = strstr(at, line)); at += strlen(line))
        count++;
    return count;
}

/* An input travels when it was written, neighbours together, and not again. */
static void inputs_are_uploaded_once(void **state)
{
    (void)state;
    Device cuda;
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    Tape *tape = build(&mix_op);
    Program *p = program_make(tape, &cuda, NULL, 0);
    assert_non_null(p);
    program_input(p, "x");
    program_input(p, "between");
    fake_log_clear();
    assert_true(program_run(p, SEGMENT_ONLY));
    assert_int_equal(count_lines(fake_log(), "copy"), 2); /* to the landing place, and on */
    fake_log_clear();
    assert_true(program_run(p, SEGMENT_ONLY));
    assert_int_equal(count_lines(fake_log(), "copy"), 0);
    program_input(p, "x");
    program_input(p, "rate");
    fake_log_clear();
    assert_true(program_run(p, SEGMENT_ONLY));
    assert_int_equal(count_lines(fake_log(), "copy 280\n"), 4);
    assert_null(program_input(p, "nothing"));
    program_free(p);
    tape_free(tape);
    device_close(&cuda);
}

/* The upload of the next step's pictures has to wait for the last use of the pictures, not for that of the rate, which the
 * update had put behind the step's work. */
static void an_upload_waits_for_its_own_input(void **state)
{
    (void)state;
    Device cuda;
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    Tape *tape = build(&mix_op);
    Program *p = program_make(tape, &cuda, NULL, 0);
    assert_non_null(p);
    for (int step = 0; step < 2; step++) {
        fake_log_clear();
        program_input(p, "x");
        assert_true(program_run(p, SEGMENT_ONLY));
        if (step == 1)
            assert_int_equal(fake_slack(), 3); /* the graph, the copy of the rate, the update's graph */
        program_input(p, "rate");
        assert_true(program_run(p, SEGMENT_UPDATE));
    }
    program_free(p);
    tape_free(tape);
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

/* What is uploaded ahead is on the GPU when its run begins, but not yet where the run before reads; written anew, it travels
 * anew.
 */
static void inputs_go_ahead(void **state)
{
    (void)state;
    Device cuda;
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    Tape *tape = build(&mix_op);
    Program *p = program_make(tape, &cuda, NULL, 0);
    assert_non_null(p);
    assert_true(fill_inputs(p, 1) && program_run(p, SEGMENT_ONLY));
    for (int again = 0; again < 2; again++) {
        fake_log_clear();
        assert_true(fill_inputs(p, again ? 3 : 2) && program_upload(p));
        assert_int_equal(count_lines(fake_log(), "copy"), 1);
    }
    fake_log_clear();
    assert_true(program_upload(p));
    assert_int_equal(count_lines(fake_log(), "copy"), 0);
    assert_true(program_run(p, SEGMENT_ONLY));
    assert_int_equal(count_lines(fake_log(), "copy"), 1);
    const float *z = program_kept(p, SEGMENT_ONLY, "z");
    assert_non_null(z);
    for (int i = 0; i < N; i++)
        assert_true(z[i] == (float)(2 * (2 * (300 + i) + i % 5)));
    program_free(p);
    tape_free(tape);
    device_close(&cuda);
}

/* Looking at one node after another takes no more memory than the largest output. */
static void outputs_of_nodes_share_a_place(void **state)
{
    (void)state;
    Device cuda;
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    Tape *tape = build(&mix_op);
    Program *p = program_make(tape, &cuda, NULL, 0);
    assert_non_null(p);
    float *x = program_input(p, "x");
    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    assert_true(program_run_node(p, 0) && program_run_node(p, 1));
    const float *y = program_node_output(p, 0, 0);
    assert_non_null(y);
    for (int i = 0; i < N; i++)
        assert_true(y[i] == (float)(2 * i + i % 5));
    const float *z = program_node_output(p, 1, 0);
    assert_ptr_equal(z, y);
    for (int i = 0; i < N; i++)
        assert_true(z[i] == (float)(2 * (2 * i + i % 5)));
    program_free(p);
    tape_free(tape);
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

static void nodes_are_measured(void **state)
{
    (void)state;
    Device cuda;
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    Tape *tape = build(&mix_op);
    Program *p = program_make(tape, &cuda, NULL, 0);
    assert_true(p && program_measure(p));
    fake_log_clear();
    assert_true(program_run(p, SEGMENT_ONLY) && program_run(p, SEGMENT_UPDATE));
    assert_int_equal(fake_graph_launches(), 0);
    assert_int_equal(fake_waits(), 2); /* once a segment, not behind each node */
    for (size_t i = 0; i < program_node_count(p); i++)
        assert_true(program_node(p, i).seconds == 1e-3);
    program_free(p);
    tape_free(tape);
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

static void an_op_without_a_kernel_is_named(void **state)
{
    (void)state;
    Device cuda;
    Numbers numbers;
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    assert_false(run_on(&cuda, &ref_only_op, &numbers));
    assert_non_null(strstr(error_text(), "ref_only has no kernel for cuda"));
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

/* The fake's blocks have 96 KiB: sums and squares of 6144 columns, 256 of them the block's own. */
static void a_window_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    Device cuda;
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    for (int side = 5889; side <= 5891; side += 2) {
        Tape *tape = tape_new();
        tape_segment(tape, SEGMENT_ONLY);
        Ref image = tape_input(tape, "image", DTYPE_REAL, shape_4(1, 1, 2, 6000));
        tape_keep(tape, window_standardise(tape, image, side), "out");
        Program *p = program_make(tape, &cuda, NULL, 0);
        assert_int_equal(p != NULL, side == 5889);
        if (!p)
            assert_non_null(strstr(error_text(), "room for one of 5889"));
        program_free(p);
        tape_free(tape);
    }
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

static bool whole_life(Way way, Numbers *numbers, Gradients *gradients)
{
    Device cuda;
    bool ok = device_open("cuda", 1, &cuda);
    cuda.one_by_one = way == WAY_ONE_BY_ONE;
    cuda.second_lane = way == WAY_LANES;
    memset(gradients, 0, sizeof *gradients);
    ok = ok && run_on(&cuda, &mix_op, numbers) && (way != WAY_LANES || take_gradients(&cuda, gradients));
    if (ok) {
        device_close(&cuda);
        return true;
    }
    char *why = strdup(error_text());
    device_close(&cuda);
    error_set("%s", why ? why : "");
    free(why);
    return false;
}

/* Ok with the right numbers, which is allowed when only a wait of the closing failed, or an error. */
static void each_call_may_fail(void **state)
{
    (void)state;
    for (Way way = 0; way < WAYS; way++) {
        Numbers expect, numbers;
        Gradients expect_gradients, gradients;
        fake_reset();
        assert_true(whole_life(way, &expect, &expect_gradients));
        int calls = fake_calls(), failed = 0;
        for (int error = FAKE_ERROR; error <= FAKE_LOST; error++)
            for (int n = 1; n <= calls; n++) {
                fake_reset();
                fake_fail_at(n, error);
                error_clear();
                if (whole_life(way, &numbers, &gradients)) {
                    assert_memory_equal(&numbers, &expect, sizeof expect);
                    assert_memory_equal(&gradients, &expect_gradients, sizeof gradients);
                } else
                    failed++;
                if (error == FAKE_ERROR && strstr(error_text(), "not allowed"))
                    fail_msg("call %d of %d: told of what came of the error: %s", n, calls, error_text());
                if (fake_open_things())
                    fail_msg("call %d of %d: %d things are lost", n, calls, fake_open_things());
            }
        int closing = way == WAY_LANES ? 5 : 3; /* waits of the device's closing and of each program's */
        assert_true(failed >= 3 * (calls - closing));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captured_or_not_it_is_the_same),
        cmocka_unit_test(a_second_lane_changes_nothing),
        cmocka_unit_test(pieces_are_read_before_the_end),
        cmocka_unit_test(pieces_are_summed_before_the_end),
        cmocka_unit_test(inputs_are_uploaded_once),
        cmocka_unit_test(an_upload_waits_for_its_own_input),
        cmocka_unit_test(inputs_go_ahead),
        cmocka_unit_test(outputs_of_nodes_share_a_place),
        cmocka_unit_test(nodes_are_measured),
        cmocka_unit_test(an_op_without_a_kernel_is_named),
        cmocka_unit_test(a_window_that_does_not_fit_is_refused),
        cmocka_unit_test(each_call_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
