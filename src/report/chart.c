#include "report/chart.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Of the drawing, in its own units. */
enum { WIDTH = 640, HEIGHT = 280, LEFT = 58, RIGHT = 12, TOP = 10, BOTTOM = 34, TICKS_MOST = 7 };

void html_text(Text *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            text_add(out, "&lt;");
        else if (*text == '&')
            text_add(out, "&amp;");
        else if (*text == '"')
            text_add(out, "&quot;");
        else
            text_add_bytes(out, text, 1);
    }
}

ChartSeries *chart_series(Chart *chart, size_t room, int colour, ChartStyle style, const char *format, ...)
{
    ChartPoint *points = memory_new(room, sizeof *points);
    if (!points || !memory_grow((void **)&chart->series, chart->count, &chart->capacity, sizeof *chart->series)) {
        memory_free(points);
        return NULL;
    }
    ChartSeries *s = &chart->series[chart->count++];
    *s = (ChartSeries){.colour = colour % CHART_COLOURS, .style = style, .points = points};
    va_list args;
    va_start(args, format);
    vsnprintf(s->name, sizeof s->name, format, args);
    va_end(args);
    return s;
}

void chart_free(Chart *chart)
{
    for (size_t i = 0; i < chart->count; i++)
        memory_free(chart->series[i].points);
    memory_free(chart->series);
    *chart = (Chart){0};
}

/* ---- ranges and ticks */

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool chart_range(const Chart *chart, bool *any, double *low, double *high)
{
    size_t count = 0, room = 0;
    for (size_t s = 0; s < chart->count; s++)
        room += chart->series[s].count;
    double *values = memory_new(room, sizeof *values);
    for (size_t s = 0; values && s < chart->count; s++) {
        const ChartSeries *series = &chart->series[s];
        for (size_t i = 0; i < series->count; i++)
            if (series->style != CHART_FAINT && isfinite(series->points[i].y))
                values[count++] = series->points[i].y;
    }
    if (count) {
        qsort(values, count, sizeof *values, rising);
        *low = chart->zero ? 0 : values[0];
        /* The highest ones may leave the picture: single steps, and the fall that a loss begins with. */
        *high = values[count - 1 - count / (chart->zero ? 50 : 12)];
    }
    *any = count > 0;
    bool ok = values != NULL;
    memory_free(values);
    return ok;
}

static void set_range(Chart *chart)
{
    if (chart->high < chart->reach)
        chart->high = chart->reach;
    double room = chart->high - chart->low;
    if (!(room > 0))
        room = fabs(chart->high) > 0 ? fabs(chart->high) : 1;
    chart->high += 0.06 * room;
    if (!chart->zero)
        chart->low -= 0.06 * room;
    chart->first = 0;
    chart->last = 0;
    for (size_t s = 0; s < chart->count; s++)
        for (size_t i = 0; i < chart->series[s].count; i++)
            if (chart->series[s].points[i].x > chart->last)
                chart->last = chart->series[s].points[i].x;
    if (!(chart->last > 0))
        chart->last = 1;
    if (chart->x_name)
        chart->last += 0.3; /* the last dot is whole */
}

/* 1, 2 or 5 times a power of ten. */
static double tick_step(double range)
{
    double raw = range / (TICKS_MOST - 1), power = pow(10, floor(log10(raw))), share = raw / power;
    return power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
}

static double x_of(const Chart *c, double x)
{
    return LEFT + (x - c->first) / (c->last - c->first) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const Chart *c, double y)
{
    return HEIGHT - BOTTOM - (y - c->low) / (c->high - c->low) * (HEIGHT - TOP - BOTTOM);
}

