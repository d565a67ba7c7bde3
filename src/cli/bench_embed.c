/* lacuna bench embed: pictures a second through a frozen encoder, the work of bench/torch_embed.py: class token of random
 * pictures, all patches visible; pictures are drawn before the clock starts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/system.h"
#include "cli/cli.h"
#include "transfer/features.h"

typedef struct {
    int config, precision, batch, rounds, threads;
    const char *device;
    bool json;
} Job;

static const char *const CONFIGS[] = {"vit_s", "vit_b", "vit_l", NULL};
static const int SIZES[][3] = {{384, 12, 6}, {768, 12, 12}, {1024, 24, 16}}; /* width, depth, heads */
static const char *const PRECISIONS[] = {"f32", "bf16", NULL};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of the middle round, behind two that do not count. False after error_set(). */
static bool measure(const Job *job, double *median)
{
    enum { NOT_COUNTED = 2 };
    size_t numbers = (size_t)job->batch * 3 * 224 * 224;
    Recipe *r = memory_new(1, sizeof *r);
    float *images = memory_new(numbers, sizeof *images);
    double *seconds = memory_new((size_t)job->rounds, sizeof *seconds);
    float *tokens = memory_new((size_t)job->batch * (size_t)SIZES[job->config][0], sizeof *tokens);
    Backbone *b = NULL;
    Features *f = NULL;
    const FeatureWant want = {.block = SIZES[job->config][1], .norm = true, .pool = FEATURE_CLASS_TOKEN};
    FeaturesOptions options = {.batch = job->batch, .bf16 = job->precision == 1, .wants = &want, .count = 1};
    bool ok = r && images && seconds && tokens && device_open(job->device, job->threads, &options.device);
    if (ok) {
        recipe_defaults(r);
        r->image.size[0] = r->image.size[1] = 224;
        r->encoder.patch = 16;
        r->encoder.width = SIZES[job->config][0];
        r->encoder.depth = SIZES[job->config][1];
        r->encoder.heads = SIZES[job->config][2];
        Random random = random_stream(0, RANDOM_BENCH, 0, 0, 0);
        for (size_t i = 0; i < numbers; i++)
            images[i] = (float)random_normal(&random);
        ok = recipe_check(r) && (b = backbone_new(r)) && (f = features_open(b, &options));
    }
    for (int i = -NOT_COUNTED; ok && i < job->rounds; i++) {
        double start = clock_seconds();
        /* A GPU is done when what it made can be read. */
        ok = features_run(f, images, job->batch) && features_read(f, 0, job->batch, tokens);
        if (i >= 0)
            seconds[i] = clock_seconds() - start;
    }
    if (ok) {
        qsort(seconds, (size_t)job->rounds, sizeof *seconds, by_size);
        *median = (seconds[(job->rounds - 1) / 2] + seconds[job->rounds / 2]) / 2;
        ok = *median > 0 || error_set("the clock does not run");
    }
    features_close(f);
    backbone_close(b);
    device_close(&options.device);
    memory_free(seconds);
    memory_free(tokens);
    memory_free(images);
    memory_free(r);
    return ok;
}

static int run_embed(void *options, const Arguments *arguments)
{
    (void)arguments;
    const Job *job = options;
    double median;
    if (!measure(job, &median))
        return cli_failed();
    if (job->json)
        printf("{\"engine\": \"lacuna\", \"config\": \"%s\", \"precision\": \"%s\", \"batch_size\": %d, \"seconds_median\": "
               "%.9g, \"pictures_per_second\": %.9g, \"peak_rss_bytes\": %lld}\n",
               CONFIGS[job->config], PRECISIONS[job->precision], job->batch, median, job->batch / median,
               system_peak_resident());
    else
        printf("%s, %s, %d pictures at a time: %.1f pictures a second\n", CONFIGS[job->config], PRECISIONS[job->precision],
               job->batch, job->batch / median);
    return EXIT_DONE;
}

#define AT(field) offsetof(Job, field)

static const Option OPTIONS[] = {
    {"config", OPTION_CHOICE, AT(config), .choices = CONFIGS, .help = "which encoder, of patches of 16 at 224 pixels",
     .initial = "vit_s"},
    {"precision", OPTION_CHOICE, AT(precision), .choices = PRECISIONS, .help = "type of products", .initial = "f32"},
    {"batch-size", OPTION_INT, AT(batch), .value = "N", .help = "pictures at a time", .initial = "32", .low = 1, .high = 4096},
    {"rounds", OPTION_INT, AT(rounds), .value = "N", .help = "measured batches", .initial = "5", .low = 1, .high = 100000},
    {"device", OPTION_TEXT, AT(device), .value = "D", .help = "what computes: cpu, cuda or ref", .initial = "cpu"},
    {"threads", OPTION_INT, AT(threads), .value = "N", .help = "threads (default: as many as processors)", .low = 1,
     .high = 1024},
    {"json", OPTION_SWITCH, AT(json), .help = "one JSON object on standard output"},
    {0}};

const Verb bench_embed_verb = {.name = "bench embed",
                               .line = "measure how fast pictures go through an encoder",
                               .about = "Times a frozen encoder on random pictures, with the work of bench/torch_embed.py.",
                               .options = OPTIONS,
                               .examples = "lacuna bench embed --config vit_s --json\n",
                               .size = sizeof(Job),
                               .run = run_embed};
