/* What `auto` becomes, and what a resumed run keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/error.h"
#include "train/settle.h"

static Recipe recipe_of(RunPrecision precision)
{
    Recipe r;
    recipe_defaults(&r);
    r.run.precision = precision;
    r.run.device = RUN_DEVICE_CPU;
    return r;
}

static void auto_is_bf16_where_it_is_native(void **state)
{
    (void)state;
    static const char *const levels[] = {"", "ref", "avx2", "wide"};
    for (int i = 0; i < 4; i++) {
        setenv("LACUNA_CPU", levels[i], 1);
        Recipe r = recipe_of(RUN_PRECISION_AUTO), given = recipe_of(RUN_PRECISION_F32);
        settle_recipe(&r, 100);
        settle_recipe(&given, 100);
        assert_int_equal(r.run.precision, cpu_has_bf16() ? RUN_PRECISION_BF16 : RUN_PRECISION_F32);
        assert_true(i == 0 || !cpu_has_bf16());
        assert_int_equal(given.run.precision, RUN_PRECISION_F32);
    }
    unsetenv("LACUNA_CPU");
}

static void workers_feed_what_computes(void **state)
{
    (void)state;
    static const struct {
        RunDevice device;
        int devices, processors, expected;
    } cases[] = {{RUN_DEVICE_CPU, 1, 2, 2},      {RUN_DEVICE_CPU, 1, 64, 4},   {RUN_DEVICE_CUDA, 1, 1, 1},
                 {RUN_DEVICE_CUDA, 1, 12, 11},   {RUN_DEVICE_CUDA, 1, 64, 16}, {RUN_DEVICE_CUDA, 8, 96, 88},
                 {RUN_DEVICE_CUDA, 8, 224, 128}, {RUN_DEVICE_CUDA, 4, 2, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Recipe r = recipe_of(RUN_PRECISION_F32);
        r.run.device = cases[i].device;
        r.run.devices = cases[i].devices;
        assert_int_equal(settle_workers(&r, cases[i].processors), cases[i].expected);
    }
}

/* Found anew with other devices, kept with the same ones. */
static void a_resumed_run_finds_workers_anew(void **state)
{
    (void)state;
    for (int moves = 0; moves < 2; moves++) {
        Recipe stored = recipe_of(RUN_PRECISION_F32), given = stored, out;
        settle_recipe(&stored, 100);
        stored.data.workers = 1;
        given.run.device = moves ? RUN_DEVICE_CUDA : RUN_DEVICE_AUTO;
        if (!settle_resumed(&given, &stored, &out))
            fail_msg("%s", error_text());
        assert_int_equal(out.data.workers, moves ? RECIPE_AUTO : 1);
    }
}

static void a_resumed_run_keeps_its_precision(void **state)
{
    (void)state;
    setenv("LACUNA_CPU", "avx2", 1); /* another machine, so to speak, than the one it began on */
    Recipe stored = recipe_of(RUN_PRECISION_BF16), open = recipe_of(RUN_PRECISION_AUTO), other = recipe_of(RUN_PRECISION_F32),
           out;
    settle_recipe(&stored, 100);
    if (!settle_resumed(&open, &stored, &out))
        fail_msg("%s", error_text());
    assert_int_equal(out.run.precision, RUN_PRECISION_BF16);
    assert_false(settle_resumed(&other, &stored, &out));
    unsetenv("LACUNA_CPU");
}

