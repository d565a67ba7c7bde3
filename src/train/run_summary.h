/* A run's directory as it stands, for people who look at it: nothing is locked or changed. */
#ifndef LACUNA_TRAIN_RUN_SUMMARY_H
#define LACUNA_TRAIN_RUN_SUMMARY_H

#include <time.h>

#include "recipe/recipe.h"

typedef enum {
    RUN_ACTIVE,   /* a process holds its lock */
    RUN_FINISHED, /* all steps of its schedule are done */
    RUN_STOPPED,  /* some are not */
    RUN_EMPTY     /* no step is logged */
} RunState;

typedef struct {
    RunState state;
    Recipe recipe;                                   /* of recipe.yaml, with its name */
    int64_t step;                                    /* of the last line of the log; 0: none */
    int64_t steps;                                   /* of the schedule; 0: not known yet */
    double epoch, loss, losses[RECIPE_DECODERS_MAX]; /* of that line */
    double accuracy, val_accuracy;                   /* of that line and of the last validation; NaN: none */
    int64_t val_step;                                /* of the last validation; 0: none */
    double val_loss, val_losses[RECIPE_DECODERS_MAX];
    double seconds;           /* that all logged steps took */
    double images_per_second; /* of the last line */
    time_t changed;           /* when the log was last written to; 0: never */
} RunSummary;

/* Whether there is a run at `path`: a folder with a recipe.yaml. */
bool run_summary_is_run(const char *path);

/* Reads recipe.yaml and log.jsonl of a run; lines of the log that are no JSON objects are passed over. False after
 * error_set(). */
bool run_summary_read(const char *path, RunSummary *summary);

/* "active", "finished", .. */
const char *run_summary_state(RunState state);

#endif
