/* A run in progress: what the files of the loop share. pretrain.c is the loop, pretrain_open.c comes before it;
 * pretrain_input.c takes what a step needs, pretrain_stage.c changes students, pretrain_codes.c makes code books,
 * pretrain_guard.c looks at each step, pretrain_log.c validates and logs, pretrain_probe.c lets others look inside,
 * pretrain_save.c saves and draws. */
#ifndef LACUNA_TRAIN_RUN_H
#define LACUNA_TRAIN_RUN_H

#include "base/text.h"
#include "train/checkpoint.h"
#include "train/pictures.h"
#include "train/pretrain.h"
#include "train/run_folder.h"

/* What a step takes. */
typedef struct {
    LoaderBatch batch;
    uint8_t *hidden; /* (batch, L) */
    uint8_t *kept;   /* (branches, batch); NULL: nothing drops */
} StepInput;

typedef enum { TAKEN_NOT, TAKEN, TAKEN_FAILED } Taken;

/* A picture of a batch that was taken ahead, not told of before its step. */
typedef struct {
    char *key, *reason;
} EarlyBad;

typedef struct {
    char name[32];
    int block;
    double value;
} Finding;

/* Those of one name are neighbours. */
struct PretrainFindings {
    Finding *items;
    size_t count, capacity;
};

typedef struct {
    const PretrainOptions *options;
    Recipe recipe; /* settled */
    Pictures pictures;
    uint64_t names; /* source_names() of those trained on */
    RunFolder *folder;
    Trainer *trainer;
    Device device;
    Loader *loader;
    void *shared;         /* its pictures' memory, where other ranks can read it; else NULL */
    SampleList known_bad; /* training pictures that earlier sessions found unreadable */
    StepInput inputs[2];  /* of steps with an even and an odd number before them */
    Taken taken;          /* of the next step's input */
    bool takes_ahead;     /* which is being taken */
    char *why_not_taken;  /* owned; NULL too when memory is out */
    EarlyBad *early;
    bool early_failed; /* one could not be kept */
    size_t early_count, early_capacity;
    Text line;
    EventDraft event;               /* of the present step */
    PretrainFindings findings;      /* likewise; none: not probed */
    int64_t per_epoch, total, last; /* steps: of an epoch, of the schedule, where this run ends */
    int stage;                      /* of distillation, from 0 */
    int64_t step, saved;            /* steps done; the step of the newest checkpoint, -1: none */
    int64_t drawn;                  /* the step of the newest sheet, -1: none in this session */
    CheckpointGuard guard;          /* as of the present step */
    int64_t returns;                /* to the newest checkpoint, by guard.spike */
    int64_t went_back;              /* the step from which the run has just gone back; 0: not */
    double step_waited;             /* seconds that the present step has waited for pictures */
    double pace, waited;            /* seconds a step, averaged; 0: not known. Of these, waiting for pictures */
    int timed;                      /* steps that went into these, at most 2 */
    bool bad_failed;                /* bad_files.csv could not be written */
    bool val_failed;                /* a validation failed: the error says why */
    bool val_seen;                  /* a validation has told of the held-out pictures that cannot be read */
    bool stopped;                   /* stop() said so before the first step, or while the code book was made */
    float *sample_images;           /* of RUN/samples, loaded with the first sheet */
    uint8_t *sample_hidden;
    int samples;
} Run;

