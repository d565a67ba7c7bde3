/* Probing while training: numbers that can be counted by hand, and that a run is the same run with it and goes on as if it had
 * never stopped. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "analysis/spectrum.h"
#include "analysis/watch.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "transfer/neighbours.h"

#define HOME "watch_test.tmp"

static Device device;
static Recipe recipe;

static int begin(void **state)
{
    (void)state;
    /* 12 steps in 3 epochs; 220 pictures of which more than 100 are held out. */
    static const char text[] = "image: {size: 16, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}\n"
                               "data: {train: world, world_images: 260, val_share: 0.6, workers: 2}\n"
                               "encoder: {patch: 4, width: 16, depth: 2, heads: 2}\n"
                               "decoders: [{tap: last, width: 8, depth: 1, heads: 2}]\n"
                               "schedule: {batch_size: 25, epochs: 3, warmup_epochs: 0.5, lr: 1e-2}\n"
                               "probe: {every: 1, images: 50, k: 5}\n"
                               "run: {micro_batch: 25, threads: 1, save_steps: 1000, seed: 5}\n";
    char here[4096], *cache = getcwd(here, sizeof here) ? file_join(here, HOME "/cache") : NULL;
    bool ok = cache && !setenv("XDG_CACHE_HOME", cache, 1) && file_remove(HOME) && file_make_folder(HOME) &&
              device_open("cpu", 1, &device) && recipe_parse(&recipe, text, strlen(text), "test");
    memory_free(cache);
    return ok ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-9;
}

/* Four pictures at angles; the second crops of 0 and 1 are swapped. */
static void agreement_is_counted(void **state)
{
    (void)state;
    float first[8], second[8];
    static const double angles[] = {0, 30, 100, 170}, crops[] = {28, 2, 101, 168};
    for (int i = 0; i < 4; i++) {
        first[2 * i] = (float)cos(angles[i] * M_PI / 180);
        first[2 * i + 1] = (float)sin(angles[i] * M_PI / 180);
        second[2 * i] = (float)cos(crops[i] * M_PI / 180);
        second[2 * i + 1] = (float)sin(crops[i] * M_PI / 180);
    }
    double value;
    assert_true(watch_agreement(&device, first, second, 4, 2, &value) && near(value, 0.5));
    assert_true(watch_agreement(&device, first, first, 4, 2, &value) && near(value, 1));
}

/* Twelve pictures on a circle, 30 degrees apart, have ten of eleven others as neighbours: all but the one across. Where
 * pictures 0 and 1 have changed places, these and the two across from them have 9 neighbours in common, all others 10. */
static void overlap_is_counted(void **state)
{
    (void)state;
    enum { N = 12 };
    float first[2 * N], second[2 * N];
    for (int i = 0; i < N; i++) {
        double jitter = i * 0.1; /* no two are equally near */
        for (int turn = 0; turn < 2; turn++) {
            int at = turn && i < 2 ? 1 - i : i;
            (turn ? second : first)[2 * i] = (float)cos((30 * at + jitter) * M_PI / 180);
            (turn ? second : first)[2 * i + 1] = (float)sin((30 * at + jitter) * M_PI / 180);
        }
    }
    double value;
    assert_true(watch_overlap(&device, first, first, N, 2, &value) && near(value, 1));
    assert_true(watch_overlap(&device, first, second, N, 2, &value));
    assert_true(near(value, (8 * 10 + 4 * 9) / 120.0));
}

/* Leave one out: a picture is no neighbour of its own, or all would be right. */
static void knn_leaves_the_picture_out(void **state)
{
    (void)state;
    float features[] = {1, 0, 0.99f, 0.1f, 0, 1, 0.1f, 0.99f, 0.98f, 0.15f};
    static const int32_t labels[] = {0, 0, 1, 1, 1}; /* the last one lies among the others' */
    double value;
    rows_normalise(features, 5, 2);
    assert_true(watch_knn(&device, features, labels, 2, 5, 2, 1, 0.07, &value));
    /* 0, 2 and 3 are right; 4 is nearest to 1 and 1 to 4, and both are wrong. */
    assert_true(near(value, 0.6));
}

/* Rows +-e1 and +-e2: singular values sqrt 2 twice; all alike: none are left. */
static void ranks_are_of_centred_features(void **state)
{
    (void)state;
    static const float cross[] = {3, 0, 0, -2, 0, 0, 0, 1, 0, 0, -5, 0}, alike[] = {1, 2, 2, 1, 2, 2, 1, 2, 2, 2, 4, 4};
    Spectrum *s = spectrum_new(4, 3);
    assert_non_null(s);
    assert_true(near(spectrum_effective_rank(spectrum_centred(s, cross), 3), 2));
    const double *values = spectrum_centred(s, alike);
    assert_true(values[0] < 1e-6);
    spectrum_free(s);
}

