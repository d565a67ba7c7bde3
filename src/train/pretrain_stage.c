/* Distillation in stages: the student becomes the teacher, and a new student begins. */
#include <inttypes.h>

#include "base/error.h"
#include "train/run.h"
#include "train/teacher.h"

bool run_open_trainer(Run *run, int stage, Trainer **trainer)
{
    const Recipe *r = &run->recipe;
    MimTeacher model;
    TrainerOptions options = {.device = run->device,
                              .batch = r->schedule.batch_size,
                              .micro_batch = r->run.micro_batch,
                              .plain = run->options->plain,
                              .ranks = run->options->ranks,
                              .stage = stage};
    if (mim_needs_teacher(r)) {
        if (!teacher_of(r, stage, &model))
            return false;
        options.teacher = &model;
    }
    return (*trainer = trainer_open(r, &options)) != NULL;
}

bool run_enter_stage(Run *run)
{
    const Recipe *r = &run->recipe;
    int next = run->stage + 1;
    Trainer *trainer = NULL;
    if (next >= r->stages.count || run->step < stage_end(r, run->per_epoch, run->stage))
        return true;
    bool ok = trainer_retire(run->trainer) && run_open_trainer(run, next, &trainer) &&
              teacher_succeed(run->trainer, trainer, r->stages.items[next].reset);
    if (!ok) {
        trainer_close(trainer);
        return error_context("beginning stage %d", next);
    }
    trainer_close(run->trainer);
    run->trainer = trainer;
    run->stage = next;
    /* Of another student and another target: there is nothing to compare its losses with yet. */
    run->guard.losses = 0;
    run->guard.mean = run->guard.variance = 0;
    run_close_loader(run);
    run_say(run, "stage %d of %d begins: what was trained is the teacher of a new student", next + 1, r->stages.count);
    return run_open_loader(run);
}

void run_drop_other_size(const Run *run, LoaderOptions *options)
{
    if (run->stage > 0)
        options->other[0] = options->other[1] = 0;
}

bool run_set_stage(Run *run, int stage)
{
    if (stage == run->stage)
        return true;
    trainer_close(run->trainer);
    run->trainer = NULL;
    run->stage = stage;
    return run_open_trainer(run, stage, &run->trainer);
}
