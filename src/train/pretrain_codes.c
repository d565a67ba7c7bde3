/* The code book of a run that brings none: rows of the training pictures, as its targets see them, and k-means. */
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "mim/codebook.h"
#include "train/codes.h"
#include "train/run.h"
#include "train/teacher.h"

enum { ROWS_A_CODE = 100, PLACES_LEAST = 16 /* of a picture, if it has so many */, AT_ONCE = 16 };

/* A recipe that makes, as the targets of all places, what the codes are of: a student that costs nothing beside them. */
static void sampling_recipe(const Recipe *r, const MimTeacher *teacher, Recipe *out)
{
    RecipeDecoder d = {.tap = TAP_LAST, .kind = DECODER_LINEAR, .weight = 1, .loss = r->loss};
    for (int k = 0; k < r->decoder_count; k++)
        if (r->decoders[k].target.kind == TARGET_TOKENS)
            d.target = r->decoders[k].target;
    d.target.kind = teacher->codes_of == MIM_CODES_OF_TOKENS ? TARGET_FEATURES : TARGET_PIXELS;
    d.loss.kind = LOSS_L2;
    d.loss.on = LOSS_ON_ALL;
    *out = *r;
    if (d.target.kind == TARGET_PIXELS) { /* it sees what the teacher would */
        out->encoder.patch = teacher->vit.patch;
        out->image.size[0] = mim_teacher_rows(teacher);
        out->image.size[1] = mim_teacher_columns(teacher);
        out->image.mean = r->target.mean.kind == STATISTICS_AUTO ? r->image.mean : r->target.mean;
        out->image.std = r->target.std.kind == STATISTICS_AUTO ? r->image.std : r->target.std;
    }
    out->encoder.width = 4;
    out->encoder.depth = 1;
    out->encoder.keep_blocks = 0;
    out->encoder.heads = 1;
    out->encoder.mlp_ratio = 1;
    out->encoder.class_token = 0;
    out->encoder.position = ENCODER_POSITION_NONE;
    out->encoder.input = ENCODER_INPUT_MASK_TOKEN;
    out->encoder.drop_path = 0;
    out->mask.kind = MASK_RANDOM;
    out->mask.ratio = 0.5;
    out->decoder_count = 1;
    out->decoders[0] = d;
    out->stages.count = 0;
    out->hybrid.from[0] = 0;
}

typedef struct {
    Recipe recipe;
    Trainer *trainer;
    Loader *loader;
    uint8_t *hidden; /* (AT_ONCE, L) */
    float *targets;  /* (AT_ONCE, L, width) */
    int32_t *order;  /* (L) */
    int64_t width, places, each, wanted, have;
    float *rows; /* (wanted, width) */
} Sampling;

static bool sampling_open(Sampling *s, Run *run, const MimTeacher *teacher, int codes)
{
    TrainerOptions options = {.device = run->device,
                              .batch = AT_ONCE,
                              .micro_batch = AT_ONCE,
                              .keep_predictions = true,
                              .evaluate_only = true,
                              .teacher = teacher};
    size_t numbers;
    sampling_recipe(&run->recipe, teacher, &s->recipe);
    if (!(s->trainer = trainer_open(&s->recipe, &options)))
        return false;
    int64_t pictures = (int64_t)run->pictures.train.count;
    s->places = trainer_places(s->trainer, 0);
    s->width = trainer_outputs(s->trainer, 0);
    s->wanted = (int64_t)ROWS_A_CODE * codes;
    s->each = (s->wanted + pictures - 1) / pictures;
    s->each = s->each < PLACES_LEAST ? PLACES_LEAST : s->each;
    s->each = s->each > s->places ? s->places : s->each;
    s->wanted = s->wanted > s->each * pictures ? s->each * pictures : s->wanted;
    if (s->wanted < codes)
        return error_set("target.codes %d: the %lld training pictures have only %lld patches", codes, (long long)pictures,
                         (long long)s->wanted);
    if (!size_multiply((size_t)s->wanted, (size_t)s->width, &numbers))
        return error_set("target.codes %d: %lld rows of %lld numbers are more than memory can address", codes,
                         (long long)s->wanted, (long long)s->width);
    const ParamSet *set = trainer_teacher_params(s->trainer);
    for (size_t i = 0; i < set->count; i++) { /* the network, when codes are of its tokens */
        const ParamSet *from = trainer_teacher_params(run->trainer);
        int at = param_find(from, set->params[i].name);
        if (set->params[i].kind == PARAM_TRAINED && at >= 0)
            memcpy(trainer_teacher_weights(s->trainer) + set->params[i].offset,
                   trainer_teacher_weights(run->trainer) + from->params[at].offset,
                   (size_t)set->params[i].count * sizeof(float));
    }
    LoaderOptions loading = pictures_train_options(&run->pictures, &s->recipe);
    loading.batch = AT_ONCE < run->pictures.train.count ? AT_ONCE : run->pictures.train.count;
    loading.stage = RECIPE_STAGES_MAX; /* crops of no stage */
    s->hidden = memory_new(AT_ONCE, (size_t)s->places);
    s->targets = memory_new((size_t)(AT_ONCE * s->places), (size_t)s->width * sizeof *s->targets);
    s->order = memory_new((size_t)s->places, sizeof *s->order);
    s->rows = memory_new(numbers, sizeof *s->rows);
    return s->hidden && s->targets && s->order && s->rows && (s->loader = loader_open(&loading));
}

