#include "train/settle.h"

#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"

/* tokens x width x depth: 32 pictures of a ViT-B/16 with MAE's decoder, about 3 GB of activations in f32. */
#define ACTIVATION_BUDGET 42e6

enum { SAVES_PER_RUN = 10, EPOCHS_PER_SAVE = 10, WORKERS_MOST = 4, WORKERS_A_GPU_MOST = 16 };

int settle_micro_batch(const Recipe *r)
{
    if (recipe_method(r) == METHOD_CONTRAST) /* what is compared with each other is computed at once */
        return r->contrast.group == RECIPE_AUTO ? r->schedule.batch_size : r->contrast.group;
    int batch = r->schedule.batch_size, places = recipe_patches(r), first = r->encoder.class_token;
    double tokens = first + (r->encoder.input == ENCODER_INPUT_VISIBLE ? recipe_visible(r) : places);
    double picture = tokens * r->encoder.width * recipe_depth(r);
    for (int k = 0; k < r->decoder_count; k++)
        picture += (double)(first + places) * r->decoders[k].width * r->decoders[k].depth;
    for (int parts = r->run.devices; parts < batch; parts += r->run.devices) {
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

/* FLOPs of a pass through a transformer, for a picture. */
static double pass_flops(double tokens, double width, double depth, double mlp_ratio)
{
    return depth * (tokens * (8 + 4 * mlp_ratio) * width * width + 4 * tokens * tokens * width);
}

/* Three views of each picture, all patches visible, and what is then found out: neighbours by products of matrices, and in
 * plain code, each number of which takes as long as a hundred of the encoder's, ranks, similarity, and the attention of 256
 * pictures (whose logarithms count forty). */
static double probe_flops(const Recipe *r)
{
    enum { VIEWS = 3, SLOW = 100, HEADS_PICTURES = 256 };
    double n = r->probe.images, d = r->encoder.width, tokens = r->encoder.class_token + recipe_patches(r);
    double heads = r->encoder.heads, shown = n < HEADS_PICTURES ? n : HEADS_PICTURES;
    double plain = n * d * d + 2 * d * d * d + 260 * n * d + shown * tokens * tokens * heads * (5 * heads + 80);
    return VIEWS * n * pass_flops(tokens, d, recipe_depth(r), r->encoder.mlp_ratio) +
           recipe_depth(r) * (10 * n * n * d + SLOW * plain);
}

/* Forward and backward of a step's pictures. */
static double step_flops(const Recipe *r)
{
    double all = r->encoder.class_token + recipe_patches(r);
    double tokens = r->encoder.input == ENCODER_INPUT_VISIBLE ? r->encoder.class_token + recipe_visible(r) : all;
    double picture = pass_flops(tokens, r->encoder.width, recipe_depth(r), r->encoder.mlp_ratio);
    for (int k = 0; k < r->decoder_count; k++)
        picture += pass_flops(all, r->decoders[k].width, r->decoders[k].depth, r->encoder.mlp_ratio);
    return 3 * picture * r->schedule.batch_size;
}

int settle_probe_every(const Recipe *r, int64_t total_steps)
{
    enum { PROBES_MOST = 20 };
    double most = 0.01 * step_flops(r) * (double)total_steps / probe_flops(r);
    int probes = most < PROBES_MOST ? (int)most : PROBES_MOST;
    if (!probes || r->run.device == RUN_DEVICE_CUDA)
        return 0;
    return (r->schedule.epochs + probes - 1) / probes;
}

bool probe_is_due(const Recipe *r, int64_t epochs)
{
    int every = r->probe.every;
    return every > 0 && epochs > 0 && (r->schedule.epochs - epochs) % every == 0;
}

/* Beside a step on the processor more than a few gain nothing. GPUs leave the processors to them, but for one a process. */
int settle_workers(const Recipe *r, int processors)
{
    int devices = r->run.devices, most = WORKERS_MOST;
    if (r->run.device == RUN_DEVICE_CUDA) {
        most = WORKERS_A_GPU_MOST * devices;
        processors = processors > devices ? processors - devices : 1;
    }
    return processors < most ? processors : most;
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
        r->run.threads = cpu_count() > r->run.devices ? cpu_count() / r->run.devices : 1;
    if (r->run.device == RUN_DEVICE_AUTO)
        r->run.device = RUN_DEVICE_CPU;
    if (r->data.workers == RECIPE_AUTO)
        r->data.workers = settle_workers(r, cpu_count());
    if (r->probe.every == RECIPE_AUTO)
        r->probe.every = settle_probe_every(r, total_steps);
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

/* Pictures at once that each device's share is a multiple of, as many of them as before where that goes. */
static int refit(int micro_batch, int share)
{
    while (share % micro_batch)
        micro_batch--;
    return micro_batch;
}

bool settle_resumed(const Recipe *given, const Recipe *stored, Recipe *out)
{
    bool ok = true, moves = given->run.devices != stored->run.devices;
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
    bool refits = moves && given->run.micro_batch == RECIPE_AUTO && stored->run.micro_batch > 0;
    if (refits && recipe_method(given) != METHOD_CONTRAST)
        out->run.micro_batch = refit(stored->run.micro_batch, given->schedule.batch_size / given->run.devices);
    if (given->schedule.accumulate == RECIPE_AUTO && refits)
        out->schedule.accumulate = given->schedule.batch_size / out->run.micro_batch;
    else if (given->schedule.accumulate == RECIPE_AUTO && given->run.micro_batch == RECIPE_AUTO)
        out->schedule.accumulate = stored->schedule.accumulate;
    else if (given->schedule.accumulate == RECIPE_AUTO)
        out->schedule.accumulate = given->schedule.batch_size / given->run.micro_batch;
    if (given->run.save_steps == RECIPE_AUTO)
        out->run.save_steps = stored->run.save_steps;
    if (given->probe.every == RECIPE_AUTO)
        out->probe.every = stored->probe.every;
    if (given->run.threads == RECIPE_AUTO)
        out->run.threads = moves ? RECIPE_AUTO : fewer(stored->run.threads);
    if (given->run.device == RUN_DEVICE_AUTO)
        out->run.device = stored->run.device;
    if (given->data.workers == RECIPE_AUTO)
        out->data.workers = moves || out->run.device != stored->run.device ? RECIPE_AUTO : fewer(stored->data.workers);
    if (given->run.precision == RUN_PRECISION_AUTO)
        out->run.precision = stored->run.precision;
    /* All else must be as it was. */
    *plain = *out;
    plain->run.max_steps = stored->run.max_steps;
    plain->run.save_steps = stored->run.save_steps;
    plain->run.keep = stored->run.keep;
    plain->run.threads = stored->run.threads;
    plain->run.device = stored->run.device;
    plain->run.devices = stored->run.devices;
    if (refits) {
        plain->run.micro_batch = stored->run.micro_batch;
        plain->schedule.accumulate = stored->schedule.accumulate;
    }
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
