/* Keys that would do nothing are refused, so that nobody believes they did something. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "recipe/schema.h"

enum {
    MASKED = 1 << METHOD_MASKED,
    CLASSIFY = 1 << METHOD_CLASSIFY,
    CONTRAST = 1 << METHOD_CONTRAST,
    ANY = MASKED | CLASSIFY | CONTRAST
};

static bool masks_units(const Recipe *r)
{
    return r->mask.kind == MASK_UNIT;
}

static bool masks_blocks(const Recipe *r)
{
    return r->mask.kind == MASK_BLOCK;
}

static bool jitters(const Recipe *r)
{
    const double *j = r->augment.color_jitter;
    return j[0] > 0 || j[1] > 0 || j[2] > 0 || j[3] > 0;
}

static bool goes_back_or_skips(const Recipe *r)
{
    return r->guard.nonfinite == GUARD_SKIP || r->guard.spike > 0;
}

static bool spares_some(const Recipe *r)
{
    return !r->optimizer.decay_all;
}

static bool warms_up(const Recipe *r)
{
    return r->schedule.warmup_epochs > 0;
}

static bool has_hog(const RecipeDecoder *d)
{
    return d->target.kind == TARGET_HOG;
}

static bool has_tokens(const RecipeDecoder *d)
{
    return d->target.kind == TARGET_TOKENS;
}

static bool has_windows(const RecipeDecoder *d)
{
    return d->target.normalise == NORMALISE_WINDOW;
}

static bool has_smooth_l1(const RecipeDecoder *d)
{
    return d->loss.kind == LOSS_SMOOTH_L1;
}

/* A key that not every run uses. */
typedef struct {
    const char *key;
    int methods;                            /* that do */
    const char *needs;                      /* and what such a run needs besides: of the run, or of a decoder */
    bool (*run)(const Recipe *);            /* whether it has that */
    bool (*decoder)(const RecipeDecoder *); /* whether a decoder has */
} Use;

static const Use uses[] = {
    {.key = "mask.kind", .methods = MASKED},
    {.key = "mask.ratio", .methods = MASKED},
    {.key = "mask.unit", .methods = MASKED, .needs = "mask.kind unit", .run = masks_units},
    {.key = "mask.min_block", .methods = MASKED, .needs = "mask.kind block", .run = masks_blocks},
    {.key = "target.kind", .methods = MASKED},
    {.key = "target.normalise", .methods = MASKED},
    {.key = "target.class_token", .methods = MASKED},
    {.key = "target.codes", .methods = MASKED, .needs = "target.kind tokens", .decoder = has_tokens},
    {.key = "target.bins", .methods = MASKED, .needs = "target.kind hog", .decoder = has_hog},
    {.key = "target.cell", .methods = MASKED, .needs = "target.kind hog", .decoder = has_hog},
    {.key = "target.gaussian", .methods = MASKED, .needs = "target.kind hog", .decoder = has_hog},
    {.key = "target.window", .methods = MASKED, .needs = "target.normalise window", .decoder = has_windows},
    {.key = "loss.kind", .methods = MASKED | CLASSIFY},
    {.key = "loss.on", .methods = MASKED},
    {.key = "loss.beta", .methods = MASKED, .needs = "loss.kind smooth_l1", .decoder = has_smooth_l1},
    {.key = "head.classes", .methods = CLASSIFY},
    {.key = "head.pool", .methods = CLASSIFY},
    {.key = "head.init_std", .methods = CLASSIFY},
    {.key = "contrast.dim", .methods = CONTRAST},
    {.key = "contrast.hidden", .methods = CONTRAST},
    {.key = "contrast.temperature", .methods = CONTRAST},
    {.key = "contrast.momentum", .methods = CONTRAST},
    {.key = "contrast.group", .methods = CONTRAST},
    {.key = "optimizer.no_decay", .methods = ANY, .needs = "optimizer.decay_all false", .run = spares_some},
    {.key = "schedule.warmup_lr", .methods = ANY, .needs = "schedule.warmup_epochs", .run = warms_up},
    {.key = "augment.jitter_prob", .methods = ANY, .needs = "augment.color_jitter", .run = jitters},
    {.key = "guard.limit", .methods = ANY, .needs = "guard.nonfinite skip or guard.spike", .run = goes_back_or_skips},
};

