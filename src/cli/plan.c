/* lacuna plan: what a run will cost, before it starts. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/choose.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "train/forecast.h"

typedef struct {
    bool no_time, json;
} Job;

/* "1.23 GB" */
static void add_scaled(Text *t, double x, double base, const char *const *units)
{
    while (x >= 1000 && units[1]) {
        x /= base;
        units++;
    }
    text_add(t, "%.*f %s", x < 10 ? 2 : x < 100 ? 1 : 0, x, *units);
}

static void add_bytes(Text *t, int64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", NULL};
    add_scaled(t, (double)bytes, 1000, units);
}

static void add_flops(Text *t, double flops)
{
    static const char *const units[] = {"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP", NULL};
    add_scaled(t, flops, 1000, units);
}

static double all_flops(const Forecast *f)
{
    return f->step_flops * (double)f->steps;
}

/* ---- for people */

static void add_tap(Text *t, const RecipeDecoder *d)
{
    if (d->tap == TAP_LAST)
        text_add(t, "the last block");
    else
        text_add(t, "block %d", d->tap);
}

/* Whether they differ in nothing but where they stand. */
static bool are_alike(const RecipeDecoder *a, const RecipeDecoder *b)
{
    return a->kind == b->kind && a->width == b->width && a->depth == b->depth && a->heads == b->heads &&
           a->target.kind == b->target.kind && a->target.normalise == b->target.normalise && a->loss.kind == b->loss.kind;
}

static void add_model(Text *t, const Forecast *f)
{
    const Recipe *r = &f->recipe;
    char blocks[RECIPE_BLOCKS_SIZE];
    text_add(t, "recipe      %s: %s, width %d, %s, %d heads, patch %d, %d x %d pixels, %d channel%s, %.4g %% hidden\n",
             r->name[0] ? r->name : "no name", recipe_word("encoder.kind", (int)r->encoder.kind), r->encoder.width,
             recipe_blocks(r, blocks), r->encoder.heads, r->encoder.patch, r->image.size[0], r->image.size[1],
             r->image.channels, r->image.channels == 1 ? "" : "s", recipe_method(r) == METHOD_MASKED ? 100 * r->mask.ratio : 0);
    text_add(t, "encoder     %.2f million parameters\n", (double)f->encoder_parameters / 1e6);
    if (recipe_method(r) == METHOD_CLASSIFY)
        text_add(t, "head        %.2f million parameters, for labels of %d classes; loss cross_entropy\n",
                 (double)f->head_parameters / 1e6, r->head.classes);
    else if (recipe_method(r) == METHOD_CONTRAST)
        text_add(t, "heads       %.2f million parameters, and a momentum encoder; %d pictures are compared with each other\n",
                 (double)f->head_parameters / 1e6, r->run.micro_batch);
    for (int k = 0, next; k < r->decoder_count; k = next) {
        const RecipeDecoder *d = &r->decoders[k];
        for (next = k + 1; next < r->decoder_count && are_alike(d, &r->decoders[next]); next++)
            continue;
        text_add(t, "decoder%s   %.2f million parameters%s, behind ", next - k > 1 ? "s " : "  ",
                 (double)f->decoder_parameters[k] / 1e6, next - k > 1 ? " each" : "");
        for (int i = k; i < next; i++) {
            text_add(t, "%s", i == k ? "" : i + 1 == next ? " and " : ", ");
            add_tap(t, &r->decoders[i]);
        }
        if (d->kind == DECODER_TRANSFORMER)
            text_add(t, ": width %d, %d block%s, %d heads", d->width, d->depth, d->depth == 1 ? "" : "s", d->heads);
        else
            text_add(t, ": %s", recipe_word("decoders.K.kind", (int)d->kind));
        text_add(t, "\ntarget      %s, normalised: %s; loss %s\n", recipe_word("target.kind", (int)d->target.kind),
                 recipe_word("target.normalise", (int)recipe_normalise(&d->target)),
                 recipe_word("loss.kind", (int)d->loss.kind));
    }
}

