/* A probe's result as JSON and as a picture. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "transfer/probe.h"

/* ---- JSON */

static void add_string(Text *out, const char *key, const char *value)
{
    text_add(out, "\"%s\": ", key);
    text_add_json_string(out, value);
    text_add(out, ", ");
}

static void add_score(const ProbeOptions *o, const ProbeScore *s, bool seed, Text *out)
{
    text_add(out, "{\"%s\": %.9g, ", o->kind == PROBE_KNN ? "k" : "lr", s->setting);
    if (seed)
        text_add(out, "\"seed\": %d, ", s->seed);
    text_add(out, "\"top1\": %.9g, \"top1_low\": %.9g, \"top1_high\": %.9g, \"top5\": %.9g}", s->top1, s->low, s->high,
             s->top5);
}

static void add_scores(const ProbeOptions *o, const ProbeScore *scores, int count, Text *out)
{
    for (int i = 0; i < count; i++) {
        text_add(out, i ? ", " : "");
        add_score(o, &scores[i], o->kind != PROBE_KNN, out);
    }
}

static void add_block(const ProbeResult *r, const ProbeOptions *o, const ProbeBlock *b, Text *out)
{
    text_add(out, "{\"block\": %d, \"norm\": %s, \"best\": ", b->block, b->norm ? "true" : "false");
    add_score(o, &b->best, false, out);
    if (o->kind != PROBE_KNN && o->seeds > 1)
        text_add(out, ", \"top1_deviation\": %.9g", b->spread);
    text_add(out, isnan(b->top1_distinct) ? ", \"top1_without_duplicates\": null" : ", \"top1_without_duplicates\": %.9g",
             b->top1_distinct);
    text_add(out, ", \"top1_by_class\": [");
    for (int c = 0; c < r->class_count; c++)
        text_add(out, isnan(b->by_class[c]) ? "%snull" : "%s%.9g", c ? ", " : "", b->by_class[c]);
    text_add(out, "], \"scores\": [");
    add_scores(o, b->scores, b->count, out);
    if (b->choice_count)
        text_add(out, "], \"scores_of_choice\": [");
    add_scores(o, b->choice, b->choice_count, out);
    text_add(out, "]}");
}

void probe_json(const ProbeResult *r, const ProbeOptions *o, const char *from, Text *out)
{
    text_add(out, "{");
    add_string(out, "probe", probe_kind_name(o->kind));
    add_string(out, "from", from);
    text_add(out, "\"weights\": \"%016" PRIx64 "\", ", r->weights);
    add_string(out, "train", o->train);
    add_string(out, "val", o->val);
    add_string(out, "features", o->kind == PROBE_ATTENTIVE ? "tokens" : feature_pool_name(o->pool));
    text_add(out, "\"train_pictures\": %zu, \"val_pictures\": %zu, \"depth\": %d, \"full_depth\": %d, ", r->train_count,
             r->val_count, r->depth, r->full_depth);
    if (o->kind == PROBE_KNN)
        text_add(out, "\"temperature\": %.9g, ", o->temperature);
    else
        text_add(out, "\"epochs\": %.9g, \"batch_size\": %zu, \"seeds\": %d, \"chosen_on\": %s, ", o->epochs,
                 (size_t)o->train_batch < r->train_count ? (size_t)o->train_batch : r->train_count, o->seeds,
                 o->lr_count < 2  ? "null"
                 : r->apart_count ? "\"split\""
                                  : "\"val\"");
    if (r->apart_count)
        text_add(out, "\"split_pictures\": %zu, ", r->apart_count);
    text_add(out, "\"classes\": [");
    for (int c = 0; c < r->class_count; c++) {
        text_add(out, c ? ", " : "");
        text_add_json_string(out, r->classes[c]);
    }
    text_add(out, "], \"blocks\": [");
    for (int b = 0; b < r->block_count; b++) {
        text_add(out, b ? ", " : "");
        add_block(r, o, &r->blocks[b], out);
    }
    text_add(out, "], \"duplicates\": {\"alike\": %.9g, \"pictures\": %zu, \"first\": [", PROBE_ALIKE, r->pairs);
    for (int i = 0; i < r->shown_count; i++) {
        text_add(out, "%s{", i ? ", " : "");
        add_string(out, "val", r->shown_names[i][0]);
        add_string(out, "train", r->shown_names[i][1]);
        text_add(out, "\"cosine\": %.6g}", (double)r->shown[i].similarity);
    }
    text_add(out, "]}}");
}

