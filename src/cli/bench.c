/* lacuna bench: what a training step costs (train), and where its time goes (ops). The work of a configuration is that of
 * bench/torch_mae.py: embedding, encoder, a decoder for each tap, loss on the hidden patches, backward, clipping, AdamW;
 * pictures and masks are drawn before the clock starts and stay the same. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/system.h"
#include "cli/bench_ops.h"
#include "cli/cli.h"
#include "device/buffer.h"
#include "mim/mask.h"
#include "recipe/recipe.h"
#include "train/fit.h"
#include "train/trainer.h"

enum { TAPS_MAX = 4 };

typedef struct {
    const char *name;
    int image, patch, width, depth, heads;
    int decoder_width, decoder_depth, decoder_heads;
    int taps[TAPS_MAX]; /* 0: no more; depth: behind the final norm */
    int batch;
    const char *more[8]; /* keys that differ from MAE's */
} Config;

/* clang-format off */
static const Config CONFIGS[] = {
    {"cifar_p4", 32, 4, 192, 12, 3, 192, 2, 3, {12}, 256, {NULL}},
    {"cifar_p2", 32, 2, 192, 12, 3, 192, 2, 3, {12}, 64, {NULL}},
    {"vit_s", 224, 16, 384, 12, 6, 256, 4, 8, {12}, 32, {NULL}},
    {"vit_b", 224, 16, 768, 12, 12, 512, 8, 16, {12}, 16, {NULL}},
    {"vit_l", 224, 16, 1024, 24, 16, 512, 8, 16, {24}, 64, {NULL}},
    {"deepmim_s", 224, 16, 384, 12, 6, 256, 2, 8, {6, 8, 10, 12}, 32, {NULL}},
    {"deepmim_b", 224, 16, 768, 12, 12, 512, 4, 16, {6, 8, 10, 12}, 16, {NULL}},
    /* With a frozen teacher of the student's size. */
    {"dbot_s", 224, 16, 384, 12, 6, 256, 4, 8, {12}, 32,
     {"target={kind: features, normalise: token, class_token: true, teacher: random}", "loss.kind=smooth_l1"}},
    /* All tokens in the encoder, a linear head. */
    {"simmim_s", 224, 16, 384, 12, 6, 0, 0, 0, {12}, 32,
     {"encoder={input: mask_token, position: relative, qkv_bias: no_k, layer_scale: 0.1}",
      "mask={kind: unit, unit: 32, ratio: 0.6}", "decoders.0.kind=pixel_shuffle", "target.normalise=none", "loss.kind=l1"}},
};
/* clang-format on */

typedef struct {
    const Config *config;
    const char *config_name, *device; /* as asked for */
    int steps, warmup, batch, threads;
    int precision_choice; /* a place in PRECISIONS */
    RunPrecision precision;
    bool plain, profile, json, autotune;
    bool ops;           /* `bench ops`: where the time of a step goes */
    const char *floors; /* of it: a peak for which it only counts */
    /* measured */
    Device opened;
    double *seconds; /* of each measured step */
    double median, loss_first, loss_last, flops;
    int64_t parameters, planned, floor;
    int64_t device_bytes; /* of a GPU, taken in the end by this and all other programs; 0 on the processor */
    OpLines lines;        /* with `profile` and `ops` */
    Peak before, after;
} Bench;

static const Config *config_find(const char *name)
{
    for (size_t i = 0; i < sizeof CONFIGS / sizeof *CONFIGS; i++)
        if (!strcmp(CONFIGS[i].name, name))
            return &CONFIGS[i];
    error_set(
        "there is no configuration %s; use cifar_p4, cifar_p2, vit_s, vit_b, vit_l, deepmim_s, deepmim_b, dbot_s or simmim_s",
        name);
    return NULL;
}

static bool make_recipe(const Bench *b, Recipe *r)
{
    const Config *c = b->config;
    recipe_defaults(r);
    r->image.size[0] = r->image.size[1] = c->image;
    r->encoder.patch = c->patch;
    r->encoder.width = c->width;
    r->encoder.depth = c->depth;
    r->encoder.heads = c->heads;
    r->mask.ratio = 0.75;
    r->target.normalise = NORMALISE_PATCH;
    r->optimizer.weight_decay = 0.05;
    r->optimizer.clip = 3.0;
    r->schedule.batch_size = b->batch;
    r->run.precision = b->precision;
    RecipeDecoder model = r->decoders[0];
    model.target = r->target;
    if (c->decoder_width) {
        model.width = c->decoder_width;
        model.depth = c->decoder_depth;
        model.heads = c->decoder_heads;
    }
    r->decoder_count = 0;
    for (int k = 0; k < TAPS_MAX && c->taps[k]; k++) {
        model.tap = c->taps[k] == c->depth ? TAP_LAST : c->taps[k];
        r->decoders[r->decoder_count++] = model;
    }
    for (int i = 0; c->more[i]; i++)
        if (!recipe_set(r, c->more[i]))
            return false;
    return true;
}

