/* Line charts as SVG, for pages: colours come from the page's style (classes c0 .. c7), so that one picture fits a light and a
 * dark page. */
#ifndef LACUNA_REPORT_CHART_H
#define LACUNA_REPORT_CHART_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

enum { CHART_COLOURS = 8 };

typedef struct {
    double x, y; /* y not finite: a gap */
} ChartPoint;

typedef enum { CHART_LINE, CHART_FAINT, CHART_DOTS, CHART_DASHED } ChartStyle;

typedef struct {
    char name[96];
    int colour; /* from 0; taken modulo CHART_COLOURS */
    ChartStyle style;
    ChartPoint *points; /* owned by the chart, from memory_new() */
    size_t count;
} ChartSeries;

typedef struct {
    char title[128];
    ChartSeries *series;
    size_t count, capacity;
    bool zero;          /* the axis begins at 0 */
    double reach;       /* and goes at least so far; 0: as the numbers do */
    bool fixed;         /* low and high are given */
    double low, high;   /* of y */
    double first, last; /* of x, set with the range */
    const char *x_name; /* what x counts, in whole numbers ("block"); NULL: epochs */
    const char *note;   /* a sentence below the picture, or NULL */
} Chart;

/* A new series with room for so many points, NULL after error_set(). The caller fills points and sets their count. */
ChartSeries *chart_series(Chart *chart, size_t room, int colour, ChartStyle style, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The range of y that shows what matters: lines and dots, without the steep beginning that a loss has. *any: there is something
 * to draw, and low and high are set. False after error_set(). */
bool chart_range(const Chart *chart, bool *any, double *low, double *high);

/* Appends a <figure> with title, legend and the SVG. A chart without a finite point says so in words. False after error_set().
 */
bool chart_draw(Chart *chart, Text *out);

void chart_free(Chart *chart);

/* Appends the sentence below a picture; NULL: nothing. */
void chart_note(const char *note, Text *out);

/* Appends text with what HTML would take for markup written out. */
void html_text(Text *out, const char *text);

#endif
