#include "train/settle.h"

#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"

/* tokens x width x depth: 32 pictures of a ViT-B/16 with MAE's decoder, about 3 GB of activations in f32. */
#define ACTIVATION_BUDGET 42e6

enum { SAVES_PER_RUN = 10, EPOCHS_PER_SAVE = 10, WORKERS_MOST = 4 };

int settle_micro_batch(const Recipe *r)
{
    if (recipe_method(r) == METHOD_CONTRAST) /* what is compared with each other is computed at once */
        return r->contrast.group == RECIPE_AUTO ? r->schedule.batch_size : r->contrast.group;
    int batch = r->schedule.batch_size, places = recipe_patches(r), first = r->encoder.class_token;
    double tokens = first + (r->encoder.input == ENCODER_INPUT_VISIBLE ? recipe_visible(r) : places);
    double picture = tokens * r->encoder.width * r->encoder.depth;
    for (int k = 0; k < r->decoder_count; k++)
        picture += (double)(first + places) * r->decoders[k].width * r->decoders[k].depth;
    for (int parts = 1; parts < batch; parts++) {
        int micro_batch = batch / parts;
        if (batch % parts == 0 && picture * micro_batch <= ACTIVATION_BUDGET)
            return micro_batch;
    }
    return 1;
}

/* Ten times a run, in a long one every ten epochs: a machine that fails takes no more than that. */
static int settle_save_steps(int64_t total_steps, int epochs)
{
    int64_t share = (total_steps + SAVES_PER_RUN - 1) / SAVES_PER_RUN, some = total_steps / epochs * EPOCHS_PER_SAVE;
    int64_t steps = some > 0 && some < share ? some : share;
    return steps > 1000000000 ? 1000000000 : steps < 1 ? 1 : (int)steps;
}

void settle_recipe(Recipe *r, int64_t total_steps)
{
    int batch = r->schedule.batch_size;
    if (r->run.micro_batch == RECIPE_AUTO)
        r->run.micro_batch = r->schedule.accumulate == RECIPE_AUTO ? settle_micro_batch(r) : batch / r->schedule.accumulate;
    r->schedule.accumulate = batch / r->run.micro_batch;
    if (r->run.save_steps == RECIPE_AUTO)
        r->run.save_steps = settle_save_steps(total_steps, r->schedule.epochs);
    if (r->run.threads == RECIPE_AUTO)
        r->run.threads = cpu_count();
    if (r->data.workers == RECIPE_AUTO)
        r->data.workers = cpu_count() < WORKERS_MOST ? cpu_count() : WORKERS_MOST;
    if (r->run.device == RUN_DEVICE_AUTO)
        r->run.device = RUN_DEVICE_CPU;
    if (r->run.precision == RUN_PRECISION_AUTO) {
        bool has_bf16 = r->run.device == RUN_DEVICE_CUDA || (r->run.device == RUN_DEVICE_CPU && cpu_has_bf16());
        r->run.precision = has_bf16 ? RUN_PRECISION_BF16 : RUN_PRECISION_F32;
    }
}

static void take_statistics(const RecipeStatistics *given, const RecipeStatistics *stored, bool deviation,
                            RecipeStatistics *out)
{
    float values[RECIPE_CHANNELS_MAX];
    if (given->kind == STATISTICS_AUTO)
        *out = *stored;
    else if (given->kind != STATISTICS_LIST && stored->kind == STATISTICS_LIST &&
             recipe_statistics(given, deviation, stored->count, values))
        recipe_statistics_set(out, stored->count, values);
}

/* A stored number of threads is kept, but not on a machine that has fewer processors. */
static int fewer(int stored)
{
    return stored == RECIPE_AUTO || stored > cpu_count() ? cpu_count() : stored;
}

bool settle_resumed(const Recipe *given, const Recipe *stored, Recipe *out)
{
    bool ok = true;
    Text lines = {0};
    Recipe *plain = memory_new(1, sizeof *plain);
    if (!plain)
        return false;
    *out = *given;
    take_statistics(&given->image.mean, &stored->image.mean, false, &out->image.mean);
    take_statistics(&given->image.std, &stored->image.std, true, &out->image.std);
    if (given->head.classes == RECIPE_AUTO)
        out->head.classes = stored->head.classes;
    if (given->run.micro_batch == RECIPE_AUTO)
        out->run.micro_batch = stored->run.micro_batch;
    if (given->schedule.accumulate == RECIPE_AUTO && given->run.micro_batch == RECIPE_AUTO)
        out->schedule.accumulate = stored->schedule.accumulate;
    else if (given->schedule.accumulate == RECIPE_AUTO)
        out->schedule.accumulate = given->schedule.batch_size / given->run.micro_batch;
    if (given->run.save_steps == RECIPE_AUTO)
        out->run.save_steps = stored->run.save_steps;
    if (given->run.threads == RECIPE_AUTO)
        out->run.threads = fewer(stored->run.threads);
    if (given->data.workers == RECIPE_AUTO)
        out->data.workers = fewer(stored->data.workers);
    if (given->run.device == RUN_DEVICE_AUTO)
        out->run.device = stored->run.device;
    if (given->run.precision == RUN_PRECISION_AUTO)
        out->run.precision = stored->run.precision;
    /* All else must be as it was. */
    *plain = *out;
    plain->run.max_steps = stored->run.max_steps;
    plain->run.save_steps = stored->run.save_steps;
    plain->run.keep = stored->run.keep;
    plain->run.threads = stored->run.threads;
    plain->run.device = stored->run.device;
    memcpy(plain->data.train, stored->data.train, sizeof plain->data.train);
    memcpy(plain->data.val, stored->data.val, sizeof plain->data.val);
    plain->data.workers = stored->data.workers;
    plain->data.cache_mb = stored->data.cache_mb;
    plain->data.max_bad = stored->data.max_bad;
    if (recipe_differences(stored, plain, &lines) > 0) {
        for (size_t i = 0; i + 1 < lines.length; i++)
            if (lines.data[i] == '\n')
                lines.data[i] = ';';
        if (lines.length && lines.data[lines.length - 1] == '\n')
            lines.data[--lines.length] = 0;
        ok = error_set("the run was begun with another recipe (%s); leave these keys out to go on with it, or choose another "
                       "folder with --out",
                       lines.data ? lines.data : "");
    }
    text_free(&lines);
    memory_free(plain);
    return ok;
}
