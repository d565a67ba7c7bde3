/* The curves of a report. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/chart.h"
#include "report/report_parts.h"

static size_t start_of_name(const char *path, size_t length)
{
    while (length > 0 && path[length - 1] != '/')
        length--;
    return length;
}

/* Whether the folder of another run has that name too. */
static bool is_shared(const Report *r, int run, const char *name, size_t size)
{
    for (int i = 0; i < r->count; i++) {
        const char *path = r->runs[i].path;
        size_t length = strlen(path);
        while (length > 1 && path[length - 1] == '/')
            length--;
        size_t first = start_of_name(path, length);
        if (i != run && length - first == size && !memcmp(path + first, name, size))
            return true;
    }
    return false;
}

void report_run_name(const Report *r, int run, char name[NAME_BYTES])
{
    const char *path = r->runs[run].path;
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    size_t first = start_of_name(path, length);
    if (is_shared(r, run, path + first, length - first) && first > 1)
        first = start_of_name(path, first - 1);
    snprintf(name, NAME_BYTES, "%.*s", (int)(length - first), path + first);
}

static double bin_mean(const RunBin *bin, int series)
{
    return bin->counts[series] ? bin->sums[series] / bin->counts[series] : NAN;
}

/* The bins as they are. */
static bool add_raw(Chart *chart, const RunData *d, int series, int colour, ChartStyle style, const char *name)
{
    ChartSeries *s = chart_series(chart, d->bin_count, colour, style, "%s", name);
    for (size_t i = 0; s && i < d->bin_count; i++)
        s->points[s->count++] = (ChartPoint){d->bins[i].epoch, bin_mean(&d->bins[i], series)};
    return s != NULL;
}

/* Means over neighbours, the fewer the nearer an end is. */
static bool add_smooth(Chart *chart, const RunData *d, int series, int colour, const char *name)
{
    ChartSeries *s = chart_series(chart, d->bin_count, colour, CHART_LINE, "%s", name);
    size_t most = d->bin_count / 40;
    for (size_t i = 0; s && i < d->bin_count; i++) {
        size_t reach = i < most ? i : most, behind = d->bin_count - 1 - i;
        reach = behind < reach ? behind : reach;
        double sum = 0;
        int count = 0;
        for (size_t k = i - reach; k <= i + reach; k++) {
            sum += d->bins[k].counts[series] ? d->bins[k].sums[series] : 0;
            count += d->bins[k].counts[series];
        }
        s->points[s->count++] = (ChartPoint){d->bins[i].epoch, count ? sum / count : NAN};
    }
    return s != NULL;
}

static bool add_held_out(Chart *chart, const RunData *d, int decoder, int colour, const char *name)
{
    if (!d->validation_count)
        return true;
    ChartSeries *s = chart_series(chart, d->validation_count, colour, CHART_DOTS, "%s, held out", name);
    for (size_t i = 0; s && i < d->validation_count; i++)
        s->points[s->count++] = (ChartPoint){d->validations[i].epoch, d->validations[i].losses[1 + decoder]};
    return s != NULL;
}

/* The decoder that reads the last block, which every kind of pre-training has. */
static int last_decoder(const RunData *d)
{
    int last = 0;
    for (int k = 0; k < d->recipe->decoder_count; k++)
        if (d->recipe->decoders[k].tap == TAP_LAST)
            last = k;
    return last;
}

/* All decoders of one run. */
static bool loss_chart(const Report *r, int run, Chart *chart)
{
    const RunData *d = &r->runs[run];
    char name[NAME_BYTES];
    bool ok = true;
    report_run_name(r, run, name);
    const char *what = d->recipe->decoder_count ? "Loss of every decoder" : "Loss";
    snprintf(chart->title, sizeof chart->title, r->count > 1 ? "%s: %s" : "%s", what, name);
    for (int k = 0; ok && k < run_data_terms(d); k++) {
        run_data_decoder(d, k, name, sizeof name);
        ok = add_raw(chart, d, RUN_LOSS + 1 + k, k, CHART_FAINT, name) && add_smooth(chart, d, RUN_LOSS + 1 + k, k, name) &&
             add_held_out(chart, d, k, k, name);
    }
    return ok;
}

