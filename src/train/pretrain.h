/* A pre-training run from a recipe to a run directory: opens the pictures, settles what the recipe leaves to the program,
 * trains, validates, logs, saves, goes on where an earlier session stopped. It prints nothing and handles no signals: it tells
 * its caller through functions. */
#ifndef LACUNA_TRAIN_PRETRAIN_H
#define LACUNA_TRAIN_PRETRAIN_H

#include "recipe/recipe.h"
#include "train/pictures.h"
#include "train/trainer.h"

/* After a step. Valid during the call. */
typedef struct {
    const char *line; /* the step's line of log.jsonl, without the line's end */
    int64_t step;     /* steps done */
    int64_t last;     /* the step at which this run ends: of the schedule, or run.max_steps */
    double epoch;     /* step / steps per epoch */
    const TrainerMetrics *metrics;
    int decoders;
    double lr;
    double images_per_second; /* averaged over the last steps */
    double data_wait;         /* share of the time that was spent waiting for pictures, likewise */
    double seconds_left;      /* a guess; validation and saving left out */
    bool validated;           /* val_loss is set */
    double val_loss;
    double val_accuracy; /* NaN for methods that have none */
} PretrainProgress;

/* What a probe looks at, for reading, during the call. */
typedef struct {
    const Recipe *recipe; /* settled; statistics are lists */
    const Pictures *pictures;
    const Device *device;
    const ParamSet *params;
    const float *weights; /* trained ones, of `params` */
} PretrainLook;

/* What a probe found: numbers of blocks. */
typedef struct PretrainFindings PretrainFindings;

/* Adds a number of a block, from 1. Names are words of a-z and _, at most 31 letters; of each name the blocks rise. False after
 * error_set(). */
bool pretrain_found(PretrainFindings *findings, const char *name, int block, double value);

typedef struct {
    const Recipe *recipe; /* checked here; borrowed */
    const char *out;      /* the run directory; NULL: runs/NAME-N */
    bool resume;          /* go on from the newest complete checkpoint, if there is one */
    const char *named;    /* resume: a recipe's name or file, which the run must have been begun with; NULL: any */
    bool plain;           /* without the exact savings */
    RankGroup *ranks;     /* run.devices processes, of which this one is rank 0; NULL: this one alone */
    /* Each may be NULL. */
    void (*progress)(void *context, const PretrainProgress *progress);
    void (*say)(void *context, const char *sentence); /* for people: what is going on */
    bool (*stop)(void *context); /* asked before the first step and after every one: true saves and ends the run */
    void *context;
    /* Looks at the backbone at the end of each probe.every-th epoch, counted back from the last, and nowhere else; adds what it
     * finds, which goes into the step's line, the events and the report. It must not change anything, and find the same
     * whenever it sees the same. After false the run says why and goes on. NULL: nobody looks. */
    bool (*probe)(void *context, const PretrainLook *look, PretrainFindings *findings);
    void *probe_context;
} PretrainOptions;

typedef enum {
    PRETRAIN_FAILED, /* after error_set() */
    PRETRAIN_DONE,   /* all steps are done and saved */
    PRETRAIN_STOPPED /* stop() said so; all that was done is saved */
} PretrainOutcome;

/* Steps are numbered from 1 in the log and in names of checkpoints: the line and the checkpoint of step n are what n steps have
 * led to. What is logged and saved depends on recipe and pictures alone (timings apart): not on sessions, threads, workers. A
 * folder that holds a run is refused without `resume`; with it the recipe must be the run's in all that decides results, also
 * when nothing was saved yet. A run that is finished says so without looking for its pictures. */
PretrainOutcome pretrain_run(const PretrainOptions *options);

#endif
