/* Defaults, merging, checks between keys, and numbers that follow from a recipe. */
#include "recipe/recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "recipe/schema.h"

void recipe_decoder_defaults(const Recipe *r, RecipeDecoder *d)
{
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    memset(d, 0, sizeof *d);
    for (size_t i = 0; i < count; i++)
        if (schema_in_decoder(&rows[i]))
            value_default(&rows[i], schema_field(&rows[i], NULL, d));
    d->target = r->target;
    d->loss = r->loss;
}

void recipe_defaults(Recipe *r)
{
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    memset(r, 0, sizeof *r);
    for (size_t i = 0; i < count; i++)
        if (!schema_in_decoder(&rows[i]) && rows[i].type != KEY_OTHER && rows[i].type != KEY_RESERVED)
            value_default(&rows[i], schema_field(&rows[i], r, NULL));
    r->decoder_count = 1;
    recipe_decoder_defaults(r, &r->decoders[0]);
}

void recipe_merge(Recipe *r)
{
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    for (int k = 0; k < r->decoder_count; k++) {
        RecipeDecoder *d = &r->decoders[k];
        for (size_t i = 0; i < count; i++) {
            uint64_t bit = schema_own_bit(&rows[i]);
            if (bit && !(d->own & bit))
                memcpy(schema_field(&rows[i], r, d), schema_field(&rows[i], r, NULL), schema_field_bytes(&rows[i]));
            /* A decoder that became a transformer again has no sizes left. */
            void *field = schema_in_decoder(&rows[i]) ? schema_field(&rows[i], r, d) : NULL;
            if (!field || (field != &d->width && field != &d->depth && field != &d->heads))
                continue;
            if (d->kind != DECODER_TRANSFORMER)
                *(int *)field = 0;
            else if (!*(int *)field)
                value_default(&rows[i], field);
        }
    }
    if (r->schedule.blr < 0 && r->schedule.lr < 0)
        value_default(schema_find("schedule.blr"), &r->schedule.blr);
}

double recipe_lr(const Recipe *r)
{
    return r->schedule.lr >= 0 ? r->schedule.lr : r->schedule.blr * r->schedule.batch_size / 256.0;
}

int recipe_depth(const Recipe *r)
{
    return r->encoder.keep_blocks ? r->encoder.keep_blocks : r->encoder.depth;
}

const char *recipe_blocks(const Recipe *r, char room[RECIPE_BLOCKS_SIZE])
{
    char all[RECIPE_BLOCKS_SIZE / 2] = "";
    if (recipe_depth(r) < r->encoder.depth)
        snprintf(all, sizeof all, " of %d", r->encoder.depth);
    snprintf(room, RECIPE_BLOCKS_SIZE, "%d%s blocks", recipe_depth(r), all);
    return room;
}

void recipe_grid(const Recipe *r, int *rows, int *columns)
{
    *rows = r->image.size[0] / r->encoder.patch;
    *columns = r->image.size[1] / r->encoder.patch;
}

int recipe_patches(const Recipe *r)
{
    int rows, columns;
    recipe_grid(r, &rows, &columns);
    return rows * columns;
}

int recipe_grid_step(const Recipe *r)
{
    return r->mask.ratio < 1 ? (int)fmin(nearbyint(sqrt(1 / (1 - r->mask.ratio))), 1 << 14) : 1 << 14;
}

int recipe_least_block(const Recipe *r)
{
    if (r->mask.min_block != RECIPE_AUTO)
        return r->mask.min_block;
    return (int)fmax(1, nearbyint(16 * recipe_patches(r) / 196.0));
}

RecipeMethod recipe_method(const Recipe *r)
{
    if (r->contrast.kind != CONTRAST_OFF)
        return METHOD_CONTRAST;
    return r->decoder_count == 0 && r->loss.kind == LOSS_CROSS_ENTROPY ? METHOD_CLASSIFY : METHOD_MASKED;
}

