#include "report/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "report/chart.h"
#include "report/page.h"
#include "report/report_parts.h"

enum { SHEETS_MOST = 4, SHEET_BYTES_MAX = 1 << 27 };

static void add_text(Text *out, const char *before, const char *text, const char *after)
{
    text_add(out, "%s", before);
    html_text(out, text);
    text_add(out, "%s", after);
}

/* ---- the table */

static void add_time(Text *out, double seconds)
{
    long s = lround(seconds);
    if (s >= 3600)
        text_add(out, "%ld h %ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        text_add(out, "%ld min %ld s", s / 60, s % 60);
    else
        text_add(out, "%.1f s", seconds);
}

static double last_speed(const RunData *d)
{
    double sum = 0;
    int count = 0;
    for (size_t i = d->bin_count - d->bin_count / 4; i < d->bin_count; i++) {
        sum += d->bins[i].sums[RUN_SPEED];
        count += d->bins[i].counts[RUN_SPEED];
    }
    return count ? sum / count : NAN;
}

static void cell_recipe(Text *out, const RunData *d)
{
    html_text(out, d->name[0] ? d->name : "own settings");
}

static void cell_encoder(Text *out, const RunData *d)
{
    const Recipe *p = d->recipe;
    char blocks[RECIPE_BLOCKS_SIZE];
    text_add(out, "%s, patch %d, width %d, %s, %d heads; pictures of %d x %d",
             p->encoder.kind == ENCODER_VIT ? "ViT" : recipe_word("encoder.kind", (int)p->encoder.kind), p->encoder.patch,
             p->encoder.width, recipe_blocks(p, blocks), p->encoder.heads, p->image.size[0], p->image.size[1]);
}

static void cell_decoders(Text *out, const RunData *d)
{
    if (d->recipe->decoder_count == 0) {
        text_add(out, "none: %s",
                 recipe_method(d->recipe) == METHOD_CLASSIFY ? "a head learns labels" : "views of pictures are contrasted");
        return;
    }
    text_add(out, "%d: ", d->recipe->decoder_count);
    for (int k = 0; k < d->recipe->decoder_count; k++) {
        char name[NAME_BYTES];
        run_data_decoder(d, k, name, sizeof name);
        text_add(out, "%s%s", k ? ", " : "", name);
    }
}

static void cell_progress(Text *out, const RunData *d)
{
    text_add(out, "%lld steps, epoch %.4g of %d", d->steps, d->bin_count ? d->bins[d->bin_count - 1].epoch : 0,
             d->recipe->schedule.epochs);
}

static void cell_losses(Text *out, const RunData *d)
{
    if (!d->validation_count) {
        text_add(out, "none yet");
        return;
    }
    const RunValidation *v = &d->validations[d->validation_count - 1];
    for (int k = 0; k < run_data_terms(d); k++) {
        char name[NAME_BYTES];
        run_data_decoder(d, k, name, sizeof name);
        text_add(out, "%s%s %.4f", k ? ", " : "", name, v->losses[1 + k]);
    }
    if (!isnan(v->accuracy))
        text_add(out, ", accuracy %.2f %%", v->accuracy);
}

static void cell_batch(Text *out, const RunData *d)
{
    text_add(out, "%d pictures", d->recipe->schedule.batch_size);
    if (recipe_method(d->recipe) == METHOD_MASKED)
        text_add(out, ", mask ratio %g", d->recipe->mask.ratio);
}

static void cell_time(Text *out, const RunData *d)
{
    add_time(out, d->seconds);
    text_add(out, ", %.4g pictures per second", last_speed(d));
}

/* "device; processor (N processors); system release; lacuna VERSION" of environment.json. */
static void cell_environment(Text *out, const RunData *d)
{
    static const char *const keys[] = {"device", "processor", "system", "release", "machine", "lacuna"};
    json_t *root = d->environment ? json_loads(d->environment, 0, NULL) : NULL;
    bool any = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *word = json_string_value(json_object_get(root, keys[i]));
        if (!word || !*word)
            continue;
        text_add(out, "%s%s", !any ? "" : i == 3 || i == 4 ? " " : "; ", i == 5 ? "lacuna " : "");
        html_text(out, word);
        any = true;
    }
    if (!any)
        text_add(out, "not known");
    json_decref(root);
}

static void add_table(Report *r)
{
    static const struct {
        const char *name;
        void (*cell)(Text *out, const RunData *d);
    } rows[] = {{"Recipe", cell_recipe}, {"Encoder", cell_encoder},        {"Decoders", cell_decoders},
                {"Batch", cell_batch},   {"Done", cell_progress},          {"Held-out loss", cell_losses},
                {"Time", cell_time},     {"Computed on", cell_environment}};
    text_add(&r->out, "<div class=\"wide\"><table>\n");
    if (r->count > 1) {
        text_add(&r->out, "<tr><th></th>");
        for (int run = 0; run < r->count; run++) {
            char name[NAME_BYTES];
            report_run_name(r, run, name);
            add_text(&r->out, "<th>", name, "</th>");
        }
        text_add(&r->out, "</tr>\n");
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        text_add(&r->out, "<tr><th>%s</th>", rows[i].name);
        for (int run = 0; run < r->count; run++) {
            text_add(&r->out, "<td>");
            rows[i].cell(&r->out, &r->runs[run]);
            text_add(&r->out, "</td>");
        }
        text_add(&r->out, "</tr>\n");
    }
    text_add(&r->out, "</table></div>\n");
}

/* ---- sheets */

