#include "train/pretrain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "train/checkpoint.h"
#include "train/fit.h"
#include "train/pictures.h"
#include "train/reconstruct.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/settle.h"

enum { SAMPLES = 8 }; /* pictures of a sheet in RUN/samples */

typedef struct {
    const PretrainOptions *options;
    Recipe recipe; /* settled */
    Pictures pictures;
    RunFolder *folder;
    Trainer *trainer;
    Device device;
    Loader *loader;
    SampleList known_bad; /* training pictures that earlier sessions found unreadable */
    uint8_t *hidden;      /* (batch, L) */
    uint8_t *kept;        /* (branches, batch); NULL: nothing drops */
    Text line;
    int64_t per_epoch, total, last; /* steps: of an epoch, of the schedule, where this run ends */
    int64_t step, saved;            /* steps done; the step of the newest checkpoint, -1: none */
    double pace;                    /* seconds a step, averaged; 0: not known */
    bool bad_failed;                /* bad_files.csv could not be written */
    bool val_failed;                /* a validation failed: the error says why */
    bool val_seen;                  /* a validation has told of the held-out pictures that cannot be read */
    bool stopped;                   /* stop() said so before the first step */
    float *sample_images;           /* of RUN/samples, loaded with the first sheet */
    uint8_t *sample_hidden;
    int samples;
} Run;

