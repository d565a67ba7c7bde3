/* The examples of docs/spec/analysis.md 4.5. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "analysis/similarity.h"
#include "base/error.h"

static void assert_near(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-6 * fmax(1, fabs(expected))))
        fail_msg("%.9g and not %.9g", got, expected);
}

static float x[8 * 3], y[8 * 4];

static int begin(void **state)
{
    (void)state;
    static const int columns[] = {0, 1, 2, 0};
    for (int i = 0; i < 24; i++)
        x[i] = (float)cos(0.9 * i + 0.017 * i * i);
    for (int i = 0; i < 32; i++)
        y[i] = (float)((double)x[i / 4 * 3 + columns[i % 4]] + 0.5 * sin(1.7 * i + 0.011 * i * i));
    return 0;
}

static Similarity *of(const LayerFeatures *layers, int count, int n, int batch)
{
    Similarity *s = similarity_new(count, batch, 1);
    if (!s)
        fail_msg("%s", error_text());
    for (int first = 0; first < n; first += batch) {
        LayerFeatures part[2];
        for (int i = 0; i < count; i++)
            part[i] = (LayerFeatures){layers[i].data + first * layers[i].width, layers[i].width};
        similarity_add(s, part, batch);
    }
    return s;
}

static void estimates(void **state)
{
    (void)state;
    const LayerFeatures layers[] = {{x, 3}, {y, 4}};
    double cka;
    assert_true(similarity_biased(&layers[0], &layers[1], 8, &cka));
    assert_near(cka, 0.882314);
    Similarity *s = of(layers, 2, 8, 8);
    assert_near(similarity_hsic(s, 0, 1), 2.598146);
    assert_near(similarity_hsic(s, 0, 0), 1.539754);
    assert_near(similarity_hsic(s, 1, 1), 5.622659);
    assert_near(similarity_cka(s, 0, 1), 0.883013);
    assert_near(similarity_cka(s, 1, 0), 0.883013);
    similarity_free(s);
    s = of(layers, 2, 8, 4);
    assert_near(similarity_hsic(s, 0, 1), 9.587688 + 0.193526);
    assert_near(similarity_cka(s, 0, 1), 0.920140);
    similarity_free(s);
}

static void what_changes_nothing(void **state)
{
    (void)state;
    static float moved[8 * 3], stretched[8 * 3], turned[8 * 3];
    for (int i = 0; i < 24; i++) {
        moved[i] = 3 * x[i] + 7;
        stretched[i] = x[i] * (float)(1 + i % 3);
    }
    for (int i = 0; i < 8; i++) { /* a turn in the plane of the first two */
        turned[3 * i] = 0.6f * x[3 * i] - 0.8f * x[3 * i + 1];
        turned[3 * i + 1] = 0.8f * x[3 * i] + 0.6f * x[3 * i + 1];
        turned[3 * i + 2] = x[3 * i + 2];
    }
    const float *const others[] = {moved, turned, stretched};
    for (int k = 0; k < 3; k++) {
        const LayerFeatures layers[] = {{x, 3}, {others[k], 3}};
        Similarity *s = of(layers, 2, 8, 8);
        if (k < 2)
            assert_near(similarity_cka(s, 0, 1), 1);
        else
            assert_true(similarity_cka(s, 0, 1) < 0.99);
        assert_near(similarity_cka(s, 1, 1), 1);
        similarity_free(s);
    }
}

static void a_square_and_its_column(void **state)
{
    (void)state;
    static const float square[] = {1, 0, 0, 1, -1, 0, 0, -1}, column[] = {1, 0, -1, 0}, alike[] = {2, 2, 2, 2};
    const LayerFeatures layers[] = {{square, 2}, {column, 1}};
    double cka;
    Similarity *s = of(layers, 2, 4, 4);
    assert_near(similarity_hsic(s, 0, 0), 0.666667);
    assert_near(similarity_hsic(s, 1, 1), 0.166667);
    assert_near(similarity_hsic(s, 0, 1), 0.333333);
    assert_near(similarity_cka(s, 0, 1), 0.707107 * sqrt(2));
    similarity_free(s);
    assert_true(similarity_biased(&layers[0], &layers[1], 4, &cka));
    assert_near(cka, 0.707107);
    /* Of features that are all alike there is nothing to say. */
    const LayerFeatures flat[] = {{square, 2}, {alike, 1}};
    s = of(flat, 2, 4, 4);
    assert_true(isnan(similarity_cka(s, 0, 1)));
    similarity_free(s);
    assert_null(similarity_new(2, 3, 1));
}

/* Class tokens before the first block are the same in every picture. Whatever their number, rounding makes nothing of it. */
static void samples_that_are_all_alike(void **state)
{
    (void)state;
    enum { MOST = 60, WIDTH = 5 };
    static float same[MOST * WIDTH], other[MOST * WIDTH];
    for (int i = 0; i < MOST * WIDTH; i++) {
        same[i] = (float)cos(1.3 * (i % WIDTH) + 0.2);
        other[i] = (float)cos(0.9 * i + 0.017 * i * i);
    }
    const LayerFeatures layers[] = {{same, WIDTH}, {other, WIDTH}};
    for (int n = 4; n <= MOST; n++) {
        double cka;
        Similarity *s = of(layers, 2, n, n);
        assert_true(isnan(similarity_cka(s, 0, 0)) && isnan(similarity_cka(s, 0, 1)) && isnan(similarity_biased_cka(s, 0, 1)));
        assert_near(similarity_cka(s, 1, 1), 1);
        similarity_free(s);
        assert_true(similarity_biased(&layers[0], &layers[1], n, &cka) && isnan(cka));
    }
}

/* Layers and pairs of them are cut among threads. */
static void threads_change_no_bit(void **state)
{
    (void)state;
    enum { LAYERS = 5, N = 12, WIDTH = 6 };
    static float features[LAYERS][2 * N * WIDTH];
    double first[3 * LAYERS * LAYERS];
    for (int l = 0; l < LAYERS; l++)
        for (int i = 0; i < 2 * N * WIDTH; i++)
            features[l][i] = (float)cos(0.7 * i + 0.3 * l * i + 0.011 * i * i);
    for (int threads = 1; threads <= 4; threads++) {
        Similarity *s = similarity_new(LAYERS, N, threads);
        assert_non_null(s);
        for (int turn = 0; turn < 2; turn++) {
            LayerFeatures layers[LAYERS];
            for (int l = 0; l < LAYERS; l++)
                layers[l] = (LayerFeatures){features[l] + turn * N * WIDTH, WIDTH};
            similarity_add(s, layers, N);
        }
        for (int i = 0, at = 0; i < LAYERS; i++)
            for (int j = 0; j < LAYERS; j++) {
                double found[] = {similarity_hsic(s, i, j), similarity_cka(s, i, j), similarity_biased_cka(s, i, j)};
                for (int k = 0; k < 3; k++, at++) {
                    if (threads == 1)
                        first[at] = found[k];
                    assert_true(first[at] == found[k] && isfinite(found[k]));
                }
            }
        similarity_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(estimates), cmocka_unit_test(what_changes_nothing),
                                       cmocka_unit_test(a_square_and_its_column), cmocka_unit_test(samples_that_are_all_alike),
                                       cmocka_unit_test(threads_change_no_bit)};
    return cmocka_run_group_tests(tests, begin, NULL);
}
