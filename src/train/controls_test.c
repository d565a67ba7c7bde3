/* Runs of the controls: a supervised one and one of MoCo v3 end with the same bytes however they are cut, say how accurate they
 * are, and give their weights to what comes after. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/pretrain.h"
#include "train/run_summary.h"
#include "train/tiny_recipe.h"
#include "train/weights.h"

#define HOME "controls_test.tmp"

enum { STEPS = 8 };

static Recipe supervised, contrast;

static void set(Recipe *r, const char *const *keys)
{
    for (; *keys; keys++)
        if (!recipe_set(r, *keys))
            fail_msg("%s", error_text());
    if (!recipe_check(r))
        fail_msg("%s", error_text());
}

static int begin(void **state)
{
    (void)state;
    static const char *const labels[] = {
        "decoders=[]",        "target.normalise=none", "loss={kind: cross_entropy, smoothing: 0.1}",
        "head.init_std=0.02", "ema.decay=0.5",         NULL};
    static const char *const views[] = {
        "decoders=[]",
        "target.normalise=none",
        "encoder={drop_path: 0, init: moco}",
        "data.val_every=0",
        "contrast={kind: mocov3, dim: 8, hidden: 16, group: 4}",
        "augment={color_jitter: [0.4, 0.4, 0.2, 0.1], jitter_prob: 0.8, grey: 0.2, blur: [1, 0.1], solarise: [0, 0.2]}",
        "optimizer.decay_all=true",
        NULL};
    char here[4096], *cache = getcwd(here, sizeof here) ? file_join(here, HOME "/cache") : NULL;
    if (!cache || setenv("XDG_CACHE_HOME", cache, 1))
        return 1;
    memory_free(cache);
    assert_true(file_remove(HOME) && file_make_folder(HOME) && tiny_recipe(&supervised) && tiny_recipe(&contrast));
    set(&supervised, labels);
    set(&contrast, views);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static void train(const Recipe *r, const char *out, bool resume, int64_t steps, int threads)
{
    Recipe part = *r;
    part.run.max_steps = steps;
    part.run.threads = threads;
    if (pretrain_run(&(PretrainOptions){.recipe = &part, .out = out, .resume = resume}) != PRETRAIN_DONE)
        fail_msg("%s: %s", out, error_text());
}

static char *read_in(const char *run, const char *name, size_t *size)
{
    char *path = file_join(run, name), *text = file_read(path, 0, size);
    if (!text)
        fail_msg("%s", error_text());
    memory_free(path);
    return text;
}

static void expect_same_file(const char *a, const char *b, const char *name)
{
    size_t size_a, size_b;
    char *text_a = read_in(a, name, &size_a), *text_b = read_in(b, name, &size_b);
    if (size_a != size_b || memcmp(text_a, text_b, size_a))
        fail_msg("%s of %s and of %s differ", name, a, b);
    memory_free(text_a);
    memory_free(text_b);
}

/* The numbers of a key of log.jsonl, NaN where a line has none. */
static void read_series(const char *run, const char *key, double values[STEPS])
{
    size_t size;
    char *log = read_in(run, "log.jsonl", &size), *line = log;
    for (int i = 0; i < STEPS; i++) {
        char *stop = strchr(line, '\n');
        assert_non_null(stop);
        json_t *json = json_loadb(line, (size_t)(stop - line), 0, NULL);
        const json_t *number = json_object_get(json, key);
        values[i] = json_is_number(number) ? json_number_value(number) : (double)NAN;
        json_decref(json);
        line = stop + 1;
    }
    assert_string_equal(line, "");
    memory_free(log);
}

/* Whole, and in three sessions with other threads. */
static void runs_end_alike(const Recipe *r, const char *whole, const char *cut, bool averages)
{
    train(r, whole, false, 0, 1);
    train(r, cut, false, 2, 2);
    train(r, cut, true, 5, 1);
    train(r, cut, true, 0, 2);
    expect_same_file(whole, cut, "checkpoints/latest/model.safetensors");
    expect_same_file(whole, cut, "checkpoints/latest/state.safetensors");
    expect_same_file(whole, cut, "checkpoints/latest/meta.json");
    if (averages)
        expect_same_file(whole, cut, "checkpoints/latest/average.safetensors");
    static const char *const keys[] = {"loss", "accuracy", "grad_norm", "val_loss", "val_accuracy"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        double a[STEPS], b[STEPS];
        read_series(whole, keys[k], a);
        read_series(cut, keys[k], b);
        assert_memory_equal(a, b, sizeof a);
        bool validates = !strncmp(keys[k], "val", 3);
        for (int i = 0; i < STEPS; i++)
            assert_true(isnan(a[i]) == (validates && !(averages && (i + 1) % 4 == 0)));
    }
}