/* ---- picture */

enum { WIDTH = 640, HEIGHT = 400, LEFT = 60, RIGHT = 20, TOP = 50, BOTTOM = 50, STEPS = 5 };

static double place_x(int depth, double block)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (depth > 1 ? (block - 1) / (depth - 1) : 0.5);
}

static double place_y(double share, double most)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share / most;
}

static void add_escaped(Text *out, const char *text)
{
    for (; *text; text++)
        text_add(out, *text == '<' ? "&lt;" : *text == '&' ? "&amp;" : (unsigned char)*text < ' ' ? " " : "%c", *text);
}

static void add_axes(int depth, double most, bool norm, Text *out)
{
    for (int i = 0; i <= STEPS; i++) {
        double share = most * i / STEPS, y = place_y(share, most);
        text_add(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", LEFT, WIDTH - RIGHT, y, y);
        text_add(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.0f %%</text>\n", LEFT - 8, y + 4, 100 * share);
    }
    for (int b = 1; b <= depth; b += depth > 24 ? 4 : 1)
        text_add(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>\n", place_x(depth, b), HEIGHT - BOTTOM + 18,
                 b);
    text_add(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">blocks kept, %s the final norm</text>\n",
             (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, norm ? "behind" : "without");
}

void probe_curve(const ProbePoint *points, int count, int depth, bool norm, const char *from, const char *what, Text *out)
{
    double most = 0.1;
    for (int b = 0; b < count; b++)
        most = fmax(most, points[b].high);
    most = fmin(1, ceil(most * 10) / 10);
    text_add(out,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n"
             "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n<text x=\"%d\" y=\"24\" font-size=\"14\">",
             WIDTH, HEIGHT, LEFT);
    add_escaped(out, from);
    text_add(out, ": %s, 95 %% interval</text>\n", what);
    add_axes(depth, most, norm, out);
    text_add(out, "<polyline fill=\"none\" stroke=\"#0a5\" stroke-width=\"2\" points=\"");
    for (int b = 0; b < count; b++)
        text_add(out, "%.1f,%.1f ", place_x(depth, points[b].block), place_y(points[b].share, most));
    text_add(out, "\"/>\n");
    for (int b = 0; b < count; b++) {
        double x = place_x(depth, points[b].block);
        text_add(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#0a5\"/>\n", x, x,
                 place_y(points[b].low, most), place_y(points[b].high, most));
        text_add(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"#0a5\"><title>block %d: %.2f %%</title></circle>\n", x,
                 place_y(points[b].share, most), points[b].block, 100 * points[b].share);
    }
    text_add(out, "</svg>\n");
}

void probe_svg(const ProbeResult *r, const ProbeOptions *o, const char *from, Text *out)
{
    char what[96];
    ProbePoint *points = memory_new((size_t)r->block_count, sizeof *points);
    for (int b = 0; points && b < r->block_count; b++) {
        const ProbeScore *s = &r->blocks[b].best;
        points[b] = (ProbePoint){r->blocks[b].block, s->top1, s->low, s->high};
    }
    snprintf(what, sizeof what, "top-1 of the %s probe on %zu pictures", probe_kind_name(o->kind), r->val_count);
    if (points)
        probe_curve(points, r->block_count, r->depth, r->blocks[0].norm, from, what, out);
    else
        out->failed = true;
    memory_free(points);
}
