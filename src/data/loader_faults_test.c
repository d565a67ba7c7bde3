/* The ring of batches: bad pictures, options that cannot be, memory, and the threads behind it. */
#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/loader_case.h"
#include "image/draw.h"

#define HOME "loader_faults_test.tmp"

/* A folder of 40 pictures of which `bad` are no pictures. */
static Source *open_folder(const char *name, int bad)
{
    char folder[128], path[256];
    snprintf(folder, sizeof folder, HOME "/%s", name);
    assert_true(file_make_folder(folder));
    for (int i = 0; i < 40; i++) {
        Image image;
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        assert_true(image_new(&image, 9, 9, 3));
        memset(image.data, 5 * i, image_size(&image));
        assert_true(i % 7 == 3 && i / 7 < bad ? file_write(path, "broken", 6) : image_write_png(path, &image));
        image_free(&image);
    }
    Source *source = source_open(folder, NULL);
    assert_non_null(source);
    return source;
}

static void bad_pictures_are_replaced_and_named(void **state)
{
    (void)state;
    enum { STEPS = 24 };
    Source *source = open_folder("few", 4); /* 3, 10, 17, 24 */
    LoaderOptions o = usual(source);
    o.max_bad = 0.1;
    Copy *expect = load(&o, STEPS);
    for (int workers = 1; workers <= 4; workers++) {
        Told told = {0};
        o.workers = workers;
        o.ring = workers;
        o.bad = tell;
        o.bad_context = &told;
        Copy *got = load(&o, STEPS);
        assert_memory_equal(expect, got, STEPS * sizeof *got);
        assert_int_equal(told.told, 4);
        assert_true(told.with_reason);
        memory_free(got);
        o.first = 13;
        got = load(&o, STEPS - 13);
        assert_memory_equal(expect + 13, got, (STEPS - 13) * sizeof *got);
        memory_free(got);
        o.first = 0;
    }
    /* The replacement is the next readable one of the order. */
    uint32_t order[40];
    Random shuffle = random_stream(7, RANDOM_SHUFFLE, 1, 0, 0);
    for (uint32_t i = 0; i < 40; i++)
        order[i] = i;
    for (uint32_t i = 39; i > 0; i--) {
        uint32_t j = random_below(&shuffle, i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    for (size_t p = 0; p < 40; p++) {
        size_t at = p;
        while (order[at] % 7 == 3 && order[at] / 7 < 4)
            at = (at + 1) % 40;
        assert_int_equal(expect[p / BATCH].samples[p % BATCH], order[at]);
    }
    memory_free(expect);
    source_close(source);
}

static void too_many_bad_pictures_stop_at_the_same_batch(void **state)
{
    (void)state;
    Source *source = open_folder("many", 6);
    char first_error[512] = "", first_keys[512] = "";
    int first_step = -1;
    for (int workers = 1; workers <= 4; workers++) {
        LoaderOptions o = usual(source);
        Told told = {0};
        o.max_bad = 0.1; /* 4 of 40 */
        o.batch = 20;
        o.workers = workers;
        o.ring = 2 * workers;
        o.bad = tell;
        o.bad_context = &told;
        Loader *loader = open_or_fail(&o);
        LoaderBatch batch;
        int step = 0;
        while (loader_next(loader, &batch)) {
            assert_int_equal(batch.count, 20);
            loader_release(loader);
            assert_in_range(++step, 0, 2);
        }
        assert_int_equal(told.told, 5);
        assert_int_equal(loader_bad_count(loader), 5);
        assert_non_null(strstr(error_text(), "data.max_bad"));
        assert_non_null(strstr(error_text(), told.last_key));
        if (first_step < 0) {
            first_step = step;
            snprintf(first_error, sizeof first_error, "%s", error_text());
            snprintf(first_keys, sizeof first_keys, "%s", told.keys);
        }
        assert_int_equal(step, first_step);
        assert_string_equal(error_text(), first_error);
        assert_string_equal(told.keys, first_keys);
        assert_false(loader_next(loader, &batch));
        loader_close(loader);
    }
    /* Not one readable picture, and all of them may be bad. */
    uint64_t bad[] = {3, 10, 17, 24, 31, 38};
    LoaderOptions o = usual(source);
    LoaderBatch batch;
    o.samples = bad;
    o.count = 6;
    o.max_bad = 1;
    Loader *loader = open_or_fail(&o);
    assert_false(loader_next(loader, &batch));
    assert_non_null(strstr(error_text(), "cannot be read"));
    loader_close(loader);
    source_close(source);
}

static void bad_pictures_of_earlier_sessions_count(void **state)
{
    (void)state;
    Source *source = open_folder("known", 4);
    const uint64_t known[] = {3, 10, 17};
    LoaderOptions o = usual(source);
    Told told = {0};
    o.max_bad = 0.1; /* 4 of 40 */
    o.bad = tell;
    o.bad_context = &told;
    o.known_bad = known;
    o.known_bad_count = 3;
    memory_free(load(&o, 24));
    assert_int_equal(told.told, 1);
    assert_string_equal(told.keys, "24.png");
    /* With one that is allowed less the new one is too many; with two less, those known are. */
    for (int less = 1; less <= 2; less++) {
        bool ok = true;
        LoaderBatch batch;
        o.max_bad = (4 - less) / 40.0;
        told = (Told){0};
        Loader *loader = open_or_fail(&o);
        int step = 0;
        while (ok && step < 24 && (ok = loader_next(loader, &batch))) {
            loader_release(loader);
            step++;
        }
        assert_false(ok);
        assert_non_null(strstr(error_text(), "data.max_bad"));
        assert_int_equal(loader_bad_count(loader), 5 - less);
        assert_int_equal(told.told, 2 - less);
        assert_int_equal(step == 0, less == 2);
        loader_close(loader);
    }
    source_close(source);
}

/* Without a free descriptor no file can be opened: that is no fault of the pictures. */
static void an_error_of_the_machine_is_no_bad_picture(void **state)
{
    (void)state;
    Source *source = open_folder("machine", 0);
    LoaderOptions o = usual(source);
    Told told = {0};
    struct rlimit limit, none;
    float mean[3], std[3];
    o.bad = tell;
    o.bad_context = &told;
    o.max_bad = 1;
    int lowest = dup(0);
    assert_true(lowest >= 0 && close(lowest) == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = limit;
    none.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    Loader *loader = open_or_fail(&o);
    LoaderBatch batch;
    bool ok = loader_next(loader, &batch);
    char *why = memory_string(error_text());
    bool measured = source_statistics(source, NULL, 0, 3, 2, mean, std);
    char *why_not = memory_string(error_text());
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_false(ok);
    assert_false(measured);
    assert_non_null(strstr(why, "Too many open files"));
    assert_non_null(strstr(why_not, "Too many open files"));
    assert_int_equal(told.told, 0);
    memory_free(why);
    memory_free(why_not);
    loader_close(loader);
    source_close(source);
}

static void assert_refused(const LoaderOptions *options, const char *part)
{
    error_clear();
    assert_null(loader_open(options));
    if (!strstr(error_text(), part))
        fail_msg("\"%s\" is not in \"%s\"", part, error_text());
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    Source *source = open_world(4);
    uint64_t wrong = 4;
    LoaderOptions o = usual(source);
    assert_refused(&o, "schedule.batch_size");
    o.batch = 2;
    o.channels = 65;
    assert_refused(&o, "image.channels");
    o = usual(source);
    o.train = false;
    o.batch = SIZE_MAX / 100;
    assert_refused(&o, "more than memory can address");
    o = usual(source);
    o.batch = 1;
    o.std[1] = 0;
    assert_refused(&o, "image.std");
    o = usual(source);
    o.batch = 1;
    o.samples = &wrong;
    o.count = 1;
    assert_refused(&o, "sample 4");
    o.count = 0;
    assert_refused(&o, "the list is empty");
    o = usual(source);
    o.batch = 2;
    o.ring = 2;
    Loader *loader = open_or_fail(&o);
    LoaderBatch batch;
    assert_true(loader_next(loader, &batch));
    assert_true(loader_next(loader, &batch));
    assert_false(loader_next(loader, &batch));
    assert_non_null(strstr(error_text(), "release one first"));
    loader_release(loader);
    assert_true(loader_next(loader, &batch));
    assert_int_equal(batch.step, 2);
    loader_close(loader);
    source_close(source);
}

static void closing_in_the_middle_does_not_hang(void **state)
{
    (void)state;
    Source *source = open_world(PICTURES);
    for (int round = 0; round < 40; round++) {
        LoaderOptions o = usual(source);
        o.workers = 1 + round % 4;
        o.ring = 1 + round % 3;
        Loader *loader = open_or_fail(&o);
        for (int s = 0; s < round % 5; s++) {
            LoaderBatch batch;
            assert_true(loader_next(loader, &batch));
            if (s < round % 5 - 1 || round % 2)
                loader_release(loader);
        }
        loader_close(loader);
    }
    loader_close(NULL);
    source_close(source);
}

static void want_of_memory_is_an_error_and_no_bad_picture(void **state)
{
    (void)state;
    Source *source = open_world(PICTURES);
    LoaderOptions o = usual(source);
    bool done = false;
    for (uint64_t n = 1; !done && n < 200; n++) {
        memory_fail_at(n);
        Loader *loader = loader_open(&o);
        LoaderBatch batch;
        for (int s = 0; loader && !done; s++) {
            if (!loader_next(loader, &batch))
                break;
            loader_release(loader);
            done = s == 10; /* the n-th allocation is further on */
        }
        if (!done)
            assert_non_null(strstr(error_text(), "out of memory"));
        if (loader)
            assert_int_equal(loader_bad_count(loader), 0);
        loader_close(loader);
        memory_fail_at(0);
    }
    assert_true(done);
    source_close(source);
}

static void a_kept_set_is_loaded_without_allocations(void **state)
{
    (void)state;
    Source *source = open_world(PICTURES);
    LoaderOptions o = usual(source);
    o.cache_mb = 1;
    o.workers = 2;
    Loader *loader = open_or_fail(&o);
    LoaderBatch batch;
    bool quiet = false;
    /* A worker takes memory of its own with its first picture, which on a busy machine may come late. */
    for (int round = 0; round < 20 && !quiet; round++) {
        uint64_t before = memory_count();
        for (int k = 0; k < 200; k++) {
            assert_true(loader_next(loader, &batch));
            loader_release(loader);
        }
        quiet = round > 0 && memory_count() == before;
    }
    assert_true(quiet);
    loader_close(loader);
    source_close(source);
}

/* Threads of this process that are batch work of lower priority. */
static int threads_behind(void)
{
    int found = 0, own = getpriority(PRIO_PROCESS, 0);
    DIR *folder = opendir("/proc/self/task");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        int id = atoi(entry->d_name);
        found +=
            id > 0 && sched_getscheduler(id) == SCHED_BATCH && getpriority(PRIO_PROCESS, (id_t)id) >= (own < 19 ? own + 1 : 19);
    }
    closedir(folder);
    return found;
}

static void workers_stand_behind_those_who_compute(void **state)
{
    (void)state;
    Source *source = open_world(PICTURES);
    LoaderOptions o = usual(source);
    o.workers = 3;
    int before = sched_getscheduler(0);
    Loader *loader = open_or_fail(&o);
    /* They step back as the first thing they do; that they have begun shows after a while. */
    for (int tries = 0; tries < 1000 && threads_behind() < 3; tries++)
        usleep(10000);
    assert_int_equal(threads_behind(), 3);
    assert_int_equal(sched_getscheduler(0), before);
    loader_close(loader);
    source_close(source);
}

static int set_up(void **state)
{
    (void)state;
    return begin_in(HOME);
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_pictures_are_replaced_and_named),
        cmocka_unit_test(too_many_bad_pictures_stop_at_the_same_batch),
        cmocka_unit_test(bad_pictures_of_earlier_sessions_count),
        cmocka_unit_test(an_error_of_the_machine_is_no_bad_picture),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(closing_in_the_middle_does_not_hang),
        cmocka_unit_test(want_of_memory_is_an_error_and_no_bad_picture),
        cmocka_unit_test(a_kept_set_is_loaded_without_allocations),
        cmocka_unit_test(workers_stand_behind_those_who_compute),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
