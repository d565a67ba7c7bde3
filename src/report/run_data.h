/* What a run's directory tells about the run, read for its report: curves out of log.jsonl, sheets, settings. */
#ifndef LACUNA_REPORT_RUN_DATA_H
#define LACUNA_REPORT_RUN_DATA_H

#include "base/text.h"
#include "recipe/recipe.h"

enum {
    RUN_LR,
    RUN_GRAD_NORM,
    RUN_SPEED,    /* pictures per second */
    RUN_WAIT,     /* percent of a step's time that it waited for data */
    RUN_ACCURACY, /* percent, of methods that have one */
    RUN_LOSS,     /* and behind it the decoders'; of methods without decoders the same once more */
    RUN_SERIES = RUN_LOSS + 1 + RECIPE_DECODERS_MAX
};

enum { RUN_BINS = 512 }; /* at most, and at least half as many once there are so many steps */

/* Some neighbouring steps: means over those that have a number. */
typedef struct {
    int steps;
    double epoch;
    int counts[RUN_SERIES];
    double sums[RUN_SERIES];
} RunBin;

/* The held-out losses of one validation; not finite where there is none. */
typedef struct {
    double epoch;
    double losses[1 + RECIPE_DECODERS_MAX]; /* the sum, then each decoder's */
    double accuracy;                        /* percent */
} RunValidation;

/* A number of a block that a probe found while training. */
typedef struct {
    char name[32];
    double epoch;
    int block;    /* from 1 */
    double value; /* not finite: none */
} RunFinding;

typedef struct {
    char *path;
    char name[RECIPE_NAME_BYTES]; /* of the recipe it was begun with, "" when that is not known */
    Recipe *recipe;
    char *yaml;
    RunBin *bins;
    size_t bin_count;
    RunValidation *validations;
    size_t validation_count, validation_capacity;
    RunFinding *findings; /* in the order of the log */
    size_t finding_count, finding_capacity;
    long long steps; /* of the last line */
    double seconds;  /* of all steps */
    char **sheets;   /* paths of RUN/samples/step-N.png, in order */
    size_t sheet_count, sheet_capacity;
    char *bad_files;   /* bad_files.csv; NULL: none */
    char *environment; /* environment.json; NULL: none */
} RunData;

/* Reads RUN. A torn last line of the log is left out, a log that is not there has no lines. False after error_set() when there
 * is no run or its files cannot be understood; run_data_free() is due in any case. */
bool run_data_read(RunData *data, const char *run);
void run_data_free(RunData *data);

/* Series of losses behind RUN_LOSS: the decoders', or one. */
int run_data_terms(const RunData *data);

/* "block 6" or "last block": what decoder k reads; "block 6 (1)" with its number where several read it. */
void run_data_decoder(const RunData *data, int decoder, char *name, size_t size);

#endif