int recipe_visible(const Recipe *r)
{
    int rows, columns, side, units, step, patches = recipe_patches(r);
    if (recipe_method(r) != METHOD_MASKED)
        return patches;
    recipe_grid(r, &rows, &columns);
    switch (r->mask.kind) {
    case MASK_BLOCK:
        return patches - (int)nearbyint(patches * r->mask.ratio);
    case MASK_UNIT:
        side = r->mask.unit / r->encoder.patch;
        units = side < 1 ? 0 : rows / side * (columns / side);
        return side < 1 ? 0 : patches - (int)ceil(units * r->mask.ratio) * side * side;
    case MASK_GRID:
        step = recipe_grid_step(r);
        return (rows + step - 1) / step * ((columns + step - 1) / step);
    default:
        return (int)floor(patches * (1 - r->mask.ratio));
    }
}

bool recipe_statistics(const RecipeStatistics *s, bool deviation, int channels, float *out)
{
    static const float known[2][2][3] = {
        {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}},
        {{0.48145466f, 0.4578275f, 0.40821073f}, {0.26862954f, 0.26130258f, 0.27577711f}},
    };
    if (s->kind == STATISTICS_AUTO)
        return error_set("the statistics of the pictures are not known yet");
    int count = s->kind == STATISTICS_LIST ? s->count : 3;
    if (count != channels)
        return error_set("statistics for %d channels are given, but image.channels is %d", count, channels);
    const float *from = s->kind == STATISTICS_LIST ? s->values : known[s->kind == STATISTICS_CLIP][deviation];
    memcpy(out, from, sizeof *out * (size_t)channels);
    return true;
}

void recipe_statistics_set(RecipeStatistics *s, int count, const float *values)
{
    memset(s, 0, sizeof *s);
    s->kind = STATISTICS_LIST;
    s->count = count;
    memcpy(s->values, values, sizeof *values * (size_t)count);
}

static bool check_statistics(const Recipe *r, const RecipeStatistics *s, const char *key)
{
    if (s->kind == STATISTICS_LIST && s->count != r->image.channels)
        return error_set("%s has %d numbers, but image.channels is %d; give one per channel", key, s->count, r->image.channels);
    if ((s->kind == STATISTICS_IMAGENET || s->kind == STATISTICS_CLIP) && r->image.channels != 3)
        return error_set("%s: %s has 3 channels, but image.channels is %d; give a list of %d numbers, or auto", key,
                         recipe_word("image.mean", (int)s->kind), r->image.channels, r->image.channels);
    return true;
}

static bool check_pictures(const Recipe *r)
{
    int patch = r->encoder.patch;
    if (r->image.size[0] % patch || r->image.size[1] % patch)
        return error_set("image.size %d x %d is not a multiple of encoder.patch %d", r->image.size[0], r->image.size[1], patch);
    if (!check_statistics(r, &r->image.mean, "image.mean") || !check_statistics(r, &r->image.std, "image.std"))
        return false;
    if ((r->image.mean.kind == STATISTICS_AUTO) != (r->image.std.kind == STATISTICS_AUTO))
        return error_set("image.mean and image.std are measured together: give both as auto, or neither");
    if (r->augment.crop_scale[0] > r->augment.crop_scale[1])
        return error_set("augment.crop_scale: the first number must not be larger than the second");
    if (r->augment.crop_ratio[0] > r->augment.crop_ratio[1])
        return error_set("augment.crop_ratio: the first number must not be larger than the second");
    bool colours = r->augment.grey[0] > 0 || r->augment.grey[1] > 0;
    for (int i = 0; i < 4; i++)
        colours = colours || r->augment.color_jitter[i] > 0;
    if (colours && r->image.channels != 3)
        return error_set("augment.color_jitter and augment.grey change colours, but image.channels is %d, not 3",
                         r->image.channels);
    if (r->augment.color_jitter[3] > 0.5)
        return error_set("augment.color_jitter: the fourth number turns the hue and must be at most 0.5");
    if ((int64_t)patch * patch * r->image.channels > 1 << 24)
        return error_set("encoder.patch %d with image.channels %d makes patches of more than 2^24 numbers", patch,
                         r->image.channels);
    return true;
}

