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
    "schedule.blr=0.02 run.micro_batch=32 run.threads=2 run.precision=f32 probe.every=1 probe.images=32";
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

/* Every number behind `"name": ` or `"name":` in a's text beside b's, within `tolerance` as above. */
static void compare_named(const char *what, const char *a, const char *b, const char *name, double tolerance)
{
    char key[64];
    int count = 0;
    snprintf(key, sizeof key, "\"%s\":", name);
    for (const char *x = a, *y = b;; count++) {
        x = strstr(x, key);
        y = strstr(y, key);
        if (!x || !y) {
            assert_true(!x && !y);
            break;
        }
        double p = strtod(x += strlen(key), NULL), q = strtod(y += strlen(key), NULL);
        if (!(fabs(p - q) <= tolerance * (fabs(p) > 1 ? fabs(p) : 1)))
            fail_msg("%s, %s: %.9g instead of %.9g", what, name, q, p);
    }
    assert_true(count > 0);
}

/* A look's number of that name of block 1. */
static double found(const char *look, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":{\"1\":", name);
    const char *at = strstr(look, key);
    assert_non_null(at);
    return strtod(at + strlen(key), NULL);
}

/* What a run finds on its way: of numbers that are counted a few pictures may fall on the other side of a border. Weights have
 * changed between two looks by more than a device may differ, so that it is the present ones that are looked at. */
static void looks_find_the_same(void **state)
{
    (void)state;
    enum { EPOCHS = 2 };
    static const struct {
        const char *name;
        double tolerance;
    } numbers[] = {{"effective_rank", 1e-3}, {"head_kl", 2e-4},           {"attention_distance", 1e-3}, {"cka_last", 1e-3},
                   {"knn", 4. / 32},         {"crop_agreement", 8. / 64}, {"neighbour_overlap", 0.05}};
    char *logs[2], *looks[2][EPOCHS];
    for (int d = 0; d < 2; d++) {
        char *at = logs[d] = text_of(DEVICES[d], "log.jsonl");
        for (int e = 0; e < EPOCHS; e++) {
            looks[d][e] = at = strstr(at, "\"probe\":");
            assert_non_null(at);
            char *end = strstr(at, "}}");
            assert_non_null(end);
            *end = '\0';
            at = end + 1;
        }
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (int e = 0; e < EPOCHS; e++) {
            double expect = found(looks[0][e], numbers[i].name), got = found(looks[1][e], numbers[i].name);
            if (!(fabs(got - expect) <= numbers[i].tolerance * (expect > 1 ? expect : 1)))
                fail_msg("epoch %d, %s: %.9g instead of %.9g", e + 1, numbers[i].name, got, expect);
        }
    /* The programs of features and of attention. */
    for (int i = 0; i < 2; i++) {
        double first = found(looks[1][0], numbers[i].name), second = found(looks[1][1], numbers[i].name);
        if (!(fabs(first - second) > 4 * numbers[i].tolerance * (first > 1 ? first : 1)))
            fail_msg("%s stays %.9g, then %.9g", numbers[i].name, first, second);
    }
    memory_free(logs[0]);
    memory_free(logs[1]);
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

/* Shares of 48 pictures: a few may fall on the other side of a border. */
static void probes_say_nearly_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *arguments, *name;
        double tolerance;
    } probes[] = {
        {"knn --train world --val world --features mean --blocks all", "top1", 4. / 48},
        {"linear --train world --val world --features mean --epochs 3 --train-batch-size 16 --choose val --lrs 1", "top1",
         4. / 48},
        {"attentive --train world --val world --epochs 1 --train-batch-size 16 --choose val --lrs 3e-3", "top1", 4. / 48},
        {"segmentation --train world --val world --pictures 16 --val-pictures 8 --epochs 1 --train-batch-size 8 --choose val "
         "--lrs 0.05",
         "pixel_accuracy", 0.01},
        {"depth --train world --val world --pictures 16 --val-pictures 8 --epochs 1 --train-batch-size 8 --choose val --lrs "
         "0.05",
         "rmse", 0.01}};
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        char *out[2];
        for (int d = 0; d < 2; d++) {
            Ran ran = run_program("probe %s --from " HOME "/cpu --json --device %s --out " HOME "/%s", probes[i].arguments,
                                  DEVICES[d], DEVICES[d]);
            if (ran.code != 0)
                fail_msg("probe %s on %s: exit %d\n%s%s", probes[i].arguments, DEVICES[d], ran.code, ran.err, ran.out);
            out[d] = ran.out;
            ran.out = NULL;
            ran_free(&ran);
        }
        compare_named(probes[i].arguments, out[0], out[1], probes[i].name, probes[i].tolerance);
        memory_free(out[0]);
        memory_free(out[1]);
    }
}

#ifdef LACUNA_ON_GPU
static void embedding_is_timed(void **state)
{
    (void)state;
    run_ok("bench embed --config vit_b --precision bf16 --batch-size 256 --device cuda --json");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looks_find_the_same),     cmocka_unit_test(features_are_the_same),
        cmocka_unit_test(analysis_finds_the_same), cmocka_unit_test(probes_say_nearly_the_same),
#ifdef LACUNA_ON_GPU
        cmocka_unit_test(embedding_is_timed),
#endif
    };
    return cmocka_run_group_tests(tests, train_tiny, NULL);
}
