/* `lacuna pretrain` on GPUs that are none. With `--devices 2` rank r has GPU r, gradients go from GPU to GPU or through the
 * host, and the run is that of one GPU up to rounding, also over stages of distillation; a run keeps the algorithms that it
 * timed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "run_program.h"

#define HOME "devices_cuda_test.tmp"

static const char tiny[] = "image: {size: 16, mean: auto, std: auto}\n"
                           "data: {train: world, world_images: 44, val_share: 0.2, workers: 1}\n"
                           "encoder: {patch: 4, width: 16, depth: 1, heads: 2, drop_path: 0.3}\n"
                           "decoders:\n"
                           "  - {tap: last, width: 8, depth: 1, heads: 2}\n"
                           "optimizer: {eps: 1e-4}\n"
                           "schedule: {batch_size: 4, epochs: 1, warmup_epochs: 0, lr: 1e-3}\n"
                           "run: {device: cuda, threads: 1, max_steps: 3, seed: 5, precision: f32}\n";

static void make_home(void)
{
    assert_true(file_remove(HOME) && file_make_folder(HOME) && file_write(HOME "/tiny.yaml", tiny, strlen(tiny)));
    unsetenv("LACUNA_FAKE_NCCL");
}

/* The numbers of the last step's line. */
static void last_step(const char *run, int step, double *loss, double *norm)
{
    char path[128];
    size_t size;
    snprintf(path, sizeof path, HOME "/%s/log.jsonl", run);
    char *log = file_read(path, 0, &size), *line = log;
    assert_non_null(log);
    for (char *next = log; (next = strchr(next, '\n')) && next[1];)
        line = ++next;
    json_t *json = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
    *loss = json_number_value(json_object_get(json, "loss"));
    *norm = json_number_value(json_object_get(json, "grad_norm"));
    assert_int_equal(json_integer_value(json_object_get(json, "step")), step);
    json_decref(json);
    memory_free(log);
}

/* Whether what failed, if it did, failed otherwise than for want of MPI. */
static bool has_mpi(const Ran *ran)
{
    return !ran->code || (!strstr(ran->err, "built without MPI") && mpirun_starts());
}

/* What a run says of its devices: the second one reads pictures where the first keeps them. */
static void check_environment(const char *name, bool nccl)
{
    char path[128];
    size_t size;
    snprintf(path, sizeof path, HOME "/%s/environment.json", name);
    char *text = file_read(path, 0, &size);
    json_t *json = text ? json_loads(text, 0, NULL) : NULL;
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "devices")), 2);
    assert_string_equal(json_string_value(json_object_get(json, "gradients")), nccl ? "NCCL 2.1.2" : "the host");
    assert_string_equal(json_string_value(json_object_get(json, "pictures")), "shared memory");
    json_decref(json);
    memory_free(text);
}

/* A run of the tiny recipe in HOME/name, with settings. False: MPI is not there. */
static bool train(const char *name, int devices, const char *settings, bool nccl)
{
    if (nccl)
        setenv("LACUNA_FAKE_NCCL", "1", 1);
    else
        unsetenv("LACUNA_FAKE_NCCL");
    Ran ran =
        run_program("pretrain " HOME "/tiny.yaml --out " HOME "/%s --devices %d run.micro_batch=1 %s", name, devices, settings);
    bool has = has_mpi(&ran);
    if (ran.code && has)
        fail_msg("%s", ran.err);
    if (has)
        assert_int_equal(strstr(ran.out, "summed by the host") != NULL, devices > 1 && !nccl);
    if (has && devices > 1)
        check_environment(name, nccl);
    ran_free(&ran);
    return has;
}

static void two_come_to_what_one_does(void **state)
{
    (void)state;
    static const char *const settings[] = {"", "schedule.epochs=2 run.max_steps=11 target.kind=features target.teacher=random "
                                               "\"stages=[{epochs: 1}, {epochs: 1}]\""};
    static const int steps[] = {3, 11};
    make_home();
    setenv("ASAN_OPTIONS", "detect_leaks=0", 0); /* Open MPI leaves memory behind in plug-ins that are gone by then */
    setenv("LACUNA_FAKE_GPUS", "2", 1);
    for (int i = 0; i < 2; i++) {
        static const char *const ways[] = {"one", "host", "nccl"};
        double loss[3], norm[3];
        for (int way = 0; way < 3; way++) {
            char run[16];
            snprintf(run, sizeof run, "%s-%d", ways[way], i);
            if (!train(run, way ? 2 : 1, settings[i], way == 2))
                skip();
            last_step(run, steps[i], &loss[way], &norm[way]);
            assert_true(fabs(loss[0] - loss[way]) < 1e-5 * loss[0]);
            assert_true(fabs(norm[0] - norm[way]) < 1e-4 * norm[0]);
        }
    }
    unsetenv("LACUNA_FAKE_NCCL");
    setenv("LACUNA_FAKE_GPUS", "1", 1);
    Ran ran = run_program("pretrain " HOME "/tiny.yaml --out " HOME "/none --devices 2");
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "device 1 of 2: there is no GPU 1"));
    ran_free(&ran);
}