/* Whether the key is one that is asked about. */
typedef struct {
    bool (*written)(const void *context, const char *key);
    const void *context;
} Written;

static bool is_written(const Written *w, int decoder, const char *key)
{
    char name[128];
    if (decoder >= 0)
        snprintf(name, sizeof name, "decoders.%d.%s", decoder, key);
    return !w->written || w->written(w->context, decoder >= 0 ? name : key);
}

/* "decoders.2.target.cell 4 does nothing without target.kind hog: ..." */
static bool refuse(const RecipeKey *row, const void *value, int decoder, const char *why, const char *what)
{
    Text text = {0};
    if (decoder >= 0)
        text_add(&text, "decoders.%d.", decoder);
    text_add(&text, "%s ", row->key);
    value_write(row, value, &text);
    if (!text.failed)
        error_set("%s does nothing %s %s: leave it out, or at its default, %s", text.data, why, what, row->initial);
    text_free(&text);
    return false;
}

static bool is_default(const RecipeKey *row, const void *value, const Recipe *defaults)
{
    return !memcmp(value, schema_field_const(row, defaults, NULL), schema_field_bytes(row));
}

static bool check_use(const Recipe *r, const Recipe *defaults, const Use *use, const Written *written)
{
    static const char *const methods[] = {[METHOD_MASKED] = "the decoders of masked image modelling",
                                          [METHOD_CLASSIFY] = "loss.kind cross_entropy and decoders: []",
                                          [METHOD_CONTRAST] = "contrast.kind mocov3"};
    const RecipeKey *row = schema_find(use->key);
    const void *own = schema_field_const(row, r, NULL);
    RecipeMethod method = recipe_method(r);
    bool set = !is_default(row, own, defaults) && is_written(written, -1, row->key),
         used = !use->needs || (use->run && use->run(r));
    if (!(use->methods >> method & 1)) {
        if (!set)
            return true;
        if (method == METHOD_MASKED)
            return refuse(row, own, -1, "without", methods[use->methods == CONTRAST ? METHOD_CONTRAST : METHOD_CLASSIFY]);
        return refuse(row, own, -1, "with", methods[method]);
    }
    for (int k = 0; use->decoder && k < r->decoder_count; k++) {
        const void *its = schema_field_const(row, r, &r->decoders[k]);
        if (use->decoder(&r->decoders[k]))
            used = true;
        else if (memcmp(its, own, schema_field_bytes(row)) != 0 && !is_default(row, its, defaults) &&
                 is_written(written, k, row->key))
            return refuse(row, its, k, "without", use->needs);
    }
    return !set || used || refuse(row, own, -1, "without", use->needs);
}

/* Second numbers, of a view that there is not. */
static bool check_views(const Recipe *r, const Written *written)
{
    static const char *const keys[] = {"augment.grey", "augment.blur", "augment.solarise"};
    for (size_t i = 0; recipe_method(r) != METHOD_CONTRAST && i < sizeof keys / sizeof *keys; i++) {
        const double *views = schema_field_const(schema_find(keys[i]), r, NULL);
        if (views[0] != views[1] && is_written(written, -1, keys[i]))
            return error_set("%s has a second number, %g, for a second view of each picture, which only contrast.kind mocov3 "
                             "has: give one number",
                             keys[i], views[1]);
    }
    return true;
}

bool recipe_check_idle(const Recipe *r, bool (*written)(const void *context, const char *key), const void *context)
{
    Written w = {written, context};
    Recipe *defaults = memory_new(1, sizeof *defaults);
    bool ok = defaults != NULL;
    if (ok)
        recipe_defaults(defaults);
    for (size_t i = 0; ok && i < sizeof uses / sizeof *uses; i++)
        ok = check_use(r, defaults, &uses[i], &w);
    memory_free(defaults);
    return ok && check_views(r, &w);
}
