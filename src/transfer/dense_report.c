/* A dense probe's result as JSON and as a picture. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "transfer/dense_probe.h"
#include "transfer/probe.h"

/* "name": value, and null for a number that is not finite. */
static void add_number(Text *out, const char *name, double value, const char *behind)
{
    text_add(out, isfinite(value) ? "\"%s\": %.9g" : "\"%s\": null", name, value);
    text_add(out, "%s", behind);
}

static void add_score(const DenseOptions *o, const DenseScore *s, bool seed, Text *out)
{
    const DepthScore *d = &s->depth;
    text_add(out, "{\"lr\": %.9g, ", s->lr);
    if (seed)
        text_add(out, "\"seed\": %d, ", s->seed);
    if (o->kind == PROBE_SEGMENTATION) {
        add_number(out, "miou", s->mask.miou, ", ");
        add_number(out, "pixel_accuracy", s->mask.pixel_accuracy, ", ");
        add_number(out, "class_accuracy", s->mask.class_accuracy, "}");
        return;
    }
    add_number(out, "d1", d->d1, ", ");
    add_number(out, "d2", d->d2, ", ");
    add_number(out, "d3", d->d3, ", ");
    add_number(out, "abs_rel", d->abs_rel, ", ");
    add_number(out, "sq_rel", d->sq_rel, ", ");
    add_number(out, "rmse", d->rmse, ", ");
    add_number(out, "rmse_log", d->rmse_log, ", ");
    add_number(out, "log10", d->log10, ", ");
    add_number(out, "silog", d->silog, "}");
}

static void add_scores(const DenseOptions *o, const DenseScore *scores, int count, Text *out)
{
    for (int i = 0; i < count; i++) {
        text_add(out, i ? ", " : "");
        add_score(o, &scores[i], true, out);
    }
}

static void add_block(const DenseResult *r, const DenseOptions *o, const DenseBlock *b, Text *out)
{
    const char *name = o->kind == PROBE_DEPTH ? "d1" : "miou";
    text_add(out, "{\"block\": %d, \"norm\": %s, ", b->block, b->norm ? "true" : "false");
    if (o->seeds > 1)
        text_add(out, "\"%s_deviation\": %.9g, ", name, b->spread);
    text_add(out, "\"%s_low\": %.9g, \"%s_high\": %.9g, \"best\": ", name, b->low, name, b->high);
    add_score(o, &b->best, false, out);
    if (b->iou)
        text_add(out, ", \"iou_by_class\": [");
    for (int c = 0; b->iou && c < r->classes; c++)
        text_add(out, isnan(b->iou[c]) ? "%snull" : "%s%.9g", c ? ", " : "", b->iou[c]);
    text_add(out, b->iou ? "], \"scores\": [" : ", \"scores\": [");
    add_scores(o, b->scores, b->count, out);
    if (b->choice_count)
        text_add(out, "], \"scores_of_choice\": [");
    add_scores(o, b->choice, b->choice_count, out);
    text_add(out, "]}");
}

void dense_json(const DenseResult *r, const DenseOptions *o, const char *from, Text *out)
{
    text_add(out, "{\"probe\": \"%s\", \"from\": ", probe_kind_name(o->kind));
    text_add_json_string(out, from);
    text_add(out, ", \"weights\": \"%016" PRIx64 "\"", r->weights);
    text_add(out,
             ", \"train\": \"world\", \"val\": \"world\", \"train_pictures\": %d, \"val_pictures\": %d, \"depth\": %d, "
             "\"full_depth\": %d, "
             "\"epochs\": %.9g, \"batch_size\": %d, \"seeds\": %d, \"chosen_on\": %s, ",
             o->train, o->val, r->depth, r->full_depth, o->epochs, o->train_batch < o->train ? o->train_batch : o->train,
             o->seeds,
             o->lr_count < 2  ? "null"
             : r->apart_count ? "\"split\""
                              : "\"val\"");
    if (r->apart_count)
        text_add(out, "\"split_pictures\": %zu, ", r->apart_count);
    if (o->kind == PROBE_SEGMENTATION)
        text_add(out, "\"classes\": [");
    for (int c = 0; o->kind == PROBE_SEGMENTATION && c < r->classes; c++)
        text_add(out, "%s\"%s\"", c ? ", " : "", dense_class_name(c));
    text_add(out, o->kind == PROBE_SEGMENTATION ? "], \"blocks\": [" : "\"blocks\": [");
    for (int b = 0; b < r->block_count; b++) {
        text_add(out, b ? ", " : "");
        add_block(r, o, &r->blocks[b], out);
    }
    text_add(out, "]}");
}

void dense_svg(const DenseResult *r, const DenseOptions *o, const char *from, Text *out)
{
    char what[96];
    ProbePoint *points = memory_new((size_t)r->block_count, sizeof *points);
    for (int b = 0; points && b < r->block_count; b++)
        points[b] = (ProbePoint){r->blocks[b].block, dense_quality(o, &r->blocks[b].best), r->blocks[b].low, r->blocks[b].high};
    snprintf(what, sizeof what, "%s of the %s probe on %d pictures of the world", o->kind == PROBE_DEPTH ? "d1" : "mIoU",
             probe_kind_name(o->kind), o->val);
    if (points)
        probe_curve(points, r->block_count, r->depth, r->blocks[0].norm, from, what, out);
    else
        out->failed = true;
    memory_free(points);
}
