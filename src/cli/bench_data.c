/* The work is that of bench/torch_data.py: each picture read and decoded, a random crop of a fifth to the whole of its area
 * (bicubic), flipped half of the time, and normalised. Nothing is kept from one epoch to the next. */
#include "cli/bench_data.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/error.h"
#include "cli/cli.h"
#include "data/loader.h"
#include "image/augment.h"

enum { BATCH = 16 };

typedef struct {
    const char *where;
    int size, seconds, workers;
    bool json;
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

static bool read_arguments(Job *job, int argc, char **argv)
{
    static const char *const FLAGS[] = {"data", "size", "seconds", "workers", "json", "help", NULL};
    ArgReader args = arg_reader(argc, argv);
    for (ArgKind kind; (kind = arg_next(&args)) != ARG_END;) {
        bool ok, flag = kind == ARG_FLAG;
        if (flag && arg_is(&args, "data"))
            ok = (job->where = arg_value(&args)) != NULL;
        else if (flag && arg_is(&args, "size"))
            ok = arg_int(&args, 1, 1 << 15, &job->size);
        else if (flag && arg_is(&args, "seconds"))
            ok = arg_int(&args, 1, 86400, &job->seconds);
        else if (flag && arg_is(&args, "workers"))
            ok = arg_int(&args, 1, 1024, &job->workers);
        else if (flag && arg_is(&args, "json"))
            ok = arg_switch(&args, &job->json);
        else
            ok = arg_unknown(&args, FLAGS);
        if (!ok)
            return false;
    }
    return job->where || error_set("bench data wants --data DIR, the pictures to load");
}

int bench_data(int argc, char **argv)
{
    Job job = {.size = 224, .seconds = 10, .workers = 1};
    if (!read_arguments(&job, argc, argv))
        return cli_usage("bench");
    if (!measure(&job))
        return cli_failed();
    struct rusage usage;
    long long resident = getrusage(RUSAGE_SELF, &usage) ? 0 : (long long)usage.ru_maxrss * 1024;
    double rate = (double)job.pictures / job.took;
    if (job.json)
        printf("{\"pictures\": %llu, \"seconds\": %.9g, \"pictures_per_second\": %.9g, \"size\": %d, \"files\": %zu, "
               "\"workers\": %d, \"peak_rss_bytes\": %lld}\n",
               (unsigned long long)job.pictures, job.took, rate, job.size, job.files, job.workers, resident);
    else
        printf("%.1f pictures a second: %llu in %.2f s, %d worker%s, %d x %d pixels, %zu file%s\n", rate,
               (unsigned long long)job.pictures, job.took, job.workers, job.workers == 1 ? "" : "s", job.size, job.size,
               job.files, job.files == 1 ? "" : "s");
    return EXIT_DONE;
}
