/* lacuna probe: how good a frozen encoder is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "transfer/probe.h"

typedef struct {
    const char *from, *train, *val, *out, *blocks, *device, *k, *temperature, *lrs, *epochs;
    int features, precision, batch, train_batch, threads, seeds;
    bool json;
} Job;

/* ---- arguments */

/* Numbers above 0 with commas between them. False after error_set(). */
static bool read_numbers(const char *flag, const char *text, int most, double *numbers, int *count)
{
    *count = 0;
    for (const char *at = text; at;) {
        char *end;
        double number = strtod(at, &end);
        if (end == at || (*end && *end != ',') || !(number > 0 && number < 1e9) || *count == most)
            return error_set("--%s wants 1 to %d numbers above 0 with commas between them, not '%s'", flag, most, text);
        numbers[(*count)++] = number;
        at = *end ? end + 1 : NULL;
    }
    return true;
}

static bool read_kind(const char *word, ProbeKind *kind)
{
    for (*kind = PROBE_KNN; *kind <= PROBE_LINEAR; ++*kind)
        if (!strcmp(word, probe_kind_name(*kind)))
            return true;
    return error_set("there is no probe '%s': use knn or linear", word);
}

/* What the other kind takes would change nothing. */
static bool fits_kind(const Job *job, ProbeKind kind)
{
    const struct {
        const char *flag;
        bool given;
        ProbeKind kind;
    } flags[] = {{"k", job->k, PROBE_KNN},
                 {"temperature", job->temperature, PROBE_KNN},
                 {"lrs", job->lrs, PROBE_LINEAR},
                 {"epochs", job->epochs, PROBE_LINEAR},
                 {"train-batch-size", job->train_batch, PROBE_LINEAR},
                 {"seeds", job->seeds, PROBE_LINEAR}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (flags[i].given && flags[i].kind != kind)
            return error_set("--%s says nothing to probe %s: only probe %s takes it", flags[i].flag, probe_kind_name(kind),
                             probe_kind_name(flags[i].kind));
    return true;
}

static bool read_options(const Job *job, ProbeKind kind, ProbeOptions *o)
{
    double ks[PROBE_NEIGHBOURS_MAX];
    int one;
    if (!fits_kind(job, kind))
        return false;
    *o = (ProbeOptions){.kind = kind,
                        .train = job->train,
                        .val = job->val,
                        .blocks = job->blocks,
                        .pool = (FeaturePool)job->features,
                        .batch = job->batch,
                        .bf16 = job->precision == 1,
                        .train_batch = job->train_batch ? job->train_batch : 1024,
                        .seeds = job->seeds ? job->seeds : 1};
    if (!device_open(job->device, job->threads, &o->device))
        return false;
    if (kind == PROBE_KNN) {
        if (!read_numbers("k", job->k ? job->k : "20,10,100,200", PROBE_NEIGHBOURS_MAX, ks, &o->k_count) ||
            !read_numbers("temperature", job->temperature ? job->temperature : "0.07", 1, &o->temperature, &one))
            return false;
        for (int i = 0; i < o->k_count; i++)
            if ((o->k[i] = (int)ks[i]) != ks[i])
                return error_set("--k wants whole numbers, not '%s'", job->k);
        return true;
    }
    if (!read_numbers("lrs", job->lrs ? job->lrs : "0.03,0.1,0.3,1,3,10,30", PROBE_LRS_MAX, o->lrs, &o->lr_count) ||
        !read_numbers("epochs", job->epochs ? job->epochs : "90", 1, &o->epochs, &one))
        return false;
    o->warmup_epochs = o->epochs / 9; /* 10 of 90 */
    return true;
}

/* ---- results */

static void show_progress(void *context, const char *what)
{
    (void)context;
    fprintf(stderr, "lacuna: %s ...\n", what);
}

static void show_bad(void *context, const char *key, const char *reason)
{
    (void)context;
    cli_note_bad(key, "is left out", reason);
}

static void print_table(const ProbeResult *r, const ProbeOptions *o)
{
    printf("%s probe, %s: %zu training pictures, %zu held out, %d classes\n", probe_kind_name(o->kind),
           o->kind == PROBE_ATTENTIVE ? "tokens" : feature_pool_name(o->pool), r->train_count, r->val_count, r->class_count);
    printf("  %-6s  %7s  %-15s  %7s  %8s\n", "block", "top-1", "95 % interval", "top-5", o->kind == PROBE_KNN ? "k" : "lr");
    for (int b = 0; b < r->block_count; b++) {
        const ProbeBlock *block = &r->blocks[b];
        printf("  %-6d  %6.2f%%  %6.2f - %6.2f  %6.2f%%  %8g\n", block->block, 100 * block->best.top1, 100 * block->best.low,
               100 * block->best.high, 100 * block->best.top5, block->best.setting);
    }
    if (r->pairs) {
        const ProbeBlock *last = &r->blocks[r->block_count - 1];
        printf("%zu held-out pictures look like a training picture; without them block %d has %.2f%%\n", r->pairs, last->block,
               100 * last->top1_distinct);
    } else {
        printf("no held-out picture looks like a training picture\n");
    }
}

static bool write_text(const char *folder, const char *name, const Text *text)
{
    char *path = file_join(folder, name);
    bool ok = path && !text->failed && file_write(path, text->data, text->length);
    memory_free(path);
    return ok;
}

/* OUT/KIND.json and, when there is a curve, OUT/KIND.svg. */
static bool write_results(const Job *job, const ProbeResult *r, const ProbeOptions *o)
{
    char name[32];
    Text json = {0}, svg = {0};
    char *folder = job->out ? memory_string(job->out) : file_join(job->from, "probes");
    bool ok = folder && file_make_folder(folder);
    probe_json(r, o, job->from, &json);
    if (ok && job->json)
        ok = !json.failed && printf("%s\n", json.data) > 0;
    text_add(&json, "\n");
    snprintf(name, sizeof name, "%s.json", probe_kind_name(o->kind));
    ok = ok && write_text(folder, name, &json);
    if (ok && r->block_count > 1) {
        probe_svg(r, o, job->from, &svg);
        snprintf(name, sizeof name, "%s.svg", probe_kind_name(o->kind));
        ok = write_text(folder, name, &svg);
    }
    if (ok && !job->json)
        printf("results: %s\n", folder);
    memory_free(folder);
    text_free(&json);
    text_free(&svg);
    return ok;
}

static int run_probe(void *options, const Arguments *arguments)
{
    const Job *job = options;
    ProbeOptions o;
    ProbeResult result = {0};
    Text note = {0};
    ProbeKind kind;
    bool ok = read_kind(arguments->words[0], &kind) && read_options(job, kind, &o);
    if (ok && !job->out && file_exists(job->from) && !file_is_folder(job->from))
        ok = error_set("--out wants the folder for the results, since %s is a file", job->from);
    if (!ok)
        return cli_usage(arguments->verb);
    o.bad = show_bad;
    o.progress = !job->json && isatty(STDERR_FILENO) ? show_progress : NULL;
    Backbone *b = backbone_open(job->from, &note);
    ok = b != NULL;
    if (ok && note.length)
        fprintf(stderr, "lacuna: note: %s\n", note.data);
    ok = ok && probe_run(b, &o, &result);
    if (ok && !job->json)
        print_table(&result, &o);
    ok = ok && write_results(job, &result, &o);
    probe_free(&result);
    backbone_close(b);
    text_free(&note);
    return ok ? EXIT_DONE : cli_failed();
}

#define AT(field) offsetof(Job, field)

static const char *const POOLS[] = {"class_token", "mean", "concat", NULL};
static const char *const PRECISIONS[] = {"f32", "bf16", NULL};

static const Option OPTIONS[] = {
    {"from", OPTION_PATH, AT(from), .value = "RUN",
     .help = "a run directory (its newest checkpoint), a checkpoint, or weights of another project",
     .wanted = "RUN, a run directory or a checkpoint"},
    {"train", OPTION_PATH, AT(train), .value = "DIR",
     .help = "labelled pictures to learn from: a folder with one folder a class, a list with labels, shards, CIFAR's files or "
             "`world`",
     .wanted = "DIR, labelled pictures to learn from"},
    {"val", OPTION_PATH, AT(val), .value = "DIR", .help = "labelled pictures to judge by",
     .wanted = "DIR, labelled pictures to judge by"},
    {"out", OPTION_PATH, AT(out), .value = "DIR", .help = "folder for the results (default: RUN/probes)"},
    {"blocks", OPTION_TEXT, AT(blocks), .value = "N",
     .help = "the state behind block N, of `all` blocks, or of the `last` one behind the final norm", .initial = "last"},
    {"features", OPTION_CHOICE, AT(features), .choices = POOLS, .help = "what a picture's tokens become",
     .initial = "class_token"},
    {"k", OPTION_TEXT, AT(k), .value = "N,...", .help = "knn: numbers of neighbours (default 20,10,100,200)"},
    {"temperature", OPTION_TEXT, AT(temperature), .value = "X", .help = "knn: of the votes (default 0.07)"},
    {"lrs", OPTION_TEXT, AT(lrs), .value = "X,...",
     .help = "linear: learning rates for a batch of 256, a head each (default 0.03,0.1,0.3,1,3,10,30)"},
    {"epochs", OPTION_TEXT, AT(epochs), .value = "X", .help = "linear: epochs, a ninth of them warm-up (default 90)"},
    {"train-batch-size", OPTION_INT, AT(train_batch), .value = "N", .help = "linear: pictures of a step (default 1024)",
     .low = 2, .high = 1 << 20},
    {"seeds", OPTION_INT, AT(seeds), .value = "N", .help = "linear: runs with seeds 0, 1, .. (default 1)", .low = 1,
     .high = 100},
    {"precision", OPTION_CHOICE, AT(precision), .choices = PRECISIONS, .help = "what the encoder multiplies", .initial = "f32"},
    {"batch-size", OPTION_INT, AT(batch), .value = "N", .help = "pictures at a time through the encoder", .initial = "32",
     .low = 1, .high = 1 << 16},
    {"device", OPTION_TEXT, AT(device), .value = "D", .help = "what computes: cpu or ref", .initial = "cpu"},
    {"threads", OPTION_INT, AT(threads), .value = "N", .help = "threads (default: as many as processors)", .low = 1,
     .high = 1024},
    {"json", OPTION_SWITCH, AT(json), .help = "one JSON object on standard output"},
    {0}};

const Verb probe_verb = {
    .name = "probe",
    .line = "tell how good a run's features are",
    .operands = "knn|linear",
    .least = 1,
    .most = 1,
    .wanted = {"a kind of probe: knn or linear"},
    .about =
        "Makes features of labelled pictures with the frozen encoder of a run and tells how well the held-out ones' classes "
        "can "
        "be read off them: `knn` by a vote of the nearest training pictures, `linear` by a linear map trained as MAE trains it "
        "(BatchNorm, LARS), with several learning rates at once, but on features of each picture's middle, made once, not of "
        "random crops and mirrored pictures. Blocks by number are taken as they are (of knn behind the "
        "final norm).\n"
        "\n"
        "RUN/probes/KIND.json holds every score with its interval, the classes' names, and the pictures that are in both sets "
        "or nearly so. Unreadable pictures are named and left out. With --blocks all, RUN/probes/KIND.svg shows the quality "
        "against the number of blocks kept.",
    .options = OPTIONS,
    .examples = "lacuna probe knn --from runs/mae --train cifar/train --val cifar/test\n"
                "lacuna probe linear --from runs/mae --train cifar/train --val cifar/test --blocks all --features mean\n",
    .size = sizeof(Job),
    .run = run_probe};
