/* The page on a run, or on several side by side: curves, sheets, settings, environment, pictures left out. One file that
 * fetches nothing, for light and dark screens and for paper. */
#ifndef LACUNA_REPORT_REPORT_H
#define LACUNA_REPORT_REPORT_H

#include <stdbool.h>

enum { REPORT_RUNS_MOST = 8 };

/* Writes the report of 1 to REPORT_RUNS_MOST run directories to `path`, replacing it as a whole. False after error_set(). */
bool report_write(const char *const *runs, int count, const char *path);

#endif
