/* The examples of docs/spec/analysis.md 1.5, 2.4 and 3 that can be checked by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "analysis/heads.h"
#include "base/error.h"

enum { MOST = 256 * 256 };

static HeadStats *open_stats(HeadLayout layout)
{
    HeadStats *s = heads_new(&layout);
    if (!s)
        fail_msg("%s", error_text());
    return s;
}

static void assert_near(double got, double expected)
{
    if (!(fabs(got - expected) <= 6e-7 * fmax(1, fabs(expected))))
        fail_msg("%.9g and not %.9g", got, expected);
}

static void uniform_attention_looks_as_far_as_the_grid(void **state)
{
    (void)state;
    static const struct {
        HeadLayout layout;
        double distance, renormalised, mass;
    } cases[] = {{{1, 2, 2, 0, 16}, 13.656854, 13.656854, 0},
                 {{1, 2, 3, 0, 16}, 18.781325, 18.781325, 0},
                 {{1, 14, 14, 0, 16}, 116.492227, 116.492227, 0},
                 {{1, 16, 16, 0, 14}, 116.565053, 116.565053, 0},
                 {{1, 2, 2, 1, 16}, 10.925483, 13.656854, 0.2}};
    static float map[MOST];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int tokens = cases[i].layout.rows * cases[i].layout.columns + cases[i].layout.class_tokens;
        for (int k = 0; k < tokens * tokens; k++)
            map[k] = 1.0f / (float)tokens;
        HeadStats *s = open_stats(cases[i].layout);
        heads_add(s, map);
        heads_add(s, map);
        HeadResult r = heads_result(s);
        assert_near(r.distance[0], cases[i].distance);
        assert_near(r.distance_renormalised[0], cases[i].renormalised);
        assert_near(r.class_mass[0], cases[i].mass);
        assert_near(r.entropy[0], log(cases[i].layout.rows * cases[i].layout.columns));
        assert_near(r.entropy_keep[0], log(tokens));
        heads_free(s);
    }
}

/* Nothing to themselves, the same to all others. */
static void uniform_attention_to_others_looks_farther(void **state)
{
    (void)state;
    static const double distances[] = {18.209139, 117.089623};
    static const int sides[] = {2, 14};
    static float map[MOST];
    for (int i = 0; i < 2; i++) {
        int tokens = sides[i] * sides[i];
        for (int k = 0; k < tokens * tokens; k++)
            map[k] = k % (tokens + 1) ? 1.0f / (float)(tokens - 1) : 0;
        HeadStats *s = open_stats((HeadLayout){1, sides[i], sides[i], 0, 16});
        heads_add(s, map);
        assert_near(heads_result(s).distance[0], distances[i]);
        heads_free(s);
    }
}

/* Logits that fall with the distance: a corner, an edge and the middle of 3 x 3 look in ways of their own. */
static void near_ones_are_looked_at_most(void **state)
{
    (void)state;
    static const double corner[] = {0.396447, 0.145845, 0.053653, 0.145845, 0.096383, 0.042371, 0.053653, 0.042371, 0.023432},
                        entropies[] = {1.823589, 1.942280, 2.063228};
    static const int queries[] = {0, 1, 4};
    static float map[81], rows[81];
    for (int q = 0; q < 9; q++) {
        double weight[9], sum = 0;
        for (int k = 0; k < 9; k++)
            sum += weight[k] = exp(-hypot(q % 3 - k % 3, q / 3 - k / 3)); /* in patches: -D/8 of 8 pixels */
        for (int k = 0; k < 9; k++)
            map[q * 9 + k] = (float)(weight[k] / sum);
    }
    for (int k = 0; k < 9; k++)
        assert_near(map[k], corner[k]);
    HeadStats *s = open_stats((HeadLayout){1, 3, 3, 0, 8});
    heads_add(s, map);
    HeadResult r = heads_result(s);
    assert_near(r.distance[0], 7.001770);
    assert_near(r.entropy[0], 1.902967);
    heads_free(s);
    for (int i = 0; i < 3; i++) { /* every query in the place of that one */
        for (int q = 0; q < 9; q++)
            memcpy(rows + 9 * q, map + 9 * queries[i], 9 * sizeof *rows);
        s = open_stats((HeadLayout){1, 3, 3, 0, 8});
        heads_add(s, rows);
        assert_near(heads_result(s).entropy[0], entropies[i]);
        heads_free(s);
    }
    static const float row[] = {0.5f, 0.25f, 0.125f, 0.125f};
    for (int q = 0; q < 4; q++)
        memcpy(rows + 4 * q, row, sizeof row);
    s = open_stats((HeadLayout){1, 2, 2, 0, 8});
    heads_add(s, rows);
    assert_near(heads_result(s).entropy[0], 1.213008);
    heads_free(s);
}

