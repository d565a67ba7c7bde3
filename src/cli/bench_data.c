/* The work is that of bench/torch_data.py: each picture read and decoded, a random crop of a fifth to the whole of its area
 * (bicubic), flipped half of the time, and normalised. Nothing is kept from one epoch to the next. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/system.h"
#include "cli/cli.h"
#include "data/loader.h"
#include "image/augment.h"

enum { BATCH = 16 };

typedef struct {
    const char *where;
    int size, seconds, workers;
    bool json, first_pass;
    /* measured */
    size_t files;
    uint64_t pictures;
    double took;
} Job;

static LoaderOptions options_of(const Job *job, const Source *source)
{
    LoaderOptions o = {.source = source,
                       .train = true,
                       .batch = source_count(source) < BATCH ? source_count(source) : BATCH,
                       .height = job->size,
                       .width = job->size,
                       .channels = 3,
                       .crop_scale = {0.2, 1},
                       .flip = 0.5,
                       .filter = RESIZE_BICUBIC,
                       .whole_files = job->first_pass,
                       .max_bad = 0.5,
                       .workers = job->workers};
    memcpy(o.mean, IMAGE_STATISTICS_IMAGENET.mean, sizeof IMAGE_STATISTICS_IMAGENET.mean);
    memcpy(o.std, IMAGE_STATISTICS_IMAGENET.std, sizeof IMAGE_STATISTICS_IMAGENET.std);
    return o;
}

static bool measure(Job *job)
{
    Source *source = source_open(job->where, NULL);
    if (!source)
        return false;
    LoaderOptions options = options_of(job, source);
    LoaderBatch batch;
    double start = clock_seconds();
    Loader *loader = loader_open(&options);
    bool ok = loader != NULL;
    job->files = source_count(source);
    while (ok && job->took < job->seconds) {
        ok = loader_next(loader, &batch);
        job->pictures += batch.count;
        job->took = clock_seconds() - start;
        loader_release(loader);
    }
    loader_close(loader);
    source_close(source);
    return ok;
}

static int run(void *options, const Arguments *arguments)
{
    (void)arguments;
    Job *job = options;
    if (!measure(job))
        return cli_failed();
    double rate = (double)job->pictures / job->took;
    if (job->json)
        printf("{\"pictures\": %llu, \"seconds\": %.9g, \"pictures_per_second\": %.9g, \"size\": %d, \"files\": %zu, "
               "\"workers\": %d, \"first_pass\": %s, \"peak_rss_bytes\": %lld}\n",
               (unsigned long long)job->pictures, job->took, rate, job->size, job->files, job->workers,
               job->first_pass ? "true" : "false", system_peak_resident());
    else
        printf("%.1f pictures a second: %llu in %.2f s, %d worker%s, %d x %d pixels, %zu file%s\n", rate,
               (unsigned long long)job->pictures, job->took, job->workers, job->workers == 1 ? "" : "s", job->size, job->size,
               job->files, job->files == 1 ? "" : "s");
    return EXIT_DONE;
}

#define AT(field) offsetof(Job, field)

static const Option OPTIONS[] = {
    {"data", OPTION_PATH, AT(where), .value = "DIR", .help = "pictures: a folder, a list, tar shards, CIFAR's files or `world`",
     .wanted = "DIR, the pictures to load"},
    {"size", OPTION_INT, AT(size), .value = "N", .help = "rows and columns of the result", .initial = "224", .low = 1,
     .high = 1 << 15},
    {"seconds", OPTION_INT, AT(seconds), .value = "N", .help = "how long to measure", .initial = "10", .low = 1, .high = 86400},
    {"workers", OPTION_INT, AT(workers), .value = "N", .help = "loader threads", .initial = "1", .low = 1, .high = 1024},
    {"first-pass", OPTION_SWITCH, AT(first_pass), .help = "decode files to their end each time, as in the first epoch"},
    {"json", OPTION_SWITCH, AT(json), .help = "one JSON object on standard output"},
    {0}};

const Verb bench_data_verb = {
    .name = "bench data",
    .line = "measure the loading of pictures",
    .about =
        "Loads pictures as training does, and keeps none: read, decode, crop a fifth to the whole, resize, flip, normalise. "
        "Tells the pictures a second. A file is decoded to its end when it is met first, since damage anywhere makes it a bad "
        "one, and later only as far as its crop needs.",
    .options = OPTIONS,
    .examples = "lacuna bench data --data photos/ --workers 2\n"
                "lacuna bench data --data photos/ --first-pass\n",
    .size = sizeof(Job),
    .run = run};