/* `prefix` is "encoder" or "decoders.K". */
static bool check_blocks(const Recipe *r, const char *prefix, int width, int heads, bool sincos)
{
    if (width % heads)
        return error_set("%s.width %d is not a multiple of %s.heads %d", prefix, width, prefix, heads);
    if (sincos && width % 4)
        return error_set("%s.width %d is not a multiple of 4, as a sincos position table needs", prefix, width);
    double hidden = width * r->encoder.mlp_ratio;
    if (hidden < 1 || fabs(hidden - nearbyint(hidden)) > 1e-6 * hidden)
        return error_set("encoder.mlp_ratio %g times %s.width %d is not a whole number", r->encoder.mlp_ratio, prefix, width);
    return true;
}

static bool check_mask_kind(const Recipe *r)
{
    int patch = r->encoder.patch, unit = r->mask.unit, step = recipe_grid_step(r);
    if (r->mask.kind == MASK_UNIT && (unit % patch || r->image.size[0] % unit || r->image.size[1] % unit))
        return error_set("mask.unit %d must be a multiple of encoder.patch %d and divide image.size %d x %d", unit, patch,
                         r->image.size[0], r->image.size[1]);
    if (r->mask.kind == MASK_GRID && (step < 2 || fabs(1 - 1 / ((double)step * step) - r->mask.ratio) > 1e-6))
        return error_set("mask.kind grid keeps every second, third, .. patch each way: mask.ratio must be 0.75, 0.888889, .. "
                         "(1 - 1 / q^2), not %g",
                         r->mask.ratio);
    if (r->mask.kind == MASK_BLOCK && (r->image.size[0] < 2 * patch || r->image.size[1] < 2 * patch))
        return error_set("mask.kind block needs at least 2 x 2 patches of image.size and encoder.patch");
    if (r->mask.kind == MASK_BLOCK && r->encoder.input == ENCODER_INPUT_VISIBLE)
        return error_set(
            "mask.kind block hides different numbers of patches in different pictures, which encoder.input visible "
            "cannot have; use encoder.input mask_token, or mask.kind random");
    return true;
}

static bool check_positions(const Recipe *r)
{
    bool relative =
        r->encoder.position == ENCODER_POSITION_RELATIVE || r->encoder.position == ENCODER_POSITION_RELATIVE_PER_BLOCK;
    if (relative && r->encoder.input == ENCODER_INPUT_VISIBLE)
        return error_set("encoder.position %s needs the whole grid of patches: use it with encoder.input mask_token",
                         recipe_word("encoder.position", (int)r->encoder.position));
    return true;
}

static bool check_masks(const Recipe *r)
{
    if (!check_mask_kind(r))
        return false;
    int patches = recipe_patches(r), visible = recipe_visible(r), side = r->mask.unit / r->encoder.patch;
    if (r->mask.kind == MASK_UNIT && (visible < 1 || visible >= patches))
        return error_set("mask.ratio %g %s of the %d units of mask.unit %d pixels in image.size %d x %d; at least 1 is needed: "
                         "give a smaller mask.unit or another mask.ratio",
                         r->mask.ratio, visible < 1 ? "leaves none visible" : "hides none", patches / (side * side),
                         r->mask.unit, r->image.size[0], r->image.size[1]);
    if (visible < 1)
        return error_set(
            "mask.ratio %g leaves none of the %d patches of image.size and encoder.patch visible; at least 1 is needed",
            r->mask.ratio, patches);
    if (visible >= patches)
        return error_set("mask.ratio %g hides none of the %d patches of image.size and encoder.patch; at least 1 is needed",
                         r->mask.ratio, patches);
    return true;
}

TargetNormalise recipe_normalise(const RecipeTarget *t)
{
    return t->kind == TARGET_TOKENS && !strcmp(t->teacher, "random") ? NORMALISE_PATCH : t->normalise;
}

static bool same_statistics(const RecipeStatistics *a, const RecipeStatistics *b)
{
    bool same = a->kind == b->kind && a->count == b->count;
    for (int c = 0; same && a->kind == STATISTICS_LIST && c < a->count; c++)
        same = a->values[c] == b->values[c];
    return same;
}

/* Keys of a teacher belong to the run: all decoders have the same one. */
static bool same_teacher(const RecipeTarget *a, const RecipeTarget *b)
{
    return !strcmp(a->teacher, b->teacher) && same_statistics(&a->mean, &b->mean) && same_statistics(&a->std, &b->std) &&
           !memcmp(a->image_size, b->image_size, sizeof a->image_size) && a->codes == b->codes;
}

