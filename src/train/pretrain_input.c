/* What a step takes: pictures, masks, branches. The next step's are taken while a GPU still computes the present one. */
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "train/run.h"
#include "train/schedule.h"
#include "train/teacher.h"

bool run_new_inputs(Run *run)
{
    const Recipe *r = &run->recipe;
    size_t branches = (size_t)trainer_branches(run->trainer);
    for (int i = 0; i < 2; i++) {
        StepInput *in = &run->inputs[i];
        in->hidden = memory_new((size_t)r->schedule.batch_size, (size_t)recipe_patches(r));
        in->kept = branches ? memory_new(branches, (size_t)r->schedule.batch_size) : NULL;
        if (!in->hidden || (branches && !in->kept))
            return false;
    }
    return true;
}

/* Branches are drawn picture by picture, each branch of each: what one picture draws depends on nothing else. */
static void draw_kept(Run *run, const StepInput *in)
{
    int branches = trainer_branches(run->trainer);
    const LoaderBatch *batch = &in->batch;
    for (size_t i = 0; in->kept && i < batch->count; i++) {
        Random random = random_stream(run->recipe.run.seed, RANDOM_DROP_PATH, (uint32_t)run->stage,
                                      run_draw_epoch(run, batch->epoch), batch->samples[i]);
        for (int b = 0; b < branches; b++)
            in->kept[(size_t)b * batch->count + i] = random_uniform(&random) >= trainer_branch_rate(run->trainer, b);
    }
}

static bool take(Run *run, StepInput *in)
{
    LoaderBatch *batch = &in->batch;
    if (!loader_next(run->loader, batch))
        return false;
    run->step_waited += batch->waited;
    pictures_masks(&run->recipe, false, (uint32_t)run->stage, run_draw_epoch(run, batch->epoch), batch->samples, batch->count,
                   in->hidden);
    draw_kept(run, in);
    return true;
}

/* Of the step behind `step` others. */
static TrainerBatch trainer_batch(const Run *run, const StepInput *in, int64_t step)
{
    double epoch = (double)step / (double)run->per_epoch;
    return (TrainerBatch){.images = in->batch.images,
                          .teacher_images = in->batch.other,
                          .hidden = in->hidden,
                          .kept = in->kept,
                          .labels = in->batch.labels,
                          .second = in->batch.second,
                          .momentum = schedule_momentum(&run->recipe, (double)(step + 1) / (double)run->per_epoch),
                          .lr = schedule_rate(&run->recipe, epoch),
                          .epoch = epoch};
}

/* ---- unreadable pictures of a batch that is taken ahead */

static void forget_early_bad(Run *run)
{
    for (size_t i = 0; i < run->early_count; i++) {
        memory_free(run->early[i].key);
        memory_free(run->early[i].reason);
    }
    run->early_count = 0;
}

void run_note_bad(void *context, const char *key, const char *reason)
{
    Run *run = context;
    if (!run->takes_ahead) {
        run_tell_bad(run, key, reason);
        return;
    }
    EarlyBad bad = {memory_string(key), memory_string(reason)};
    if (bad.key && bad.reason &&
        memory_grow((void **)&run->early, run->early_count, &run->early_capacity, sizeof *run->early)) {
        run->early[run->early_count++] = bad;
        return;
    }
    memory_free(bad.key);
    memory_free(bad.reason);
    run->early_failed = true;
}

/* ---- the present step's input, and the next one's */

bool run_take_input(Run *run, StepInput **in, TrainerBatch *batch)
{
    *in = &run->inputs[run->step % 2];
    for (size_t i = 0; i < run->early_count; i++)
        run_tell_bad(run, run->early[i].key, run->early[i].reason);
    forget_early_bad(run);
    if (run->taken == TAKEN_FAILED)
        return error_set("%s", run->why_not_taken ? run->why_not_taken : "memory ran out");
    if (run->taken == TAKEN_NOT && !take(run, *in))
        return false;
    run->taken = TAKEN_NOT;
    *batch = trainer_batch(run, *in, run->step);
    return true;
}

void run_take_ahead(Run *run)
{
    int64_t next = run->step + 1;
    if (next >= run->last || next == stage_end(&run->recipe, run->per_epoch, run->stage) || run_is_stopped(run))
        return;
    StepInput *in = &run->inputs[next % 2];
    run->takes_ahead = true;
    bool ok = take(run, in) && !run->early_failed;
    run->takes_ahead = false;
    if (ok) {
        TrainerBatch batch = trainer_batch(run, in, next);
        ok = trainer_ahead(run->trainer, &batch);
    }
    run->taken = ok ? TAKEN : TAKEN_FAILED;
    if (!ok)
        run->why_not_taken = memory_string(error_text());
}

void run_drop_ahead(Run *run)
{
    run->taken = TAKEN_NOT;
    run->early_failed = false;
    memory_free(run->why_not_taken);
    run->why_not_taken = NULL;
    forget_early_bad(run);
    if (run->trainer)
        trainer_ahead(run->trainer, NULL);
}

void run_free_inputs(Run *run)
{
    run_drop_ahead(run);
    for (int i = 0; i < 2; i++) {
        memory_free(run->inputs[i].hidden);
        memory_free(run->inputs[i].kept);
    }
    memory_free(run->early);
}