static bool add_loss_charts(Report *r)
{
    Chart charts[REPORT_RUNS_MOST] = {0};
    double low = INFINITY, high = -INFINITY;
    bool ok = true;
    for (int run = 0; ok && run < r->count; run++) {
        double a, b;
        bool any = false;
        ok = loss_chart(r, run, &charts[run]) && chart_range(&charts[run], &any, &a, &b);
        if (ok && any) {
            low = a < low ? a : low;
            high = b > high ? b : high;
        }
    }
    for (int run = 0; ok && run < r->count; run++) {
        charts[run].fixed = low <= high; /* the same axes for all */
        charts[run].low = low;
        charts[run].high = high;
        ok = chart_draw(&charts[run], &r->out);
    }
    for (int run = 0; run < r->count; run++)
        chart_free(&charts[run]);
    return ok;
}

/* One number of all runs, a colour each. */
static bool add_common_chart(Report *r, const char *title, int series, double reach)
{
    Chart chart = {.zero = true, .reach = reach};
    bool ok = true;
    snprintf(chart.title, sizeof chart.title, "%s", title);
    for (int run = 0; ok && run < r->count; run++) {
        char name[NAME_BYTES];
        report_run_name(r, run, name);
        ok = add_raw(&chart, &r->runs[run], series, run, CHART_FAINT, name) &&
             add_smooth(&chart, &r->runs[run], series, run, name);
    }
    ok = ok && chart_draw(&chart, &r->out);
    chart_free(&chart);
    return ok;
}

static bool add_comparison(Report *r)
{
    Chart chart = {.title = "Loss of the decoder behind the last block"};
    bool ok = true;
    for (int run = 0; ok && run < r->count; run++) {
        const RunData *d = &r->runs[run];
        char name[NAME_BYTES];
        int k = last_decoder(d);
        report_run_name(r, run, name);
        ok = add_raw(&chart, d, RUN_LOSS + 1 + k, run, CHART_FAINT, name) &&
             add_smooth(&chart, d, RUN_LOSS + 1 + k, run, name) && add_held_out(&chart, d, k, run, name);
    }
    ok = ok && chart_draw(&chart, &r->out);
    chart_free(&chart);
    return ok;
}

/* Share of right answers, where a run has it. */
static bool add_accuracy(Report *r)
{
    Chart chart = {.title = "Accuracy in percent", .zero = true};
    bool ok = true, any = false;
    for (int run = 0; ok && run < r->count; run++) {
        const RunData *d = &r->runs[run];
        char name[NAME_BYTES];
        if (recipe_method(d->recipe) == METHOD_MASKED)
            continue;
        any = true;
        report_run_name(r, run, name);
        ok = add_raw(&chart, d, RUN_ACCURACY, run, CHART_FAINT, name) && add_smooth(&chart, d, RUN_ACCURACY, run, name);
        ChartSeries *s =
            ok && d->validation_count ? chart_series(&chart, d->validation_count, run, CHART_DOTS, "%s, held out", name) : NULL;
        for (size_t i = 0; s && i < d->validation_count; i++)
            s->points[s->count++] = (ChartPoint){d->validations[i].epoch, d->validations[i].accuracy};
        ok = ok && (s || !d->validation_count);
    }
    ok = ok && (!any || chart_draw(&chart, &r->out));
    chart_free(&chart);
    return ok;
}

bool report_add_curves(Report *r)
{
    text_add(&r->out, "<h2>Curves</h2>\n<div class=\"grid2\">\n");
    bool ok = (r->count < 2 || add_comparison(r)) && add_loss_charts(r) && add_accuracy(r) &&
              add_common_chart(r, "Learning rate", RUN_LR, 0) &&
              add_common_chart(r, "Norm of the gradient", RUN_GRAD_NORM, 0) &&
              add_common_chart(r, "Pictures per second", RUN_SPEED, 0) &&
              add_common_chart(r, "Time that steps waited for data, in percent", RUN_WAIT, 2);
    text_add(&r->out,
             "</div>\n<p class=\"lead\">Lines are means over neighbouring steps, thin ones the steps; dots are held-out "
             "pictures.</p>\n");
    return ok;
}