/* The largest divisor of a patch's side up to `most`. */
static int largest_cell(int patch, int most)
{
    int cell = most < patch ? most : patch;
    while (patch % cell)
        cell--;
    return cell;
}

/* Numbers of a patch's target, as far as the recipe alone tells: of a network's features many. */
static int target_numbers(const Recipe *r, const RecipeTarget *t)
{
    int cells = t->kind == TARGET_HOG ? r->encoder.patch / t->cell : r->encoder.patch;
    return t->kind == TARGET_FEATURES ? 2 : cells * cells * r->image.channels * (t->kind == TARGET_HOG ? t->bins : 1);
}

static bool check_target(const Recipe *r, int k)
{
    const RecipeDecoder *d = &r->decoders[k];
    const RecipeTarget *t = &d->target;
    static const unsigned fits[] = {[TARGET_PIXELS] = 1u << NORMALISE_NONE | 1u << NORMALISE_PATCH | 1u << NORMALISE_WINDOW,
                                    [TARGET_HOG] = 1u << NORMALISE_NONE,
                                    [TARGET_FEATURES] = 1u << NORMALISE_NONE | 1u << NORMALISE_TOKEN,
                                    [TARGET_TOKENS] = 1u << NORMALISE_NONE | 1u << NORMALISE_PATCH | 1u << NORMALISE_TOKEN};
    static const char *const alternatives[] = {[TARGET_PIXELS] = "none, patch or window",
                                               [TARGET_HOG] = "none",
                                               [TARGET_FEATURES] = "none or token",
                                               [TARGET_TOKENS] = "none, patch or token"};
    const char *kind = recipe_word("target.kind", (int)t->kind),
               *normalise = recipe_word("target.normalise", (int)t->normalise);
    if (!(fits[t->kind] >> t->normalise & 1))
        return error_set("decoders.%d: target.normalise %s does not go with target.kind %s: give target.normalise=%s", k,
                         normalise, kind, alternatives[t->kind]);
    if (d->kind == DECODER_PIXEL_SHUFFLE && t->kind != TARGET_PIXELS)
        return error_set("decoders.%d.kind pixel_shuffle predicts pixels: target.kind %s needs kind linear or transformer", k,
                         kind);
    if (t->kind == TARGET_HOG && r->encoder.patch % t->cell)
        return error_set("decoders.%d: target.cell %d does not divide encoder.patch %d: give target.cell=%d", k, t->cell,
                         r->encoder.patch, largest_cell(r->encoder.patch, t->cell));
    if (t->kind == TARGET_HOG && t->gaussian == 1)
        return error_set("decoders.%d: target.gaussian 1 is no window; give 0 or at least 2", k);
    if (t->normalise == NORMALISE_WINDOW && (t->window < 3 || t->window % 2 == 0))
        return error_set("decoders.%d: target.window %d is not an odd number from 3 on", k, t->window);
    if (d->kind != DECODER_TRANSFORMER && d->drop_path > 0)
        return error_set("decoders.%d.drop_path %g: decoders.%d.kind %s has no blocks that could be dropped", k, d->drop_path,
                         k, recipe_word("decoders.K.kind", (int)d->kind));
    if (t->class_token && (t->kind != TARGET_FEATURES || r->encoder.class_token == 0))
        return error_set("decoders.%d: target.class_token needs target.kind features and an encoder.class_token", k);
    if ((d->loss.kind == LOSS_CROSS_ENTROPY) != (t->kind == TARGET_TOKENS))
        return error_set("decoders.%d: loss.kind %s does not go with target.kind %s: tokens and cross_entropy belong together, "
                         "and a head that learns labels has no decoders (decoders: [])",
                         k, recipe_word("loss.kind", (int)d->loss.kind), kind);
    if (t->kind == TARGET_TOKENS && !strcmp(t->teacher, "initial"))
        return error_set(
            "decoders.%d: target.teacher initial has no codes: with target.kind tokens give random for a code book of "
            "the pictures' patches, or the file of one",
            k);
    if (!same_teacher(t, &r->target))
        return error_set(
            "decoders.%d.target: teacher, mean, std, image_size and codes are those of the run; give them under target", k);
    return true;
}