static void add_ticks(const Chart *c, Text *out)
{
    double step = tick_step(c->high - c->low);
    for (double k = ceil(c->low / step); k * step <= c->high; k++) {
        double y = y_of(c, k * step);
        text_add(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, WIDTH - RIGHT, y, y);
        text_add(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>", LEFT - 6, y + 4, k * step + 0.0);
    }
    step = tick_step(c->last - c->first);
    step = c->x_name && step < 1 ? 1 : step;
    for (double k = ceil(c->first / step); k * step <= c->last; k++)
        text_add(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>", x_of(c, k * step), HEIGHT - BOTTOM + 16,
                 k * step);
    text_add(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>", WIDTH - RIGHT, HEIGHT - 3,
             c->x_name ? c->x_name : "epochs");
}

/* ---- drawing */

void chart_note(const char *note, Text *out)
{
    if (!note)
        return;
    text_add(out, "<p class=\"note\">");
    html_text(out, note);
    text_add(out, "</p>");
}

static void add_line(const Chart *c, const ChartSeries *s, Text *out)
{
    bool down = false;
    text_add(out, "<path class=\"%s c%d%s\" data-name=\"", s->style == CHART_FAINT ? "faint" : "line", s->colour,
             s->style == CHART_DASHED ? " dashed" : "");
    html_text(out, s->name);
    text_add(out, "\" d=\"");
    for (size_t i = 0; i < s->count; i++) {
        if (!isfinite(s->points[i].y)) {
            down = false;
            continue;
        }
        text_add(out, "%c%.1f %.1f", down ? 'L' : 'M', x_of(c, s->points[i].x), y_of(c, s->points[i].y));
        down = true;
    }
    text_add(out, "\"/>");
}

static void add_dots(const Chart *c, const ChartSeries *s, Text *out)
{
    text_add(out, "<g class=\"dots c%d\" data-name=\"", s->colour);
    html_text(out, s->name);
    text_add(out, "\">");
    for (size_t i = 0; i < s->count; i++)
        if (isfinite(s->points[i].y))
            text_add(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"/>", x_of(c, s->points[i].x), y_of(c, s->points[i].y),
                     s->count > 60 ? "2" : "3.2");
    text_add(out, "</g>");
}

/* A series without a number is not shown, nor named. */
static bool is_seen(const ChartSeries *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (isfinite(s->points[i].y))
            return true;
    return false;
}

static bool is_named(const ChartSeries *s)
{
    return s->style != CHART_FAINT && is_seen(s);
}

static void add_legend(const Chart *c, Text *out)
{
    size_t named = 0;
    for (size_t s = 0; s < c->count; s++)
        named += is_named(&c->series[s]);
    if (named < 2)
        return;
    text_add(out, "<div class=\"legend\">");
    for (size_t s = 0; s < c->count; s++) {
        if (!is_named(&c->series[s]))
            continue;
        text_add(out, "<span><i class=\"%s c%d\"></i>",
                 c->series[s].style == CHART_DOTS     ? "dot"
                 : c->series[s].style == CHART_DASHED ? "stroke broken"
                                                      : "stroke",
                 c->series[s].colour);
        html_text(out, c->series[s].name);
        text_add(out, "</span>");
    }
    text_add(out, "</div>");
}

bool chart_draw(Chart *c, Text *out)
{
    double low, high;
    bool any;
    if (!chart_range(c, &any, &low, &high))
        return false;
    text_add(out, "<figure class=\"chart\"><figcaption>");
    html_text(out, c->title);
    text_add(out, "</figcaption>\n");
    if (!any) {
        text_add(out, "<p class=\"none\">%s</p></figure>\n",
                 c->x_name ? "There is nothing to measure." : "Nothing was logged yet.");
        return true;
    }
    if (!c->fixed) {
        c->low = low;
        c->high = high;
    }
    set_range(c);
    add_legend(c, out);
    text_add(out,
             "<svg viewBox=\"0 0 %d %d\" role=\"img\" data-x=\"%.9g %.9g\" data-y=\"%.9g %.9g\" data-box=\"%d %d %d %d\" "
             "data-unit=\"%s\"><title>",
             WIDTH, HEIGHT, c->first, c->last, c->low, c->high, LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM,
             c->x_name ? c->x_name : "epoch");
    html_text(out, c->title);
    text_add(out, "</title>");
    add_ticks(c, out);
    /* A nested picture cuts off what leaves the axes. */
    text_add(out, "<svg x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" viewBox=\"%d %d %d %d\">", LEFT, TOP, WIDTH - LEFT,
             HEIGHT - TOP - BOTTOM, LEFT, TOP, WIDTH - LEFT, HEIGHT - TOP - BOTTOM);
    for (int faint = 1; faint >= 0; faint--)
        for (size_t s = 0; s < c->count; s++) {
            const ChartSeries *series = &c->series[s];
            if ((series->style == CHART_FAINT) != (faint == 1) || !is_seen(series))
                continue;
            if (series->style == CHART_DOTS)
                add_dots(c, series, out);
            else
                add_line(c, series, out);
        }
    text_add(out, "</svg><line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/></svg>", LEFT, WIDTH - RIGHT,
             HEIGHT - BOTTOM, HEIGHT - BOTTOM);
    chart_note(c->note, out);
    text_add(out, "</figure>\n");
    return true;
}
