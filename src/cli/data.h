/* Parts of `lacuna data`, one file each. */
#ifndef LACUNA_CLI_DATA_H
#define LACUNA_CLI_DATA_H

#include "data/survey.h"

typedef struct {
    const char *where;
    int threads;
    bool json;
    Source *source;
    size_t damaged; /* shards, which check tells of and leaves out */
} DataJob;

/* Draws how far a survey has come, on standard error and only on a terminal; a few times a second. */
typedef struct {
    bool shown, drawn;
    double last; /* when it was drawn */
    size_t count;
} DataProgress;

DataProgress data_progress(const DataJob *job);
void data_progress_step(DataProgress *progress, size_t done);
void data_progress_clear(DataProgress *progress);

/* Each returns one of the exit codes. */
int data_check(const DataJob *job);
int data_stats(const DataJob *job);

#endif