static bool check_decoder(const Recipe *r, int k)
{
    const RecipeDecoder *d = &r->decoders[k];
    if (d->tap > recipe_depth(r))
        return error_set("decoders.%d.tap %d lies behind the last block: %s is %d", k, d->tap,
                         r->encoder.keep_blocks ? "encoder.keep_blocks" : "encoder.depth", recipe_depth(r));
    if (d->kind == DECODER_TRANSFORMER) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "decoders.%d", k);
        if (!check_blocks(r, prefix, d->width, d->heads, true))
            return false;
    } else if (r->encoder.input == ENCODER_INPUT_VISIBLE) {
        return error_set("decoders.%d.kind %s predicts only what the encoder sees: it needs encoder.input mask_token, or kind "
                         "transformer",
                         k, recipe_word("decoders.K.kind", (int)d->kind));
    }
    if (!check_target(r, k))
        return false;
    int numbers = r->encoder.patch * r->encoder.patch * r->image.channels;
    if (recipe_normalise(&d->target) == NORMALISE_PATCH && numbers < 2)
        return error_set("%s needs more than one number in a patch; encoder.patch and image.channels are 1",
                         d->target.normalise == NORMALISE_PATCH ? "target.normalise patch"
                                                                : "target.teacher random of target.kind tokens");
    if (d->loss.kind == LOSS_COSINE && target_numbers(r, &d->target) < 2)
        return error_set(
            "decoders.%d: loss.kind cosine compares directions, and a patch of target.kind %s is a single number here", k,
            recipe_word("target.kind", (int)d->target.kind));
    return true;
}

static bool is_teacher_path(const Recipe *r)
{
    return strcmp(r->target.teacher, "initial") != 0 && strcmp(r->target.teacher, "random") != 0;
}

/* Keys of a teacher, which must have a use, and what a student must have that is to become one. */
static bool check_teacher(const Recipe *r)
{
    bool features = false, tokens = false, wants = false, projects = false, norm = false, path = is_teacher_path(r);
    for (int k = 0; k < r->decoder_count; k++) {
        const RecipeTarget *t = &r->decoders[k].target;
        bool network = t->kind == TARGET_FEATURES || (t->kind == TARGET_TOKENS && path);
        features = features || t->kind == TARGET_FEATURES;
        tokens = tokens || t->kind == TARGET_TOKENS;
        wants = wants || (network && t->final_norm);
        projects = projects || (network && t->projection);
        norm = norm || (r->decoders[k].tap == TAP_LAST && r->encoder.final_norm);
        const char *own = t->final_norm && !r->target.final_norm   ? "final_norm"
                          : t->projection && !r->target.projection ? "projection"
                                                                   : NULL;
        if (own && !network)
            return error_set("decoders.%d.target.%s belongs to a teacher: it needs target.kind features or tokens", k, own);
        if (t->kind == TARGET_TOKENS && !path && t->normalise == NORMALISE_TOKEN)
            return error_set(
                "decoders.%d: target.normalise token needs the tokens of a network, which target.teacher names; a code "
                "book made of patches has target.normalise patch",
                k);
    }
    bool network = features || (tokens && path);
    const char *idle = r->target.final_norm && !network ? "final_norm" : r->target.projection && !network ? "projection" : NULL;
    if (!idle && !features && !tokens)
        idle = r->target.image_size[0]                     ? "image_size"
               : r->target.mean.kind != STATISTICS_AUTO    ? "mean"
               : r->target.std.kind != STATISTICS_AUTO     ? "std"
               : strcmp(r->target.teacher, "initial") != 0 ? "teacher"
                                                           : NULL;
    if (idle)
        return error_set("target.%s belongs to a teacher: it needs target.kind features or tokens", idle);
    if (!check_statistics(r, &r->target.mean, "target.mean") || !check_statistics(r, &r->target.std, "target.std"))
        return false;
    bool sees_others =
        r->target.mean.kind != STATISTICS_AUTO || r->target.std.kind != STATISTICS_AUTO || recipe_teacher_resizes(r);
    if (tokens && r->stages.count > 1 && sees_others)
        return error_set("target.mean, target.std and target.image_size are of the first stage's teacher, but the code book of "
                         "target.kind tokens stays and would see other pictures in later stages: leave them out, or use one "
                         "stage");
    if (tokens && path && r->stages.count > 1)
        return error_set(
            "stages: the next teacher is the student, for whose tokens target.kind tokens has no code book; use one "
            "stage, or target.teacher random");
    bool student = features && (r->stages.count > 1 || !strcmp(r->target.teacher, "initial"));
    if (wants && student && !norm)
        return error_set("target.final_norm: the student becomes the teacher and has no final norm; one of decoders.K.tap must "
                         "be last, with encoder.final_norm true");
    if (projects && (r->stages.count > 1 || !path))
        return error_set("target.projection: only a teacher from a file has a projection, not one made here (target.teacher, "
                         "stages)");
    return true;
}

