#include "train/forecast.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "train/codes.h"
#include "train/fit.h"
#include "train/pictures.h"
#include "train/settle.h"
#include "train/teacher.h"
#include "train/trainer.h"

/* ---- memory of the machine */

/* The number behind `key` in a small file of the kernel, or the file's first word when `key` is "". -1: there is none. */
static int64_t read_number(const char *path, const char *key)
{
    char text[8192];
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    const char *at = strstr(text, key);
    if (!at)
        return -1;
    at += strlen(key);
    char *end;
    long long number = strtoll(at, &end, 10);
    return end == at ? -1 : number;
}

static int64_t read_group(const char *folder, const char *name, const char *key)
{
    char *path = file_join(folder, name);
    int64_t number = path ? read_number(path, key) : -1;
    memory_free(path);
    return number;
}

/* What is kept of files counts as used there, and is given up when somebody needs the memory. */
int64_t forecast_group_memory(const char *folder)
{
    int64_t limit = read_group(folder, "memory.max", ""), used = read_group(folder, "memory.current", "");
    if (limit <= 0 || used < 0)
        return -1;
    int64_t active = read_group(folder, "memory.stat", "\nactive_file "),
            inactive = read_group(folder, "memory.stat", "\ninactive_file ");
    used -= (active > 0 ? active : 0) + (inactive > 0 ? inactive : 0);
    used = used > 0 ? used : 0;
    return limit > used ? limit - used : 0;
}

int64_t forecast_free_memory(void)
{
    int64_t available = read_number("/proc/meminfo", "MemAvailable:") * 1024, group = forecast_group_memory("/sys/fs/cgroup");
    if (group >= 0 && group < available)
        available = group;
    return available > 0 ? available : 0;
}

/* ---- sizes */

typedef struct {
    int64_t arena, evaluation;
    double flops; /* of a step */
} Sizes;

static double flops_of(Trainer *t, int parts)
{
    const Program *p = trainer_program(t);
    return program_cost(p, SEGMENT_ONLY).flops + program_cost(p, SEGMENT_FIRST).flops +
           (parts > 2 ? parts - 2 : 0) * program_cost(p, SEGMENT_MORE).flops + program_cost(p, SEGMENT_LAST).flops +
           program_cost(p, SEGMENT_UPDATE).flops;
}

/* Of a step, the mean over the run: each stage has a teacher of its own. */
static bool mean_flops(const Recipe *r, const Device *device, double *flops)
{
    TrainerOptions options = {
        .device = *device, .batch = r->schedule.batch_size, .micro_batch = r->run.micro_batch, .plan_only = true};
    *flops = 0;
    for (int stage = 0; stage < r->stages.count; stage++) {
        MimTeacher network;
        options.stage = stage;
        options.teacher = &network;
        Trainer *t = teacher_of(r, stage, &network) ? trainer_open(r, &options) : NULL;
        if (!t)
            return false;
        *flops += flops_of(t, options.batch / options.micro_batch) * r->stages.items[stage].epochs / r->schedule.epochs;
        trainer_close(t);
    }
    return true;
}

/* Plans the programs of that micro-batch without taking their memory. With `f` also fills in what does not depend on it. */
static bool plan_programs(const Recipe *r, const Device *device, int micro_batch, bool evaluates, Sizes *sizes, Forecast *f)
{
    TrainerOptions options = {
        .device = *device, .batch = r->schedule.batch_size, .micro_batch = micro_batch, .plan_only = true};
    int parts = options.batch / micro_batch;
    MimTeacher network;
    if (mim_needs_teacher(r)) {
        if (!teacher_largest(r, &network))
            return false;
        options.teacher = &network;
    }
    *sizes = (Sizes){0};
    Trainer *t = trainer_open(r, &options);
    if (!t)
        return false;
    const Program *p = trainer_program(t);
    sizes->arena = program_bytes(p);
    sizes->flops = flops_of(t, parts);
    const ParamSet *params = trainer_params(t);
    for (size_t i = 0; f && i < params->count; i++) {
        const Param *param = &params->params[i];
        int k = 0;
        if (param->kind != PARAM_TRAINED)
            continue;
        if (sscanf(param->name, "decoders.%d.", &k) == 1)
            f->decoder_parameters[k] += param->count;
        else if (!strncmp(param->name, "head.", 5) || !strncmp(param->name, "fc_norm.", 8) ||
                 !strncmp(param->name, "projector.", 10) || !strncmp(param->name, "predictor.", 10))
            f->head_parameters += param->count;
        else
            f->encoder_parameters += param->count;
    }
    if (f) {
        const ParamSet *teacher = trainer_teacher_params(t);
        f->parameters = (int64_t)sizeof(float) * ((r->ema.decay > 0 ? 5 : 4) * params->trained_count + params->fixed_count +
                                                  teacher->trained_count + teacher->fixed_count);
        f->checkpoint = (int64_t)sizeof(float) *
                        ((r->ema.decay > 0 ? 4 : 3) * params->trained_count + params->fixed_count + teacher->trained_count);
    }
    trainer_close(t);
    if (!evaluates)
        return true;
    options.evaluate_only = true;
    t = trainer_open(r, &options);
    if (!t)
        return false;
    sizes->evaluation = program_bytes(trainer_program(t));
    trainer_close(t);
    return true;
}

