/* Masks: how many patches they hide and where (docs/spec/pretraining.md 4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "mim/mask.h"

static int hidden_count(const uint8_t *hidden, int places)
{
    int count = 0;
    for (int i = 0; i < places; i++) {
        assert_in_range(hidden[i], 0, 1);
        count += hidden[i];
    }
    return count;
}

static Random stream(uint64_t sample)
{
    return random_stream(1, RANDOM_MASK, 0, 0, sample);
}

/* Each place is hidden as often as any other. */
static void random_masks_have_no_favourites(void **state)
{
    (void)state;
    enum { PLACES = 20, HIDDEN = 15, DRAWS = 4000 };
    int often[PLACES] = {0};
    for (int n = 0; n < DRAWS; n++) {
        uint8_t hidden[PLACES];
        Random random = stream((uint64_t)n);
        mask_random(&random, PLACES, PLACES - HIDDEN, hidden);
        assert_int_equal(hidden_count(hidden, PLACES), HIDDEN);
        for (int i = 0; i < PLACES; i++)
            often[i] += hidden[i];
    }
    for (int i = 0; i < PLACES; i++)
        assert_in_range(often[i], DRAWS * 0.72, DRAWS * 0.78);
}

static void units_are_hidden_whole(void **state)
{
    (void)state;
    enum { ROWS = 6, COLUMNS = 9, SIDE = 3, COUNT = 4, DRAWS = 600 };
    int often[ROWS / SIDE * (COLUMNS / SIDE)] = {0};
    for (int n = 0; n < DRAWS; n++) {
        uint8_t hidden[ROWS * COLUMNS];
        Random random = stream((uint64_t)n);
        mask_units(&random, ROWS, COLUMNS, SIDE, COUNT, hidden);
        assert_int_equal(hidden_count(hidden, ROWS * COLUMNS), COUNT * SIDE * SIDE);
        for (int y = 0; y < ROWS; y++)
            for (int x = 0; x < COLUMNS; x++) {
                assert_int_equal(hidden[y * COLUMNS + x], hidden[y / SIDE * SIDE * COLUMNS + x / SIDE * SIDE]);
                often[y / SIDE * (COLUMNS / SIDE) + x / SIDE] += hidden[y * COLUMNS + x];
            }
    }
    for (int i = 0; i < ROWS / SIDE * (COLUMNS / SIDE); i++)
        assert_in_range(often[i], SIDE * SIDE * DRAWS * 0.6, SIDE * SIDE * DRAWS * 0.73); /* 4 of 6 */
}

/* The anchors of section 4.3, from 1,500 masks of another program. */
static void blocks_fall_short_as_often_as_they_should(void **state)
{
    (void)state;
    static const struct {
        int wanted, least, exact_least, exact_most;
        double mean;
    } anchors[] = {{75, 16, 66, 72, 74.5}, {78, 15, 68, 74, 77.6}};
    enum { SIDE = 14, DRAWS = 6000 };
    for (int a = 0; a < 2; a++) {
        int exact = 0;
        double sum = 0;
        for (int n = 0; n < DRAWS; n++) {
            uint8_t hidden[SIDE * SIDE];
            Random random = stream((uint64_t)n);
            int count = mask_blocks(&random, SIDE, SIDE, anchors[a].wanted, anchors[a].least, hidden);
            assert_int_equal(count, hidden_count(hidden, SIDE * SIDE));
            assert_true(count <= anchors[a].wanted);
            exact += count == anchors[a].wanted;
            sum += count;
        }
        assert_in_range(exact, anchors[a].exact_least * DRAWS / 100, anchors[a].exact_most * DRAWS / 100);
        assert_float_equal(sum / DRAWS, anchors[a].mean, 0.1);
    }
}

/* No block is as high or as wide as the grid, so one that small has none. A patch is hidden all the same, of large grids too
 * where no try finds a place. */
static void something_is_always_hidden(void **state)
{
    (void)state;
    uint8_t hidden[16];
    int lone = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        Random random = random_stream(5, RANDOM_MASK, 0, i, 0);
        assert_int_equal(mask_blocks(&random, 1, 2, 1, 1, hidden), 1);
        assert_int_equal(hidden_count(hidden, 2), 1);
        int count = mask_blocks(&random, 4, 4, 12, 4, hidden);
        assert_true(count >= 1 && count <= 12);
        assert_int_equal(hidden_count(hidden, 16), count);
        lone += count == 1;
    }
    assert_true(lone > 0);
}

static void a_grid_keeps_every_second_patch(void **state)
{
    (void)state;
    static const uint8_t expected[] = {0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0};
    uint8_t hidden[15];
    mask_grid(3, 5, 2, hidden);
    assert_memory_equal(hidden, expected, sizeof expected);
}

/* What a recipe says comes out, and the numbers of recipe_visible() are those of the masks. */
static void recipes_draw_their_kind(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int hidden;
    } cases[] = {
        {"image: {size: 192}\nencoder: {input: mask_token}\nmask: {kind: unit, unit: 32, ratio: 0.6}\n", 22 * 4},
        {"encoder: {input: mask_token}\nmask: {kind: unit, unit: 32, ratio: 0.6}\n", 30 * 4},
        {"mask: {kind: grid, ratio: 0.75}\n", 147},
        {"mask: {kind: random, ratio: 0.9}\n", 177},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Recipe r;
        uint8_t hidden[196], again[196];
        if (!recipe_parse(&r, cases[i].text, strlen(cases[i].text), "the test") || !recipe_check(&r))
            fail_msg("%s", error_text());
        Random random = stream(5), same = stream(5);
        mask_draw(&r, &random, hidden);
        assert_int_equal(hidden_count(hidden, recipe_patches(&r)), cases[i].hidden);
        assert_int_equal(recipe_patches(&r) - recipe_visible(&r), cases[i].hidden);
        mask_draw(&r, &same, again);
        assert_memory_equal(hidden, again, (size_t)recipe_patches(&r));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_masks_have_no_favourites),           cmocka_unit_test(units_are_hidden_whole),
        cmocka_unit_test(blocks_fall_short_as_often_as_they_should), cmocka_unit_test(something_is_always_hidden),
        cmocka_unit_test(a_grid_keeps_every_second_patch),           cmocka_unit_test(recipes_draw_their_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