bool recipe_teacher_resizes(const Recipe *r)
{
    const int *its = r->target.image_size, *own = r->image.size;
    bool teacher = false;
    for (int k = 0; k < r->decoder_count; k++)
        teacher = teacher || r->decoders[k].target.kind == TARGET_FEATURES || r->decoders[k].target.kind == TARGET_TOKENS;
    return teacher && its[0] && (its[0] != own[0] || its[1] != own[1]);
}

bool recipe_is_mixed(const Recipe *r, int decoder)
{
    for (int i = 0; r->hybrid.from[0] && i < r->hybrid.count; i++)
        if (r->hybrid.items[i].tap == r->decoders[decoder].tap)
            return true;
    return false;
}

double recipe_mix(const Recipe *r, int decoder, double epoch)
{
    for (int i = 0; r->hybrid.from[0] && i < r->hybrid.count; i++) {
        const RecipeMix *mix = &r->hybrid.items[i];
        if (mix->tap != r->decoders[decoder].tap)
            continue;
        if (epoch >= mix->epochs[1])
            return mix->to;
        if (epoch <= mix->epochs[0])
            return mix->from;
        return mix->from + (mix->to - mix->from) * (epoch - mix->epochs[0]) / (mix->epochs[1] - mix->epochs[0]);
    }
    return 1;
}

/* Each row has a tap, and a mix is made where a reconstruction is: of hidden pixels, or histograms of them. */
static bool check_hybrid(const Recipe *r)
{
    for (int i = 0; r->hybrid.from[0] && i < r->hybrid.count; i++) {
        int tap = r->hybrid.items[i].tap, found = 0;
        for (int j = 0; j < i; j++)
            if (r->hybrid.items[j].tap == tap)
                return error_set("target.hybrid has two rows of tap %d", tap);
        for (int k = 0; k < r->decoder_count; k++) {
            const RecipeDecoder *d = &r->decoders[k];
            if (d->tap != tap)
                continue;
            found++;
            if (d->target.kind != TARGET_PIXELS && d->target.kind != TARGET_HOG)
                return error_set("decoders.%d: target.hybrid mixes pixels or hog, not target.kind %s", k,
                                 recipe_word("target.kind", (int)d->target.kind));
            if (d->loss.on == LOSS_ON_ALL)
                return error_set("decoders.%d: target.hybrid makes hidden patches alone, so it does not go with loss.on all",
                                 k);
        }
        if (!found)
            return error_set("target.hybrid has a row of tap %d, which no decoders.K.tap is", tap);
    }
    return true;
}

static bool check_stages(const Recipe *r)
{
    int epochs = 0;
    bool features = false;
    for (int k = 0; k < r->decoder_count; k++)
        features = features || r->decoders[k].target.kind == TARGET_FEATURES;
    if (r->stages.count && !features)
        return error_set("stages: each stage's teacher is the student of the one before, so they need target.kind features");
    for (int i = 0; i < r->stages.count; i++) {
        const RecipeStage *s = &r->stages.items[i];
        epochs += s->epochs;
        bool student = i > 0 || !is_teacher_path(r); /* else the file tells how many it has */
        if (student && s->teacher_depth > recipe_depth(r))
            return error_set("stages.%d.teacher_depth %d is more than %s %d", i, s->teacher_depth,
                             r->encoder.keep_blocks ? "encoder.keep_blocks" : "encoder.depth", recipe_depth(r));
        if (r->schedule.warmup_epochs >= s->epochs)
            return error_set("schedule.warmup_epochs %g must be smaller than stages.%d.epochs %d: each stage warms up anew",
                             r->schedule.warmup_epochs, i, s->epochs);
    }
    if (r->stages.count && epochs != r->schedule.epochs)
        return error_set("the stages have %d epochs in all, but schedule.epochs is %d; they must agree", epochs,
                         r->schedule.epochs);
    return true;
}

