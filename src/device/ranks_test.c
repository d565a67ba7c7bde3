/* Sums over ranks, with a transport that makes the other ranks' numbers up: the order of a sum, pieces, many at once. Memory of
 * rank 0 as another rank sees it. */
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/ranks.h"
#define LACUNA_RANKS_MPI_HERE
#include "device/ranks_transport.h"

enum { RANK = 1, COUNT = 3, LARGE = (1 << 22) + 5 };

/* Numbers whose sum hangs on the order. */
static float number(int rank, size_t i)
{
    static const float of[COUNT] = {1e8F, 1, -1e8F};
    return of[(rank + (int)(i % COUNT)) % COUNT];
}

static float expected(size_t i)
{
    float sum = number(0, i);
    for (int r = 1; r < COUNT; r++)
        sum += number(r, i);
    return sum;
}

/* Where the piece that is being summed lies in the whole. */
static size_t piece_at;

static bool pretend_open(int *rank, int *count)
{
    *rank = RANK;
    *count = COUNT;
    piece_at = 0;
    return true;
}

static void pretend_close(void)
{
}

static void pretend_abort(int code)
{
    (void)code;
}

static void pretend_send(int to, const void *data, size_t bytes)
{
    (void)to, (void)data, (void)bytes;
}

static void pretend_broadcast(void *data, size_t bytes)
{
    (void)data, (void)bytes;
}

static void pretend_collect(const float *data, const int *starts, float *all)
{
    int first = starts[RANK], own = starts[RANK + 1] - first;
    for (int r = 0; r < COUNT; r++)
        for (int k = 0; k < own; k++)
            all[r * own + k] = r == RANK ? data[first + k] : number(r, piece_at + (size_t)(first + k));
}

static void pretend_share(float *data, const int *starts)
{
    for (int i = 0; i < starts[COUNT]; i++)
        if (i < starts[RANK] || i >= starts[RANK + 1])
            data[i] = expected(piece_at + (size_t)i);
    piece_at += (size_t)starts[COUNT];
}

const RankTransport *ranks_mpi(void)
{
    static const RankTransport pretends = {.open = pretend_open,
                                           .close = pretend_close,
                                           .abort = pretend_abort,
                                           .send = pretend_send,
                                           .broadcast = pretend_broadcast,
                                           .collect = pretend_collect,
                                           .share = pretend_share};
    return &pretends;
}

static void check(const float *data, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (data[i] != expected(i))
            fail_msg("number %zu is %g, not %g", i, (double)data[i], (double)expected(i));
}

static void sums_are_in_the_order_of_ranks(void **state)
{
    (void)state;
    float *data = memory_new(LARGE, sizeof *data);
    assert_non_null(data);
    for (size_t i = 0; i < LARGE; i++)
        data[i] = number(RANK, i);
    RankGroup *ranks = ranks_open();
    assert_non_null(ranks);
    assert_int_equal(ranks_rank(ranks), RANK);
    assert_int_equal(ranks_count(ranks), COUNT);
    /* More sums than can wait, of sizes from none to several pieces. */
    size_t at = 0;
    for (int k = 0; k < 3 * RANKS_SUMS_MOST; k++) {
        ranks_sum_begin(ranks, data + at, (size_t)(k % 5));
        at += (size_t)(k % 5);
    }
    ranks_sum_begin(ranks, data + at, LARGE - at);
    ranks_sum_end(ranks);
    check(data, LARGE);
    ranks_close(ranks);
    memory_free(data);
}

/* Of many sums that were begun the first are done when few are left. */
static void sums_can_be_waited_for_one_by_one(void **state)
{
    (void)state;
    enum { SUMS = 20, EACH = 1000 };
    float *data = memory_new(SUMS, EACH * sizeof *data);
    RankGroup *ranks = ranks_open();
    assert_true(data && ranks);
    for (size_t i = 0; i < (size_t)SUMS * EACH; i++)
        data[i] = number(RANK, i);
    for (size_t k = 0; k < SUMS; k++)
        ranks_sum_begin(ranks, data + k * EACH, EACH);
    for (size_t k = 0; k < SUMS; k++) {
        ranks_sum_wait(ranks, (int)(SUMS - 1 - k));
        check(data, (k + 1) * EACH);
    }
    ranks_sum_end(ranks);
    ranks_close(ranks);
    memory_free(data);
}

static void note_end(void *context, const char *why)
{
    sem_t *ended = context;
    if (strstr(why, "a test failed"))
        sem_post(ended);
}

static void who_breaks_has_a_last_resort(void **state)
{
    (void)state;
    static sem_t ended;
    RankGroup *ranks = ranks_open();
    assert_true(ranks && sem_init(&ended, 0, 0) == 0);
    ranks_set_last_resort(ranks, 0, note_end, &ended);
    error_set("a test failed");
    ranks_break(ranks);
    error_clear();
    assert_int_equal(sem_wait(&ended), 0);
    ranks_break(ranks); /* once is enough */
    ranks_close(ranks);
}

/* What rank 0 would tell of two memories, one behind the other; then of one that is gone. */
static void memory_of_rank_0_is_seen(void **state)
{
    (void)state;
    RankGroup *ranks = ranks_open();
    assert_non_null(ranks);
    SharedPlace places[2] = {{.at = 40}, {.at = 0}};
    char *own[2];
    for (int i = 0; i < 2; i++) {
        own[i] = shared_new(1 << 20, &places[i].memory);
        assert_non_null(own[i]);
        snprintf(own[i] + places[i].at, 8, "%s", i ? "second" : "first");
    }
    for (int k = 0; k < 4; k++) {
        const char *seen = ranks_shared_at(ranks, &places[k % 2]);
        assert_non_null(seen);
        assert_string_equal(seen, k % 2 ? "second" : "first");
    }
    ranks_shared_leave(ranks);
    ranks_shared_leave(ranks);
    shared_free(own[0], &places[0].memory);
    shared_free(own[1], &places[1].memory);
    assert_null(ranks_shared_at(ranks, &places[0]));
    assert_non_null(strstr(error_text(), "cannot be read here"));
    ranks_close(ranks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_in_the_order_of_ranks), cmocka_unit_test(sums_can_be_waited_for_one_by_one),
        cmocka_unit_test(who_breaks_has_a_last_resort), cmocka_unit_test(memory_of_rank_0_is_seen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