static void sampling_close(Sampling *s)
{
    loader_close(s->loader);
    trainer_close(s->trainer);
    memory_free(s->hidden);
    memory_free(s->targets);
    memory_free(s->order);
    memory_free(s->rows);
}

/* Some places of a picture, each as likely as any other. */
static void take_places(Sampling *s, uint64_t seed, uint64_t sample, const float *targets)
{
    Random random = random_stream(seed, RANDOM_CODES, 1, 0, sample);
    for (int64_t l = 0; l < s->places; l++)
        s->order[l] = (int32_t)l;
    for (int64_t l = 0; l < s->each && s->have < s->wanted; l++) {
        int64_t other = l + random_below(&random, (uint32_t)(s->places - l));
        int32_t place = s->order[other];
        s->order[other] = s->order[l];
        memcpy(s->rows + s->have++ * s->width, targets + place * s->width, (size_t)s->width * sizeof *targets);
    }
}

static bool take_batch(Sampling *s, uint64_t seed)
{
    LoaderBatch batch;
    TrainerMetrics metrics;
    if (!loader_next(s->loader, &batch))
        return false;
    pictures_masks(&s->recipe, false, 0, 0, batch.samples, batch.count, s->hidden);
    TrainerBatch input = {.images = batch.images, .teacher_images = batch.other, .hidden = s->hidden};
    bool ok = trainer_evaluate(s->trainer, &input, (int)batch.count, &metrics);
    if (ok)
        trainer_target(s->trainer, 0, s->targets);
    for (size_t i = 0; ok && i < batch.count; i++)
        take_places(s, seed, batch.samples[i], s->targets + (int64_t)i * s->places * s->width);
    loader_release(s->loader);
    return ok;
}

bool run_make_codes(Run *run)
{
    const Recipe *r = &run->recipe;
    Sampling *s = NULL;
    CodeFile file = {.codes = 0};
    MimTeacher teacher;
    double left, start = clock_seconds();
    if (!mim_has_target(r, TARGET_TOKENS) ||
        (strcmp(r->target.teacher, "random") != 0 && !code_file_look(r->target.teacher, &file)))
        return !mim_has_target(r, TARGET_TOKENS);
    if (file.codes)
        return true;
    bool ok = (s = memory_new(1, sizeof *s)) && teacher_of(r, 0, &teacher) && sampling_open(s, run, &teacher, r->target.codes);
    while (ok && s->have < s->wanted)
        ok = take_batch(s, r->run.seed);
    if (s) { /* a GPU's memory is needed for the book */
        trainer_close(s->trainer);
        s->trainer = NULL;
    }
    float *book = ok ? memory_new((size_t)r->target.codes, (size_t)s->width * sizeof *book) : NULL;
    if (ok)
        run_say(run, "makes a code book of %d codes, from %lld %s of the training pictures", r->target.codes,
                (long long)s->have, teacher.codes_of == MIM_CODES_OF_TOKENS ? "tokens" : "patches");
    ok = book && codebook_make(&run->device, s->rows, s->have, s->width, r->target.codes, r->run.seed, book, &left);
    if (ok) {
        codes_put(run->trainer, book);
        run_say(run, "the code book took %.1f s and leaves %.1f %% of their variance", clock_seconds() - start, 100 * left);
    }
    if (s)
        sampling_close(s);
    memory_free(book);
    memory_free(s);
    return ok || error_context("making the code book of target.codes");
}
