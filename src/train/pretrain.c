#include "train/pretrain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "train/run.h"
#include "train/teacher.h"

void run_say(const Run *run, const char *format, ...)
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

bool run_is_stopped(const Run *run)
{
    return run->options->stop && run->options->stop(run->options->context);
}

/* ---- the loop */

/* The pictures cannot be read any more, or not be noted, but what was learnt so far is good. Keeps the error; always false. */
static bool save_before_failing(Run *run)
{
    char *why = memory_string(error_text());
    if (run->step > 0)
        run_save(run);
    if (why)
        error_set("%s", why);
    memory_free(why);
    return false;
}

static bool one_step(Run *run)
{
    StepInput *in;
    TrainerBatch batch;
    TrainerMetrics metrics;
    double before = clock_seconds(), cpu = clock_process_seconds();
    if (!run_enter_stage(run))
        return false;
    run->step_waited = 0;
    if (!run_take_input(run, &in, &batch))
        return save_before_failing(run);
    if (run->bad_failed) {
        error_context("noting a picture that cannot be read");
        return save_before_failing(run);
    }
    bool begun = trainer_begin(run->trainer, &batch);
    if (begun)
        run_take_ahead(run);
    if (!begun || !trainer_end(run->trainer, &metrics))
        return error_context("step %" PRId64, run->step + 1);
    GuardOutcome outcome = run_guard(run, &in->batch, &batch, &metrics);
    if (outcome != GUARD_GOES_ON)
        return outcome == GUARD_WENT_BACK;
    loader_release(run->loader);
    run->step++;
    StepTimes times = {clock_seconds() - before, clock_process_seconds() - cpu, run->step_waited};
    return run_log_step(run, &metrics, batch.lr, &times) && (!run->val_failed || save_before_failing(run));
}

static PretrainOutcome train(Run *run)
{
    if (run->stopped)
        return PRETRAIN_STOPPED;
    while (run->step < run->last) {
        if (!one_step(run))
            return PRETRAIN_FAILED;
        bool stop = run_is_stopped(run) && run->step < run->last;
        bool ends = run->step == stage_end(&run->recipe, run->per_epoch, run->stage);
        if ((stop || ends || run->step == run->last || run->step % run->recipe.run.save_steps == 0) && !run_save(run))
            return PRETRAIN_FAILED;
        if (stop)
            return PRETRAIN_STOPPED;
    }
    return PRETRAIN_DONE;
}

static void close_run(Run *run)
{
    run_free_inputs(run);
    run_close_loader(run);
    trainer_close(run->trainer);
    device_close(&run->device);
    pictures_close(&run->pictures);
    run_folder_close(run->folder);
    sample_list_free(&run->known_bad);
    memory_free(run->sample_images);
    memory_free(run->sample_hidden);
    text_free(&run->line);
    event_draft_free(&run->event);
    memory_free(run->findings.items);
}

PretrainOutcome pretrain_run(const PretrainOptions *options)
{
    PretrainOutcome outcome = PRETRAIN_FAILED;
    Run *run = memory_new(1, sizeof *run);
    if (!run)
        return PRETRAIN_FAILED;
    run->options = options;
    if (run_open(run)) {
        if (run->stopped)
            run_say(run, "stopped before its first step");
        else if (run->step >= run->last)
            run_say(run,
                    run->last == run->total ? "the run is finished: all its %" PRId64 " steps are done"
                                            : "nothing to do: run.max_steps asks for %" PRId64 " steps, and they are done",
                    run->last);
        if (run->step < run->last && !run->stopped)
            run_draw_targets(run);
        outcome = train(run);
        if (outcome != PRETRAIN_FAILED && run->saved >= 0)
            run_say(run, "%s/checkpoints/step-%08" PRId64 " is saved", run_folder_path(run->folder), run->saved);
    }
    /* Its GPU may be what failed, and the others may wait for it. */
    if (outcome == PRETRAIN_FAILED && options->ranks && run->device.kind == DEVICE_CUDA)
        ranks_break(options->ranks);
    close_run(run);
    memory_free(run);
    return outcome;
}