static void add_schedule(Text *t, const Forecast *f)
{
    const Recipe *r = &f->recipe;
    text_add(t, "pictures    %s; %zu to train on, %zu held out\n", f->pictures, f->trained, f->held_out);
    text_add(t, "schedule    %d epochs of %lld steps of %d pictures: %lld steps, %.4g million pictures seen; peak rate %.3g\n",
             r->schedule.epochs, (long long)f->steps_per_epoch, r->schedule.batch_size, (long long)f->steps,
             (double)f->steps * r->schedule.batch_size / 1e6, recipe_lr(r));
    text_add(t, "work        ");
    add_flops(t, f->step_flops / r->schedule.batch_size);
    text_add(t, " a picture, forward and backward%s; ", r->stages.count > 1 ? ", the mean of the stages" : "");
    add_flops(t, all_flops(f));
    text_add(t, " in all\n");
}

static void add_share(Text *t, int64_t bytes, const char *what)
{
    if (!bytes)
        return;
    text_add(t, "            ");
    add_bytes(t, bytes);
    text_add(t, " for %s\n", what);
}

static void add_memory(Text *t, const Forecast *f)
{
    const Recipe *r = &f->recipe;
    text_add(t, "memory      ");
    add_bytes(t, f->memory);
    text_add(t, ", and up to ");
    add_bytes(t, f->cache);
    text_add(t, " more for decoded pictures (data.cache_mb)\n");
    char values[96], devices[32] = "";
    if (r->run.devices > 1)
        snprintf(devices, sizeof devices, " on each of %d devices", r->run.devices);
    snprintf(values, sizeof values, "the values of %d picture%s at once%s", r->run.micro_batch,
             r->run.micro_batch == 1 ? "" : "s", devices);
    add_share(t, f->arena, values);
    add_share(t, f->evaluation, "the values of validation");
    add_share(t, f->parameters, "weights, their gradients, two moments");
    add_share(t, f->ring, "pictures made ahead");
    add_share(t, f->codes, "the code book as it is made, before these and validation");
    if (f->free) {
        text_add(t, "fits        %s: ", f->memory <= f->free ? "yes" : "no");
        add_bytes(t, f->free);
        if (f->micro_batch_most)
            text_add(t, " are free, and up to %d pictures at once would fit (%s)\n", f->micro_batch_most,
                     recipe_method(r) == METHOD_CONTRAST ? "contrast.group, which gives other results" : "run.micro_batch");
        else
            text_add(t, " are free, too little for one picture at a time: choose a smaller batch, encoder or image.size\n");
    }
    text_add(t, "disk        ");
    add_bytes(t, f->checkpoint);
    text_add(t, " a checkpoint; %d %s kept, one more while saving", r->run.keep, r->run.keep == 1 ? "is" : "are");
    if (r->stages.count)
        text_add(t, ", and those of %d stages", r->stages.count);
    text_add(t, ": ");
    add_bytes(t, f->checkpoint * f->checkpoints);
    text_add(t, "\n");
}

static void add_duration(Text *t, const Forecast *f, bool wanted)
{
    if (!wanted)
        return;
    if (f->step_seconds <= 0) {
        text_add(t, "time        not measured: the memory it takes is not free\n");
        return;
    }
    text_add(t, "time        ");
    progress_add_time(t, f->step_seconds * (double)f->steps);
    text_add(t,
             " (%.2f hours): %.3g s a step, %.3g pictures/s, measured on %s\n            validation and saving come on top\n",
             f->step_seconds * (double)f->steps / 3600, f->step_seconds, f->recipe.schedule.batch_size / f->step_seconds,
             device_describe(&f->device));
}

/* ---- for programs */

