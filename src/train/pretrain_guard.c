/* guard.*: what to do when a step is not finite, or its loss leaps. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/run.h"
#include "train/teacher.h"

/* Losses before a leap can be told from the ordinary, and how many the running mean reaches back. */
enum { LOSSES_LEAST = 20, LOSSES_REACH = 50 };

/* More epochs than this no run has (schedule.epochs), so no draw is made twice. */
enum { EPOCH_BITS = 24 };

uint32_t run_draw_epoch(const Run *run, uint32_t epoch)
{
    return epoch + ((uint32_t)run->guard.draw << EPOCH_BITS);
}

/* ---- not finite */

enum { NAMES_SHOWN = 3 };

/* "a.png, b.png and 6 more"; all of them when `shown` is large. */
static void add_pictures(const Run *run, const LoaderBatch *batch, const TrainerFault *fault, int shown, Text *out)
{
    int count = 0;
    char *key = memory_new(SOURCE_KEY_SIZE, 1);
    for (size_t i = 0; key && i < batch->count; i++)
        if (fault->pictures[i] && count++ < shown)
            text_add(out, "%s%s", count > 1 ? ", " : "",
                     source_key(run->pictures.source, batch->samples[i], key, SOURCE_KEY_SIZE));
    if (count > shown)
        text_add(out, " and %d more", count - shown);
    memory_free(key);
}

/* RUN/failure, a run of its own that stands before the failing step, and what is to be said of it. */
static bool write_failure(Run *run, const char *text)
{
    const char *path = run_folder_path(run->folder);
    char *folder = file_join(path, "failure"), *file = folder ? file_join(folder, "failure.txt") : NULL;
    CheckpointMeta meta = run_meta(run);
    RunFolder *failure = NULL;
    bool ok = file && file_remove(folder) && (failure = run_folder_open(folder, NULL)) &&
              run_folder_write_recipe(failure, &run->recipe) &&
              checkpoint_save(folder, run->trainer, &run->recipe, &meta, run->recipe.run.keep) &&
              file_write(file, text, strlen(text));
    run_folder_close(failure);
    memory_free(file);
    memory_free(folder);
    return ok;
}

/* Nobody cares about the sign of what is no number. */
static double shown(double value)
{
    return isnan(value) ? (double)NAN : value;
}

/* The sentence that ends the run. Finding out more may fail in its turn; the sentence is then shorter. */
static bool stop_not_finite(Run *run, const LoaderBatch *batch, const TrainerBatch *input, const TrainerMetrics *m)
{
    const char *path = run_folder_path(run->folder);
    TrainerFault fault = {.pictures = memory_new(batch->count, sizeof *fault.pictures)};
    Text short_text = {0}, text = {0};
    text_add(&text, "step %" PRId64 ": the loss (%g) or the norm of the gradient (%g) is not finite, so the run stops; ",
             run->step + 1, shown(m->loss), shown(m->grad_norm));
    text_add(&short_text, "%s", text.data ? text.data : "");
    if (fault.pictures && trainer_diagnose(run->trainer, input, &fault)) {
        text_add(&text, "%s, with ", fault.place);
        text_add(&short_text, "%s, with ", fault.place);
        add_pictures(run, batch, &fault, (int)batch->count, &text);
        add_pictures(run, batch, &fault, NAMES_SHOWN, &short_text);
        text_add(&short_text, "; ");
    }
    text_add(&text, "\n");
    if (run->guard.skipped)
        text_add(&short_text, "skipped before it: %" PRId64 " step%s, and guard.limit allows no more; ", run->guard.skipped,
                 run->guard.skipped == 1 ? "" : "s");
    bool replays = run->saved == run->step; /* the newest checkpoint is the state before */
    if (!replays && !text.failed && write_failure(run, text.data))
        text_add(&short_text,
                 "%s/failure holds the state before it and does it again: lacuna pretrain --out %s/failure --resume; ", path,
                 path);
    else if (!replays)
        text_add(&short_text, "the state before it could not be saved (%s); ", error_text());
    if (run->saved >= 0)
        text_add(&short_text, "the checkpoint of step %" PRId64 " is as it was%s; ", run->saved,
                 replays ? " and does it again with --resume" : "");
    else
        text_add(&short_text, "no checkpoint has been saved yet; ");
    text_add(&short_text, "a lower schedule.lr or blr, a longer warm-up or optimizer.clip may help");
    if (!short_text.failed)
        error_set("%s", short_text.data);
    text_free(&short_text);
    text_free(&text);
    memory_free(fault.pictures);
    return false;
}