static bool check_schedule(const Recipe *r)
{
    const RecipeNumbers *steps = &r->schedule.steps;
    bool multistep = r->schedule.kind == SCHEDULE_MULTISTEP;
    if (multistep != (steps->count > 0))
        return error_set("schedule.kind multistep and schedule.steps go together: give both or none");
    if (multistep && r->stages.count)
        return error_set("schedule.kind multistep does not go with stages: each of them begins its schedule anew");
    if (multistep && r->schedule.min_lr > 0)
        return error_set("schedule.min_lr %g: schedule.kind multistep has no rate that it approaches; leave the key out",
                         r->schedule.min_lr);
    if (multistep && (steps->values[0] < r->schedule.warmup_epochs || steps->values[steps->count - 1] >= r->schedule.epochs))
        return error_set("schedule.steps must lie between schedule.warmup_epochs %g and schedule.epochs %d",
                         r->schedule.warmup_epochs, r->schedule.epochs);
    return true;
}

static bool check_masked(const Recipe *r)
{
    if (!check_masks(r) || !check_positions(r))
        return false;
    if (r->decoder_count < 1)
        return error_set("decoders is empty; give at least one, or loss.kind cross_entropy for a head that learns labels, or "
                         "contrast.kind mocov3");
    for (int k = 0; k < r->decoder_count; k++)
        if (!check_decoder(r, k))
            return false;
    return true;
}

static bool check_classifier(const Recipe *r)
{
    if (r->head.pool == HEAD_CLASS_TOKEN && r->encoder.class_token != 1)
        return error_set("head.pool class_token needs encoder.class_token 1, not %d", r->encoder.class_token);
    if (r->head.pool == HEAD_CLASS_TOKEN && !r->encoder.final_norm)
        return error_set("head.pool class_token stands behind the final norm, but encoder.final_norm is false");
    return true;
}

/* What is computed at once lies on one device. */
static bool check_devices(const Recipe *r)
{
    int parts = r->schedule.accumulate, batch = r->schedule.batch_size, devices = r->run.devices, share = batch / devices;
    int group = r->contrast.group == RECIPE_AUTO ? batch : r->contrast.group;
    if (batch % devices)
        return error_set("run.devices %d does not divide schedule.batch_size %d", devices, batch);
    if (r->contrast.kind != CONTRAST_OFF && share % group)
        return error_set("contrast.group %d must divide the %d pictures of each of the %d devices (run.devices); another group "
                         "gives other results",
                         group, share, devices);
    if (parts > 0 && parts % devices)
        return error_set("run.devices %d does not divide the %d parts of a batch (schedule.accumulate)", devices, parts);
    if (r->run.micro_batch > 0 && share % r->run.micro_batch)
        return error_set("run.micro_batch %d does not divide the %d pictures of each of the %d devices (run.devices)",
                         r->run.micro_batch, share, devices);
    return true;
}

