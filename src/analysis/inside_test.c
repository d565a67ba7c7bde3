/* What is measured inside an encoder is that of each picture alone, whatever batches, threads and neighbours there are; golden
 * cases hold the numbers themselves (lacuna parity). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "analysis/inside.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "transfer/tiny_backbone.h"

enum { PICTURES = 5, NUMBERS = 3 * 16 * 16, DEPTH = 3, HEADS = 2, TOKENS = 17, WIDTH = 12, MOST = 512 };

static float images[PICTURES * NUMBERS];

static int draw_images(void **state)
{
    (void)state;
    Random random = random_stream(3, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < PICTURES * NUMBERS; i++)
        images[i] = (float)random_normal(&random);
    return 0;
}

static Inside *open_inside(Backbone *b, const char *name, int threads, int batch)
{
    Device device;
    assert_true(device_open(name, threads, &device));
    Inside *in = inside_open(b, &device, batch);
    if (!in)
        fail_msg("%s", error_text());
    return in;
}

/* All numbers in one row; returns how many. */
static int take_numbers(Inside *in, double *to)
{
    int n = 0;
    for (int l = 1; l <= DEPTH; l++) {
        HeadResult r = inside_heads(in, l);
        const double *vectors[] = {r.distance, r.distance_renormalised, r.class_mass, r.entropy, r.entropy_keep, r.kl_head};
        const double *squares[] = {r.kl, r.kl_keep, r.cosine_rows, r.cosine_flat};
        for (int k = 0; k < 6; k++)
            for (int h = 0; h < HEADS; h++)
                to[n++] = vectors[k][h];
        for (int k = 0; k < 4; k++)
            for (int h = 0; h < HEADS * HEADS; h++)
                to[n++] = squares[k][h];
        for (int j = 0; j < INSIDE_SHARES; j++)
            to[n++] = inside_shares(in, l)[j];
        to[n++] = inside_rank(in, l);
    }
    for (int l = 0; l <= DEPTH; l++)
        for (int i = 0; i < inside_frequencies(in); i++)
            to[n++] = inside_amplitude(in, l, i);
    assert_true(n <= MOST);
    return n;
}

static void numbers_do_not_depend_on_batches_and_threads(void **state)
{
    (void)state;
    static const int ways[][2] = {{1, 5}, {3, 2}, {2, 1}, {7, 4}}; /* threads, batch */
    Backbone *b = tiny_backbone();
    assert_non_null(b);
    double first[MOST], other[MOST];
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        Inside *in = open_inside(b, "cpu", ways[k][0], ways[k][1]);
        for (int i = 0; i < PICTURES; i += ways[k][1])
            assert_true(inside_run(in, images + i * NUMBERS, PICTURES - i < ways[k][1] ? PICTURES - i : ways[k][1], NULL));
        assert_int_equal(inside_pictures(in), PICTURES);
        int n = take_numbers(in, k ? other : first);
        if (k)
            assert_memory_equal(first, other, (size_t)n * sizeof *first);
        inside_close(in);
    }
    backbone_close(b);
}

/* Those that stand in for unreadable ones are not counted. */
static void pictures_that_are_left_out_leave_nothing(void **state)
{
    (void)state;
    static const bool own[PICTURES] = {true, false, true, true, false};
    Backbone *b = tiny_backbone();
    Inside *some = open_inside(b, "cpu", 2, PICTURES), *alone = open_inside(b, "cpu", 2, 1);
    double first[MOST], other[MOST];
    assert_true(inside_run(some, images, PICTURES, own));
    for (int i = 0; i < PICTURES; i++)
        if (own[i])
            assert_true(inside_run(alone, images + i * NUMBERS, 1, NULL));
    assert_int_equal(inside_pictures(some), 3);
    int n = take_numbers(some, first);
    take_numbers(alone, other);
    assert_memory_equal(first, other, (size_t)n * sizeof *first);
    inside_close(some);
    inside_close(alone);
    backbone_close(b);
}

/* What the program keeps: rows of a map sum to 1, the last state is the one behind the norm, means are of patches alone. */
static void kept_values_are_what_they_say(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    for (int way = 0; way < 2; way++) {
        Inside *in = open_inside(b, way ? "ref" : "cpu", 1, PICTURES);
        assert_true(inside_run(in, images, PICTURES, NULL));
        for (int l = 1; l <= DEPTH; l++) {
            const float *map = inside_map(in, l);
            for (int r = 0; r < PICTURES * HEADS * TOKENS; r++) {
                double sum = 0;
                for (int k = 0; k < TOKENS; k++) {
                    assert_true(map[r * TOKENS + k] > 0);
                    sum += map[r * TOKENS + k];
                }
                assert_true(fabs(sum - 1) < 1e-5);
            }
        }
        const float *last = inside_tokens(in, DEPTH), *mean = inside_means(in, DEPTH);
        float normed[PICTURES * TOKENS * WIDTH];
        assert_true(features_read(inside_features(in), DEPTH + 1, PICTURES, normed));
        assert_memory_equal(inside_tokens(in, DEPTH + 1), normed, sizeof normed);
        for (int i = 0; i < PICTURES; i++)
            assert_memory_equal(inside_class_tokens(in, DEPTH) + i * WIDTH, last + i * TOKENS * WIDTH, WIDTH * sizeof *last);
        assert_true(memcmp(last, normed, sizeof normed) != 0);
        for (int c = 0; c < WIDTH; c++) {
            double sum = 0;
            for (int t = 1; t < TOKENS; t++)
                sum += last[(4 * TOKENS + t) * WIDTH + c];
            assert_true(fabs(mean[4 * WIDTH + c] - sum / (TOKENS - 1)) < 1e-5);
        }
        inside_close(in);
    }
    backbone_close(b);
}

static void want_of_memory_is_told(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    Device device;
    assert_true(device_open("cpu", 1, &device));
    for (uint64_t n = 1;; n++) {
        memory_fail_at(n);
        error_clear();
        Inside *in = inside_open(b, &device, 2);
        memory_fail_at(0);
        if (in) {
            inside_close(in);
            break;
        }
        assert_non_null(strstr(error_text(), "out of memory"));
        assert_true(n < 3000);
    }
    backbone_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_do_not_depend_on_batches_and_threads),
                                       cmocka_unit_test(pictures_that_are_left_out_leave_nothing),
                                       cmocka_unit_test(kept_values_are_what_they_say),
                                       cmocka_unit_test(want_of_memory_is_told)};
    return cmocka_run_group_tests(tests, draw_images, NULL);
}
