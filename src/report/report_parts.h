/* What report.c, report_curves.c and report_probes.c share. */
#ifndef LACUNA_REPORT_REPORT_PARTS_H
#define LACUNA_REPORT_REPORT_PARTS_H

#include "base/text.h"
#include "report/report.h"
#include "report/run_data.h"

enum { NAME_BYTES = 96 };

typedef struct {
    RunData runs[REPORT_RUNS_MOST];
    int count;
    Text out;
} Report;

/* The run's name as a person knows it: the end of its path. */
void report_run_name(const Report *report, int run, char name[NAME_BYTES]);

/* Appends the section of the curves. False after error_set(). */
bool report_add_curves(Report *report);

/* Appends what probes found while training, if they did. False after error_set(). */
bool report_add_probes(Report *report);

#endif
