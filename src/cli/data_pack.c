/* lacuna data pack: a source of pictures as tar shards. */
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/data.h"
#include "cli/verb.h"
#include "data/pack.h"

enum { QUALITY = 95 };

typedef struct {
    DataJob job;
    int shard_mb, shard_count, short_side, quality;
    bool png;
    DataProgress progress;
} PackJob;

static void name_bad(void *context, const char *key, const char *why)
{
    PackJob *p = context;
    data_progress_clear(&p->progress);
    cli_print_safely(stdout, key, false);
    printf(": ");
    cli_print_safely(stdout, why, false);
    putchar('\n');
    fflush(stdout);
}

static void show_progress(void *context, size_t done)
{
    data_progress_step(&((PackJob *)context)->progress, done);
}

static int pack(PackJob *p, const char *out)
{
    PackOptions options = {.source = p->job.source,
                           .out = out,
                           .shard_bytes = (uint64_t)p->shard_mb << 20,
                           .shard_count = (size_t)p->shard_count,
                           .short_side = p->short_side,
                           .quality = p->png       ? 0
                                      : p->quality ? p->quality
                                                   : QUALITY,
                           .threads = p->job.threads,
                           .bad = name_bad,
                           .progress = show_progress,
                           .context = p};
    PackResult result;
    p->progress = data_progress(&p->job);
    bool ok = source_pack(&options, &result);
    data_progress_clear(&p->progress);
    if (!ok)
        return cli_failed();
    fprintf(stderr, "%zu picture%s in %zu shard%s at %s", result.pictures, result.pictures == 1 ? "" : "s", result.shards,
            result.shards == 1 ? "" : "s", out);
    if (result.bad)
        fprintf(stderr, "; %zu that cannot be read %s left out", result.bad, result.bad == 1 ? "was" : "were");
    fprintf(stderr, "\n");
    if (source_left_out(p->job.source, NULL))
        fprintf(stderr, "%s\n", source_left_out(p->job.source, NULL));
    return result.bad ? EXIT_FAILED : EXIT_DONE;
}

/* Files that go in as they are have no new encoding to choose. */
static bool are_of_use(const PackJob *p)
{
    if (p->short_side == 0 && (p->png || p->quality))
        return error_set("--%s is for pictures that are encoded again, and without --short-side none is",
                         p->png ? "png" : "quality");
    return !(p->png && p->quality) || error_set("--quality is for JPEG, and --png encodes without loss: use one of them");
}

static int run_pack(void *options, const Arguments *arguments)
{
    PackJob *p = options;
    if (!are_of_use(p))
        return cli_usage(arguments->verb);
    char *out = memory_string(arguments->words[1]);
    int code = EXIT_FAILED;
    for (size_t n = out ? strlen(out) : 0; n > 1 && out[n - 1] == '/'; n--)
        out[n - 1] = 0;
    p->job.where = arguments->words[0];
    p->job.threads = p->job.threads ? p->job.threads : cpu_count();
    p->job.source = out ? source_open(p->job.where, NULL) : NULL;
    code = p->job.source ? pack(p, out) : cli_failed();
    source_close(p->job.source);
    memory_free(out);
    return code;
}

#define AT(field) offsetof(PackJob, field)

static const Option OPTIONS[] = {
    {"shard-mb", OPTION_INT, AT(shard_mb), .value = "N", .help = "MiB after which the next shard begins", .initial = "256",
     .low = 1, .high = 1 << 20},
    {"shard-count", OPTION_INT, AT(shard_count), .value = "N", .help = "most pictures of a shard (default: any number)",
     .low = 1, .high = INT_MAX},
    {"short-side", OPTION_INT, AT(short_side), .value = "N",
     .help = "shrink pictures whose shorter side is longer than N pixels to N, with 8 bits a sample and without alpha, and "
             "encode them again, as PNG where a side is too long for JPEG",
     .low = 1, .high = 65500},
    {"quality", OPTION_INT, AT(quality), .value = "N", .help = "of the JPEG files that are encoded again (default 95)",
     .low = 1, .high = 100},
    {"png", OPTION_SWITCH, AT(png), .help = "encode again as PNG, without loss"},
    {"threads", OPTION_INT, AT(job.threads), .value = "N",
     .help = "threads (default: as many as processors); the output does not depend on it", .low = 1, .high = 1024},
    {0}};

const Verb data_pack_verb = {
    .name = "data pack",
    .line = "put pictures into tar shards, smaller if wanted",
    .operands = "DIR OUT",
    .least = 2,
    .most = 2,
    .wanted = {"the pictures: a folder, a list, shards, CIFAR's files or `world`", "the folder to make"},
    .about =
        "Writes tar shards as WebDataset lays them out, OUT/OUT-000000.tar and so on, and with labels STEM.cls beside each "
        "picture and the classes' names in OUT/classes.txt. Files go in as they are, unless --short-side shrinks them. Every "
        "picture is decoded first: a line is printed for each that cannot be read, it is left out, and the exit code is then "
        "1. OUT must not be there yet, or be empty and is then replaced; it appears when all of it is written. The same "
        "pictures and flags give the same bytes.",
    .options = OPTIONS,
    .examples = "lacuna data pack photos/ shards --short-side 256\n"
                "lacuna data pack photos/ more-shards --shard-count 1000\n",
    .size = sizeof(PackJob),
    .run = run_pack};
