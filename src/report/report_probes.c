/* What probes found while training: of the last block that has such a number by epoch, of all blocks by the newest probe. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/chart.h"
#include "report/report_parts.h"

enum { NAMES_MOST = 32 };

static const struct {
    const char *name, *title, *meaning;
} KNOWN[] = {
    {"knn", "kNN", "The share of pictures whose class their nearest neighbours among the others say."},
    {"crop_agreement", "Crop agreement", "The share of crops whose nearest among the second crops is of the same picture."},
    {"neighbour_overlap", "Neighbour overlap",
     "The share of their ten nearest that two crops of a picture have in common. Read it with crop agreement: collapsed "
     "features overlap fully."},
    {"effective_rank", "Effective rank", "Over how many directions the pictures' features spread; a collapse shows as a fall."},
    {"cka_last", "Likeness to the last block", "Linear CKA of a block's features with the last block's; 1: alike."},
    {"attention_distance", "Attention distance", "How far patches look, in pixels, the mean of the heads."},
    {"head_kl", "Difference of heads", "KL divergence between the heads' attention; 0: all heads do the same."},
};

/* Distinct names in the order in which they come. */
static int list_names(const Report *r, const char *names[NAMES_MOST])
{
    int count = 0;
    for (int run = 0; run < r->count; run++)
        for (size_t i = 0; i < r->runs[run].finding_count; i++) {
            const char *name = r->runs[run].findings[i].name;
            int at = 0;
            while (at < count && strcmp(names[at], name))
                at++;
            if (at == count && count < NAMES_MOST)
                names[count++] = name;
        }
    return count;
}

static void describe(const char *name, const char **title, const char **meaning)
{
    *title = name;
    *meaning = NULL;
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (!strcmp(KNOWN[i].name, name)) {
            *title = KNOWN[i].title;
            *meaning = KNOWN[i].meaning;
        }
}

/* by_block: the newest probe's numbers against the block; else the last block's against the epoch. */
static bool add_series(const Report *r, int run, const char *name, bool by_block, Chart *chart)
{
    const RunData *d = &r->runs[run];
    char label[NAME_BYTES];
    int last = 0;
    double newest = -1;
    for (size_t i = 0; i < d->finding_count; i++)
        if (!strcmp(d->findings[i].name, name)) {
            last = d->findings[i].block > last ? d->findings[i].block : last;
            newest = d->findings[i].epoch;
        }
    if (!last)
        return true;
    report_run_name(r, run, label);
    for (int style = CHART_FAINT; style <= CHART_DOTS; style++) {
        ChartSeries *s = chart_series(chart, d->finding_count, run, (ChartStyle)style, "%s", label);
        if (!s)
            return false;
        for (size_t i = 0; i < d->finding_count; i++) {
            const RunFinding *f = &d->findings[i];
            if (strcmp(f->name, name) || (by_block ? f->epoch < newest : f->block != last))
                continue;
            s->points[s->count++] = (ChartPoint){by_block ? f->block : f->epoch, f->value};
            chart->low = fmin(chart->low, f->value);
            chart->high = fmax(chart->high, f->value);
        }
    }
    return true;
}

static bool add_chart(Report *r, const char *name, bool by_block)
{
    /* No number may leave the picture, as high losses do. */
    Chart chart = {.x_name = by_block ? "block" : NULL, .fixed = true, .low = INFINITY, .high = -INFINITY};
    const char *title;
    bool ok = true;
    describe(name, &title, &chart.note);
    snprintf(chart.title, sizeof chart.title, by_block ? "%s by block, newest probe" : "%s by epoch, last block that has it",
             title);
    for (int run = 0; ok && run < r->count; run++)
        ok = add_series(r, run, name, by_block, &chart);
    ok = ok && chart_draw(&chart, &r->out);
    chart_free(&chart);
    return ok;
}

bool report_add_probes(Report *r)
{
    const char *names[NAMES_MOST];
    int count = list_names(r, names);
    bool ok = true;
    if (!count)
        return true;
    text_add(&r->out, "<h2>Probes while training</h2>\n<p class=\"lead\">On a fixed set of pictures, see "
                      "<code>probe.*</code>.</p>\n<div class=\"grid2\">\n");
    for (int i = 0; ok && i < count; i++)
        ok = add_chart(r, names[i], false) && add_chart(r, names[i], true);
    text_add(&r->out, "</div>\n");
    return ok;
}
