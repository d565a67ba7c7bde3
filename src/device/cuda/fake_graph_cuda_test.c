/* The fake's captured graphs: what the tests of lanes rely on. Several streams run in every order that their events allow, and
 * a capture that is not joined, or a stream that takes no part in it, is refused, as on a GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/cuda/cuda.h"
#include "device/cuda/fake.h"

typedef struct {
    const CudaRuntime *r;
    void *main, *side, *begun, *done;
} Lanes;

static void nothing(void *data)
{
    (void)data;
}

static void put(void *stream, const char *name)
{
    fake_enqueue(stream, name, nothing, NULL, NULL);
}

static void open_lanes(Lanes *l)
{
    fake_reset();
    l->r = cuda_runtime();
    assert_false(l->r->stream_new(&l->main, true) || l->r->stream_new(&l->side, false) || l->r->event_new(&l->begun, false) ||
                 l->r->event_new(&l->done, false));
    assert_false(l->r->capture_begin(l->main));
}

static void close_lanes(Lanes *l)
{
    l->r->stream_free(l->main);
    l->r->stream_free(l->side);
    l->r->event_free(l->begun);
    l->r->event_free(l->done);
    assert_int_equal(fake_open_things(), 0);
}

/* What runs in an order, and how much of it overtook. */
static void runs(const Lanes *l, void *graph, FakeOrder order, const char *expect, int overtaking)
{
    fake_log_clear();
    fake_set_order(order);
    assert_false(l->r->graph_launch(graph, l->main));
    assert_string_equal(fake_log(), expect);
    assert_int_equal(fake_overtaking(), overtaking);
}

static void events_alone_make_the_order(void **state)
{
    (void)state;
    Lanes l;
    void *graph;
    open_lanes(&l);
    put(l.main, "a");
    assert_false(l.r->event_record(l.begun, l.main) || l.r->stream_follow(l.side, l.begun));
    put(l.main, "b");
    put(l.side, "x");
    assert_false(l.r->event_record(l.done, l.side));
    put(l.side, "y");
    put(l.main, "c");
    assert_false(l.r->stream_follow(l.main, l.done));
    put(l.main, "d");
    assert_false(l.r->event_record(l.done, l.side) || l.r->stream_follow(l.main, l.done) || l.r->capture_end(l.main, &graph));
    assert_false(l.r->last_error());
    runs(&l, graph, FAKE_AS_PUT, "a\nb\nx\ny\nc\nd\n", 0);
    runs(&l, graph, FAKE_ASIDE_LAST, "a\nb\nc\nx\nd\ny\n", 2);
    runs(&l, graph, FAKE_ASIDE_FIRST, "a\nx\ny\nb\nc\nd\n", 2);
    runs(&l, graph, FAKE_IN_TURN, "a\nb\nx\nc\ny\nd\n", 1);
    assert_false(l.r->graph_free(graph));
    close_lanes(&l);
}

static void a_capture_must_be_joined(void **state)
{
    (void)state;
    Lanes l;
    void *graph;
    open_lanes(&l);
    assert_false(l.r->event_record(l.begun, l.main) || l.r->stream_follow(l.side, l.begun));
    put(l.side, "x");
    assert_false(l.r->event_record(l.done, l.side) || l.r->stream_follow(l.main, l.done));
    put(l.side, "y");
    assert_int_equal(l.r->capture_end(l.main, &graph), FAKE_NOT_ALLOWED);
    assert_null(graph);
    close_lanes(&l);
}

static void a_stream_takes_part_by_an_event_of_the_capture(void **state)
{
    (void)state;
    Lanes l;
    void *graph;
    open_lanes(&l);
    put(l.side, "x");
    assert_int_equal(l.r->last_error(), FAKE_NOT_ALLOWED);
    assert_false(l.r->event_record(l.done, l.side)); /* outside of the capture */
    assert_int_equal(l.r->stream_follow(l.main, l.done), FAKE_NOT_ALLOWED);
    assert_false(l.r->event_record(l.begun, l.main) || l.r->capture_end(l.main, &graph) || l.r->graph_free(graph));
    assert_int_equal(l.r->stream_follow(l.side, l.begun), FAKE_NOT_ALLOWED); /* its event is of a capture that is over */
    close_lanes(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_alone_make_the_order),
        cmocka_unit_test(a_capture_must_be_joined),
        cmocka_unit_test(a_stream_takes_part_by_an_event_of_the_capture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
