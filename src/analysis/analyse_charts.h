/* What the parts of an analysis' page draw their charts with. */
#ifndef LACUNA_ANALYSIS_ANALYSE_CHARTS_H
#define LACUNA_ANALYSIS_ANALYSE_CHARTS_H

#include "analysis/analyse_parts.h"
#include "report/chart.h"

/* A heading, a sentence, and a grid that figures stand in. */
void charts_begin_section(Text *out, const char *title, const char *lead);
void charts_end_section(Text *out);

/* The title of a chart of one model ends with its name when there are several. */
void charts_title(const Analysis *a, int model, const char *what, char *title, size_t size);

/* The same axes for a row of charts, zero included when asked for. */
void charts_share_axes(Chart *charts, int count, bool zero);

/* Draws and frees them; those without a single number are left out. `ok` false: nothing is drawn. False after error_set(), or
 * when it was. */
bool charts_draw(Chart *charts, int count, bool ok, Text *out);

/* A chart for each model, which make() fills, on the same axes. False after error_set(). */
bool charts_add_each(const Analysis *a, const char *what, bool (*make)(const Analysis *, int model, Chart *), bool zero,
                     const char *note, Text *out);

/* One chart with a line a model: value() at each layer from 0. False after error_set(). */
bool charts_add_common(const Analysis *a, const char *title, double (*value)(const Analysis *, int model, int layer), bool zero,
                       const char *x_name, const char *note, Text *out);

#endif