/* Normal pictures, and a mask for each. False after error_set(). */
static bool draw_input(const Recipe *r, int batch, float **images, uint8_t **hidden)
{
    size_t size = (size_t)r->image.channels * (size_t)r->image.size[0] * (size_t)r->image.size[1];
    int places = recipe_patches(r);
    *hidden = memory_new((size_t)batch, (size_t)places);
    *images = *hidden && size_multiply(size, (size_t)batch, &size) ? memory_new(size, sizeof **images) : NULL;
    if (!*images)
        return *hidden ? error_set("%d pictures do not fit into memory", batch) : false;
    Random random = random_stream(0, RANDOM_BENCH, 0, 0, 0);
    for (size_t i = 0; i < size; i++)
        (*images)[i] = (float)random_normal(&random);
    for (int i = 0; i < batch; i++)
        mask_draw(r, &random, *hidden + (size_t)i * (size_t)places);
    return true;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* NaN-free by construction; 0 when memory is out. */
static double median_of(const double *values, int count)
{
    double *sorted = memory_new((size_t)count, sizeof *sorted);
    if (!sorted)
        return 0;
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_size);
    double median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    memory_free(sorted);
    return median;
}

static const char *precision_name(const Bench *b)
{
    return b->precision == RUN_PRECISION_BF16 ? "bf16" : "f32";
}

static OpReport report_of(const Bench *b)
{
    double sum = 0;
    for (int i = 0; i < b->steps; i++)
        sum += b->seconds[i];
    return (OpReport){.config = b->config->name,
                      .precision = precision_name(b),
                      .device = &b->opened,
                      .batch = b->batch,
                      .steps = b->steps,
                      .step_seconds = sum / b->steps,
                      .before = b->before,
                      .after = b->after};
}

/* The warm-up is over: from here on time counts. */
static bool begin_measuring(Bench *b, Program *program)
{
    if (b->ops && !peak_measure(&b->opened, &b->before))
        return error_context("measuring what the machine can do at most");
    return !(b->ops || b->profile) || program_measure(program);
}

static bool end_measuring(Bench *b, const Program *program)
{
    if (b->ops && !peak_measure(&b->opened, &b->after))
        return error_context("measuring what the machine can do at most");
    OpReport report = report_of(b);
    Peak peak = op_report_peak(&report);
    return !(b->ops || b->profile) || op_lines_make(program, b->steps, b->ops ? &peak : NULL, &b->lines);
}

static bool measure(Bench *b)
{
    Recipe recipe;
    Trainer *t = NULL;
    float *images = NULL;
    uint8_t *hidden = NULL;
    bool ok = false;
    TrainerOptions options = {.device = b->opened, .batch = b->batch, .micro_batch = b->batch, .plain = b->plain};
    b->seconds = memory_new((size_t)b->steps, sizeof *b->seconds);
    if (!b->seconds || !make_recipe(b, &recipe) || !recipe_check(&recipe) || !draw_input(&recipe, b->batch, &images, &hidden) ||
        !fit_check(&recipe, &options, FIT_GOES_ON))
        goto done;
    device_set_autotune(&b->opened, b->autotune);
    if (!(t = trainer_open(&recipe, &options)))
        goto done;
    TrainerBatch input = {.images = images, .hidden = hidden, .lr = 1.5e-4};
    Program *program = trainer_program(t);
    for (int i = 0; i < b->warmup + b->steps; i++) {
        TrainerMetrics metrics;
        if (i == b->warmup && !begin_measuring(b, program))
            goto done;
        double start = clock_seconds();
        if (!trainer_begin(t, &input) || !trainer_ahead(t, &input) || !trainer_end(t, &metrics))
            goto done;
        if (i >= b->warmup)
            b->seconds[i - b->warmup] = clock_seconds() - start;
        if (i == 0)
            b->loss_first = metrics.loss;
        b->loss_last = metrics.loss;
    }
    if (!end_measuring(b, program))
        goto done;
    b->median = median_of(b->seconds, b->steps);
    b->parameters = param_trained_numbers(trainer_params(t));
    b->planned = program_bytes(program);
    b->floor = program_floor_bytes(program);
    b->device_bytes = buffer_bytes_taken(&b->opened);
    b->flops = program_cost(program, SEGMENT_ONLY).flops + program_cost(program, SEGMENT_UPDATE).flops;
    ok = b->median > 0 || error_set("the clock does not run");
done:
    trainer_close(t);
    memory_free(images);
    memory_free(hidden);
    return ok;
}