/* What the first GPU has timed is told to the others, of which one of another kind has no use for it. */
static void algorithms_are_for_all(void **state)
{
    (void)state;
    make_home();
    setenv("LACUNA_FAKE_GPUS", "2", 1);
    for (int mixed = 0; mixed < 2; mixed++) {
        if (mixed)
            setenv("LACUNA_FAKE_MIXED", "1", 1);
        Ran ran = run_program("pretrain " HOME "/tiny.yaml --out " HOME
                              "/kinds-%d --devices 2 run.micro_batch=1 run.max_steps=1 run.autotune=true",
                              mixed);
        unsetenv("LACUNA_FAKE_MIXED");
        if (!has_mpi(&ran))
            skip();
        assert_int_equal(ran.code, 0);
        assert_int_equal(strstr(ran.out, "not all GPUs are of one kind") != NULL, mixed);
        assert_true(file_exists(mixed ? HOME "/kinds-1/algorithms.json" : HOME "/kinds-0/algorithms.json"));
        ran_free(&ran);
    }
}

/* A GPU that fails in the midst of a run, the first one's or another's: the run ends, and says why. */
static void a_gpu_that_fails_ends_the_run(void **state)
{
    (void)state;
    static const char *const fails[] = {"0:%d", "1:%d"};
    double expect[2];
    make_home();
    setenv("LACUNA_FAKE_GPUS", "2", 1);
    if (!train("clean", 2, "", false))
        skip();
    last_step("clean", 3, &expect[0], &expect[1]);
    for (int i = 0; i < 4; i++) {
        int failed = 0, calls = 0;
        if (i % 2)
            setenv("LACUNA_FAKE_NCCL", "1", 1);
        else
            unsetenv("LACUNA_FAKE_NCCL");
        /* From its opening to behind its last step. */
        for (calls = 200; calls < 20000; calls *= 2) {
            char value[32];
            snprintf(value, sizeof value, fails[i / 2], calls);
            setenv("LACUNA_FAKE_FAILS", value, 1);
            file_remove(HOME "/lost");
            double loss, norm, start = clock_seconds();
            Ran ran = run_program("pretrain " HOME "/tiny.yaml --out " HOME "/lost --devices 2 run.micro_batch=1");
            unsetenv("LACUNA_FAKE_FAILS");
            if (!has_mpi(&ran))
                skip();
            bool ok = ran.code == 0;
            if (ok) { /* the GPU had nothing left to do */
                last_step("lost", 3, &loss, &norm);
                assert_true(fabs(loss - expect[0]) < 1e-5 * loss && fabs(norm - expect[1]) < 1e-4 * norm);
            }
            if (!ok && i / 2 && !strstr(ran.err, "device 1 of 2"))
                fail_msg("call %d: no word of the device: %s", calls, ran.err);
            if (clock_seconds() - start > 30)
                fail_msg("call %d: the run ended after %.0f s", calls, clock_seconds() - start);
            if (!ok && (ran.code != 1 || strncmp(ran.err, "lacuna: ", 8) != 0 || strstr(ran.err, "mpirun could not")))
                fail_msg("call %d: exit %d: %s", calls, ran.code, ran.err);
            ran_free(&ran);
            if (ok)
                break;
            failed++;
        }
        assert_true(failed >= 2 && calls < 20000);
    }
    unsetenv("LACUNA_FAKE_NCCL");
}

/* RUN/algorithms.json: there when asked for, and needed whole. */
static void a_run_keeps_its_algorithms(void **state)
{
    (void)state;
    const char kept[] = HOME "/tuned/algorithms.json";
    size_t size;
    make_home();
    setenv("LACUNA_FAKE_GPUS", "1", 1);
    Ran ran = run_program("pretrain " HOME "/tiny.yaml --out " HOME "/plain run.max_steps=1");
    assert_int_equal(ran.code, 0);
    ran_free(&ran);
    assert_false(file_exists(HOME "/plain/algorithms.json"));
    ran = run_program("pretrain " HOME "/tiny.yaml --out " HOME "/tuned run.max_steps=1 run.autotune=true");
    assert_int_equal(ran.code, 0);
    ran_free(&ran);
    char *before = file_read(kept, 0, &size);
    assert_non_null(before);
    assert_non_null(strstr(before, "\"algorithm\""));
    ran = run_program("pretrain --resume --out " HOME "/tuned run.max_steps=2");
    assert_int_equal(ran.code, 0);
    ran_free(&ran);
    char *after = file_read(kept, 0, &size);
    assert_string_equal(before, after);
    memory_free(before);
    memory_free(after);
    assert_true(file_write(kept, "{}", 2));
    ran = run_program("pretrain --resume --out " HOME "/tuned run.max_steps=3");
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "tuned/algorithms.json (without it algorithms are timed anew)"));
    ran_free(&ran);
    static const char other[] = "{\"gpu\": \"another\", \"library\": 1, \"products\": []}";
    assert_true(file_write(kept, other, strlen(other)));
    ran = run_program("pretrain --resume --out " HOME "/tuned run.max_steps=3");
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "of another GPU or other libraries"));
    ran_free(&ran);
    after = file_read(kept, 0, &size);
    assert_non_null(strstr(after, "\"algorithm\""));
    memory_free(after);
    assert_true(file_remove(HOME));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_come_to_what_one_does), cmocka_unit_test(algorithms_are_for_all),
                                       cmocka_unit_test(a_gpu_that_fails_ends_the_run),
                                       cmocka_unit_test(a_run_keeps_its_algorithms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
