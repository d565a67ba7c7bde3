/* The code book of a run that brings none: rows of the training pictures, as its targets see them, and k-means. */
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "device/buffer.h"
#include "mim/codebook.h"
#include "train/codes.h"
#include "train/forecast.h"
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
    d.target.normalise = recipe_normalise(&d.target);
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

/* The model that makes the rows, and how many there are of how many numbers. */
static bool sampling_plan(Sampling *s, const Recipe *r, const Device *device, const MimTeacher *teacher, int64_t pictures,
                          bool plan_only, size_t *numbers)
{
    TrainerOptions options = {.device = *device,
                              .batch = AT_ONCE,
                              .micro_batch = AT_ONCE,
                              .keep_predictions = true,
                              .evaluate_only = true,
                              .teacher = teacher,
                              .plan_only = plan_only};
    int codes = r->target.codes;
    sampling_recipe(r, teacher, &s->recipe);
    if (!(s->trainer = trainer_open(&s->recipe, &options)))
        return false;
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
    return size_multiply((size_t)s->wanted, (size_t)s->width, numbers) ||
           error_set("target.codes %d: %lld rows of %lld numbers are more than memory can address", codes, (long long)s->wanted,
                     (long long)s->width);
}

static LoaderOptions sampling_loading(const Sampling *s, const Pictures *pictures)
{
    LoaderOptions loading = pictures_train_options(pictures, &s->recipe);
    loading.batch = AT_ONCE < pictures->train.count ? AT_ONCE : pictures->train.count;
    loading.stage = RECIPE_STAGES_MAX; /* crops of no stage */
    return loading;
}

static bool sampling_open(Sampling *s, Run *run, const MimTeacher *teacher)
{
    size_t numbers;
    if (!sampling_plan(s, &run->recipe, &run->device, teacher, (int64_t)run->pictures.train.count, false, &numbers))
        return false;
    const ParamSet *set = trainer_teacher_params(s->trainer);
    for (size_t i = 0; i < set->count; i++) { /* the network, when codes are of its tokens */
        const ParamSet *from = trainer_teacher_params(run->trainer);
        int at = param_find(from, set->params[i].name);
        if (set->params[i].kind == PARAM_TRAINED && at >= 0)
            memcpy(trainer_teacher_weights(s->trainer) + set->params[i].offset,
                   trainer_teacher_weights(run->trainer) + from->params[at].offset,
                   (size_t)set->params[i].count * sizeof(float));
    }
    LoaderOptions loading = sampling_loading(s, &run->pictures);
    s->hidden = memory_new(AT_ONCE, (size_t)s->places);
    s->targets = memory_new((size_t)(AT_ONCE * s->places), (size_t)s->width * sizeof *s->targets);
    s->order = memory_new((size_t)s->places, sizeof *s->order);
    s->rows = memory_new(numbers, sizeof *s->rows);
    return s->hidden && s->targets && s->order && s->rows && (s->loader = loader_open(&loading));
}

/* What has made the rows: its memory is needed for the book. */
static void sampling_end(Sampling *s)
{
    loader_close(s->loader);
    trainer_close(s->trainer);
    memory_free(s->hidden);
    memory_free(s->targets);
    memory_free(s->order);
    s->loader = NULL;
    s->trainer = NULL;
    s->hidden = NULL;
    s->targets = NULL;
    s->order = NULL;
}