/* "F32,BF16,BYTES", in TFLOP/s and GB/s. */
static bool read_peak(const char *text, Peak *peak)
{
    char end;
    bool ok = sscanf(text, "%lf,%lf,%lf%c", &peak->flops, &peak->bf16_flops, &peak->bytes, &end) == 3 && peak->flops > 0 &&
              peak->bf16_flops > 0 && peak->bytes > 0;
    peak->flops *= 1e12;
    peak->bf16_flops *= 1e12;
    peak->bytes *= 1e9;
    return ok ||
           error_set("--floors wants three numbers, TFLOP/s in f32, TFLOP/s in bf16 and GB/s, such as 67,989,4800; not %s",
                     text);
}

/* What the step would take at least on another machine: planned, not run. */
static bool count_floors(Bench *b)
{
    Recipe recipe;
    TrainerOptions options = {
        .device = b->opened, .batch = b->batch, .micro_batch = b->batch, .plain = b->plain, .plan_only = true};
    if (!make_recipe(b, &recipe) || !recipe_check(&recipe))
        return false;
    Trainer *t = trainer_open(&recipe, &options);
    bool ok = t && op_lines_make(trainer_program(t), 1, &b->before, &b->lines);
    trainer_close(t);
    OpReport report = {.config = b->config->name,
                       .precision = precision_name(b),
                       .device = &b->opened,
                       .batch = b->batch,
                       .before = b->before};
    if (ok)
        op_report_print_floors(&report, &b->lines);
    return ok;
}

/* The keys of bench/torch_mae.py, then our own. */
static void print_json(const Bench *b)
{
    printf("{\"config\": \"%s\", \"precision\": \"%s\", \"compiled\": false, \"device\": \"%s\", \"threads\": %d, "
           "\"batch_size\": %d, \"parameters\": %lld, \"steps\": %d, \"step_seconds\": [",
           b->config->name, precision_name(b), op_report_device(&b->opened), b->opened.threads, b->batch,
           (long long)b->parameters, b->steps);
    for (int i = 0; i < b->steps; i++)
        printf("%s%.9g", i ? ", " : "", b->seconds[i]);
    printf(
        "], \"step_seconds_median\": %.9g, \"images_per_second\": %.9g, \"peak_rss_bytes\": %lld, \"peak_device_bytes\": %lld, "
        "\"loss_first\": %.9g, \"loss_last\": %.9g, \"planned_bytes\": %lld, \"floor_bytes\": %lld, \"gflops\": %.9g, "
        "\"gflops_per_second\": %.9g}\n",
        b->median, b->batch / b->median, system_peak_resident(), (long long)b->device_bytes, b->loss_first, b->loss_last,
        (long long)b->planned, (long long)b->floor, b->flops / 1e9, b->flops / 1e9 / b->median);
}

static void print_table(const Bench *b)
{
    printf("%s, %s, %s, %lld parameters, %d pictures a step\n", b->config->name, precision_name(b), device_describe(&b->opened),
           (long long)b->parameters, b->batch);
    printf("  step       %.4f s (median of %d)\n", b->median, b->steps);
    printf("  pictures   %.1f a second\n", b->batch / b->median);
    printf("  work       %.2f GFLOP a step, %.1f GFLOP/s\n", b->flops / 1e9, b->flops / 1e9 / b->median);
    printf("  memory     %.1f MB planned (at least %.1f MB), %.1f MB resident at most\n", (double)b->planned / 1e6,
           (double)b->floor / 1e6, (double)system_peak_resident() / 1e6);
    if (b->device_bytes)
        printf("  GPU        %.1f MB taken\n", (double)b->device_bytes / 1e6);
    printf("  loss       %.6f at first, %.6f at last\n", b->loss_first, b->loss_last);
}

static int run(Bench *b, const Arguments *arguments)
{
    b->precision = b->precision_choice ? RUN_PRECISION_BF16 : RUN_PRECISION_F32;
    if (!(b->config = config_find(b->config_name)) || !device_open(b->device, b->threads, &b->opened))
        return cli_usage(arguments->verb);
    b->batch = b->batch ? b->batch : b->config->batch;
    if (b->floors) {
        bool counted = count_floors(b);
        op_lines_free(&b->lines);
        device_close(&b->opened);
        return counted ? EXIT_DONE : cli_failed();
    }
    bool ok = measure(b);
    OpReport report = ok ? report_of(b) : (OpReport){0};
    if (ok && b->ops && b->json)
        op_report_print_json(&report, &b->lines);
    else if (ok && b->ops)
        op_report_print(&report, &b->lines);
    else if (ok && b->json)
        print_json(b);
    else if (ok) {
        if (b->profile)
            op_lines_print_profile(&b->lines);
        print_table(b);
    }
    op_lines_free(&b->lines);
    memory_free(b->seconds);
    device_close(&b->opened);
    return ok ? EXIT_DONE : cli_failed();
}

