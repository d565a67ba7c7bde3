/* The team: every tile is taken once, nobody passes a barrier early, and a team that loses its processors still gets on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "device/device.h"
#include "device/parallel.h"

enum { TILES = 97, PHASES = 20, STEPS = 50 };

static int taken[PHASES][TILES];
static int early;

static void count_tiles(const Call *call, Worker *w)
{
    (void)call;
    for (int phase = 0; phase < PHASES; phase++) {
        for (int64_t t; (t = worker_next(w, TILES)) < TILES;)
            __atomic_fetch_add(&taken[phase][t], 1, __ATOMIC_RELAXED);
        worker_sync(w);
        for (int t = 0; t < TILES; t++)
            if (__atomic_load_n(&taken[phase][t], __ATOMIC_RELAXED) == 0)
                __atomic_fetch_add(&early, 1, __ATOMIC_RELAXED);
    }
}

static void every_tile_is_taken_once_a_phase(void **state)
{
    (void)state;
    /* More threads than processors, so that some sleep at the barrier. */
    static const int counts[] = {1, 2, 3, 4, 5, 6, 67 /* more than there are shares */};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        int threads = counts[k];
        Step steps[STEPS];
        for (int i = 0; i < STEPS; i++)
            steps[i] = (Step){.kernel = count_tiles};
        memset(taken, 0, sizeof taken);
        early = 0;
        double seconds[STEPS] = {0};
        parallel_run(steps, STEPS, threads, seconds);
        for (int phase = 0; phase < PHASES; phase++)
            for (int t = 0; t < TILES; t++)
                assert_int_equal(taken[phase][t], STEPS);
        assert_int_equal(early, 0);
        for (int i = 0; i < STEPS; i++)
            assert_true(seconds[i] > 0);
    }
}

static int entered;

static void count_entries(const Call *call, Worker *w)
{
    (void)call;
    (void)w;
    __atomic_fetch_add(&entered, 1, __ATOMIC_RELAXED);
}

static void serial_steps_are_entered_once(void **state)
{
    (void)state;
    entered = 0;
    parallel_run(&(Step){.kernel = count_entries, .serial = true}, 1, 4, NULL);
    assert_int_equal(entered, 1);
}

static void devices_are_opened_by_name(void **state)
{
    (void)state;
    Device device;
    assert_true(device_open("ref64", 3, &device));
    assert_true(device.f64);
    assert_int_equal(device.threads, 1);
    assert_int_equal(device_element(&device, DTYPE_REAL), 8);
    assert_int_equal(device_element(&device, DTYPE_I32), 4);
    assert_false(device_open("gpu", 0, &device));
    assert_non_null(strstr(error_text(), "gpu"));
    setenv("LACUNA_CPU", "sse9", 1);
    assert_false(device_open("cpu", 0, &device));
    setenv("LACUNA_CPU", "ref", 1);
    assert_true(device_open("cpu", 0, &device));
    assert_int_equal(device.kind, DEVICE_REF);
    unsetenv("LACUNA_CPU");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tile_is_taken_once_a_phase),
        cmocka_unit_test(serial_steps_are_entered_once),
        cmocka_unit_test(devices_are_opened_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