/* Processes that share this memory: a GPU has one. */
static int processes(const Forecast *f)
{
    return buffer_on_host(&f->device) ? f->recipe.run.devices : 1;
}

/* Pictures made ahead, where they lie in the device's memory: on a GPU they do not. */
static int64_t ring_of(const Forecast *f)
{
    return buffer_on_host(&f->device) ? f->ring : 0;
}

/* The most of the device's memory at one time, where programs have these sizes. */
static int64_t memory_with(const Forecast *f, int64_t arena, int64_t evaluation)
{
    int64_t trains = evaluation + ring_of(f);
    return f->parameters + arena + (f->codes > trains ? f->codes : trains);
}

/* The largest divisor of a device's share of the batch whose programs fit beside the rest. More pictures at once take more
 * memory, so halves of the divisors are ruled out at a time. */
static int largest_micro_batch(const Forecast *f, bool evaluates)
{
    int batch = f->recipe.schedule.batch_size / f->recipe.run.devices, count = 0, best = 0;
    int *divisors = memory_new((size_t)batch, sizeof *divisors);
    for (int d = 1; divisors && d <= batch; d++)
        if (batch % d == 0)
            divisors[count++] = d;
    for (int low = 0, high = count - 1; low <= high;) {
        int middle = (low + high) / 2;
        Sizes sizes;
        bool fits = plan_programs(&f->recipe, &f->device, divisors[middle], evaluates, &sizes, NULL) &&
                    memory_with(f, processes(f) * sizes.arena, sizes.evaluation) <= f->free;
        if (fits)
            best = divisors[middle];
        low = fits ? middle + 1 : low;
        high = fits ? high : middle - 1;
    }
    error_clear(); /* a size beyond all bounds fits as little as one beyond the memory */
    memory_free(divisors);
    return best;
}

/* ---- time */

static bool time_steps(const Recipe *r, const Pictures *pictures, Forecast *f)
{
    enum { LEAST = 2, MOST = 100 };
    const double enough = 3; /* seconds */
    int micro = r->run.micro_batch, parts = r->schedule.batch_size / micro;
    TrainerOptions options = {.device = f->device, .batch = micro, .micro_batch = micro};
    LoaderOptions loading = pictures_train_options(pictures, r);
    uint8_t *hidden = memory_new((size_t)micro, (size_t)recipe_patches(r)), *kept = NULL;
    Trainer *t = NULL;
    Loader *loader = NULL;
    MimTeacher network;
    bool ok = false;
    if (mim_needs_teacher(r)) {
        if (!teacher_largest(r, &network))
            goto done;
        options.teacher = &network;
    }
    loading.batch = (size_t)micro;
    if (!hidden || !(t = trainer_open(r, &options)) || !(loader = loader_open(&loading)))
        goto done;
    size_t branches = (size_t)trainer_branches(t) * (size_t)micro;
    if (branches && !(kept = memory_new(branches, 1)))
        goto done;
    if (branches)
        memset(kept, 1, branches);
    double start = 0, now = 0;
    int steps = 0;
    for (; steps < LEAST || (steps < MOST && now - start < enough); steps++) {
        LoaderBatch batch;
        TrainerMetrics metrics;
        if (!loader_next(loader, &batch))
            goto done;
        pictures_masks(r, false, 0, batch.epoch, batch.samples, batch.count, hidden);
        TrainerBatch input = {.images = batch.images,
                              .teacher_images = batch.other,
                              .hidden = hidden,
                              .kept = kept,
                              .labels = batch.labels,
                              .second = batch.second,
                              .lr = 1e-6};
        if (!trainer_step(t, &input, &metrics))
            goto done;
        loader_release(loader);
        now = clock_seconds();
        if (steps == 0 && start == 0) { /* the first one warms up */
            start = now;
            steps = -1;
        }
    }
    f->step_seconds = (now - start) / steps * parts / r->run.devices;
    ok = true;
done:
    loader_close(loader);
    trainer_close(t);
    memory_free(kept);
    memory_free(hidden);
    return ok;
}