static int run_train(void *options, const Arguments *arguments)
{
    Bench *b = options;
    if (b->json && b->profile) {
        error_set("--json and --profile both print on standard output: use one of them");
        return cli_usage(arguments->verb);
    }
    return run(b, arguments);
}

static int run_ops(void *options, const Arguments *arguments)
{
    Bench *b = options;
    b->ops = true;
    if (b->floors && b->json) {
        error_set("--floors prints a table: leave --json out");
        return cli_usage(arguments->verb);
    }
    if (b->floors && !read_peak(b->floors, &b->before))
        return cli_usage(arguments->verb);
    return run(b, arguments);
}

#define AT(field)      offsetof(Bench, field)
#define CONFIGURATIONS "Configurations: cifar_p4, cifar_p2, vit_s, vit_b, vit_l, deepmim_s, deepmim_b, dbot_s, simmim_s."

static const char *const PRECISIONS[] = {"f32", "bf16", NULL};

#define COMMON_OPTIONS                                                                                                        \
    {"precision",      OPTION_CHOICE,        AT(precision_choice), .help = "type of activations and products",                \
     .initial = "f32", .choices = PRECISIONS},                                                                                \
        {"device", OPTION_TEXT, AT(device), .value = "D", .help = "what computes: cpu, cuda or ref", .initial = "cpu"},       \
        {"steps", OPTION_INT, AT(steps), .value = "N", .help = "measured steps", .initial = "10", .low = 1, .high = 1000000}, \
        {"warmup",       OPTION_INT, AT(warmup),     .value = "N", .help = "steps before them",                               \
         .initial = "3", .low = 0,   .high = 1000000},                                                                        \
        {"batch-size", OPTION_INT,     AT(batch), .value = "N", .help = "pictures of a step (default: the configuration's)",  \
         .low = 1,     .high = 1 << 20},                                                                                      \
        {"threads", OPTION_INT,  AT(threads), .value = "N", .help = "threads (default: as many as processors)",               \
         .low = 1,  .high = 1024},                                                                                            \
        {"autotune", OPTION_SWITCH, AT(autotune), .help = "let a GPU time algorithms for products before (run.autotune)"},    \
        {"plain", OPTION_SWITCH, AT(plain),                                                                                   \
         .help = "compute everything the long way: slower, the same up to rounding; to check the program"},                   \
    {                                                                                                                         \
        "json", OPTION_SWITCH, AT(json), .help = "one JSON object on standard output"                                         \
    }

static const Option TRAIN_OPTIONS[] = {
    {"config", OPTION_TEXT, AT(config_name), .value = "NAME", .help = "what to train", .wanted = "NAME, for instance cifar_p4"},
    COMMON_OPTIONS,
    {"profile", OPTION_SWITCH, AT(profile), .help = "a table of the time of each op"},
    {0}};

static const Option OPS_OPTIONS[] = {
    {"config", OPTION_TEXT, AT(config_name), .value = "NAME", .help = "what to train", .initial = "cifar_p4"},
    COMMON_OPTIONS,
    {"floors", OPTION_TEXT, AT(floors), .value = "F32,BF16,GB/s",
     .help = "run nothing: count what a machine with these peaks (TFLOP/s, TFLOP/s, GB/s) would need at least"},
    {0}};

const Verb bench_train_verb = {.name = "bench train",
                               .line = "measure a training step",
                               .about = "Times training steps on random pictures.\n\n" CONFIGURATIONS,
                               .options = TRAIN_OPTIONS,
                               .examples = "lacuna bench train --config cifar_p4 --steps 20 --json\n",
                               .size = sizeof(Bench),
                               .run = run_train};

const Verb bench_ops_verb = {
    .name = "bench ops",
    .line = "measure each operation of a training step",
    .about =
        "Tells of each operation of a training step, and of each of its sizes, the time, GFLOP/s, GB/s, and the share of what "
        "the "
        "machine can do at most, measured before and after those steps: `limit` is what bounds the operation from below, "
        "time/floor how far it is from there (small operations that caches hold may beat memory's floor). With --floors "
        "nothing is run or measured: it counts what the "
        "program for the device would take at least on a machine of those peaks; the device has to be here all the "
        "same.\n\n" CONFIGURATIONS,
    .options = OPS_OPTIONS,
    .examples = "lacuna bench ops --config vit_s\n"
                "lacuna bench ops --config vit_b --precision bf16 --floors 1.5,3,200\n",
    .size = sizeof(Bench),
    .run = run_ops};