static bool add_sheet(Report *r, int run, const char *path)
{
    size_t size;
    char *png = file_read(path, SHEET_BYTES_MAX, &size), name[NAME_BYTES], caption[2 * NAME_BYTES];
    long long step = 0;
    if (!png)
        return false;
    report_run_name(r, run, name);
    sscanf(file_name(path), "step-%lld", &step);
    if (r->count > 1)
        snprintf(caption, sizeof caption, "%s, step %lld", name, step);
    else
        snprintf(caption, sizeof caption, "Step %lld", step);
    add_text(&r->out, "<figure><figcaption>", caption, "</figcaption>");
    page_image(&r->out, caption, png, size);
    text_add(&r->out, "</figure>\n");
    memory_free(png);
    return true;
}

/* Of one run a few at even distances, the first and the last among them; of several the last of each. */
static bool add_sheets(Report *r)
{
    bool ok = true, any = false;
    for (int run = 0; run < r->count; run++)
        any = any || r->runs[run].sheet_count;
    if (!any)
        return true;
    text_add(&r->out,
             "<h2>Reconstructions</h2>\n<p class=\"lead\">The same pictures each time, and their hidden patches; visible "
             "patches are pasted back.</p>\n<div class=\"grid2\">\n");
    for (int run = 0; ok && run < r->count; run++) {
        const RunData *d = &r->runs[run];
        size_t most = r->count > 1 ? 1 : SHEETS_MOST, shown = d->sheet_count < most ? d->sheet_count : most;
        for (size_t i = 0; ok && i < shown; i++)
            ok = add_sheet(r, run, d->sheets[d->sheet_count - 1 - i * (d->sheet_count - 1) / (shown > 1 ? shown - 1 : 1)]);
    }
    text_add(&r->out, "</div>\n");
    return ok;
}

/* ---- settings, pictures left out */

/* Lines "KEY: A -> B" as a table. */
static void add_difference_rows(Text *out, char *lines)
{
    for (char *line = lines, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        char *colon = strstr(line, ": "), *arrow = colon ? strstr(colon, " -> ") : NULL;
        if (!arrow)
            continue;
        *colon = *arrow = 0;
        add_text(out, "<tr><th>", line, "</th>");
        add_text(out, "<td>", colon + 2, "</td>");
        add_text(out, "<td>", arrow + 4, "</td></tr>\n");
    }
}

static bool add_differences(Report *r)
{
    bool ok = true;
    for (int run = 1; ok && run < r->count; run++) {
        Text lines = {0};
        char first[NAME_BYTES], other[NAME_BYTES];
        report_run_name(r, 0, first);
        report_run_name(r, run, other);
        text_add(&r->out, "<h2>What differs</h2>\n<div class=\"wide\"><table>\n<tr><th></th>");
        add_text(&r->out, "<th>", first, "</th>");
        add_text(&r->out, "<th>", other, "</th></tr>\n");
        recipe_differences(r->runs[0].recipe, r->runs[run].recipe, &lines);
        ok = !lines.failed;
        add_difference_rows(&r->out, lines.data);
        text_add(&r->out, "</table></div>\n");
        text_free(&lines);
    }
    return ok;
}

static void add_bad_files(Report *r, int run)
{
    const RunData *d = &r->runs[run];
    const char *rows = d->bad_files ? strchr(d->bad_files, '\n') : NULL;
    int count = 0;
    for (const char *at = rows; at && (at = strchr(at + 1, '\n'));)
        count++;
    if (!count)
        return;
    text_add(&r->out, "<details><summary>Pictures that could not be read: %d</summary><pre>", count);
    html_text(&r->out, rows + 1);
    text_add(&r->out, "</pre></details>\n");
}

static void add_settings(Report *r)
{
    text_add(&r->out, "<h2>Settings</h2>\n");
    for (int run = 0; run < r->count; run++) {
        char name[NAME_BYTES];
        report_run_name(r, run, name);
        add_bad_files(r, run);
        add_text(&r->out, "<details><summary>All settings of ", name, "</summary><pre>");
        html_text(&r->out, r->runs[run].yaml ? r->runs[run].yaml : "");
        text_add(&r->out, "</pre></details>\n");
    }
}

/* ---- the whole */

static bool write_page(Report *r, const char *path)
{
    Text title = {0};
    for (int run = 0; run < r->count; run++) {
        char name[NAME_BYTES];
        report_run_name(r, run, name);
        text_add(&title, "%s%s", run == 0 ? "" : run + 1 == r->count ? " and " : ", ", name);
    }
    page_begin(&r->out, title.data ? title.data : "");
    add_text(&r->out, "<h1>", title.data ? title.data : "", "</h1>\n");
    text_add(&r->out, "<p class=\"lead\">Pre-training by masked image modelling, by lacuna " LACUNA_VERSION "</p>\n");
    add_table(r);
    bool ok = !title.failed && report_add_curves(r) && report_add_probes(r) && add_sheets(r) && add_differences(r);
    add_settings(r);
    page_end(&r->out);
    text_free(&title);
    return ok && !r->out.failed && file_write(path, r->out.data, r->out.length);
}

bool report_write(const char *const *runs, int count, const char *path)
{
    Report *r = memory_new(1, sizeof *r);
    bool ok = r != NULL;
    if (ok && (count < 1 || count > REPORT_RUNS_MOST))
        ok = error_set("a report is of 1 to %d runs, not of %d", REPORT_RUNS_MOST, count);
    for (int run = 0; ok && run < count; run++) {
        r->count++;
        ok = run_data_read(&r->runs[run], runs[run]);
    }
    ok = ok && write_page(r, path);
    for (int run = 0; r && run < r->count; run++)
        run_data_free(&r->runs[run]);
    if (r)
        text_free(&r->out);
    memory_free(r);
    return ok || error_context("writing the report");
}