/* ---- runs */

typedef struct {
    Watch *watch;
    int64_t stop_at, step;
} Session;

static void see(void *context, const PretrainProgress *p)
{
    ((Session *)context)->step = p->step;
}

static bool is_stopped(void *context)
{
    const Session *s = context;
    return s->stop_at && s->step == s->stop_at;
}

static void run(const char *out, bool resume, int64_t stop_at, bool probed)
{
    Session s = {probed ? watch_new() : NULL, stop_at, 0};
    PretrainOptions o = {.recipe = &recipe,
                         .out = out,
                         .resume = resume,
                         .progress = see,
                         .stop = is_stopped,
                         .context = &s,
                         .probe = probed ? watch_look : NULL,
                         .probe_context = s.watch};
    if (pretrain_run(&o) == PRETRAIN_FAILED)
        fail_msg("%s", error_text());
    watch_free(s.watch);
}

/* The log as an array of lines, without what depends on the clock. */
static json_t *read_log(const char *out)
{
    size_t size;
    char *path = file_join(out, "log.jsonl"), *text = file_read(path, 0, &size);
    json_t *lines = json_array();
    assert_non_null(text);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *json = json_loads(line, 0, NULL);
        assert_non_null(json);
        json_object_del(json, "seconds");
        json_object_del(json, "cpu_seconds");
        json_object_del(json, "data_wait");
        json_object_del(json, "images_per_second");
        json_array_append_new(lines, json);
    }
    memory_free(text);
    memory_free(path);
    return lines;
}

static void compare_files(const char *a, const char *b, const char *name)
{
    size_t size_a, size_b;
    char *path_a = file_join(a, name), *path_b = file_join(b, name), *text_a = file_read(path_a, 0, &size_a),
         *text_b = file_read(path_b, 0, &size_b);
    assert_true(text_a && text_b && size_a == size_b && !memcmp(text_a, text_b, size_a));
    memory_free(path_a);
    memory_free(path_b);
    memory_free(text_a);
    memory_free(text_b);
}

static double number_of(const json_t *line, const char *name, const char *block)
{
    const json_t *value = json_object_get(json_object_get(json_object_get(line, "probe"), name), block);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void a_probed_run_is_the_same_run(void **state)
{
    (void)state;
    static const char *const SHARES[] = {"knn", "crop_agreement", "neighbour_overlap"};
    run(HOME "/whole", false, 0, true);
    run(HOME "/parts", false, 4, true);
    run(HOME "/parts", true, 7, true);
    run(HOME "/parts", true, 0, true);
    run(HOME "/plain", false, 0, false);
    recipe.run.threads = 3;
    run(HOME "/threads", false, 0, true);
    recipe.run.threads = 1;
    json_t *whole = read_log(HOME "/whole"), *parts = read_log(HOME "/parts"), *plain = read_log(HOME "/plain"),
           *threads = read_log(HOME "/threads");
    size_t steps = json_array_size(whole), probed = 0;
    assert_true(json_equal(whole, parts) && json_equal(whole, threads));
    for (size_t i = 0; i < steps; i++) {
        json_t *line = json_array_get(whole, i);
        if (json_object_get(line, "probe")) {
            probed++;
            for (int k = 0; k < 3; k++) {
                double value = number_of(line, SHARES[k], "2");
                assert_true(value > 0 && value <= 1);
            }
            double rank = number_of(line, "effective_rank", "1");
            assert_true(rank >= 1 && rank <= 16);
            assert_true(number_of(line, "cka_last", "1") > 0.1 && number_of(line, "cka_last", "1") < 1);
            /* Uniform attention on 4 x 4 patches looks 2.008 patches far; patches have 4 pixels. */
            assert_true(number_of(line, "attention_distance", "1") > 4 && number_of(line, "attention_distance", "2") < 8.1);
            assert_true(number_of(line, "head_kl", "1") > 0);
        }
        json_object_del(line, "probe");
    }
    assert_int_equal(probed, 3);
    assert_true(json_equal(whole, plain));
    json_decref(whole);
    json_decref(parts);
    json_decref(plain);
    json_decref(threads);
    compare_files(HOME "/whole/checkpoints/latest", HOME "/plain/checkpoints/latest", "model.safetensors");
    compare_files(HOME "/whole/checkpoints/latest", HOME "/plain/checkpoints/latest", "state.safetensors");
    compare_files(HOME "/whole/checkpoints/latest", HOME "/parts/checkpoints/latest", "model.safetensors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agreement_is_counted),         cmocka_unit_test(overlap_is_counted),
        cmocka_unit_test(knn_leaves_the_picture_out),   cmocka_unit_test(ranks_are_of_centred_features),
        cmocka_unit_test(a_probed_run_is_the_same_run),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
