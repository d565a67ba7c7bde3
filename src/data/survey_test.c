/* The survey: every sample once and in order for any number of threads; a visit that stops it; memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "data/survey.h"

enum { COUNT = 40 };

typedef struct {
    size_t visited, stop_at;
    uint64_t hashes[COUNT];
    PixelSums sums;
} Visits;

static bool note(void *context, size_t i, const PictureFacts *facts)
{
    Visits *v = context;
    assert_int_equal(i, v->visited++);
    assert_null(facts->why);
    assert_null(facts->format);
    assert_int_equal(facts->height, 24);
    assert_int_equal(facts->width, 16);
    v->hashes[i] = facts->hash;
    if (facts->sums)
        pixel_sums_add(&v->sums, facts->sums);
    return v->visited != v->stop_at;
}

static Source *open_world(void)
{
    SourceOptions options = {.world_count = COUNT, .world_height = 24, .world_width = 16, .no_cache = true};
    Source *source = source_open("world", &options);
    assert_non_null(source);
    return source;
}

static void any_number_of_threads_finds_the_same(void **state)
{
    (void)state;
    Source *source = open_world();
    Visits one = {0};
    assert_true(source_survey(source, 1, true, note, &one));
    assert_int_equal(one.visited, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(one.hashes[i] != one.hashes[k]);
    float mean[3], deviation[3];
    assert_true(source_statistics(source, NULL, 0, 3, 1, mean, deviation));
    for (int c = 0; c < 3; c++) {
        assert_true(mean[c] == (float)pixel_sums_mean(&one.sums, c));
        assert_true(deviation[c] == (float)pixel_sums_deviation(&one.sums, c));
    }
    for (int threads = 2; threads <= 5; threads++) {
        Visits more = {0};
        assert_true(source_survey(source, threads, true, note, &more));
        assert_memory_equal(&more, &one, sizeof one);
    }
    Visits plain = {0};
    assert_true(source_survey(source, 2, false, note, &plain));
    assert_int_equal(plain.hashes[COUNT - 1], 0);
    assert_int_equal(plain.sums.pixels, 0);
    source_close(source);
}

static void a_visit_may_stop_it(void **state)
{
    (void)state;
    Source *source = open_world();
    for (int threads = 1; threads <= 3; threads++) {
        Visits visits = {.stop_at = 7};
        assert_false(source_survey(source, threads, true, note, &visits));
        assert_int_equal(visits.visited, 7);
    }
    source_close(source);
}

/* Want of memory is not a fault of the picture: the survey fails instead of calling it bad, which note() would notice. */
static void lack_of_memory_is_no_bad_picture(void **state)
{
    (void)state;
    Source *source = open_world();
    for (uint64_t n = 1; n <= 12; n++) {
        Visits visits = {0};
        error_clear();
        memory_fail_at(n);
        bool ok = source_survey(source, 1, true, note, &visits);
        memory_fail_at(0);
        assert_false(ok);
        assert_non_null(strstr(error_text(), "out of memory"));
    }
    source_close(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_number_of_threads_finds_the_same),
                                       cmocka_unit_test(a_visit_may_stop_it),
                                       cmocka_unit_test(lack_of_memory_is_no_bad_picture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
