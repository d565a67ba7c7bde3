/* lacuna embed: features of every picture into a file. */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "transfer/embed.h"

typedef struct {
    const char *from, *data, *out, *block, *device;
    int pool, precision, batch, threads;
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
    cli_note_bad(key, "cannot be read, its numbers are NaN", reason);
}

/* What `lacuna probe` takes where nothing is said. */
static FeaturePool pool_of(const Job *job, const Recipe *r)
{
    return job->pool >= 0 ? (FeaturePool)job->pool : r->encoder.class_token ? (FeaturePool)r->probe.features : FEATURE_MEAN;
}

static bool embed(const Job *job)
{
    Text note = {0};
    FeatureWant *wants = NULL;
    Source *source = NULL;
    size_t resumed = 0;
    double start = clock_seconds();
    EmbedOptions options = {.batch = job->batch, .bf16 = job->precision == 1, .bad = show_bad};
    options.progress = !job->json && isatty(STDERR_FILENO) ? show_progress : NULL;
    Backbone *b = backbone_open(job->from, &note);
    bool ok = b && (source = features_source(job->data, &b->recipe, false)) &&
              features_wants(&b->recipe, job->block, pool_of(job, &b->recipe), false, &wants, &options.count) &&
              device_open(job->device, job->threads, &options.device);
    if (ok && note.length)
        cli_note(note.data, false);
    if (ok) {
        options.wants = wants;
        options.max_bad = 1; /* each is named, and its numbers are NaN */
        ok = embed_write(b, source, job->out, &options, &resumed);
    }
    if (ok && job->json) {
        Text line = {0};
        text_add(&line, "{\"out\": ");
        text_add_json_string(&line, job->out);
        text_add(&line, ", \"pictures\": %zu, \"resumed\": %zu, \"seconds\": %.6g}", source_count(source), resumed,
                 clock_seconds() - start);
        ok = !line.failed && printf("%s\n", line.data) > 0;
        text_free(&line);
    } else if (ok) {
        printf("%s: %zu pictures", job->out, source_count(source));
        printf(resumed ? ", %zu of them from before\n" : "\n", resumed);
    }
    memory_free(wants);
    source_close(source);
    backbone_close(b);
    device_close(&options.device);
    text_free(&note);
    return ok;
}

static int run_embed(void *options, const Arguments *arguments)
{
    EmbedFormat format;
    Job *job = options;
    if (!embed_format(job->out, &format))
        return cli_usage(arguments->verb);
    return embed(job) ? EXIT_DONE : cli_failed();
}

#define AT(field) offsetof(Job, field)

static const char *const POOLS[] = {"class_token", "mean", "concat", "none", NULL};
static const char *const PRECISIONS[] = {"f32", "bf16", NULL};

static const Option OPTIONS[] = {
    {"from", OPTION_PATH, AT(from), .value = "RUN",
     .help = "a run directory (its newest checkpoint), a checkpoint, or weights of another project",
     .wanted = "RUN, a run directory or a checkpoint"},
    {"data", OPTION_PATH, AT(data), .value = "DIR", .help = "pictures: a folder, a list, shards, CIFAR's files or `world`",
     .wanted = "DIR, the pictures"},
    {"out", OPTION_PATH, AT(out), .value = "FILE", .help = "the file to write: .npy, .csv or .safetensors",
     .wanted = "FILE, the file to write"},
    {"block", OPTION_TEXT, AT(block), .value = "N",
     .help = "the state behind block N, of `all` blocks, or of the `last` one behind the final norm", .initial = "last"},
    {"pool", OPTION_CHOICE, AT(pool), .choices = POOLS,
     .help = "what a picture's tokens become; `none` keeps a row for each patch (default: the run's probe.features, or mean "
             "without a class token)"},
    {"precision", OPTION_CHOICE, AT(precision), .choices = PRECISIONS,
     .help = "what is multiplied; features are written in f32 in any case", .initial = "f32"},
    {"batch-size", OPTION_INT, AT(batch), .value = "N", .help = "pictures at a time", .initial = "32", .low = 1,
     .high = 1 << 16},
    {"device", OPTION_TEXT, AT(device), .value = "D", .help = "what computes: cpu, cuda or ref", .initial = "cpu"},
    {"threads", OPTION_INT, AT(threads), .value = "N", .help = "threads (default: as many as processors)", .low = 1,
     .high = 1024},
    {"json", OPTION_SWITCH, AT(json), .help = "one JSON object on standard output"},
    {0}};

const Verb embed_verb = {
    .name = "embed",
    .line = "write the features of pictures to a file",
    .about =
        "Sends every picture, all of its patches visible, through the encoder of a run and writes what comes out, in the "
        "order of the data. A picture is resized to 8/7 of the encoder's size (above 224 to that size) and its centre cut out. "
        "With --block all "
        "a row holds the blocks one behind the other. Beside an .npy file "
        "stands FILE.names.csv with a line for each row: the picture's name and, where there are classes, its label; the "
        "other two formats hold the names themselves.\n"
        "\n"
        "When the command is stopped, the same command goes on where it was: the finished file is the same, byte for byte. "
        "Unreadable pictures are named, and their numbers are NaN.",
    .options = OPTIONS,
    .examples = "lacuna embed --from runs/mae --data photos/ --out photos.npy\n"
                "lacuna embed --from runs/mae --data photos/ --block all --pool mean --out photos.safetensors\n",
    .size = sizeof(Job),
    .run = run_embed};
