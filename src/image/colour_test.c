/* Changes of colours: what Pillow makes of the same pixels, and draws that keep to their probabilities. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/colour.h"

enum { HEIGHT = 9, WIDTH = 14, NUMBERS = HEIGHT * WIDTH * 3 };

/* Every kind of colour, from a formula. */
static void fill(uint8_t *pixels)
{
    for (int i = 0; i < NUMBERS; i++)
        pixels[i] = (uint8_t)(i * 7919 % 4099 % 256);
    memset(pixels, 90, 3);      /* grey */
    memset(pixels + 3, 0, 3);   /* black */
    memset(pixels + 6, 255, 3); /* white */
}

static uint32_t sum_of(const uint8_t *pixels)
{
    uint32_t sum = 0;
    for (int i = 0; i < NUMBERS; i++)
        sum = sum * 31 + pixels[i];
    return sum;
}

static uint32_t changed(const ColourChange *change)
{
    static uint8_t pixels[NUMBERS], room[NUMBERS];
    fill(pixels);
    colour_apply(change, pixels, HEIGHT, WIDTH, 3, room);
    return sum_of(pixels);
}

/* Pillow 13's ImageEnhance, HSV, convert("L") and ImageOps.solarize on the same pixels, summed alike. */
static void bytes_are_pillows(void **state)
{
    (void)state;
    static const struct {
        ColourChange change;
        uint32_t sum;
    } cases[] = {
        {{0}, 2641102170u},
        {{.jitters = 1, .order = {0}, .factor = {1.3f, 1, 1}}, 2033132591u},
        {{.jitters = 1, .order = {0}, .factor = {0.61f, 1, 1}}, 3327557331u},
        {{.jitters = 1, .order = {1}, .factor = {1, 1.37f, 1}}, 686169239u},
        {{.jitters = 1, .order = {1}, .factor = {1, 0.7f, 1}}, 4110213713u},
        {{.jitters = 1, .order = {2}, .factor = {1, 1, 1.2f}}, 3931111094u},
        {{.jitters = 1, .order = {2}, .factor = {1, 1, 0.81f}}, 3874520111u},
        {{.jitters = 1, .order = {3}, .turn = 25}, 3136692355u},
        {{.jitters = 1, .order = {3}, .turn = -25}, 1941228465u},
        {{.grey = true}, 355154525u},
        {{.solarise = true}, 3857929470u},
        {{.jitters = 4, .order = {2, 0, 3, 1}, .factor = {0.8f, 1.25f, 1.1f}, .turn = 10, .grey = false, .solarise = true},
         3079092224u},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (changed(&cases[i].change) != cases[i].sum)
            fail_msg("case %zu: %u instead of %u", i, changed(&cases[i].change), cases[i].sum);
}

/* A Gaussian keeps what is even and the sum of the rest, spreads a point by its deviation, and looks the same from all sides.
 */
static void blur_is_a_gaussian(void **state)
{
    (void)state;
    enum { SIDE = 41, MIDDLE = SIDE / 2 };
    static uint8_t point[SIDE * SIDE], room[SIDE * SIDE];
    const ColourChange even = {.sigma = 1.7};
    memset(point, 77, sizeof point);
    colour_apply(&even, point, SIDE, SIDE, 1, room);
    for (int i = 0; i < SIDE * SIDE; i++)
        assert_int_equal(point[i], 77);
    for (double sigma = 0.1; sigma <= 2; sigma += 0.38) {
        /* A bright block, so that bytes have enough levels. */
        memset(point, 0, sizeof point);
        for (int y = 0; y < SIDE; y++)
            for (int x = MIDDLE; x < SIDE; x++)
                point[y * SIDE + x] = 255;
        colour_apply(&(ColourChange){.sigma = sigma}, point, SIDE, SIDE, 1, room);
        for (int x = 0; x < SIDE; x++) {
            /* The share of a Gaussian to the right of the edge. */
            double left = 0, all = 0;
            for (int i = -40; i <= 40; i++) {
                double weight = exp(-0.5 * i * i / (sigma * sigma));
                all += weight;
                left += x + i >= MIDDLE ? weight : 0;
            }
            assert_true(fabs(point[MIDDLE * SIDE + x] - 255 * left / all) <= 1.5);
            assert_int_equal(point[x], point[(SIDE - 1) * SIDE + x]);
        }
    }
}

static void draws_keep_to_their_probabilities(void **state)
{
    (void)state;
    enum { DRAWS = 4000 };
    const ColourOptions o = {
        .jitter = {0.4, 0.4, 0.2, 0.1}, .jitter_prob = 0.8, .grey = {0.2, 0.2}, .blur = {1, 0.1}, .solarise = {0, 0.2}};
    int jitters = 0, grey = 0, blurred[2] = {0}, solarised[2] = {0}, first[4] = {0};
    for (int i = 0; i < DRAWS; i++) {
        Random random = random_stream(7, RANDOM_TEST, 0, 0, (uint64_t)i);
        for (int view = 0; view < 2; view++) {
            ColourChange c = colour_draw(&random, &o, view);
            assert_true(c.jitters == 0 || c.jitters == 4);
            assert_true(abs(c.turn) <= 25);
            assert_true(c.sigma == 0 || (c.sigma >= 0.1 && c.sigma <= 2));
            for (int k = 0; k < 3 && c.jitters; k++)
                assert_true(fabs((double)c.factor[k] - 1) <= o.jitter[k] + 1e-6);
            jitters += c.jitters > 0;
            first[c.order[0]] += c.jitters > 0;
            grey += c.grey;
            blurred[view] += c.sigma > 0;
            solarised[view] += c.solarise;
        }
    }
    assert_true(abs(jitters - 6400) < 180 && abs(grey - 1600) < 180);
    assert_true(blurred[0] == DRAWS && abs(blurred[1] - 400) < 100);
    assert_true(solarised[0] == 0 && abs(solarised[1] - 800) < 130);
    for (int k = 0; k < 4; k++)
        assert_true(abs(first[k] - 1600) < 180);
    const ColourOptions none = {.jitter_prob = 1};
    Random a = random_stream(7, RANDOM_TEST, 0, 0, 0), b = a;
    assert_false(colour_changes(&none));
    colour_draw(&a, &none, 0);
    assert_memory_equal(&a, &b, sizeof a); /* runs without colours draw what they always drew */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_are_pillows), cmocka_unit_test(blur_is_a_gaussian),
                                       cmocka_unit_test(draws_keep_to_their_probabilities)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
