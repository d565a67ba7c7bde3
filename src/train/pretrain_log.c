/* Validation, and the line of a step. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/method.h"
#include "train/run.h"

/* ---- pictures that cannot be read */

void run_tell_bad(Run *run, const char *key, const char *reason)
{
    reason = error_without(key, reason);
    if (!run_folder_bad(run->folder, key, reason))
        run->bad_failed = true;
    run_say(run, "%s is left out: %s", key, reason);
}

/* Each validation meets them again: people are told once. Names of data.val might be those of other pictures in data.train. */
static void note_bad_held_out(void *context, const char *key, const char *reason)
{
    Run *run = context;
    reason = error_without(key, reason);
    char *whole = run->pictures.val_source ? file_join(source_where(run->pictures.val_source), key) : memory_string(key);
    if (!whole || !run_folder_bad(run->folder, whole, reason))
        run->bad_failed = true;
    if (whole && !run->val_seen)
        run_say(run, "%s is left out of the validation: %s", whole, reason);
    memory_free(whole);
}

/* ---- validation */

/* Means over what counts in the held-out pictures, however they are cut into batches. */
static bool validate(Run *run, TrainerMetrics *mean)
{
    const Recipe *r = &run->recipe;
    LoaderOptions options = pictures_val_options(&run->pictures, r, r->run.micro_batch);
    run_drop_other_size(run, &options);
    options.bad = note_bad_held_out;
    options.bad_context = run;
    Loader *loader = loader_open(&options);
    int32_t *labels = memory_new((size_t)r->run.micro_batch, sizeof *labels);
    uint8_t *hidden = memory_new(options.batch, (size_t)recipe_patches(r));
    bool ok = loader && labels && hidden;
    double counted[RECIPE_DECODERS_MAX] = {0}, weights[RECIPE_DECODERS_MAX];
    int terms = method_terms(r, weights);
    *mean = (TrainerMetrics){.finite = true};
    while (ok) {
        LoaderBatch batch;
        TrainerMetrics metrics;
        ok = loader_next(loader, &batch);
        if (!ok || batch.count == 0)
            break;
        pictures_masks(r, true, 0, 0, batch.samples, batch.count, hidden);
        for (size_t i = 0; i < batch.count; i++)
            labels[i] = run->pictures.val_classes ? run->pictures.val_classes[batch.labels[i]] : batch.labels[i];
        TrainerBatch input = {.images = batch.images,
                              .teacher_images = batch.other,
                              .hidden = hidden,
                              .labels = labels,
                              .epoch = (double)run->step / (double)run->per_epoch};
        ok = trainer_evaluate(run->trainer, &input, (int)batch.count, &metrics);
        loader_release(loader);
        for (int k = 0; ok && k < terms; k++) {
            double here = trainer_counts(run->trainer, k, &input, (int)batch.count);
            mean->losses[k] += metrics.losses[k] * here;
            mean->accuracy += k == 0 ? metrics.accuracy * here : 0;
            counted[k] += here;
        }
    }
    for (int k = 0; k < terms; k++) {
        mean->losses[k] /= counted[k];
        mean->loss += weights[k] * mean->losses[k];
    }
    mean->accuracy /= counted[0];
    loader_close(loader);
    memory_free(labels);
    memory_free(hidden);
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

/* `accuracy` names the share of right answers, of methods that have one. */
static void add_losses(Text *line, const char *key, const char *accuracy, const TrainerMetrics *m, int decoders)
{
    add_number(line, key, m->loss);
    if (!isnan(m->accuracy))
        add_number(line, accuracy, m->accuracy);
    for (int k = 0; k < decoders; k++) {
        char name[32];
        snprintf(name, sizeof name, "%s.%d", key, k);
        add_number(line, name, m->losses[k]);
    }
}

/* ---- TensorBoard */

/* A run of many steps writes every so many-th: nobody looks at more. */
static bool event_is_due(const Run *run)
{
    enum { EVENTS_MOST = 10000 };
    return run->step == 1 || run->step == run->last || run->step % (1 + (run->total - 1) / EVENTS_MOST) == 0;
}

static void event_losses(EventDraft *event, const char *key, const char *accuracy, const TrainerMetrics *m, int decoders)
{
    event_add_scalar(event, key, m->loss);
    if (!isnan(m->accuracy))
        event_add_scalar(event, accuracy, m->accuracy);
    for (int k = 0; k < decoders; k++) {
        char name[32];
        snprintf(name, sizeof name, "%s.%d", key, k);
        event_add_scalar(event, name, m->losses[k]);
    }
}

/* val NULL: not validated. */
static bool write_event(Run *run, const TrainerMetrics *m, const TrainerMetrics *val, double lr, double pace, double waited)
{
    EventDraft *event = &run->event;
    if (!val && !run->findings.count && !event_is_due(run))
        return true;
    event_losses(event, "loss", "accuracy", m, run->recipe.decoder_count);
    event_add_scalar(event, "lr", lr);
    event_add_scalar(event, "grad_norm", m->grad_norm);
    if (val)
        event_losses(event, "val_loss", "val_accuracy", val, run->recipe.decoder_count);
    run_event_findings(run);
    event_add_scalar(event, "images_per_second", run->recipe.schedule.batch_size / pace);
    event_add_scalar(event, "data_wait", waited);
    return run_folder_events(run->folder, event, run->step);
}

/* ---- the step's line */

bool run_log_step(Run *run, const TrainerMetrics *m, double lr, const StepTimes *times)
{
    const Recipe *r = &run->recipe;
    Text *line = &run->line;
    TrainerMetrics val = {0};
    bool due = validation_is_due(run), validated = due && validate(run, &val);
    run->val_failed = due && !validated;
    char *why = run->val_failed ? memory_string(error_text()) : NULL;
    run_probe(run);
    double epoch = (double)run->step / (double)run->per_epoch, pace = times->seconds > 1e-9 ? times->seconds : 1e-9;
    line->length = 0;
    text_add(line, "{\"step\":%" PRId64, run->step);
    add_number(line, "epoch", epoch);
    if (r->stages.count)
        text_add(line, ",\"stage\":%d", run->stage + 1);
    add_losses(line, "loss", "accuracy", m, r->decoder_count);
    add_number(line, "lr", lr);
    add_number(line, "grad_norm", m->grad_norm);
    if (!m->finite)
        text_add(line, ",\"skipped\":true");
    if (run->went_back)
        text_add(line, ",\"went_back_from\":%" PRId64, run->went_back);
    run->went_back = 0;
    if (validated) {
        add_losses(line, "val_loss", "val_accuracy", &val, r->decoder_count);
        text_add(line, ",\"val_images\":%zu", run->pictures.val.count);
    }
    run_add_findings(run, line);
    /* Timings are for people: no more digits than they mean. */
    text_add(line, ",\"images_per_second\":%.1f,\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"data_wait\":%.6f}",
             r->schedule.batch_size / pace, times->seconds, times->cpu, times->waited);
    bool ok = !line->failed && run_folder_log(run->folder, line->data) &&
              write_event(run, m, validated ? &val : NULL, lr, pace, times->waited);
    if (ok && why)
        error_set("%s", why);
    memory_free(why);
    if (!ok || run->val_failed)
        return ok;
    /* The first step of a session warms up: the mean begins with the second. */
    double part = run->timed < 2 ? 1 : 0.1;
    run->timed += run->timed < 2;
    run->waited += part * (times->waited - run->waited);
    run->pace += part * (pace - run->pace);
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
                                                   .data_wait = run->waited / run->pace,
                                                   .seconds_left = (double)(run->last - run->step) * run->pace,
                                                   .validated = validated,
                                                   .val_loss = val.loss,
                                                   .val_accuracy = val.accuracy});
    if (validated)
        run_draw_samples(run);
    return true;
}
