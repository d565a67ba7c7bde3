/* guard.*: planted faults stop the run with a name for everything, or are skipped, or send it back; and a run that is stopped
 * on the way comes to the same. The linker puts __wrap_loader_next() in the place of loader_next() (CMakeLists.txt). */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/loader.h"
#include "train/checkpoint.h"
#include "train/pretrain.h"
#include "train/tiny_recipe.h"

#define HOME "guard_test.tmp"

enum { KILLED = 100 };

static Recipe recipe;

/* ---- the planted faults */

typedef struct {
    uint64_t step; /* of the batch, from 0 in each stage */
    uint32_t stage;
    int picture;        /* -1: all of them */
    float value;        /* added to its numbers with changing sign */
    uint32_t last_draw; /* the fault is there up to so many returns */
} Fault;

enum { FAULTS_MOST = 4 };
static Fault faults[FAULTS_MOST];
static int fault_count;
static uint32_t draw; /* of the loader that is open */

Loader *__real_loader_open(const LoaderOptions *options);
Loader *__wrap_loader_open(const LoaderOptions *options);
bool __real_loader_next(Loader *loader, LoaderBatch *out);
bool __wrap_loader_next(Loader *loader, LoaderBatch *out);

static LoaderOptions open_options;

Loader *__wrap_loader_open(const LoaderOptions *options)
{
    if (options->train) {
        draw = options->stage / RECIPE_STAGES_MAX;
        open_options = *options;
    }
    return __real_loader_open(options);
}

bool __wrap_loader_next(Loader *loader, LoaderBatch *out)
{
    bool ok = __real_loader_next(loader, out);
    size_t size = (size_t)open_options.channels * (size_t)open_options.height * (size_t)open_options.width;
    for (int i = 0; ok && i < fault_count; i++) {
        float *images = (float *)(uintptr_t)out->images;
        if (out->count != open_options.batch || out->step != faults[i].step ||
            open_options.stage % RECIPE_STAGES_MAX != faults[i].stage || draw > faults[i].last_draw)
            continue;
        size_t first = faults[i].picture < 0 ? 0 : (size_t)faults[i].picture;
        size_t count = faults[i].picture < 0 ? out->count : 1;
        for (size_t k = first * size; k < (first + count) * size; k++)
            images[k] += k % 2 ? faults[i].value : -faults[i].value;
    }
    return ok;
}

static void plant(uint64_t step, int picture, float value, uint32_t last_draw)
{
    faults[fault_count++] = (Fault){step, 0, picture, value, last_draw};
}

/* ---- runs */

static int begin(void **state)
{
    (void)state;
    char here[4096], *cache = getcwd(here, sizeof here) ? file_join(here, HOME "/cache") : NULL;
    if (!cache || setenv("XDG_CACHE_HOME", cache, 1))
        return 1;
    memory_free(cache);
    fault_count = 0;
    /* Targets as they are, so that pictures of large numbers have large losses; no held-out pictures. */
    return file_remove(HOME) && file_make_folder(HOME) && tiny_recipe(&recipe) && recipe_set(&recipe, "data.val_share=0") &&
                   recipe_set(&recipe, "target.normalise=none") && recipe_set(&recipe, "data.world_images=40") &&
                   recipe_set(&recipe, "schedule.epochs=10") && recipe_set(&recipe, "schedule.lr=1e-4") &&
                   recipe_set(&recipe, "run.threads=1") && recipe_set(&recipe, "run.save_steps=100")
               ? 0
               : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

typedef struct {
    int64_t kill_at;
    FILE *said;
} Watch;

static void see(void *context, const PretrainProgress *p)
{
    Watch *w = context;
    if (p->step == w->kill_at)
        raise(SIGKILL);
}

static void hear(void *context, const char *sentence)
{
    fprintf(((Watch *)context)->said, "%s\n", sentence);
    fflush(((Watch *)context)->said);
}

static int run(const char *out, bool resume, int64_t kill_at)
{
    pid_t child = fork();
    if (child == 0) {
        Watch watch = {.kill_at = kill_at, .said = fopen(HOME "/said", "w")};
        PretrainOptions options = {
            .recipe = &recipe, .out = out, .resume = resume, .progress = see, .say = hear, .context = &watch};
        PretrainOutcome outcome = pretrain_run(&options);
        if (outcome == PRETRAIN_FAILED)
            hear(&watch, error_text());
        _exit((int)outcome);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? KILLED : WEXITSTATUS(status);
}

static char *text_of(const char *path)
{
    size_t size;
    char *text = file_read(path, 0, &size);
    if (!text)
        fail_msg("%s", error_text());
    return text;
}

static void expect_said(bool says, const char *words)
{
    char *text = text_of(HOME "/said");
    if ((strstr(text, words) != NULL) != says)
        fail_msg("'%s': '%s' is %sexpected", text, words, says ? "" : "not ");
    memory_free(text);
}

static void expect_run(int outcome, const char *out, bool resume, int64_t kill_at)
{
    int got = run(out, resume, kill_at);
    if (got != outcome)
        fail_msg("%s: outcome %d instead of %d: %s", out, got, outcome, text_of(HOME "/said"));
}

static void expect_same(const char *a, const char *b, const char *name)
{
    char path[2][256];
    size_t size[2];
    char *bytes[2];
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/%s", i ? b : a, name);
        bytes[i] = file_read(path[i], 0, &size[i]);
        if (!bytes[i])
            fail_msg("%s", error_text());
    }
    if (size[0] != size[1] || memcmp(bytes[0], bytes[1], size[0]))
        fail_msg("%s and %s differ", path[0], path[1]);
    memory_free(bytes[0]);
    memory_free(bytes[1]);
}

/* Lines without their timings, and the newest checkpoint. */
static void expect_same_run(const char *a, const char *b)
{
    char path[256], *text[2];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/log.jsonl", i ? b : a);
        text[i] = text_of(path);
        for (char *at = text[i]; (at = strstr(at, ",\"images_per_second\"")) != NULL;)
            while (*at != '\n')
                *at++ = ' ';
    }
    for (char *x = text[0], *y = text[1]; *x || *y; x += strcspn(x, "\n") + 1, y += strcspn(y, "\n") + 1) {
        size_t n = strcspn(x, "\n"), m = strcspn(y, "\n");
        while (n && x[n - 1] == ' ')
            n--;
        while (m && y[m - 1] == ' ')
            m--;
        if (n != m || memcmp(x, y, n))
            fail_msg("%s: %.*s\n%s: %.*s", a, (int)n, x, b, (int)m, y);
    }
    memory_free(text[0]);
    memory_free(text[1]);
    expect_same(a, b, "checkpoints/latest/model.safetensors");
    expect_same(a, b, "checkpoints/latest/state.safetensors");
    expect_same(a, b, "checkpoints/latest/meta.json");
}