static bool check_contrast(const Recipe *r)
{
    int batch = r->schedule.batch_size, group = r->contrast.group == RECIPE_AUTO ? batch : r->contrast.group;
    if (r->decoder_count)
        return error_set("contrast.kind mocov3 has no decoders; give decoders: []");
    if (r->encoder.class_token != 1 || !r->encoder.final_norm)
        return error_set("contrast.kind mocov3 compares class tokens behind the final norm: it needs encoder.class_token 1 and "
                         "encoder.final_norm true");
    if (r->encoder.drop_path > 0)
        return error_set("encoder.drop_path %g does not go with contrast.kind mocov3", r->encoder.drop_path);
    if (r->data.val_every > 0)
        return error_set("data.val_every %d: contrast.kind mocov3 has no validation, as its loss hangs on the batch; give "
                         "data.val_every 0 and use a probe",
                         r->data.val_every);
    if (group < 2 || batch % group)
        return error_set("contrast.group %d must be at least 2 and divide schedule.batch_size %d", group, batch);
    if ((r->run.micro_batch > 0 && r->run.micro_batch != group) ||
        (r->schedule.accumulate > 0 && r->schedule.accumulate != batch / group))
        return error_set(
            "contrast.kind mocov3 compares %d pictures with each other (contrast.group) and computes them at once: "
            "run.micro_batch and schedule.accumulate follow from it; leave them out",
            group);
    return true;
}

/* What only decoders have a use for, where there are none. */
static bool check_idle(const Recipe *r)
{
    const char *what =
        recipe_method(r) == METHOD_CONTRAST ? "contrast.kind mocov3" : "loss.kind cross_entropy with decoders: []";
    if (r->hybrid.from[0])
        return error_set("target.hybrid mixes the targets of decoders; %s has none", what);
    if (r->encoder.input == ENCODER_INPUT_MASK_TOKEN)
        return error_set("encoder.input mask_token stands for hidden patches; %s hides none", what);
    const char *idle = r->target.final_norm                        ? "target.final_norm"
                       : r->target.projection                      ? "target.projection"
                       : r->target.image_size[0]                   ? "target.image_size"
                       : r->target.mean.kind != STATISTICS_AUTO    ? "target.mean"
                       : r->target.std.kind != STATISTICS_AUTO     ? "target.std"
                       : strcmp(r->target.teacher, "initial") != 0 ? "target.teacher"
                       : r->stages.count                           ? "stages"
                                                                   : NULL;
    return !idle || error_set("%s belongs to decoders and their target.kind; %s has none", idle, what);
}

/* The method's own keys. */
static bool check_method(const Recipe *r)
{
    RecipeMethod method = recipe_method(r);
    if (method != METHOD_CLASSIFY && r->loss.smoothing > 0)
        return error_set("loss.smoothing %g smooths labels: it needs loss.kind cross_entropy and decoders: []",
                         r->loss.smoothing);
    for (int k = 0; k < r->decoder_count; k++)
        if (r->decoders[k].loss.smoothing > 0)
            return error_set("decoders.%d.loss.smoothing %g smooths labels, which a decoder does not learn", k,
                             r->decoders[k].loss.smoothing);
    if (method == METHOD_MASKED)
        return check_masked(r);
    return check_idle(r) && (method == METHOD_CLASSIFY ? check_classifier(r) : check_contrast(r));
}

bool recipe_check(const Recipe *r)
{
    if (r->encoder.keep_blocks > r->encoder.depth)
        return error_set("encoder.keep_blocks %d is more than encoder.depth %d; give all, or fewer", r->encoder.keep_blocks,
                         r->encoder.depth);
    if (!check_pictures(r) ||
        !check_blocks(r, "encoder", r->encoder.width, r->encoder.heads, r->encoder.position == ENCODER_POSITION_SINCOS) ||
        !check_method(r))
        return false;
    if (r->schedule.warmup_epochs >= r->schedule.epochs)
        return error_set("schedule.warmup_epochs %g must be smaller than schedule.epochs %d", r->schedule.warmup_epochs,
                         r->schedule.epochs);
    if (!check_teacher(r) || !check_hybrid(r) || !check_stages(r) || !check_schedule(r))
        return false;
    int parts = r->schedule.accumulate, micro = r->run.micro_batch, batch = r->schedule.batch_size;
    if (parts > 0 && batch % parts)
        return error_set("schedule.accumulate %d does not divide schedule.batch_size %d", parts, batch);
    if (micro > 0 && batch % micro)
        return error_set("run.micro_batch %d does not divide schedule.batch_size %d", micro, batch);
    if (micro > 0 && parts > 0 && (int64_t)parts * micro != batch)
        return error_set("schedule.accumulate %d times run.micro_batch %d is not schedule.batch_size %d; leave one of them out",
                         parts, micro, batch);
    return check_devices(r);
}
