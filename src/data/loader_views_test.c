/* Two views of a picture and changed colours: the same whatever workers, ring and cache are, each view a draw of its own. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "data/loader.h"

enum { PICTURES = 11, SIDE = 12, BATCH = 4, NUMBERS = 3 * SIDE * SIDE, STEPS = 5 };

static const ColourOptions strong = {
    .jitter = {0.4, 0.4, 0.2, 0.1}, .jitter_prob = 0.8, .grey = {0.3, 0.3}, .blur = {0.6, 0.2}, .solarise = {0.1, 0.4}};

static float taken[2][STEPS][2][BATCH * NUMBERS];

static void take(const Source *source, int workers, int ring, size_t cache_mb, uint64_t from, int views,
                 const ColourOptions *colours, float out[STEPS][2][BATCH * NUMBERS])
{
    LoaderOptions options = {.source = source,
                             .train = true,
                             .batch = BATCH,
                             .first = from,
                             .seed = 9,
                             .height = SIDE,
                             .width = SIDE,
                             .channels = 3,
                             .crop_scale = {0.3, 1},
                             .flip = 0.5,
                             .colours = *colours,
                             .views = views,
                             .shallow = true,
                             .workers = workers,
                             .ring = ring,
                             .cache_mb = cache_mb};
    Loader *loader = loader_open(&options);
    if (!loader)
        fail_msg("%s", error_text());
    for (uint64_t step = from; step < STEPS; step++) {
        LoaderBatch batch;
        assert_true(loader_next(loader, &batch));
        assert_true((batch.second != NULL) == (views == 2));
        memcpy(out[step][0], batch.images, sizeof out[step][0]);
        if (views == 2)
            memcpy(out[step][1], batch.second, sizeof out[step][1]);
        loader_release(loader);
    }
    loader_close(loader);
}

static Source *open_world(void)
{
    SourceOptions options = {.world_count = PICTURES, .world_height = 20, .world_width = 28, .world_seed = 1};
    Source *source = source_open("world", &options);
    assert_non_null(source);
    return source;
}

static void views_depend_on_nothing_else(void **state)
{
    (void)state;
    Source *source = open_world();
    static const struct {
        int workers, ring;
        size_t cache_mb;
        uint64_t from;
    } ways[] = {{3, 2, 8, 0}, {2, 5, 0, 3}, {1, 1, 8, 4}};
    take(source, 1, 3, 0, 0, 2, &strong, taken[0]);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        take(source, ways[i].workers, ways[i].ring, ways[i].cache_mb, ways[i].from, 2, &strong, taken[1]);
        for (uint64_t step = ways[i].from; step < STEPS; step++)
            assert_memory_equal(taken[0][step], taken[1][step], sizeof taken[0][step]);
    }
    source_close(source);
}

static void views_differ(void **state)
{
    (void)state;
    Source *source = open_world();
    take(source, 2, 3, 0, 0, 2, &strong, taken[0]);
    for (int step = 0; step < STEPS; step++)
        for (int i = 0; i < BATCH; i++)
            assert_true(memcmp(taken[0][step][0] + i * NUMBERS, taken[0][step][1] + i * NUMBERS, NUMBERS * sizeof(float)) != 0);
    source_close(source);
}

/* Without colours one view is what it always was, and the first of two is the same crop. */
static void one_view_is_the_first_of_two(void **state)
{
    (void)state;
    const ColourOptions none = {0};
    Source *source = open_world();
    take(source, 2, 3, 0, 0, 1, &none, taken[0]);
    take(source, 2, 3, 0, 0, 2, &none, taken[1]);
    for (int step = 0; step < STEPS; step++)
        assert_memory_equal(taken[0][step][0], taken[1][step][0], sizeof taken[0][step][0]);
    /* Colours come behind the crop's draws: a picture that happens to keep its colours is the same. */
    const ColourOptions rare = {.jitter = {0.4, 0, 0, 0}, .jitter_prob = 0.2};
    take(source, 2, 3, 0, 0, 1, &rare, taken[1]);
    int same = 0;
    for (int step = 0; step < STEPS; step++)
        for (int i = 0; i < BATCH; i++)
            same += !memcmp(taken[0][step][0] + i * NUMBERS, taken[1][step][0] + i * NUMBERS, NUMBERS * sizeof(float));
    assert_true(same > STEPS * BATCH / 2 && same < STEPS * BATCH);
    source_close(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(views_depend_on_nothing_else), cmocka_unit_test(views_differ),
                                       cmocka_unit_test(one_view_is_the_first_of_two)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