/* Tells the caller a sentence. */
void run_say(const Run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether the caller wants the run to end. */
bool run_is_stopped(const Run *run);

/* ---- pretrain_open.c */

/* Everything up to the first step. With a finished run, returns with step >= last and little else. False after error_set(). */
bool run_open(Run *run);

/* The loader of the training pictures from the present step on. False after error_set(). */
bool run_open_loader(Run *run);
void run_close_loader(Run *run);

/* ---- pretrain_input.c */

/* Room for what steps take. False after error_set(). */
bool run_new_inputs(Run *run);
void run_free_inputs(Run *run);

/* The present step's input, valid until loader_release() and run_take_ahead() of the next step. False after error_set(): the
 * pictures cannot be read any more. */
bool run_take_input(Run *run, StepInput **in, TrainerBatch *batch);

/* While the present step is computed: takes the next one's input, if there is one in this stage and nobody wants the run to
 * end. That it cannot be taken shows when its turn comes, and so do its unreadable pictures. */
void run_take_ahead(Run *run);

/* The next step is another one than what was taken ahead is for. */
void run_drop_ahead(Run *run);

/* Notes a training picture that cannot be read; for LoaderOptions. */
void run_note_bad(void *context, const char *key, const char *reason);

/* ---- pretrain_stage.c */

/* A trainer of a stage, with the draw of its student; the teacher is yet to be filled. False after error_set(). */
bool run_open_trainer(Run *run, int stage, Trainer **trainer);

/* Before a step: begins the next stage when the present one's steps are done. False after error_set(). */
bool run_enter_stage(Run *run);

/* Only the first stage's teacher sees pictures of target.image_size. */
void run_drop_other_size(const Run *run, LoaderOptions *options);

/* A trainer of that stage in place of the present one, to be filled from a checkpoint. False after error_set(). */
bool run_set_stage(Run *run, int stage);

/* ---- pretrain_codes.c */

/* Makes the code book of targets of kind `tokens` of the training pictures, where target.teacher brings none (spec 12); or sets
 * run->stopped when the caller wants the run to end on the way. False after error_set(). */
bool run_make_codes(Run *run);

/* Whether the memory for that is free, before anything is taken. False after error_set(). */
bool run_codes_fit(const Run *run);

/* ---- pretrain_log.c */

/* Writes that a training picture cannot be read, and tells the caller. */
void run_tell_bad(Run *run, const char *key, const char *reason);

/* What a step took, in seconds: by the clock, of the processors together, and of the former for pictures to come. */
typedef struct {
    double seconds, cpu, waited;
} StepTimes;

/* Writes the line of the step that was just done, validating before when that is due, and tells the caller. When the validation
 * fails (val_failed) the line goes without it: the step is done, and what it led to is about to be saved. False after
 * error_set(). */
bool run_log_step(Run *run, const TrainerMetrics *metrics, double lr, const StepTimes *times);

/* ---- pretrain_probe.c */

/* Lets the caller look at the backbone when that is due; run->findings are then of the present step. */
void run_probe(Run *run);

/* Appends the findings to the step's line and to its event. */
void run_add_findings(const Run *run, Text *line);
void run_event_findings(Run *run);

/* ---- pretrain_guard.c */

/* The number under which masks and branches of a batch are drawn: its epoch, and others once the run has gone back. */
uint32_t run_draw_epoch(const Run *run, uint32_t epoch);

/* What becomes of a step that was just computed. */
typedef enum {
    GUARD_FAILED, /* the run ends; after error_set() */
    GUARD_GOES_ON,
    GUARD_WENT_BACK /* run->step is that of the newest checkpoint again; the step is not to be logged */
} GuardOutcome;

/* guard.nonfinite and guard.spike, before run->step counts the step. */
GuardOutcome run_guard(Run *run, const LoaderBatch *batch, const TrainerBatch *input, const TrainerMetrics *metrics);

/* ---- pretrain_save.c */

/* What meta.json of a checkpoint of the present step says. */
CheckpointMeta run_meta(const Run *run);

/* The checkpoint of the present step, unless it is there already, with a sheet and the report. False after error_set(). */
bool run_save(Run *run);

/* RUN/samples/step-N.png. A run does not end because a sheet cannot be drawn. */
void run_draw_samples(Run *run);

/* RUN/samples/targets.png, as a run begins: what target.hybrid mixes. Likewise. */
void run_draw_targets(Run *run);

#endif
