/* lacuna analyse: what happens inside models, as numbers and as a page. */
#include <stdio.h>
#include <unistd.h>

#include "analysis/analyse.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/system.h"
#include "cli/cli.h"

typedef struct {
    const char *data, *out, *device;
    int images, batch, cka_batch, threads;
    bool json;
} Job;

static void show_progress(void *context, size_t done, size_t all)
{
    (void)context;
    fprintf(stderr, "\r%zu of %zu pictures%s", done, all, done == all ? "\n" : "");
}

static void show_bad(void *context, const char *key, const char *reason)
{
    (void)context;
    cli_note_bad(key, "cannot be read and is left out", reason);
}

static bool analyse(const Job *job, const Arguments *arguments, const Device *device)
{
    Text notes = {0};
    size_t pictures = 0;
    double start = clock_seconds();
    AnalyseOptions o = {.from = arguments->words,
                        .count = arguments->count,
                        .data = job->data,
                        .out = job->out,
                        .device = *device,
                        .pictures = (size_t)job->images,
                        .batch = job->batch,
                        .cka_batch = job->cka_batch,
                        .progress = !job->json && isatty(STDERR_FILENO) ? show_progress : NULL,
                        .bad = show_bad};
    bool ok = analyse_write(&o, &notes, &pictures);
    if (notes.length)
        cli_note(notes.data, true);
    if (ok && job->json) {
        Text line = {0};
        text_add(&line, "{\"out\": ");
        text_add_json_string(&line, job->out);
        double seconds = clock_seconds() - start;
        text_add(&line, ", \"models\": %d, \"pictures\": %zu, \"seconds\": %.6g, \"pictures_per_second\": %.6g, ",
                 arguments->count, pictures, seconds, (double)pictures / seconds);
        text_add(&line, "\"peak_rss_bytes\": %lld}", system_peak_resident());
        ok = !line.failed && printf("%s\n", line.data) > 0;
        text_free(&line);
    } else if (ok) {
        printf("%s/report.html: %d model%s, %zu pictures\n", job->out, arguments->count, arguments->count == 1 ? "" : "s",
               pictures);
    }
    text_free(&notes);
    return ok;
}

static int run_analyse(void *options, const Arguments *arguments)
{
    Device device;
    const Job *job = options;
    if (!device_open(job->device, job->threads, &device))
        return cli_usage(arguments->verb);
    bool ok = analyse(job, arguments, &device);
    device_close(&device);
    return ok ? EXIT_DONE : cli_failed();
}

#define AT(field) offsetof(Job, field)

static const Option OPTIONS[] = {
    {"data", OPTION_PATH, AT(data), .value = "DIR", .help = "pictures: a folder, a list, shards, CIFAR's files or `world`",
     .wanted = "DIR, the pictures"},
    {"out", OPTION_PATH, AT(out), .value = "DIR", .help = "the folder to write to", .initial = "analysis"},
    {"images", OPTION_INT, AT(images), .value = "N", .help = "pictures to look at, at even distances; 0: all",
     .initial = "1000", .low = 0, .high = 1 << 30},
    {"cka-batch", OPTION_INT, AT(cka_batch), .value = "N", .help = "most pictures of a minibatch of CKA", .initial = "256",
     .low = 4, .high = 4096},
    {"batch-size", OPTION_INT, AT(batch), .value = "N", .help = "pictures at a time; changes no number", .initial = "8",
     .low = 1, .high = 4096},
    {"device", OPTION_TEXT, AT(device), .value = "D", .help = "what computes: cpu, cuda or ref", .initial = "cpu"},
    {"threads", OPTION_INT, AT(threads), .value = "N", .help = "threads (default: as many as processors)", .low = 1,
     .high = 1024},
    {"json", OPTION_SWITCH, AT(json), .help = "one JSON object on standard output"},
    {0}};

const Verb analyse_verb = {
    .name = "analyse",
    .line = "measure what happens inside models, side by side",
    .operands = "RUN|FILE ...",
    .least = 1,
    .most = ANALYSE_MODELS_MOST,
    .wanted = {"at least one RUN or FILE of weights"},
    .about =
        "Sends pictures, all of their patches visible, through the encoders of runs, checkpoints or files of weights, and "
        "measures every block: how far attention looks, how heads differ (KL, cosine) and how spread out they are (entropy), "
        "how alike layers are within and between models (CKA), the share of the largest singular values, the spectrum of "
        "frequencies, how alike weights of the same name are and, of several models, the singular values of weights.\n"
        "\n"
        "DIR/report.html is one page with all plots, attention maps, components and reconstructions; each says how to read "
        "it. DIR/numbers.json and the CSV files hold every number. Unreadable pictures are named and left out.",
    .options = OPTIONS,
    .examples = "lacuna analyse runs/mae --data photos/\n"
                "lacuna analyse runs/mae runs/deepmim --data photos/ --images 100 --out compared\n",
    .size = sizeof(Job),
    .run = run_analyse};
