/* Features, probes and analysis on the device `cuda`, beside the processor's, through the program. In the tests of every
 * machine kernels run in lock-step; `./dev test-gpu` builds this file for a GPU, with LACUNA_ON_GPU. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "run_program.h"

#define HOME "features-cuda"

static const char TINY[] =
    "image.size=32 data.world_images=48 encoder.patch=8 encoder.width=16 encoder.depth=2 encoder.heads=2 decoders.0.width=16 "
    "decoders.0.depth=1 decoders.0.heads=2 schedule.epochs=2 schedule.warmup_epochs=0 schedule.batch_size=32 "
    "run.micro_batch=32 run.threads=2 run.precision=f32 probe.every=1 probe.images=32";
static const char *const DEVICES[] = {"cpu", "cuda"};

static void run_ok(const char *format, ...)
{
    char arguments[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof arguments, format, list);
    va_end(list);
    Ran ran = run_program("%s", arguments);
    if (ran.code != 0)
        fail_msg("%s: exit %d\n%s%s", arguments, ran.code, ran.err, ran.out);
    ran_free(&ran);
}

/* Owned by the caller. */
static char *text_of(const char *folder, const char *name)
{
    char path[256];
    size_t size;
    snprintf(path, sizeof path, HOME "/%s/%s", folder, name);
    char *text = file_read(path, 1 << 24, &size);
    if (!text)
        fail_msg("%s", error_text());
    return text;
}

/* The same words, and numbers that are as near as that, measured by the larger of 1 and what they are. */
static void compare_texts(const char *what, const char *a, const char *b, double tolerance)
{
    int numbers = 0;
    for (const char *x = a, *y = b; *x || *y;) {
        char *x_end, *y_end;
        double p = strtod(x, &x_end), q = strtod(y, &y_end);
        if (x_end == x || y_end == y) {
            if (*x != *y)
                fail_msg("%s: '%.40s' instead of '%.40s'", what, y, x);
            x++;
            y++;
            continue;
        }
        double larger = fabs(p) > 1 ? fabs(p) : 1;
        if (!(fabs(p - q) <= tolerance * larger) && !(isnan(p) && isnan(q)))
            fail_msg("%s: %.9g instead of %.9g", what, q, p);
        x = x_end;
        y = y_end;
        numbers++;
    }
    assert_true(numbers > 5);
}

/* The file of that name that each device has left. */
static void compare_files(const char *name, double tolerance)
{
    char *a = text_of(DEVICES[0], name), *b = text_of(DEVICES[1], name);
    compare_texts(name, a, b, tolerance);
    memory_free(a);
    memory_free(b);
}

static int train_tiny(void **state)
{
    (void)state;
    assert_true(file_remove(HOME) && file_make_folder(HOME));
    for (int d = 0; d < 2; d++)
        run_ok("pretrain mae-cifar10 --data world --out " HOME "/%s %s run.device=%s", DEVICES[d], TINY, DEVICES[d]);
    return 0;
}

/* What a run finds on its way, after weights have changed too: a copy of the first ones would find the same again. */
static void looks_find_the_same(void **state)
{
    (void)state;
    char *found[2][2]; /* device, epoch */
    for (int d = 0; d < 2; d++) {
        char *log = text_of(DEVICES[d], "log.jsonl"), *at = log;
        for (int e = 0; e < 2; e++) {
            at = strstr(at, "\"probe\":");
            assert_non_null(at);
            char *end = strstr(at, "}}");
            assert_non_null(end);
            found[d][e] = memory_new((size_t)(end - at) + 1, 1);
            assert_non_null(found[d][e]);
            memcpy(found[d][e], at, (size_t)(end - at));
            at = end;
        }
        memory_free(log);
    }
    assert_string_not_equal(found[1][0], found[1][1]);
    for (int e = 0; e < 2; e++)
        compare_texts("probe", found[0][e], found[1][e], 2e-3);
    for (int i = 0; i < 4; i++)
        memory_free(found[i / 2][i % 2]);
}

static void features_are_the_same(void **state)
{
    (void)state;
    static const char *const pools[] = {"class_token", "mean", "concat", "none"};
    for (int p = 0; p < 4; p++) {
        char name[64];
        snprintf(name, sizeof name, "%s.csv", pools[p]);
        for (int d = 0; d < 2; d++)
            run_ok("embed --from " HOME "/cpu --data world --block %s --pool %s --device %s --out " HOME "/%s/%s",
                   p == 1 ? "all" : "last", pools[p], DEVICES[d], DEVICES[d], name);
        compare_files(name, 1e-4);
    }
}

static void analysis_finds_the_same(void **state)
{
    (void)state;
    static const char *const files[] = {"heads.csv", "layers.csv", "cka.csv"};
    for (int d = 0; d < 2; d++)
        run_ok("analyse " HOME "/cpu --data world --images 24 --device %s --out " HOME "/%s", DEVICES[d], DEVICES[d]);
    for (int i = 0; i < 3; i++)
        compare_files(files[i], 1e-3);
}

/* A picture on the other side of a border is no fault: each of 48 is 2 %. */
static void probes_say_nearly_the_same(void **state)
{
    (void)state;
    static const char *const probes[] = {
        "knn --train world --val world --features mean --blocks all",
        "linear --train world --val world --features mean --epochs 3 --train-batch-size 16 --choose val --lrs 1",
        "attentive --train world --val world --epochs 1 --train-batch-size 16 --choose val --lrs 3e-3",
        "segmentation --train world --val world --pictures 16 --val-pictures 8 --epochs 1 --train-batch-size 8 --choose val "
        "--lrs 0.05",
        "depth --train world --val world --pictures 16 --val-pictures 8 --epochs 1 --train-batch-size 8 --choose val --lrs "
        "0.05"};
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        char *out[2];
        for (int d = 0; d < 2; d++) {
            Ran ran = run_program("probe %s --from " HOME "/cpu --json --device %s --out " HOME "/%s", probes[i], DEVICES[d],
                                  DEVICES[d]);
            if (ran.code != 0)
                fail_msg("probe %s on %s: exit %d\n%s%s", probes[i], DEVICES[d], ran.code, ran.err, ran.out);
            out[d] = ran.out;
            ran.out = NULL;
            ran_free(&ran);
        }
        compare_texts(probes[i], out[0], out[1], 0.03);
        memory_free(out[0]);
        memory_free(out[1]);
    }
}

static void embedding_is_timed(void **state)
{
    (void)state;
#ifdef LACUNA_ON_GPU
    run_ok("bench embed --config vit_b --precision bf16 --batch-size 256 --device cuda --json");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(looks_find_the_same), cmocka_unit_test(features_are_the_same),
                                       cmocka_unit_test(analysis_finds_the_same), cmocka_unit_test(probes_say_nearly_the_same),
                                       cmocka_unit_test(embedding_is_timed)};
    return cmocka_run_group_tests(tests, train_tiny, NULL);
}