static void add_json(Text *t, const Forecast *f)
{
    const Recipe *r = &f->recipe;
    text_add(t, "{\"recipe\": ");
    text_add_json_string(t, r->name);
    text_add(t, ", \"pictures\": ");
    text_add_json_string(t, f->pictures);
    text_add(t, ", \"trained\": %zu, \"held_out\": %zu, \"batch_size\": %d, \"micro_batch\": %d, \"epochs\": %d, ", f->trained,
             f->held_out, r->schedule.batch_size, r->run.micro_batch, r->schedule.epochs);
    text_add(
        t, "\"steps_per_epoch\": %lld, \"steps\": %lld, \"lr\": %.9g, \"encoder_parameters\": %lld, \"decoder_parameters\": [",
        (long long)f->steps_per_epoch, (long long)f->steps, recipe_lr(r), (long long)f->encoder_parameters);
    for (int k = 0; k < r->decoder_count; k++)
        text_add(t, "%s%lld", k ? ", " : "", (long long)f->decoder_parameters[k]);
    text_add(t, "], \"picture_flops\": %.9g, \"flops\": %.9g, ", f->step_flops / r->schedule.batch_size, all_flops(f));
    text_add(t,
             "\"arena_bytes\": %lld, \"evaluation_bytes\": %lld, \"parameter_bytes\": %lld, \"ring_bytes\": %lld, "
             "\"codes_bytes\": %lld, \"memory_bytes\": %lld, \"cache_bytes\": %lld, \"free_bytes\": %lld, "
             "\"micro_batch_most\": %d, ",
             (long long)f->arena, (long long)f->evaluation, (long long)f->parameters, (long long)f->ring, (long long)f->codes,
             (long long)f->memory, (long long)f->cache, (long long)f->free, f->micro_batch_most);
    text_add(t, "\"checkpoint_bytes\": %lld, ", (long long)f->checkpoint);
    if (f->step_seconds > 0)
        text_add(t, "\"step_seconds\": %.9g, \"seconds\": %.9g}\n", f->step_seconds, f->step_seconds * (double)f->steps);
    else
        text_add(t, "\"step_seconds\": null, \"seconds\": null}\n");
}

/* ---- */

static bool print_plan(const Job *job, const Forecast *f, const Text *why)
{
    Text t = {0};
    if (job->json) {
        add_json(&t, f);
    } else {
        text_add(&t, "%s%s", why->data ? why->data : "", why->data ? "\n" : "");
        add_model(&t, f);
        add_schedule(&t, f);
        add_memory(&t, f);
        add_duration(&t, f, !job->no_time);
    }
    bool ok = !t.failed;
    if (ok)
        fputs(t.data, stdout);
    text_free(&t);
    return ok;
}

static int run_plan(void *options, const Arguments *arguments)
{
    const Job *job = options;
    Text why = {0}, notes = {0};
    Recipe *recipe = memory_new(1, sizeof *recipe);
    Forecast *forecast = memory_new(1, sizeof *forecast);
    int code = EXIT_FAILED;
    bool ok = recipe && forecast && choose_recipe(arguments, recipe, &why, &notes, &code);
    choose_tell(&notes);
    if (ok) {
        code = EXIT_FAILED;
        ok = forecast_make(recipe, !job->no_time, forecast) && print_plan(job, forecast, &why);
    }
    if (forecast)
        device_close(&forecast->device);
    text_free(&why);
    memory_free(recipe);
    memory_free(forecast);
    return ok ? EXIT_DONE : code == EXIT_USAGE ? cli_usage(arguments->verb) : cli_failed();
}

static const Option OPTIONS[] = {
    {"no-time", OPTION_SWITCH, offsetof(Job, no_time), .help = "do not train some steps to measure the time"},
    {"json", OPTION_SWITCH, offsetof(Job, json), .help = "one JSON object on standard output"},
    {0}};

const Verb plan_verb = {
    .name = "plan",
    .line = "tell what a run will cost, before it starts",
    .operands = "[RECIPE]",
    .most = 1,
    .about =
        "Takes a recipe, --data and settings as `lacuna pretrain` does and tells of the run that these would make: the recipe "
        "in "
        "short, parameters, work, "
        "memory "
        "as the planner will lay it out, what fits into this machine, disk, and the time, from a few seconds of training that "
        "is thrown away. With --data alone it also proposes the recipe, as `lacuna pretrain` would.",
    .options = OPTIONS,
    .examples = "lacuna plan deepmim-cifar10 --data photos/\n"
                "lacuna plan mae-cifar10 --no-time encoder.width=384 encoder.heads=6\n"
                "lacuna plan --data photos/ --json\n",
    .size = sizeof(Job),
    .settings = true,
    .recipes = true,
    .run = run_plan};