static void say(const Run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(const Run *run, const char *format, ...)
{
    char text[1024];
    va_list args;
    if (!run->options->say)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    run->options->say(run->options->context, text);
}

/* ---- the step's random numbers */

/* Branches are drawn picture by picture, each branch of each: what one picture draws depends on nothing else. */
static void draw_kept(Run *run, const LoaderBatch *batch)
{
    int branches = trainer_branches(run->trainer);
    for (size_t i = 0; run->kept && i < batch->count; i++) {
        Random random = random_stream(run->recipe.run.seed, RANDOM_DROP_PATH, 0, batch->epoch, batch->samples[i]);
        for (int b = 0; b < branches; b++)
            run->kept[(size_t)b * batch->count + i] = random_uniform(&random) >= trainer_branch_rate(run->trainer, b);
    }
}

/* ---- pictures that cannot be read */

static void note_bad(void *context, const char *key, const char *reason)
{
    Run *run = context;
    if (!run_folder_bad(run->folder, key, reason))
        run->bad_failed = true;
    say(run, "%s is left out: %s", key, reason);
}

/* Each validation meets them again: people are told once. Names of data.val might be those of other pictures in data.train. */
static void note_bad_held_out(void *context, const char *key, const char *reason)
{
    Run *run = context;
    char *whole = run->pictures.val_source ? file_join(source_where(run->pictures.val_source), key) : memory_string(key);
    if (!whole || !run_folder_bad(run->folder, whole, reason))
        run->bad_failed = true;
    if (whole && !run->val_seen)
        say(run, "%s is left out of the validation: %s", whole, reason);
    memory_free(whole);
}

/* ---- validation */

/* Means over the held-out pictures, weighted by the pictures of each batch. */
static bool validate(Run *run, TrainerMetrics *mean)
{
    const Recipe *r = &run->recipe;
    LoaderOptions options = pictures_val_options(&run->pictures, r, r->run.micro_batch);
    options.bad = note_bad_held_out;
    options.bad_context = run;
    Loader *loader = loader_open(&options);
    bool ok = loader != NULL;
    size_t pictures = 0;
    *mean = (TrainerMetrics){.finite = true};
    while (ok) {
        LoaderBatch batch;
        TrainerMetrics metrics;
        ok = loader_next(loader, &batch);
        if (!ok || batch.count == 0)
            break;
        pictures_masks(r, true, 0, batch.samples, batch.count, run->hidden);
        ok = trainer_evaluate(run->trainer, batch.images, run->hidden, (int)batch.count, &metrics);
        loader_release(loader);
        pictures += batch.count;
        mean->loss += metrics.loss * (double)batch.count;
        for (int k = 0; k < r->decoder_count; k++)
            mean->losses[k] += metrics.losses[k] * (double)batch.count;
    }
    mean->loss /= (double)pictures;
    for (int k = 0; k < r->decoder_count; k++)
        mean->losses[k] /= (double)pictures;
    loader_close(loader);
    run->val_seen = true;
    ok = ok && !run->bad_failed;
    return ok || error_context("validation after step %" PRId64, run->step);
}

static bool validation_is_due(const Run *run)
{
    int every = run->recipe.data.val_every;
    if (every <= 0 || run->pictures.val.count == 0 || run->step % run->per_epoch)
        return false;
    return run->step / run->per_epoch % every == 0 || run->step == run->total;
}

/* ---- the log */

static void add_number(Text *line, const char *key, double value)
{
    text_add(line, ",\"%s\":", key);
    log_number(line, value);
}

static void add_losses(Text *line, const char *key, const TrainerMetrics *m, int decoders)
{
    add_number(line, key, m->loss);
    for (int k = 0; k < decoders; k++) {
        char name[32];
        snprintf(name, sizeof name, "%s.%d", key, k);
        add_number(line, name, m->losses[k]);
    }
}

/* Writes the line of the step that was just done, validating before when that is due, and tells the caller. When the validation
 * fails (val_failed) the line goes without it: the step is done, and what it led to is about to be saved. */
static bool log_step(Run *run, const TrainerMetrics *m, double lr, double seconds, double waited)
{
    const Recipe *r = &run->recipe;
    Text *line = &run->line;
    TrainerMetrics val = {0};
    bool due = validation_is_due(run), validated = due && validate(run, &val);
    run->val_failed = due && !validated;
    char *why = run->val_failed ? memory_string(error_text()) : NULL;
    double epoch = (double)run->step / (double)run->per_epoch, pace = seconds > 1e-9 ? seconds : 1e-9;
    line->length = 0;
    text_add(line, "{\"step\":%" PRId64, run->step);
    add_number(line, "epoch", epoch);
    add_losses(line, "loss", m, r->decoder_count);
    add_number(line, "lr", lr);
    add_number(line, "grad_norm", m->grad_norm);
    if (validated) {
        add_losses(line, "val_loss", &val, r->decoder_count);
        text_add(line, ",\"val_images\":%zu", run->pictures.val.count);
    }
    /* Timings are for people: no more digits than they mean. */
    text_add(line, ",\"images_per_second\":%.1f,\"seconds\":%.6f,\"data_wait\":%.6f}", r->schedule.batch_size / pace, seconds,
             waited);
    bool ok = !line->failed && run_folder_log(run->folder, line->data);
    if (ok && why)
        error_set("%s", why);
    memory_free(why);
    if (!ok || run->val_failed)
        return ok;
    run->pace = run->pace > 0 ? run->pace + 0.1 * (pace - run->pace) : pace;
    if (run->options->progress)
        run->options->progress(run->options->context,
                               &(PretrainProgress){.line = line->data,
                                                   .step = run->step,
                                                   .last = run->last,
                                                   .epoch = epoch,
                                                   .metrics = m,
                                                   .decoders = r->decoder_count,
                                                   .lr = lr,
                                                   .images_per_second = r->schedule.batch_size / run->pace,
                                                   .seconds_left = (double)(run->last - run->step) * run->pace,
                                                   .validated = validated,
                                                   .val_loss = val.loss});
    return true;
}

/* ---- saving */

/* The pictures of the sheets: held-out ones as they are validated, else whole training pictures. */
static bool load_samples(Run *run)
{
    const Recipe *r = &run->recipe;
    LoaderOptions options = pictures_val_options(&run->pictures, r, SAMPLES);
    if (run->pictures.val.count == 0) {
        options.source = run->pictures.source;
        options.samples = run->pictures.train.samples;
        options.count = run->pictures.train.count;
        options.cache = run->pictures.cache;
    }
    LoaderBatch batch;
    Loader *loader = loader_open(&options);
    bool ok = loader && loader_next(loader, &batch);
    if (ok) {
        size_t numbers = (size_t)options.channels * (size_t)options.height * (size_t)options.width;
        run->sample_images = memory_new(batch.count * numbers, sizeof *run->sample_images);
        run->sample_hidden = memory_new(batch.count, (size_t)recipe_patches(r));
        ok = run->sample_images && run->sample_hidden;
        if (ok) {
            memcpy(run->sample_images, batch.images, batch.count * numbers * sizeof *batch.images);
            pictures_masks(r, true, 0, batch.samples, batch.count, run->sample_hidden);
            run->samples = (int)batch.count;
        } else {
            memory_free(run->sample_images);
            memory_free(run->sample_hidden);
            run->sample_images = NULL;
            run->sample_hidden = NULL;
        }
    }
    loader_close(loader);
    return ok;
}

/* RUN/samples/step-N.png. A run does not end because a sheet cannot be drawn. */
static void draw_samples(Run *run)
{
    char name[64];
    snprintf(name, sizeof name, "step-%08" PRId64 ".png", run->step);
    char *folder = file_join(run_folder_path(run->folder), "samples"), *path = folder ? file_join(folder, name) : NULL;
    bool ok = path && file_make_folder(folder) && (run->samples || load_samples(run)) &&
              reconstruct_write(&run->recipe, trainer_weights(run->trainer), trainer_fixed(run->trainer), run->sample_images,
                                run->sample_hidden, run->samples, path);
    if (!ok)
        say(run, "no sheet of reconstructions at step %" PRId64 ": %s", run->step, error_text());
    error_clear();
    memory_free(path);
    memory_free(folder);
}

static bool save(Run *run)
{
    const Recipe *r = &run->recipe;
    if (run->saved == run->step)
        return true;
    CheckpointMeta meta = {.step = run->step,
                           .steps_per_epoch = run->per_epoch,
                           .pictures = (int64_t)run->pictures.train.count,
                           .seed = r->run.seed,
                           .channels = r->image.channels};
    memcpy(meta.mean, r->image.mean.values, sizeof meta.mean);
    memcpy(meta.std, r->image.std.values, sizeof meta.std);
    /* The log first: a checkpoint never has steps behind it that the log lost. */
    if (!run_folder_sync_log(run->folder) ||
        !checkpoint_save(run_folder_path(run->folder), run->trainer, r, &meta, r->run.keep))
        return false;
    run->saved = run->step;
    draw_samples(run);
    return true;
}

/* ---- opening */

/* On a GPU as many pictures at once as fit, when the recipe leaves that open. */
static bool settle_for_gpu(Run *run)
{
    Recipe *r = &run->recipe;
    int most;
    TrainerOptions options = {.device = run->device, .batch = r->schedule.batch_size, .plain = run->options->plain};
    if (!fit_micro_batch(r, &options, &most))
        return false;
    r->run.micro_batch = most ? most : 1; /* one that does not fit is refused when the trainer is opened */
    r->schedule.accumulate = r->schedule.batch_size / r->run.micro_batch;
    return true;
}

static bool open_device(Run *run, bool parts_are_open)
{
    const Recipe *r = &run->recipe;
    if (!device_open(recipe_word("run.device", (int)r->run.device), r->run.threads, &run->device))
        return false;
    device_set_tf32(&run->device, r->run.tf32);
    return !parts_are_open || run->device.kind != DEVICE_CUDA || settle_for_gpu(run);
}

static bool open_trainer(Run *run)
{
    const Recipe *r = &run->recipe;
    TrainerOptions options = {.device = run->device,
                              .batch = r->schedule.batch_size,
                              .micro_batch = r->run.micro_batch,
                              .plain = run->options->plain};
    if (!fit_check(r, &options) || !(run->trainer = trainer_open(r, &options)))
        return false;
    int branches = trainer_branches(run->trainer);
    run->hidden = memory_new((size_t)r->schedule.batch_size, (size_t)recipe_patches(r));
    if (branches)
        run->kept = memory_new((size_t)branches, (size_t)r->schedule.batch_size);
    return run->hidden && (!branches || run->kept);
}

static void set_steps(Run *run, int64_t per_epoch)
{
    const Recipe *r = &run->recipe;
    run->per_epoch = per_epoch;
    run->total = per_epoch * r->schedule.epochs;
    run->last = r->run.max_steps > 0 && r->run.max_steps < run->total ? r->run.max_steps : run->total;
}

/* Steps of an epoch and of the whole, known as soon as the pictures are. */
static bool count_steps(Run *run)
{
    const Recipe *r = &run->recipe;
    int64_t per_epoch = (int64_t)(run->pictures.train.count / (size_t)r->schedule.batch_size);
    if (per_epoch < 1)
        return error_set("%zu training pictures at %s do not fill one batch: set schedule.batch_size (%d) to %zu or less",
                         run->pictures.train.count, source_where(run->pictures.source), r->schedule.batch_size,
                         run->pictures.train.count);
    set_steps(run, per_epoch);
    return true;
}

/* A run goes on with its own recipe: one that was named beside has to be the same, as far as the name tells. */
static bool is_named(const Run *run, const char *name)
{
    const char *given = run->options->named;
    if (!given)
        return true;
    const char *last = file_name(given), *dot = strrchr(last, '.');
    size_t length = dot && dot > last ? (size_t)(dot - last) : strlen(last);
    bool same = !strcmp(last, name) || (strlen(name) == length && !strncmp(last, name, length));
    if (name[0] && !same)
        return error_set("the run %s was begun with the recipe %s, not %s: leave the recipe out to go on with it, or choose "
                         "another folder with --out",
                         run_folder_path(run->folder), name, given);
    say(run, "goes on with the run's own recipe, %s/recipe.yaml; %s is not read again", run_folder_path(run->folder), given);
    return true;
}

/* The recipe of a run that goes on, also of one that ended before its first checkpoint (NULL). */
static bool resume_recipe(Run *run, const char *checkpoint)
{
    bool found = false;
    Recipe *stored = memory_new(1, sizeof *stored);
    bool ok = stored && (run_folder_read_recipe(run->folder, stored, &found) || !found);
    if (ok && !found && checkpoint) /* lost: the model's copy lacks only what changes no result */
        ok = checkpoint_recipe(checkpoint, stored);
    if (ok && (found || checkpoint))
        ok = (!found || is_named(run, stored->name)) && settle_resumed(run->options->recipe, stored, &run->recipe);
    if (ok && found)
        memcpy(run->recipe.name, stored->name, sizeof stored->name);
    memory_free(stored);
    return ok;
}

/* Looks for the run's newest checkpoint. A finished run does not need its pictures any more: *finished is then set. */
static bool find_start(Run *run, char **checkpoint, bool *finished)
{
    CheckpointMeta meta;
    Text passed_over = {0};
    bool ok = checkpoint_newest(run->options->out, checkpoint, &passed_over);
    if (ok && passed_over.length)
        say(run, "checkpoints that cannot be used are passed over: %s", passed_over.data);
    text_free(&passed_over);
    ok = ok && resume_recipe(run, *checkpoint) && (!*checkpoint || checkpoint_meta(*checkpoint, &meta));
    if (ok && *checkpoint) {
        set_steps(run, meta.steps_per_epoch);
        *finished = meta.step >= run->last;
        if (*finished)
            run->step = run->saved = meta.step;
    }
    return ok;
}

static bool is_stopped(const Run *run)
{
    return run->options->stop && run->options->stop(run->options->context);
}

static bool load_checkpoint(Run *run, const char *checkpoint)
{
    CheckpointMeta meta;
    const Recipe *r = &run->recipe;
    if (!checkpoint_load(checkpoint, run->trainer, &meta))
        return false;
    if (meta.pictures != (int64_t)run->pictures.train.count || meta.steps_per_epoch != run->per_epoch)
        return error_set("the run was trained on %" PRId64 " pictures, but %s now gives %zu: it can only go on with the same",
                         meta.pictures, source_where(run->pictures.source), run->pictures.train.count);
    if (meta.seed != r->run.seed || meta.channels != r->image.channels)
        return error_set("%s belongs to another run: its seed or channels are not those of recipe.yaml", checkpoint);
    run->step = run->saved = meta.step;
    return true;
}

static bool load_start(Run *run)
{
    Text note = {0};
    bool ok = checkpoint_load_weights(run->recipe.run.from, &run->recipe, run->trainer, &note);
    if (ok)
        say(run, "starts with the weights of %s. %s", run->recipe.run.from, note.data ? note.data : "");
    text_free(&note);
    return ok || error_context("run.from");
}

static void say_what(const Run *run)
{
    const Recipe *r = &run->recipe;
    const Pictures *p = &run->pictures;
    say(run, "%s: %s", run_folder_path(run->folder), source_summary(p->source));
    say(run,
        "%zu pictures to train on, %zu held out; %" PRId64 " steps an epoch, %" PRId64 " in all; batch %d in parts of %d; %.1f "
        "million weights; %s",
        p->train.count, p->held_out, run->per_epoch, run->total, r->schedule.batch_size, r->run.micro_batch,
        (double)param_trained_numbers(trainer_params(run->trainer)) / 1e6, device_describe(&run->device));
    if (run->step > 0)
        say(run, "goes on behind step %" PRId64, run->step);
}

/* Everything up to the first step. With a finished run, returns with step >= last and little else. */
static bool open_run(Run *run)
{
    const PretrainOptions *o = run->options;
    char *checkpoint = NULL;
    bool ok = false, finished = false;
    run->recipe = *o->recipe;
    run->saved = -1;
    if (!recipe_check(&run->recipe))
        return false;
    if (o->resume && !o->out)
        return error_set("to go on with a run its folder is needed: give it with --out");
    if (o->out) {
        run->folder = run_folder_open(o->out, NULL);
        if (!run->folder)
            return false;
        if (!o->resume && run_folder_holds_run(run->folder))
            return error_set("%s already holds a run: add --resume to go on with it, or choose another folder with --out",
                             o->out);
        if (o->resume && !find_start(run, &checkpoint, &finished))
            goto done;
        if (finished) {
            ok = true;
            goto done;
        }
    }
    Recipe *r = &run->recipe;
    if (!recipe_check(r) || !pictures_open(r, &run->pictures) || !count_steps(run) || !pictures_statistics(&run->pictures, r))
        goto done;
    if (is_stopped(run)) {
        run->stopped = ok = true;
        goto done;
    }
    bool parts_are_open = r->run.micro_batch == RECIPE_AUTO && r->schedule.accumulate == RECIPE_AUTO;
    settle_recipe(r, run->total);
    if (!open_device(run, parts_are_open) || !open_trainer(run))
        goto done;
    if (checkpoint ? !load_checkpoint(run, checkpoint) : r->run.from[0] && !load_start(run))
        goto done;
    if (!run->folder && !(run->folder = run_folder_open(NULL, r->name)))
        goto done;
    run->stopped = is_stopped(run);
    if (run->step < run->last && !run->stopped) {
        const BadNames *names;
        if (!run_folder_bad_names(run->folder, &names) || !pictures_known_bad(&run->pictures, r, names, &run->known_bad))
            goto done;
        LoaderOptions options = pictures_train_options(&run->pictures, r);
        options.first = (uint64_t)run->step;
        options.steps = (uint64_t)run->last;
        options.bad = note_bad;
        options.bad_context = run;
        options.known_bad = run->known_bad.samples;
        options.known_bad_count = run->known_bad.count;
        run->loader = loader_open(&options);
        if (!run->loader || !run_folder_write_recipe(run->folder, r) || !run_folder_open_log(run->folder, run->step))
            goto done;
    }
    say_what(run);
    ok = true;
done:
    memory_free(checkpoint);
    return ok;
}

/* ---- the loop */

static bool not_finite(const Run *run, const TrainerMetrics *m)
{
    char kept[64] = "no checkpoint has been saved yet";
    if (run->saved >= 0)
        snprintf(kept, sizeof kept, "the checkpoint of step %" PRId64 " is as it was", run->saved);
    return error_set("step %" PRId64 ": the loss (%g) or the norm of the gradient (%g) is not finite, so the run stops; %s; a "
                     "lower schedule.lr or blr, a longer warm-up or optimizer.clip may help",
                     run->step + 1, m->loss, m->grad_norm, kept);
}

/* The pictures cannot be read any more, or not be noted, but what was learnt so far is good. Keeps the error; always false. */
static bool save_before_failing(Run *run)
{
    char *why = memory_string(error_text());
    if (run->step > 0)
        save(run);
    if (why)
        error_set("%s", why);
    memory_free(why);
    return false;
}

static bool one_step(Run *run)
{
    const Recipe *r = &run->recipe;
    LoaderBatch batch;
    TrainerMetrics metrics;
    double before = clock_seconds();
    if (!loader_next(run->loader, &batch))
        return save_before_failing(run);
    if (run->bad_failed) {
        error_context("noting a picture that cannot be read");
        return save_before_failing(run);
    }
    pictures_masks(r, false, batch.epoch, batch.samples, batch.count, run->hidden);
    draw_kept(run, &batch);
    TrainerBatch input = {.images = batch.images,
                          .hidden = run->hidden,
                          .kept = run->kept,
                          .lr = schedule_rate(r, (double)run->step / (double)run->per_epoch)};
    if (!trainer_step(run->trainer, &input, &metrics))
        return error_context("step %" PRId64, run->step + 1);
    loader_release(run->loader);
    if (!metrics.finite)
        return not_finite(run, &metrics);
    run->step++;
    return log_step(run, &metrics, input.lr, clock_seconds() - before, batch.waited) &&
           (!run->val_failed || save_before_failing(run));
}

static PretrainOutcome train(Run *run)
{
    if (run->stopped)
        return PRETRAIN_STOPPED;
    while (run->step < run->last) {
        if (!one_step(run))
            return PRETRAIN_FAILED;
        bool stop = is_stopped(run) && run->step < run->last;
        if ((stop || run->step == run->last || run->step % run->recipe.run.save_steps == 0) && !save(run))
            return PRETRAIN_FAILED;
        if (stop)
            return PRETRAIN_STOPPED;
    }
    return PRETRAIN_DONE;
}

static void close_run(Run *run)
{
    loader_close(run->loader);
    trainer_close(run->trainer);
    device_close(&run->device);
    pictures_close(&run->pictures);
    run_folder_close(run->folder);
    sample_list_free(&run->known_bad);
    memory_free(run->hidden);
    memory_free(run->kept);
    memory_free(run->sample_images);
    memory_free(run->sample_hidden);
    text_free(&run->line);
}

PretrainOutcome pretrain_run(const PretrainOptions *options)
{
    PretrainOutcome outcome = PRETRAIN_FAILED;
    Run *run = memory_new(1, sizeof *run);
    if (!run)
        return PRETRAIN_FAILED;
    run->options = options;
    if (open_run(run)) {
        if (run->stopped)
            say(run, "stopped before its first step");
        else if (run->step >= run->last)
            say(run,
                run->last == run->total ? "the run is finished: all its %" PRId64 " steps are done"
                                        : "nothing to do: run.max_steps asks for %" PRId64 " steps, and they are done",
                run->last);
        outcome = train(run);
        if (outcome != PRETRAIN_FAILED && run->saved >= 0)
            say(run, "%s/checkpoints/step-%08" PRId64 " is saved", run_folder_path(run->folder), run->saved);
    }
    close_run(run);
    memory_free(run);
    return outcome;
}
