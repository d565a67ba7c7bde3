#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "transfer/neighbours.h"

/* More keys and queries than a block of products holds, against a search by hand. */
static void the_nearest_are_found(void **state)
{
    (void)state;
    enum { KEYS = 4200, QUERIES = 300, WIDTH = 9, K = 7 };
    float *keys = memory_new(KEYS * WIDTH, sizeof *keys), *queries = memory_new(QUERIES * WIDTH, sizeof *queries);
    Neighbour *one = memory_new(QUERIES * K, sizeof *one), *three = memory_new(QUERIES * K, sizeof *three);
    assert_true(keys && queries && one && three);
    Random random = random_stream(1, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < KEYS * WIDTH; i++)
        keys[i] = (float)random_below(&random, 5) - 2; /* whole numbers: many are equally near, and all are exact */
    for (int i = 0; i < QUERIES * WIDTH; i++)
        queries[i] = (float)random_below(&random, 5) - 2;
    for (int threads = 1; threads <= 3; threads += 2) {
        Device device;
        assert_true(device_open("cpu", threads, &device));
        assert_true(neighbours_find(&device, keys, KEYS, queries, QUERIES, WIDTH, K, threads == 1 ? one : three));
    }
    assert_memory_equal(one, three, QUERIES * K * sizeof *one);
    for (int q = 0; q < QUERIES; q++) {
        bool used[KEYS] = {false};
        for (int n = 0; n < K; n++) {
            int best = -1;
            float most = -INFINITY;
            for (int i = 0; i < KEYS; i++) {
                float sum = 0;
                for (int c = 0; c < WIDTH; c++)
                    sum += keys[i * WIDTH + c] * queries[q * WIDTH + c];
                if (!used[i] && sum > most) {
                    best = i;
                    most = sum;
                }
            }
            used[best] = true;
            assert_int_equal(one[q * K + n].key, best);
            assert_true(one[q * K + n].similarity == most);
        }
    }
    memory_free(keys);
    memory_free(queries);
    memory_free(one);
    memory_free(three);
}

static void what_has_no_neighbours_is_an_error(void **state)
{
    (void)state;
    float keys[] = {NAN, NAN, 1, 2}, query[] = {1, 1};
    Neighbour out[2];
    Device device;
    assert_true(device_open("cpu", 1, &device));
    assert_true(neighbours_find(&device, keys, 2, query, 1, 2, 1, out));
    assert_int_equal(out[0].key, 1);
    assert_false(neighbours_find(&device, keys, 2, query, 1, 2, 2, out));
    assert_non_null(strstr(error_text(), "not finite"));
    assert_false(neighbours_find(&device, keys, 2, query, 1, 2, 3, out));
}

static void votes_are_weighted(void **state)
{
    (void)state;
    static const int32_t labels[] = {0, 1, 1, 2};
    static const Neighbour near[] = {{0, 0.9f}, {1, 0.85f}, {2, 0.85f}, {3, 0.1f}};
    double votes[3];
    /* Two of class 1 weigh 2 exp(-0.05/0.07) = 0.979 against one of class 0. */
    knn_votes(near, 3, 0.07, labels, 3, votes);
    assert_true(fabs(votes[0] - 1) < 1e-9 && fabs(votes[1] - 0.979) < 1e-3 && votes[2] == 0);
    assert_int_equal(votes_rank(votes, 3, 0), 0);
    assert_int_equal(votes_rank(votes, 3, 1), 1);
    knn_votes(near, 4, 0.1, labels, 3, votes);
    assert_int_equal(votes_rank(votes, 3, 1), 0);
    assert_int_equal(votes_rank(votes, 3, 2), 2);
    assert_int_equal(votes_rank((double[]){1, 1, 1}, 3, 1), 1);
    float rows[] = {3, 4, 0, 0};
    rows_normalise(rows, 2, 2);
    assert_true(fabsf(rows[0] - 0.6f) < 1e-7f && rows[2] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_are_found),
        cmocka_unit_test(what_has_no_neighbours_is_an_error),
        cmocka_unit_test(votes_are_weighted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