/* A tenth of a short run, ten epochs of a long one. */
static void saving_is_often_enough(void **state)
{
    (void)state;
    static const struct {
        int epochs, per_epoch, expected;
    } cases[] = {{1600, 3, 30}, {1600, 312, 3120}, {100, 7, 70}, {101, 7, 70}, {40, 306, 1224}, {1, 5, 1}, {1, 0, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Recipe r = recipe_of(RUN_PRECISION_F32);
        r.schedule.epochs = cases[i].epochs;
        settle_recipe(&r, (int64_t)cases[i].epochs * cases[i].per_epoch);
        assert_int_equal(r.run.save_steps, cases[i].expected);
    }
}

static void auto_is_the_processor(void **state)
{
    (void)state;
    Recipe r = recipe_of(RUN_PRECISION_F32), asked = r;
    r.run.device = RUN_DEVICE_AUTO;
    asked.run.device = RUN_DEVICE_CUDA;
    settle_recipe(&r, 100);
    settle_recipe(&asked, 100);
    assert_int_equal(r.run.device, RUN_DEVICE_CPU);
    assert_int_equal(asked.run.device, RUN_DEVICE_CUDA);
}

static int probes_of(const Recipe *r)
{
    int count = 0;
    for (int e = 0; e <= r->schedule.epochs; e++)
        count += probe_is_due(r, e);
    return count;
}

/* Twenty times a long run, never in one of which a single probe would take too much, less often with more pictures. */
static void probes_cost_little(void **state)
{
    (void)state;
    Recipe r = recipe_of(RUN_PRECISION_F32), few = r, many = r, gpu = r, given = r;
    r.schedule.epochs = few.schedule.epochs = many.schedule.epochs = gpu.schedule.epochs = given.schedule.epochs = 790;
    settle_recipe(&r, 790 * 312);
    assert_int_equal(r.probe.every, 40);
    assert_int_equal(probes_of(&r), 20);
    assert_true(probe_is_due(&r, 790) && probe_is_due(&r, 30) && !probe_is_due(&r, 40));
    settle_recipe(&few, 1);
    assert_int_equal(few.probe.every, 0);
    assert_int_equal(probes_of(&few), 0);
    many.probe.images = 1000000;
    settle_recipe(&many, 790 * 312);
    assert_true(many.probe.every == 0 || probes_of(&many) < 20);
    gpu.run.device = RUN_DEVICE_CUDA;
    settle_recipe(&gpu, 790 * 312);
    assert_int_equal(gpu.probe.every, 0);
    given.probe.every = 7;
    settle_recipe(&given, 1);
    assert_int_equal(given.probe.every, 7);
    /* A run that goes on keeps what was settled. */
    Recipe open = recipe_of(RUN_PRECISION_F32), out;
    open.schedule.epochs = 790;
    assert_true(settle_resumed(&open, &r, &out));
    assert_int_equal(out.probe.every, 40);
}

/* Devices share the processors and the parts of a batch; a run that goes on with another number of them is cut anew. */
static void devices_share(void **state)
{
    (void)state;
    Recipe r = recipe_of(RUN_PRECISION_F32), open = r, out;
    r.schedule.batch_size = open.schedule.batch_size = 24;
    r.run.devices = 2;
    settle_recipe(&r, 100);
    assert_int_equal(24 / 2 % r.run.micro_batch, 0);
    assert_int_equal(r.run.threads, cpu_count() > 2 ? cpu_count() / 2 : 1);
    r.run.micro_batch = 6;
    r.schedule.accumulate = 4;
    open.run.devices = 2;
    assert_true(settle_resumed(&open, &r, &out));
    assert_true(out.run.micro_batch == 6 && out.schedule.accumulate == 4 && out.run.threads == r.run.threads);
    static const int devices[] = {1, 3, 4, 6, 24}, micro_batches[] = {6, 4, 6, 4, 1};
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        open.run.devices = devices[i];
        if (!settle_resumed(&open, &r, &out))
            fail_msg("%s", error_text());
        assert_int_equal(out.run.micro_batch, micro_batches[i]);
        assert_int_equal(out.schedule.accumulate, 24 / micro_batches[i]);
        assert_int_equal(out.run.threads, RECIPE_AUTO);
    }
    /* What is asked for is not cut. */
    open.run.micro_batch = 2;
    open.run.devices = 3;
    assert_false(settle_resumed(&open, &r, &out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(devices_share),
                                       cmocka_unit_test(probes_cost_little),
                                       cmocka_unit_test(saving_is_often_enough),
                                       cmocka_unit_test(auto_is_the_processor),
                                       cmocka_unit_test(auto_is_bf16_where_it_is_native),
                                       cmocka_unit_test(workers_feed_what_computes),
                                       cmocka_unit_test(a_resumed_run_finds_workers_anew),
                                       cmocka_unit_test(a_resumed_run_keeps_its_precision)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