static void a_supervised_run_goes_on(void **state)
{
    (void)state;
    runs_end_alike(&supervised, HOME "/labels", HOME "/labels_cut", true);
    RunSummary *s = memory_new(1, sizeof *s);
    assert_true(s && run_summary_read(HOME "/labels", s));
    assert_true(s->accuracy >= 0 && s->accuracy <= 1 && s->val_accuracy >= 0 && s->val_accuracy <= 1);
    assert_true(s->recipe.head.classes > 1); /* auto, settled by the pictures */
    memory_free(s);
    size_t size;
    char *page = read_in(HOME "/labels", "report.html", &size);
    assert_non_null(strstr(page, "Accuracy in percent"));
    memory_free(page);
    char *events = read_in(HOME "/labels", "events.out.tfevents.0000000000.lacuna", &size);
    assert_non_null(memmem(events, size, "val_accuracy", 12));
    memory_free(events);
    assert_false(file_exists(HOME "/labels/samples"));
}

static void a_contrastive_run_goes_on(void **state)
{
    (void)state;
    runs_end_alike(&contrast, HOME "/views", HOME "/views_cut", false);
}

/* The averaged weights are what a run's name means. */
static void averages_stand_for_the_run(void **state)
{
    (void)state;
    size_t length = strlen("average.safetensors");
    char *model = weights_file(HOME "/labels", NULL);
    assert_non_null(model);
    assert_string_equal(model + strlen(model) - length, "average.safetensors");
    memory_free(model);
    /* A damaged one is noticed. */
    assert_true(file_write(HOME "/labels_cut/checkpoints/latest/average.safetensors", "x", 1));
    Text passed = {0};
    char *folder = NULL;
    assert_true(checkpoint_newest(HOME "/labels_cut", &folder, &passed));
    assert_non_null(strstr(passed.data, "step-00000008"));
    text_free(&passed);
    memory_free(folder);
}

/* As a teacher, and as the weights to start with. */
static void their_weights_serve_others(void **state)
{
    (void)state;
    static const char *const teachers[] = {"target.teacher=" HOME "/labels", "target.teacher=" HOME "/views"};
    static const char *const features[] = {"target={kind: features, normalise: token, class_token: true}", "schedule.epochs=1",
                                           "schedule.warmup_epochs=0.5", NULL};
    for (int i = 0; i < 2; i++) {
        Recipe r;
        char out[64];
        assert_true(tiny_recipe(&r));
        set(&r, features);
        set(&r, (const char *const[]){teachers[i], NULL});
        snprintf(out, sizeof out, HOME "/taught_%d", i);
        train(&r, out, false, 0, 1);
        /* On with the student as a classifier: its decoders stay behind, the head begins anew. */
        Recipe on = supervised;
        snprintf(on.run.from, sizeof on.run.from, "%s", out);
        snprintf(out, sizeof out, HOME "/tuned_%d", i);
        train(&on, out, false, 1, 1);
    }
}

static void pictures_without_labels_are_refused(void **state)
{
    (void)state;
    Recipe r = supervised;
    Text list = {0};
    text_add(&list, "path\n");
    for (int i = 0; i < 40; i++)
        text_add(&list, "%d.png\n", i);
    assert_true(file_write(HOME "/list.csv", list.data, list.length));
    text_free(&list);
    snprintf(r.data.train, sizeof r.data.train, HOME "/list.csv");
    assert_int_equal(pretrain_run(&(PretrainOptions){.recipe = &r, .out = HOME "/none"}), PRETRAIN_FAILED);
    if (!strstr(error_text(), "learns labels"))
        fail_msg("%s", error_text());
    r = supervised;
    r.head.classes = 2;
    assert_int_equal(pretrain_run(&(PretrainOptions){.recipe = &r, .out = HOME "/few"}), PRETRAIN_FAILED);
    assert_non_null(strstr(error_text(), "head.classes 2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_supervised_run_goes_on),
        cmocka_unit_test(a_contrastive_run_goes_on),
        cmocka_unit_test(averages_stand_for_the_run),
        cmocka_unit_test(their_weights_serve_others),
        cmocka_unit_test(pictures_without_labels_are_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