/* Measuring them would mean to decode all pictures; time does not depend on them. */
static void stand_in_statistics(Recipe *r)
{
    float mean[RECIPE_CHANNELS_MAX], std[RECIPE_CHANNELS_MAX];
    for (int c = 0; c < RECIPE_CHANNELS_MAX; c++) {
        mean[c] = 0.5f;
        std[c] = 0.25f;
    }
    if (r->image.mean.kind == STATISTICS_AUTO)
        recipe_statistics_set(&r->image.mean, r->image.channels, mean);
    if (r->image.std.kind == STATISTICS_AUTO)
        recipe_statistics_set(&r->image.std, r->image.channels, std);
}

/* ---- all of it */

static bool count_pictures(const Pictures *pictures, Forecast *f)
{
    int batch = f->recipe.schedule.batch_size;
    snprintf(f->pictures, sizeof f->pictures, "%s", source_summary(pictures->source));
    f->trained = pictures->train.count;
    f->held_out = pictures->held_out;
    f->steps_per_epoch = (int64_t)(f->trained / (size_t)batch);
    f->steps = f->steps_per_epoch * f->recipe.schedule.epochs;
    if (f->recipe.run.max_steps > 0 && f->recipe.run.max_steps < f->steps)
        f->steps = f->recipe.run.max_steps;
    return f->steps_per_epoch > 0 ||
           error_set("schedule.batch_size is %d, but there are only %zu pictures to train on: choose a smaller batch", batch,
                     f->trained);
}

bool forecast_make(const Recipe *recipe, bool time, Forecast *f)
{
    Pictures pictures = {0};
    Recipe *r = &f->recipe;
    Sizes sizes;
    CodesMemory codes;
    size_t ring;
    bool ok = false;
    memset(f, 0, sizeof *f);
    *r = *recipe;
    if (!recipe_check(r) || !pictures_open(r, &pictures) || !pictures_classes(&pictures, r) || !count_pictures(&pictures, f))
        goto done;
    bool parts_are_open = r->run.micro_batch == RECIPE_AUTO && r->schedule.accumulate == RECIPE_AUTO;
    settle_recipe(r, f->steps);
    if (!device_open(recipe_word("run.device", (int)r->run.device), r->run.threads, &f->device) ||
        (parts_are_open && !fit_settle(r, &f->device, false, FIT_BEGINS)))
        goto done;
    Recipe stood = *r;
    stand_in_statistics(&stood);
    LoaderOptions loading = pictures_train_options(&pictures, &stood);
    bool evaluates = r->data.val_every > 0 && pictures.val.count > 0;
    if (!plan_programs(r, &f->device, r->run.micro_batch, evaluates, &sizes, f) || !loader_memory(&loading, &ring) ||
        !codes_memory(r, &f->device, &pictures, &codes))
        goto done;
    f->arena = processes(f) * sizes.arena;
    f->parameters *= processes(f);
    f->evaluation = sizes.evaluation;
    f->step_flops = sizes.flops;
    if (r->stages.count && mim_needs_teacher(r) && !mean_flops(&stood, &f->device, &f->step_flops))
        goto done;
    f->ring = (int64_t)ring;
    f->codes = codes.device;
    f->memory = memory_with(f, f->arena, f->evaluation);
    f->cache = (int64_t)r->data.cache_mb << 20;
    f->checkpoints = r->run.keep + 1 + r->stages.count;
    f->free = forecast_free_memory();
    if (!buffer_on_host(&f->device) && !fit_room(&f->device, &f->free))
        goto done;
    f->micro_batch_most = f->free ? largest_micro_batch(f, evaluates) : 0;
    ok = !time || (f->free && f->arena + f->parameters + ring_of(f) > f->free) || time_steps(&stood, &pictures, f);
    f->step_seconds *= f->step_flops / sizes.flops; /* steps of the largest teacher were timed */
done:
    pictures_close(&pictures);
    return ok;
}