/* ---- leaps */

static bool is_leap(const Run *run, double loss)
{
    const CheckpointGuard *g = &run->guard;
    double spike = run->recipe.guard.spike;
    return spike > 0 && g->losses >= LOSSES_LEAST && loss > g->mean + spike * sqrt(g->variance);
}

static void note_loss(CheckpointGuard *g, double loss)
{
    g->losses++;
    double share = 1.0 / (double)(g->losses < LOSSES_REACH ? g->losses : LOSSES_REACH), off = loss - g->mean;
    g->mean += share * off;
    g->variance = (1 - share) * (g->variance + share * off * off);
}

/* Everything is as the newest checkpoint has it, but what is drawn from now on is drawn anew. What happened since is forgotten,
 * so that a run that is stopped on the way and resumed there comes to the same. */
static bool go_back(Run *run, double loss)
{
    char name[64];
    CheckpointMeta meta;
    int64_t from = run->step + 1;
    if (++run->returns > run->recipe.guard.limit)
        return error_set("step %" PRId64 ": the loss (%g) leaps above its running mean (%g) again, after %d returns to the "
                         "checkpoint of step %" PRId64 " (guard.limit), so the run stops; a lower schedule.lr or blr or "
                         "optimizer.clip may help",
                         from, loss, run->guard.mean, run->recipe.guard.limit, run->saved);
    run_say(run,
            "step %" PRId64 ": the loss (%g) leaps above its running mean (%g): back to step %" PRId64 ", with other draws",
            from, loss, run->guard.mean, run->saved);
    snprintf(name, sizeof name, "checkpoints/step-%08" PRId64, run->saved);
    char *folder = file_join(run_folder_path(run->folder), name);
    bool ok = folder && run_set_stage(run, stage_of(&run->recipe, run->per_epoch, run->saved)) &&
              checkpoint_load(folder, run->trainer, &meta);
    memory_free(folder);
    if (!ok)
        return error_context("going back from step %" PRId64, from);
    run->step = meta.step;
    run->guard = meta.guard;
    run->guard.draw += run->returns;
    run->went_back = from;
    run->drawn = -1;
    run_drop_ahead(run);
    run_close_loader(run);
    return run_folder_open_log(run->folder, run->step) && run_open_loader(run);
}

GuardOutcome run_guard(Run *run, const LoaderBatch *batch, const TrainerBatch *input, const TrainerMetrics *m)
{
    CheckpointGuard *g = &run->guard;
    if (!m->finite) {
        bool skips = run->recipe.guard.nonfinite == GUARD_SKIP && g->skipped + 1 < run->recipe.guard.limit;
        if (!skips)
            return stop_not_finite(run, batch, input, m) ? GUARD_GOES_ON : GUARD_FAILED;
        g->skipped++;
        run_say(run, "step %" PRId64 " is skipped: the loss (%g) or the norm of the gradient (%g) is not finite", run->step + 1,
                shown(m->loss), shown(m->grad_norm));
        return GUARD_GOES_ON;
    }
    g->skipped = 0;
    if (is_leap(run, m->loss))
        return go_back(run, m->loss) ? GUARD_WENT_BACK : GUARD_FAILED;
    if (run->recipe.guard.spike > 0)
        note_loss(g, m->loss);
    return GUARD_GOES_ON;
}
