/* How a run comes on, for whoever looks: a bar on a terminal, a line now and then in a pipe, JSON for programs. */
#ifndef LACUNA_CLI_PROGRESS_H
#define LACUNA_CLI_PROGRESS_H

#include <stdio.h>

#include "train/pretrain.h"

typedef struct {
    bool json;  /* every step's line on standard output and nothing else there; the rest goes to standard error */
    bool quiet; /* neither bar nor lines nor sentences */
    FILE *out;
    bool bar;                  /* `out` is a terminal: one line that is drawn over */
    bool coloured;             /* and NO_COLOR is not set */
    bool drawn;                /* a bar stands there now */
    double began, shown, kept; /* when it was opened; when a line was last shown; when one that stays for a validation */
} Progress;

Progress progress_open(bool json, bool quiet);

/* To be called after every step. `ends`: it is the last one of this session, whatever the schedule says. */
void progress_step(Progress *progress, const PretrainProgress *step, bool ends);

void progress_say(Progress *progress, const char *sentence);

/* Leaves the cursor at the start of an empty line. */
void progress_close(Progress *progress);

/* Seconds as 4:05, 2:03:04 or 3 d 4 h. */
void progress_add_time(Text *text, double seconds);

#endif