static void queries_are_weighed_alike(void **state)
{
    (void)state;
    static const float map[] = {0.7f, 0.1f, 0.1f, 0.1f, 0.25f, 0.25f, 0.25f, 0.25f,
                                0.0f, 0.5f, 0.5f, 0.0f, 0.1f,  0.2f,  0.3f,  0.4f};
    HeadStats *s = open_stats((HeadLayout){1, 2, 2, 0, 16});
    heads_add(s, map);
    assert_near(heads_result(s).distance[0], 10.174012);
    heads_free(s);
    static const float own[] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    s = open_stats((HeadLayout){1, 2, 2, 0, 16});
    heads_add(s, own);
    HeadResult r = heads_result(s);
    assert_near(r.distance[0], 0);
    assert_near(r.entropy[0], 0);
    heads_free(s);
}

/* Heads that each query has the same row in; patches in one line, as many as keys. */
static HeadResult of_rows(HeadStats **stats, int heads, int keys, const double *rows)
{
    static float map[MOST];
    for (int h = 0; h < heads; h++)
        for (int q = 0; q < keys; q++)
            for (int k = 0; k < keys; k++)
                map[(h * keys + q) * keys + k] = (float)rows[h * keys + k];
    if (!*stats)
        *stats = open_stats((HeadLayout){heads, 1, keys, 0, 1});
    heads_add(*stats, map);
    return heads_result(*stats);
}

static void heads_differ_as_their_rows_do(void **state)
{
    (void)state;
    HeadStats *s = NULL;
    HeadResult r = of_rows(&s, 2, 2, (const double[]){0.75, 0.25, 0.25, 0.75});
    assert_near(r.kl[1], 0.549306);
    assert_near(r.kl[0], 0);
    heads_free(s);
    s = NULL;
    r = of_rows(&s, 2, 2, (const double[]){0.5, 0.5, 0.9, 0.1});
    assert_near(r.kl[1], 0.510826);
    assert_near(r.kl[2], 0.368064);
    heads_free(s);
    s = NULL;
    r = of_rows(&s, 2, 2, (const double[]){1, 0, 0, 1});
    assert_near(r.kl[1], 27.631021);
    heads_free(s);
    s = NULL;
    r = of_rows(&s, 3, 3, (const double[]){0.5, 0.25, 0.25, 0.2, 0.6, 0.2, 1.0 / 3, 1.0 / 3, 1.0 / 3});
    static const double kl[] = {0, 0.295064, 0.058892, 0.297394, 0, 0.148342, 0.056633, 0.144622, 0},
                        head[] = {0.176978, 0.222868, 0.100627};
    for (int i = 0; i < 9; i++)
        assert_near(r.kl[i], kl[i]);
    for (int i = 0; i < 3; i++)
        assert_near(r.kl_head[i], head[i]);
    assert_near(r.kl_mean, 0.166824);
    assert_near(r.cosine_rows[1], 0.738549);
    assert_near(r.cosine_rows[2], 0.942809);
    assert_near(r.cosine_rows[5], 0.870388);
    assert_near(r.diversity_rows, 0.149418);
    assert_near(r.diversity_flat, 0.149418); /* all queries alike */
    heads_free(s);
    s = NULL;
    r = of_rows(&s, 2, 3, (const double[]){0.2, 0.3, 0.5, 0.2, 0.3, 0.5});
    assert_near(r.kl_mean, 0);
    assert_near(r.diversity_rows, 0);
    heads_free(s);
    s = NULL;
    r = of_rows(&s, 1, 3, (const double[]){0.2, 0.3, 0.5}); /* one that differs from no other */
    assert_true(isnan(r.kl_head[0]) && isnan(r.kl_mean) && isnan(r.diversity_rows) && isnan(r.diversity_flat));
    heads_free(s);
}

/* What depends on the picture would be lost if maps were averaged first. */
static void pictures_are_averaged_last(void **state)
{
    (void)state;
    HeadStats *s = NULL;
    of_rows(&s, 2, 2, (const double[]){0.9, 0.1, 0.1, 0.9});
    HeadResult r = of_rows(&s, 2, 2, (const double[]){0.1, 0.9, 0.9, 0.1});
    assert_near(r.kl[1], 1.757780);
    heads_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_attention_looks_as_far_as_the_grid),
        cmocka_unit_test(uniform_attention_to_others_looks_farther),
        cmocka_unit_test(near_ones_are_looked_at_most),
        cmocka_unit_test(queries_are_weighed_alike),
        cmocka_unit_test(heads_differ_as_their_rows_do),
        cmocka_unit_test(pictures_are_averaged_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