/* ---- tests */

static void a_broken_picture_is_named(void **state)
{
    (void)state;
    plant(7, 5, NAN, 9);
    recipe.run.save_steps = 100;
    expect_run(PRETRAIN_FAILED, HOME "/run", false, 0);
    expect_said(true, "step 8: the loss (nan)");
    expect_said(true, "the picture itself holds nan, with world#");
    expect_said(false, " more;");
    expect_said(true, "/run/failure holds the state before it and does it again");
    expect_said(true, "no checkpoint has been saved yet");
    assert_true(file_exists(HOME "/run/failure/checkpoints/step-00000007/meta.json"));
    char *text = text_of(HOME "/run/failure/failure.txt");
    assert_non_null(strstr(text, "step 8: "));
    memory_free(text);
    /* As the sentence says. */
    expect_run(PRETRAIN_FAILED, HOME "/run/failure", true, 0);
    expect_said(true, "step 8: the loss (nan)");
    expect_said(true, "the checkpoint of step 7 is as it was and does it again");
    assert_false(file_exists(HOME "/run/failure/failure"));
    /* Without the fault the same state goes on, as the run would have. */
    fault_count = 0;
    expect_run(PRETRAIN_DONE, HOME "/run/failure", true, 0);
    expect_run(PRETRAIN_DONE, HOME "/whole", false, 0);
    expect_same(HOME "/whole", HOME "/run/failure", "checkpoints/latest/model.safetensors");
}

static void the_node_and_the_picture_are_named(void **state)
{
    (void)state;
    /* Finite, but its square is not: the loss is where it begins. */
    plant(4, 2, 3e25f, 9);
    expect_run(PRETRAIN_FAILED, HOME "/run", false, 0);
    expect_said(true, "step 5: ");
    expect_said(true, "first in ");
    expect_said(true, ", where ");
    expect_said(true, ", with world#");
    expect_said(false, " more;");
    /* Weights out of all bounds: every picture of the batch, in the encoder's first product that overflows. */
    fault_count = 0;
    recipe.schedule.lr = 1e30;
    recipe.schedule.warmup_epochs = 0.2;
    expect_run(PRETRAIN_FAILED, HOME "/lr", false, 0);
    expect_said(true, "step 3: ");
    expect_said(true, "first in blocks.0");
    expect_said(true, " and 5 more; ");
}

