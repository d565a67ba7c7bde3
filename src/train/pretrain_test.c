/* Runs: resumed, killed, cut and shared among threads in every way, they end with the same bytes. Each run is a process of its
 * own, forked from one that never runs a program. */
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
#include "data/source.h"
#include "image/draw.h"
#include "train/checkpoint.h"
#include "train/pretrain.h"
#include "train/tiny_recipe.h"

#define HOME "pretrain_test.tmp"

enum { STEPS = 8, KILLED = 100 };

static Recipe recipe;

static int begin(void **state)
{
    (void)state;
    char here[4096], *cache = getcwd(here, sizeof here) ? file_join(here, HOME "/cache") : NULL;
    if (!cache || setenv("XDG_CACHE_HOME", cache, 1))
        return 1;
    memory_free(cache);
    return file_remove(HOME) && file_make_folder(HOME) && tiny_recipe(&recipe) ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

/* ---- runs in processes of their own */

typedef struct {
    int64_t kill_at, stop_at; /* steps; 0: never; stop_at -1: at once */
    int64_t step;
    FILE *said;
} Watch;

static void see(void *context, const PretrainProgress *p)
{
    Watch *w = context;
    w->step = p->step;
    if (p->step == w->kill_at)
        raise(SIGKILL);
}

static bool is_stopped(void *context)
{
    const Watch *w = context;
    return w->stop_at < 0 || (w->stop_at && w->step == w->stop_at);
}

static void hear(void *context, const char *sentence)
{
    Watch *w = context;
    fprintf(w->said, "%s\n", sentence);
    fflush(w->said);
}

/* The outcome, or KILLED. What was said, and the error, are in HOME/said. */
static int run(const Recipe *r, const char *out, bool resume, int64_t kill_at, int64_t stop_at)
{
    pid_t child = fork();
    if (child == 0) {
        Watch watch = {kill_at, stop_at, 0, fopen(HOME "/said", "w")};
        PretrainOptions options = {
            .recipe = r, .out = out, .resume = resume, .progress = see, .stop = is_stopped, .say = hear, .context = &watch};
        PretrainOutcome outcome = pretrain_run(&options);
        if (outcome == PRETRAIN_FAILED)
            hear(&watch, error_text());
        _exit((int)outcome);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? KILLED : WEXITSTATUS(status);
}

static void expect_said(const char *words)
{
    size_t size;
    char *text = file_read(HOME "/said", 0, &size);
    assert_non_null(text);
    if (!strstr(text, words))
        fail_msg("'%s' does not say '%s'", text, words);
    memory_free(text);
}

static void expect_run(int outcome, const Recipe *r, const char *out, bool resume, int64_t kill_at, int64_t stop_at)
{
    int got = run(r, out, resume, kill_at, stop_at);
    if (got == outcome)
        return;
    size_t size;
    char *text = file_read(HOME "/said", 0, &size);
    fail_msg("%s: outcome %d instead of %d: %s", out, got, outcome, text ? text : "");
}

/* ---- comparing */

static char *read_in(const char *run_path, const char *name, size_t *size)
{
    char *path = file_join(run_path, name), *text = file_read(path, 0, size);
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

/* Blanks everything from the timings to the line's end. */
static size_t drop_timings(char *text)
{
    static const char first[] = ",\"images_per_second\"";
    char *to = text, *from = text;
    while (*from) {
        if (!strncmp(from, first, sizeof first - 1))
            from += strcspn(from, "\n");
        else
            *to++ = *from++;
    }
    *to = 0;
    return (size_t)(to - text);
}

static void expect_same_log(const char *a, const char *b)
{
    size_t size;
    char *text_a = read_in(a, "log.jsonl", &size), *text_b = read_in(b, "log.jsonl", &size);
    drop_timings(text_a);
    drop_timings(text_b);
    assert_string_equal(text_a, text_b);
    memory_free(text_a);
    memory_free(text_b);
}

/* Records of the events' file, the number of sheets among them. */
static int count_events(const char *run_path, int *sheets)
{
    size_t size;
    char *events = read_in(run_path, "events.out.tfevents.0000000000.lacuna", &size);
    int records = 0;
    *sheets = 0;
    for (size_t at = 0; at < size; records++) {
        uint64_t length;
        memcpy(&length, events + at, sizeof length);
        *sheets += memmem(events + at, length, "reconstructions", 15) != NULL;
        at += length + 16;
    }
    memory_free(events);
    return records;
}

static void expect_same_run(const char *a, const char *b)
{
    int sheets_a, sheets_b, records_a = count_events(a, &sheets_a), records_b = count_events(b, &sheets_b);
    expect_same_log(a, b);
    /* Where a session ended it has drawn a sheet more. */
    assert_int_equal(records_a - sheets_a, records_b - sheets_b);
    size_t size;
    char *log = read_in(a, "log.jsonl", &size);
    int lines = 1; /* the events' own first record */
    for (size_t i = 0; i < size; i++)
        lines += log[i] == '\n';
    memory_free(log);
    assert_int_equal(records_a - sheets_a, lines);
    assert_true(sheets_a >= 3 && sheets_b >= 3);
    expect_same_file(a, b, "checkpoints/latest/model.safetensors");
    expect_same_file(a, b, "checkpoints/latest/state.safetensors");
    expect_same_file(a, b, "checkpoints/latest/meta.json");
    expect_same_file(a, b, "recipe.yaml");
}

/* ---- tests */

static void the_run_directory_is_as_promised(void **state)
{
    (void)state;
    const char *out = HOME "/whole";
    size_t size;
    expect_run(PRETRAIN_DONE, &recipe, out, false, 0, 0);
    assert_true(file_exists(HOME "/whole/checkpoints/step-00000008/model.safetensors"));
    assert_true(file_exists(HOME "/whole/checkpoints/step-00000006/meta.json"));
    assert_false(file_exists(HOME "/whole/checkpoints/step-00000003"));
    /* Sheets when it was validated and when it was saved. */
    assert_true(file_exists(HOME "/whole/samples/step-00000004.png") && file_exists(HOME "/whole/samples/step-00000006.png"));
    assert_true(file_exists(HOME "/whole/samples/step-00000008.png"));
    char *report = read_in(out, "report.html", &size);
    assert_non_null(strstr(report, "data-name=\"block 1, held out\""));
    assert_non_null(strstr(report, "data-name=\"last block, held out\""));
    assert_non_null(strstr(report, "8 steps, epoch 2 of 2"));
    memory_free(report);
    char *log = read_in(out, "log.jsonl", &size), *line = log;
    static const char *const keys[] = {"\"epoch\":",
                                       "\"loss\":",
                                       "\"loss.0\":",
                                       "\"loss.1\":",
                                       "\"lr\":",
                                       "\"grad_norm\":",
                                       "\"images_per_second\":",
                                       "\"seconds\":",
                                       "\"cpu_seconds\":",
                                       "\"data_wait\":"};
    for (int step = 1; step <= STEPS; step++) {
        char lead[32], *last = strchr(line, '\n');
        assert_non_null(last);
        *last = 0;
        snprintf(lead, sizeof lead, "{\"step\":%d,", step);
        assert_memory_equal(line, lead, strlen(lead));
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            assert_non_null(strstr(line, keys[k]));
        assert_int_equal(strstr(line, "\"val_loss\":") && strstr(line, "\"val_loss.1\":"), step % 4 == 0);
        assert_int_equal(strstr(line, "\"lr\":0,") != NULL, step == 1);
        line = last + 1;
    }
    assert_int_equal(*line, 0);
    memory_free(log);
    /* Resumed when all is done: says so and changes nothing. Begun again: refused. */
    expect_run(PRETRAIN_DONE, &recipe, out, true, 0, 0);
    expect_said("finished");
    expect_run(PRETRAIN_FAILED, &recipe, out, false, 0, 0);
    expect_said("--resume");
}

static void resume_from_any_step_is_the_same_run(void **state)
{
    (void)state;
    expect_run(PRETRAIN_DONE, &recipe, HOME "/whole", false, 0, 0);
    for (int64_t step = 1; step < STEPS; step++) {
        char out[64];
        snprintf(out, sizeof out, HOME "/from-%d", (int)step);
        Recipe part = recipe;
        part.run.max_steps = step;
        /* Both ways to end early. */
        if (step % 2)
            expect_run(PRETRAIN_DONE, &part, out, false, 0, 0);
        else
            expect_run(PRETRAIN_STOPPED, &recipe, out, false, 0, step);
        expect_run(PRETRAIN_DONE, &recipe, out, true, 0, 0);
        expect_same_run(HOME "/whole", out);
    }
}

static void kills_do_not_matter(void **state)
{
    (void)state;
    expect_run(PRETRAIN_DONE, &recipe, HOME "/whole", false, 0, 0);
    expect_run(KILLED, &recipe, HOME "/killed", true, 2, 0); /* before anything was saved */
    expect_run(KILLED, &recipe, HOME "/killed", true, 5, 0);
    expect_run(KILLED, &recipe, HOME "/killed", true, 7, 0);
    expect_run(PRETRAIN_DONE, &recipe, HOME "/killed", true, 0, 0);
    expect_same_run(HOME "/whole", HOME "/killed");
}

static void threads_and_workers_do_not_matter(void **state)
{
    (void)state;
    static const int counts[][2] = {{1, 1}, {2, 2}, {4, 4}, {1, 4}, {4, 1}};
    recipe.schedule.epochs = 5;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        char out[64];
        snprintf(out, sizeof out, HOME "/cut-%zu", i);
        recipe.run.threads = counts[i][0];
        recipe.data.workers = counts[i][1];
        expect_run(PRETRAIN_DONE, &recipe, out, false, 0, 0);
        assert_true(file_exists(i ? out : HOME "/cut-0/checkpoints/step-00000020"));
        if (i == 0)
            continue;
        expect_same_log(HOME "/cut-0", out);
        expect_same_file(HOME "/cut-0", out, "checkpoints/latest/model.safetensors");
        expect_same_file(HOME "/cut-0", out, "checkpoints/latest/state.safetensors");
    }
}

static void another_recipe_is_not_gone_on_with(void **state)
{
    (void)state;
    const char *out = HOME "/part";
    recipe.run.max_steps = 2;
    expect_run(PRETRAIN_DONE, &recipe, out, false, 0, 0);
    Recipe other = recipe;
    assert_true(recipe_set(&other, "decoders.0.weight=0.5"));
    expect_run(PRETRAIN_FAILED, &other, out, true, 0, 0);
    expect_said("decoders.0.weight");
    other = recipe;
    other.run.seed = 6;
    expect_run(PRETRAIN_FAILED, &other, out, true, 0, 0);
    expect_said("run.seed");
    other = recipe;
    other.data.world_images = 60;
    expect_run(PRETRAIN_FAILED, &other, out, true, 0, 0);
    /* What changes no result may change. */
    other = recipe;
    other.run.max_steps = 3;
    other.run.threads = 1;
    other.run.keep = 5;
    expect_run(PRETRAIN_DONE, &other, out, true, 0, 0);
    expect_run(PRETRAIN_DONE, &other, out, true, 0, 0);
    expect_said("max_steps");
}

static void weights_of_another_run_start_one(void **state)
{
    (void)state;
    recipe.run.max_steps = 4;
    expect_run(PRETRAIN_DONE, &recipe, HOME "/first", false, 0, 0);
    snprintf(recipe.run.from, sizeof recipe.run.from, "%s", HOME "/first");
    recipe.run.max_steps = 1; /* at a rate of 0: the weights stay */
    expect_run(PRETRAIN_DONE, &recipe, HOME "/second", false, 0, 0);
    Trainer *a, *b;
    TrainerOptions options = {.batch = 8, .micro_batch = 8, .evaluate_only = true};
    CheckpointMeta meta;
    assert_true(device_open("ref", 1, &options.device));
    assert_non_null(a = trainer_open(&recipe, &options));
    assert_non_null(b = trainer_open(&recipe, &options));
    assert_true(checkpoint_load(HOME "/first/checkpoints/latest", a, &meta));
    assert_true(checkpoint_load(HOME "/second/checkpoints/latest", b, &meta));
    size_t bytes = (size_t)trainer_params(a)->trained_count * sizeof(float);
    assert_memory_equal(trainer_weights(a), trainer_weights(b), bytes);
    trainer_close(a);
    trainer_close(b);
    snprintf(recipe.run.from, sizeof recipe.run.from, "%s", HOME "/nowhere");
    expect_run(PRETRAIN_FAILED, &recipe, HOME "/third", false, 0, 0);
    expect_said("run.from");
    assert_false(file_exists(HOME "/third"));
}

static void a_loss_that_is_not_finite_stops_the_run(void **state)
{
    (void)state;
    recipe.schedule.lr = 1e30;
    recipe.schedule.warmup_epochs = 0.25; /* step 1 is at rate 0, step 2 destroys the weights */
    recipe.run.save_steps = 1;
    expect_run(PRETRAIN_FAILED, &recipe, HOME "/broken", false, 0, 0);
    expect_said("step 3: the loss");
    expect_said("the checkpoint of step 2 is as it was");
    char *newest;
    assert_true(checkpoint_newest(HOME "/broken", &newest, NULL));
    assert_string_equal(file_name(newest), "step-00000002");
    memory_free(newest);
}

/* A folder of the world's pictures, of which picture `bad` of every `every` is none. */
static void write_photos(const char *folder, size_t count, size_t bad, size_t every)
{
    SourceOptions world = {.world_count = count, .world_height = 20, .world_width = 20};
    Source *source = source_open("world", &world);
    assert_non_null(source);
    assert_true(file_make_folder(folder));
    for (size_t i = 0; i < count; i++) {
        Image image;
        char path[64];
        assert_true(source_picture(source, i, 3, &image));
        snprintf(path, sizeof path, "%s/%02zu.png", folder, i);
        assert_true(i % every == bad ? file_write(path, "no picture", 10) : image_write_png(path, &image));
        image_free(&image);
    }
    source_close(source);
}

static void damaged_checkpoints_are_not_silent(void **state)
{
    (void)state;
    size_t before, after;
    const char *out = HOME "/part";
    expect_run(PRETRAIN_DONE, &recipe, HOME "/whole", false, 0, 0);
    recipe.run.max_steps = 6;
    expect_run(PRETRAIN_DONE, &recipe, out, false, 0, 0);
    recipe.run.max_steps = 0;
    assert_true(file_remove(HOME "/part/checkpoints/step-00000006/meta.json"));
    expect_run(KILLED, &recipe, out, true, 4, 0);
    expect_said("passed over: step-00000006: ");
    expect_said("goes on behind step 3");
    /* None is left: the run fails, and keeps its log. */
    assert_true(file_remove(HOME "/part/checkpoints/step-00000003/meta.json"));
    memory_free(read_in(out, "log.jsonl", &before));
    expect_run(PRETRAIN_FAILED, &recipe, out, true, 0, 0);
    expect_said("move that folder away");
    memory_free(read_in(out, "log.jsonl", &after));
    assert_int_equal(before, after);
    /* As it says. */
    assert_int_equal(rename(HOME "/part/checkpoints", HOME "/away"), 0);
    expect_run(PRETRAIN_DONE, &recipe, out, true, 0, 0);
    expect_same_run(HOME "/whole", out);
}

static void a_run_without_a_checkpoint_goes_on_with_its_recipe(void **state)
{
    (void)state;
    snprintf(recipe.name, sizeof recipe.name, "tiny");
    expect_run(KILLED, &recipe, HOME "/killed", false, 2, 0);
    assert_false(file_exists(HOME "/killed/checkpoints"));
    Recipe other = recipe;
    other.run.seed = 6;
    expect_run(PRETRAIN_FAILED, &other, HOME "/killed", true, 0, 0);
    expect_said("run.seed");
    /* Whatever it is called now. */
    expect_run(PRETRAIN_DONE, &recipe, HOME "/whole", false, 0, 0);
    snprintf(recipe.name, sizeof recipe.name, "recipe");
    expect_run(PRETRAIN_DONE, &recipe, HOME "/killed", true, 0, 0);
    expect_same_run(HOME "/whole", HOME "/killed");
}

static void stopped_while_opening_nothing_is_left(void **state)
{
    (void)state;
    expect_run(PRETRAIN_STOPPED, &recipe, HOME "/none", false, 0, -1);
    expect_said("before its first step");
    assert_false(file_exists(HOME "/none"));
    /* Nor does a run that goes on take a step. */
    expect_run(PRETRAIN_STOPPED, &recipe, HOME "/part", false, 0, 2);
    expect_run(PRETRAIN_STOPPED, &recipe, HOME "/part", true, 0, -1);
    assert_false(file_exists(HOME "/part/checkpoints/step-00000003"));
    assert_true(file_exists(HOME "/part/checkpoints/step-00000002"));
}

/* Its last save failed when all but the link was made. */
static void the_link_to_the_newest_is_mended(void **state)
{
    (void)state;
    char target[64] = "";
    expect_run(PRETRAIN_DONE, &recipe, HOME "/run", false, 0, 0);
    assert_true(file_remove(HOME "/run/checkpoints/latest"));
    assert_int_equal(symlink("step-00000006", HOME "/run/checkpoints/latest"), 0);
    expect_run(PRETRAIN_DONE, &recipe, HOME "/run", true, 0, 0);
    assert_int_equal(readlink(HOME "/run/checkpoints/latest", target, sizeof target - 1), 13);
    assert_string_equal(target, "step-00000008");
}

static void a_finished_run_needs_no_pictures(void **state)
{
    (void)state;
    write_photos(HOME "/photos", 40, 99, 40);
    snprintf(recipe.data.train, sizeof recipe.data.train, "%s", HOME "/photos");
    expect_run(PRETRAIN_DONE, &recipe, HOME "/run", false, 0, 0);
    assert_true(file_remove(HOME "/photos"));
    expect_run(PRETRAIN_DONE, &recipe, HOME "/run", true, 0, 0);
    expect_said("the run is finished: all its 8 steps are done");
}

/* Its log is not lost with them, and its sheets are no pictures to learn from. */
static void without_checkpoints_a_run_begins_again(void **state)
{
    (void)state;
    static const char out[] = HOME "/photos/run";
    size_t size;
    write_photos(HOME "/photos", 40, 99, 40);
    snprintf(recipe.data.train, sizeof recipe.data.train, "%s", HOME "/photos");
    expect_run(PRETRAIN_DONE, &recipe, out, false, 0, 0);
    char *before = read_in(out, "log.jsonl", &size), name[32];
    for (int again = 1; again <= 2; again++) {
        assert_true(file_remove(HOME "/photos/run/checkpoints"));
        expect_run(PRETRAIN_STOPPED, &recipe, out, true, 0, 2);
        expect_said("begins again at step 1");
        snprintf(name, sizeof name, "log.old-%d.jsonl", again);
        char *old = read_in(out, name, &size);
        assert_int_equal(strlen(old) == strlen(before), again == 1);
        memory_free(old);
    }
    expect_run(PRETRAIN_DONE, &recipe, out, true, 0, 0); /* of the same pictures */
    memory_free(before);
}

/* Wherever they lie, but not others, be they as many. */
static void a_run_goes_on_with_its_own_pictures(void **state)
{
    (void)state;
    write_photos(HOME "/photos", 40, 99, 40);
    snprintf(recipe.data.train, sizeof recipe.data.train, "%s", HOME "/photos");
    recipe.data.val_share = 0;
    expect_run(PRETRAIN_STOPPED, &recipe, HOME "/run", false, 0, 2);
    assert_int_equal(rename(HOME "/photos", HOME "/moved"), 0);
    expect_run(PRETRAIN_FAILED, &recipe, HOME "/run", true, 0, 0);
    expect_said("--data and --val say where pictures are");
    snprintf(recipe.data.train, sizeof recipe.data.train, "%s", HOME "/moved");
    expect_run(PRETRAIN_STOPPED, &recipe, HOME "/run", true, 0, 3);
    assert_int_equal(rename(HOME "/moved/00.png", HOME "/moved/other.png"), 0);
    expect_run(PRETRAIN_FAILED, &recipe, HOME "/run", true, 0, 0);
    expect_said("other pictures");
    assert_int_equal(rename(HOME "/moved/other.png", HOME "/moved/00.png"), 0);
    expect_run(PRETRAIN_DONE, &recipe, HOME "/run", true, 0, 0);
}

static void a_failing_validation_saves_and_unreadable_ones_are_listed(void **state)
{
    (void)state;
    size_t size;
    write_photos(HOME "/photos", 40, 99, 40);
    write_photos(HOME "/held", 8, 3, 8);
    snprintf(recipe.data.train, sizeof recipe.data.train, "%s", HOME "/photos");
    snprintf(recipe.data.val, sizeof recipe.data.val, "%s", HOME "/held");
    recipe.data.max_bad = 0;
    recipe.run.save_steps = 100;
    expect_run(PRETRAIN_FAILED, &recipe, HOME "/run", false, 0, 0);
    expect_said("validation after step 5");
    assert_true(file_exists(HOME "/run/checkpoints/step-00000005/meta.json"));
    char *text = read_in(HOME "/run", "log.jsonl", &size);
    assert_non_null(strstr(text, "{\"step\":5,"));
    memory_free(text);
    /* Allowed, it is named, once. */
    recipe.data.max_bad = 0.5;
    expect_run(PRETRAIN_DONE, &recipe, HOME "/run", true, 0, 0);
    expect_said("held/03.png is left out of the validation");
    expect_run(PRETRAIN_DONE, &recipe, HOME "/two", false, 0, 0);
    text = read_in(HOME "/two", "bad_files.csv", &size);
    const char *found = strstr(text, "held/03.png,");
    assert_non_null(found);
    assert_null(strstr(found + 1, "held/03.png,"));
    memory_free(text);
}

static void unreadable_pictures_are_listed(void **state)
{
    (void)state;
    write_photos(HOME "/photos", 40, 7, 40);
    snprintf(recipe.data.train, sizeof recipe.data.train, "%s", HOME "/photos");
    recipe.data.max_bad = 0.1;
    recipe.data.val_share = 0;
    expect_run(PRETRAIN_DONE, &recipe, HOME "/whole", false, 0, 0);
    expect_run(PRETRAIN_STOPPED, &recipe, HOME "/parts", false, 0, 6);
    expect_run(PRETRAIN_DONE, &recipe, HOME "/parts", true, 0, 0);
    expect_same_run(HOME "/whole", HOME "/parts");
    expect_same_file(HOME "/whole", HOME "/parts", "bad_files.csv");
    size_t size;
    char *text = read_in(HOME "/parts", "bad_files.csv", &size);
    assert_memory_equal(text, "file,reason\n07.png,", 19);
    assert_ptr_equal(strchr(strchr(text, '\n') + 1, '\n'), text + size - 1);
    memory_free(text);
    /* With none allowed the run stops, with what it has learnt. */
    recipe.data.max_bad = 0;
    expect_run(PRETRAIN_FAILED, &recipe, HOME "/strict", false, 0, 0);
    expect_said("data.max_bad");
}

/* Stopped before a step, a run says nothing of the pictures it has taken for that step. */
static void pictures_taken_ahead_are_told_of_in_time(void **state)
{
    (void)state;
    write_photos(HOME "/photos", 40, 1, 4);
    snprintf(recipe.data.train, sizeof recipe.data.train, "%s", HOME "/photos");
    recipe.data.max_bad = 0.5;
    recipe.data.val_share = 0;
    for (int step = 1; step <= 4; step++) {
        recipe.run.max_steps = step;
        expect_run(PRETRAIN_DONE, &recipe, HOME "/short", false, 0, 0);
        recipe.run.max_steps = 0;
        expect_run(PRETRAIN_STOPPED, &recipe, HOME "/stopped", false, 0, step);
        expect_same_file(HOME "/short", HOME "/stopped", "bad_files.csv");
        assert_true(file_remove(HOME "/short") && file_remove(HOME "/stopped"));
    }
}

/* 4 of 800 pictures are broken; the run is killed and stopped over and over. */
static void broken_pictures_are_named_once_however_often_a_run_is_stopped(void **state)
{
    (void)state;
    enum { BROKEN = 4 };
    write_photos(HOME "/photos", 200 * BROKEN, 7, 200);
    snprintf(recipe.data.train, sizeof recipe.data.train, "%s", HOME "/photos");
    recipe.data.val_share = 0;
    recipe.data.max_bad = 0.005;
    recipe.run.save_steps = 20;
    recipe.schedule.epochs = 1;
    expect_run(PRETRAIN_DONE, &recipe, HOME "/whole", false, 0, 0);
    static const int64_t kills[] = {3, 27, 55};
    for (size_t k = 0; k < sizeof kills / sizeof *kills; k++)
        expect_run(KILLED, &recipe, HOME "/parts", true, kills[k], 0);
    expect_run(PRETRAIN_STOPPED, &recipe, HOME "/parts", true, 0, 83);
    expect_run(PRETRAIN_DONE, &recipe, HOME "/parts", true, 0, 0);
    expect_same_run(HOME "/whole", HOME "/parts");
    expect_same_file(HOME "/whole", HOME "/parts", "bad_files.csv");
    size_t size, lines = 0;
    char *text = read_in(HOME "/parts", "bad_files.csv", &size), *next = text;
    for (; (next = strchr(next, '\n')); next++)
        lines++;
    assert_int_equal(lines, 1 + BROKEN);
    for (int b = 0; b < BROKEN; b++) {
        char name[32];
        snprintf(name, sizeof name, "\n%02d.png,", 200 * b + 7);
        assert_non_null(strstr(text, name));
    }
    memory_free(text);

    /* With one less allowed it ends at the same step, whether stopped before or not, and again when it is gone on with. */
    recipe.data.max_bad = 0.004;
    expect_run(PRETRAIN_FAILED, &recipe, HOME "/strict", false, 0, 0);
    expect_said("4 of the 800 pictures");
    for (int64_t step = 30; step < 100; step += 30) /* no session meets all of them */
        run(&recipe, HOME "/strict-parts", true, step % 60 ? step : 0, step);
    for (int again = 0; again < 2; again++) {
        expect_run(PRETRAIN_FAILED, &recipe, HOME "/strict-parts", true, 0, 0);
        expect_said("4 of the 800 pictures");
        expect_same_file(HOME "/strict", HOME "/strict-parts", "checkpoints/latest/meta.json");
        expect_same_log(HOME "/strict", HOME "/strict-parts");
    }
    /* Mended, they do not count any more. */
    write_photos(HOME "/photos", 200 * BROKEN, 207, 800);
    expect_run(PRETRAIN_STOPPED, &recipe, HOME "/strict-parts", true, 0, 99);
}

static void what_does_not_fit_is_said_before_anything_is_made(void **state)
{
    (void)state;
    recipe.schedule.batch_size = 64;
    recipe.run.micro_batch = RECIPE_AUTO;
    expect_run(PRETRAIN_FAILED, &recipe, HOME "/large", false, 0, 0);
    expect_said("schedule.batch_size");
    assert_false(file_exists(HOME "/large"));
    snprintf(recipe.data.train, sizeof recipe.data.train, "%s", HOME "/nothing");
    expect_run(PRETRAIN_FAILED, &recipe, HOME "/large", false, 0, 0);
    expect_said("data.train");
    expect_run(PRETRAIN_FAILED, &recipe, NULL, true, 0, 0);
    expect_said("--out");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_run_directory_is_as_promised, begin, end),
        cmocka_unit_test_setup_teardown(resume_from_any_step_is_the_same_run, begin, end),
        cmocka_unit_test_setup_teardown(kills_do_not_matter, begin, end),
        cmocka_unit_test_setup_teardown(threads_and_workers_do_not_matter, begin, end),
        cmocka_unit_test_setup_teardown(another_recipe_is_not_gone_on_with, begin, end),
        cmocka_unit_test_setup_teardown(weights_of_another_run_start_one, begin, end),
        cmocka_unit_test_setup_teardown(a_loss_that_is_not_finite_stops_the_run, begin, end),
        cmocka_unit_test_setup_teardown(damaged_checkpoints_are_not_silent, begin, end),
        cmocka_unit_test_setup_teardown(a_run_without_a_checkpoint_goes_on_with_its_recipe, begin, end),
        cmocka_unit_test_setup_teardown(stopped_while_opening_nothing_is_left, begin, end),
        cmocka_unit_test_setup_teardown(the_link_to_the_newest_is_mended, begin, end),
        cmocka_unit_test_setup_teardown(a_finished_run_needs_no_pictures, begin, end),
        cmocka_unit_test_setup_teardown(a_run_goes_on_with_its_own_pictures, begin, end),
        cmocka_unit_test_setup_teardown(without_checkpoints_a_run_begins_again, begin, end),
        cmocka_unit_test_setup_teardown(a_failing_validation_saves_and_unreadable_ones_are_listed, begin, end),
        cmocka_unit_test_setup_teardown(unreadable_pictures_are_listed, begin, end),
        cmocka_unit_test_setup_teardown(pictures_taken_ahead_are_told_of_in_time, begin, end),
        cmocka_unit_test_setup_teardown(broken_pictures_are_named_once_however_often_a_run_is_stopped, begin, end),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_said_before_anything_is_made, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