static void sampling_close(Sampling *s)
{
    sampling_end(s);
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

/* *wanted: whether the recipe has targets of codes, and names no book of them; *teacher is then what they are of. */
static bool look_for_book(const Recipe *r, bool *wanted, MimTeacher *teacher)
{
    CodeFile file = {.codes = 0};
    *wanted = false;
    if (!mim_has_target(r, TARGET_TOKENS))
        return true;
    if (strcmp(r->target.teacher, "random") != 0 && !code_file_look(r->target.teacher, &file))
        return error_context("target.teacher");
    *wanted = !file.codes;
    return !*wanted || teacher_of(r, 0, teacher);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool codes_memory(const Recipe *r, const Device *device, const Pictures *pictures, CodesMemory *memory)
{
    bool wanted;
    MimTeacher teacher;
    size_t numbers, ring = 0;
    int64_t most = (int64_t)ROWS_A_CODE * r->target.codes, host, products;
    *memory = (CodesMemory){0};
    if (!look_for_book(r, &wanted, &teacher) || !wanted)
        return !wanted;
    Sampling *s = memory_new(1, sizeof *s);
    bool ok = s && sampling_plan(s, r, device, &teacher, pictures ? (int64_t)pictures->train.count : most, true, &numbers) &&
              codebook_bytes(device, s->wanted, s->width, r->target.codes, &host, &products);
    if (ok && pictures) {
        LoaderOptions loading = sampling_loading(s, pictures);
        ok = loader_memory(&loading, &ring);
    }
    if (ok) {
        int64_t number = (int64_t)sizeof(float), model = trainer_bytes(s->trainer),
                collecting = (int64_t)ring + AT_ONCE * s->places * (1 + s->width * number),
                making = host + r->target.codes * s->width * number;
        bool together = buffer_on_host(device);
        memory->host =
            (int64_t)numbers * number + larger(collecting + (together ? model : 0), making + (together ? products : 0));
        memory->device = together ? memory->host : larger(model, products);
    }
    if (s)
        sampling_close(s);
    memory_free(s);
    return ok || error_context("making the code book of target.codes");
}

bool run_codes_fit(const Run *run)
{
    CodesMemory memory;
    int64_t left = forecast_free_memory();
    if (!codes_memory(&run->recipe, &run->device, &run->pictures, &memory))
        return false;
    return !left || memory.host <= left ||
           error_set("making the code book of target.codes %d takes %.2f GB of memory, and %.2f GB are free: choose fewer "
                     "codes, or name the file of a code book as target.teacher",
                     run->recipe.target.codes, (double)memory.host / 1e9, (double)left / 1e9);
}

/* Says now and then how far the making is. */
typedef struct {
    const Run *run;
    double said; /* when it last spoke */
} Progress;

static void tell_progress(void *context, const char *what, int64_t done, int64_t all)
{
    const double EVERY = 10; /* seconds */
    Progress *p = context;
    if (clock_seconds() - p->said < EVERY)
        return;
    p->said = clock_seconds();
    run_say(p->run, "the code book: %lld of %lld %s", (long long)done, (long long)all, what);
}

/* The book itself, out of rows. */
static bool make_book(Run *run, const Sampling *s, Progress *progress, double start)
{
    int codes = run->recipe.target.codes;
    double left;
    CodebookArgs args = {.rows = s->rows,
                         .count = s->have,
                         .width = s->width,
                         .codes = codes,
                         .seed = run->recipe.run.seed,
                         .stop = run->options->stop,
                         .context = run->options->context,
                         .tell = tell_progress,
                         .listener = progress};
    float *book = memory_new((size_t)codes, (size_t)s->width * sizeof *book);
    bool ok = book && codebook_make(&run->device, &args, book, &left, &run->stopped);
    if (ok && !run->stopped) {
        codes_put(run->trainer, book);
        run_say(run, "the code book took %.1f s and leaves %.1f %% of their variance", clock_seconds() - start, 100 * left);
    }
    memory_free(book);
    return ok;
}

bool run_make_codes(Run *run)
{
    bool wanted;
    MimTeacher teacher;
    double start = clock_seconds();
    Progress progress = {run, start};
    if (!look_for_book(&run->recipe, &wanted, &teacher) || !wanted)
        return !wanted;
    Sampling *s = memory_new(1, sizeof *s);
    bool ok = s && sampling_open(s, run, &teacher);
    if (ok)
        run_say(run, "makes a code book of %d codes, from %lld %s of the training pictures", run->recipe.target.codes,
                (long long)s->wanted, teacher.codes_of == MIM_CODES_OF_TOKENS ? "tokens" : "patches");
    while (ok && s->have < s->wanted && !(run->stopped = run_is_stopped(run))) {
        ok = take_batch(s, run->recipe.run.seed);
        tell_progress(&progress, "rows", s->have, s->wanted);
    }
    if (ok && !run->stopped) {
        sampling_end(s);
        ok = make_book(run, s, &progress, start);
    }
    if (ok && run->stopped)
        run_say(run, "stopped while it makes the code book, of which nothing is kept: it is made anew when the run is begun "
                     "again");
    if (s)
        sampling_close(s);
    memory_free(s);
    return ok || error_context("making the code book of target.codes");
}