static void skipped_steps_change_nothing(void **state)
{
    (void)state;
    plant(4, 0, NAN, 9);
    plant(5, 3, INFINITY, 9);
    plant(20, 1, NAN, 9);
    recipe.guard.nonfinite = GUARD_SKIP;
    recipe.guard.limit = 3;
    expect_run(PRETRAIN_DONE, HOME "/whole", false, 0);
    char *log = text_of(HOME "/whole/log.jsonl");
    int skipped = 0;
    for (const char *at = log; (at = strstr(at, "\"skipped\":true")); at++)
        skipped++;
    assert_int_equal(skipped, 3);
    assert_non_null(strstr(log, "{\"step\":6,\"epoch\":1.2,\"loss\":null,"));
    memory_free(log);
    CheckpointMeta meta;
    assert_true(checkpoint_meta(HOME "/whole/checkpoints/latest", &meta));
    assert_int_equal(meta.optimizer_steps, meta.step - 3);
    /* Stopped between the two, the count goes on. */
    expect_run(KILLED, HOME "/parts", false, 7);
    expect_run(KILLED, HOME "/parts", true, 21);
    expect_run(PRETRAIN_DONE, HOME "/parts", true, 0);
    expect_same_run(HOME "/whole", HOME "/parts");
    /* Two in a row are too many now. */
    recipe.guard.limit = 2;
    expect_run(PRETRAIN_FAILED, HOME "/strict", false, 0);
    expect_said(true, "step 6: ");
    expect_said(true, "skipped before it: 1 step,");
    recipe.run.save_steps = 5;
    expect_run(PRETRAIN_FAILED, HOME "/strict-parts", false, 0);
    expect_run(PRETRAIN_FAILED, HOME "/strict-parts", true, 0);
    expect_said(true, "step 6: ");
}

static void a_leap_goes_back(void **state)
{
    (void)state;
    enum { SAVED = 24, LEAP = 31 };
    recipe.guard.spike = 8;
    recipe.run.save_steps = 12;
    recipe.run.keep = 9;
    expect_run(PRETRAIN_DONE, HOME "/calm", false, 0);
    expect_said(false, "leaps");
    plant(LEAP - 1, -1, 1e3f, 0);
    expect_run(PRETRAIN_DONE, HOME "/whole", false, 0);
    expect_said(true, "step 31: the loss");
    expect_said(true, "back to step 24, with other draws");
    char *log = text_of(HOME "/whole/log.jsonl"), *lines = log;
    int step = 0;
    for (; *lines; lines += strcspn(lines, "\n") + 1) {
        char lead[32];
        snprintf(lead, sizeof lead, "{\"step\":%d,", ++step);
        assert_memory_equal(lines, lead, strlen(lead));
    }
    assert_int_equal(step, 50);
    char *back = strstr(log, "\"went_back_from\":31");
    assert_non_null(back);
    while (back > log && back[-1] != '\n')
        back--;
    assert_memory_equal(back, "{\"step\":25,", 11);
    memory_free(log);
    /* The checkpoint before is the calm run's, those behind it are of other draws. */
    expect_same(HOME "/calm", HOME "/whole", "checkpoints/step-00000024/meta.json");
    CheckpointMeta meta;
    assert_true(checkpoint_meta(HOME "/whole/checkpoints/step-00000036", &meta));
    assert_int_equal(meta.guard.draw, 1);
    /* Stopped before the leap, and after the return. */
    expect_run(KILLED, HOME "/parts", false, 28);
    expect_run(KILLED, HOME "/parts", true, 33);
    expect_said(true, "back to step 24");
    expect_run(KILLED, HOME "/parts", true, 40);
    expect_said(true, "back to step 24");
    expect_run(PRETRAIN_DONE, HOME "/parts", true, 0);
    expect_said(false, "leaps");
    expect_same_run(HOME "/whole", HOME "/parts");
}

/* To what the first stage has left, whose student then becomes the teacher once more. */
static void a_leap_goes_back_over_the_beginning_of_its_stage(void **state)
{
    (void)state;
    static const char *const keys[] = {"target={kind: features, normalise: none}", "stages=[{epochs: 5}, {epochs: 5}]",
                                       "schedule.warmup_epochs=1"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!recipe_set(&recipe, keys[i]))
            fail_msg("%s", error_text());
    recipe.guard.spike = 8;
    plant(20, -1, 1e3f, 0);
    faults[0].stage = 1;
    expect_run(PRETRAIN_DONE, HOME "/whole", false, 0);
    expect_said(true, "step 46: the loss");
    expect_said(true, "back to step 25, with other draws");
    expect_run(KILLED, HOME "/parts", false, 40);
    expect_run(KILLED, HOME "/parts", true, 47);
    expect_said(true, "back to step 25");
    expect_run(PRETRAIN_DONE, HOME "/parts", true, 0);
    expect_same_run(HOME "/whole", HOME "/parts");
}

static void leaps_again_and_again_stop_the_run(void **state)
{
    (void)state;
    plant(30, -1, 1e3f, 99);
    recipe.guard.spike = 8;
    recipe.guard.limit = 2;
    recipe.run.save_steps = 100;
    expect_run(PRETRAIN_FAILED, HOME "/run", false, 0);
    expect_said(true, "back to step 0, with other draws");
    expect_said(true, "after 2 returns to the checkpoint of step 0 (guard.limit), so the run stops");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_broken_picture_is_named, begin, end),
        cmocka_unit_test_setup_teardown(the_node_and_the_picture_are_named, begin, end),
        cmocka_unit_test_setup_teardown(skipped_steps_change_nothing, begin, end),
        cmocka_unit_test_setup_teardown(a_leap_goes_back, begin, end),
        cmocka_unit_test_setup_teardown(a_leap_goes_back_over_the_beginning_of_its_stage, begin, end),
        cmocka_unit_test_setup_teardown(leaps_again_and_again_stop_the_run, begin, end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
