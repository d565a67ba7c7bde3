#include "analysis/analyse_charts.h"

#include <math.h>
#include <stdio.h>

void charts_begin_section(Text *out, const char *title, const char *lead)
{
    text_add(out, "<h2>%s</h2>\n<p class=\"lead\">%s</p>\n<div class=\"grid2\">\n", title, lead);
}

void charts_end_section(Text *out)
{
    text_add(out, "</div>\n");
}

void charts_title(const Analysis *a, int m, const char *what, char *title, size_t size)
{
    if (a->count > 1)
        snprintf(title, size, "%s: %s", what, a->models[m].name);
    else
        snprintf(title, size, "%s", what);
}

void charts_share_axes(Chart *charts, int count, bool zero)
{
    double low = zero ? 0 : INFINITY, high = -INFINITY;
    for (int i = 0; i < count; i++)
        for (size_t s = 0; s < charts[i].count; s++)
            for (size_t k = 0; k < charts[i].series[s].count; k++) {
                double y = charts[i].series[s].points[k].y;
                low = isfinite(y) && y < low ? y : low;
                high = isfinite(y) && y > high ? y : high;
            }
    for (int i = 0; i < count; i++) {
        charts[i].fixed = low <= high;
        charts[i].zero = zero;
        charts[i].low = low;
        charts[i].high = high;
    }
}

bool charts_draw(Chart *charts, int count, bool ok, Text *out)
{
    for (int i = 0; ok && i < count; i++)
        ok = !charts[i].fixed || chart_draw(&charts[i], out);
    for (int i = 0; i < count; i++)
        chart_free(&charts[i]);
    return ok;
}

bool charts_add_each(const Analysis *a, const char *what, bool (*make)(const Analysis *, int, Chart *), bool zero,
                     const char *note, Text *out)
{
    Chart charts[ANALYSE_MODELS_MOST] = {0};
    bool ok = true;
    for (int m = 0; ok && m < a->count; m++) {
        charts_title(a, m, what, charts[m].title, sizeof charts[m].title);
        charts[m].note = note;
        ok = make(a, m, &charts[m]);
    }
    charts_share_axes(charts, a->count, zero);
    return charts_draw(charts, a->count, ok, out);
}

bool charts_add_common(const Analysis *a, const char *title, double (*value)(const Analysis *, int, int), bool zero,
                       const char *x_name, const char *note, Text *out)
{
    Chart chart = {.x_name = x_name, .note = note};
    bool ok = true;
    snprintf(chart.title, sizeof chart.title, "%s", title);
    for (int m = 0; ok && m < a->count; m++) {
        int depth = inside_depth(a->models[m].inside);
        ChartSeries *s = chart_series(&chart, (size_t)depth + 1, m, CHART_LINE, "%s", a->models[m].name);
        for (int l = 0; s && l <= depth; l++)
            s->points[s->count++] = (ChartPoint){l, value(a, m, l)};
        ok = s != NULL;
    }
    charts_share_axes(&chart, 1, zero);
    return charts_draw(&chart, 1, ok, out);
}
