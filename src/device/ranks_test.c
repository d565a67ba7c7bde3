/* Sums over ranks, with a transport that makes the other ranks' numbers up: the order of a sum, pieces, many at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

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
    static const RankTransport pretends = {
        .open = pretend_open, .close = pretend_close, .collect = pretend_collect, .share = pretend_share};
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_are_in_the_order_of_ranks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
