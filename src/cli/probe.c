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
#include "transfer/dense_probe.h"
#include "transfer/probe.h"

typedef struct {
    const char *from, *train, *val, *out, *blocks, *device, *features, *k, *temperature, *lrs, *epochs;
    int precision, choose, batch, train_batch, threads, seeds, pictures, val_pictures;
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
    for (*kind = PROBE_KNN; *kind <= PROBE_DEPTH; ++*kind)
        if (!strcmp(word, probe_kind_name(*kind)))
            return true;
    return error_set("there is no probe '%s': use knn, linear, attentive, segmentation or depth", word);
}

static bool is_dense(ProbeKind kind)
{
    return kind == PROBE_SEGMENTATION || kind == PROBE_DEPTH;
}

/* What only other kinds take would change nothing. */
static bool fits_kind(const Job *job, ProbeKind kind)
{
    enum { KNN = 1 << PROBE_KNN, POOLED = KNN | 1 << PROBE_LINEAR, DENSE = 1 << PROBE_SEGMENTATION | 1 << PROBE_DEPTH };
    enum { TRAINED = 1 << PROBE_LINEAR | 1 << PROBE_ATTENTIVE | DENSE };
    const struct {
        const char *flag;
        bool given;
        unsigned kinds;
        const char *which;
    } flags[] = {{"k", job->k, KNN, "knn takes"},
                 {"temperature", job->temperature, KNN, "knn takes"},
                 {"features", job->features, POOLED, "knn and linear take"},
                 {"lrs", job->lrs, TRAINED, "trained probes take"},
                 {"choose", job->choose >= 0, TRAINED, "trained probes take"},
                 {"epochs", job->epochs, TRAINED, "trained probes take"},
                 {"train-batch-size", job->train_batch, TRAINED, "trained probes take"},
                 {"seeds", job->seeds, TRAINED, "trained probes take"},
                 {"pictures", job->pictures, DENSE, "segmentation and depth take"},
                 {"val-pictures", job->val_pictures, DENSE, "segmentation and depth take"}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (flags[i].given && !(flags[i].kinds & 1u << kind))
            return error_set("--%s says nothing to probe %s: only %s it", flags[i].flag, probe_kind_name(kind), flags[i].which);
    return !is_dense(kind) || (!strcmp(job->train, "world") && !strcmp(job->val, "world")) ||
           error_set("probe %s wants --train world --val world: of no other pictures are masks and depths known",
                     probe_kind_name(kind));
}

/* What a kind starts from, when neither a flag nor the run's recipe says otherwise. Learning rates are for a batch of 256. */
static const struct {
    const char *lrs, *epochs;
    int batch, lrs_most;
} DEFAULTS[] = {[PROBE_KNN] = {"1", "1", 1, 1},
                [PROBE_LINEAR] = {"0.03,0.1,0.3,1,3,10,30", "90", 1024, PROBE_LRS_MAX},
                [PROBE_ATTENTIVE] = {"1e-3,3e-3,1e-2", "30", 256, TOKEN_HEADS_MOST},
                [PROBE_SEGMENTATION] = {"0.016,0.05,0.16", "20", 16, TOKEN_HEADS_MOST},
                [PROBE_DEPTH] = {"0.016,0.05,0.16", "20", 16, TOKEN_HEADS_MOST}};

/* Numbers of the flag, else of the run's recipe. */
static bool read_rates(const Job *job, const Recipe *r, ProbeKind kind, double *lrs, int *count)
{
    int most = DEFAULTS[kind].lrs_most;
    if (job->lrs || !r->probe.lrs.count)
        return read_numbers("lrs", job->lrs ? job->lrs : DEFAULTS[kind].lrs, most, lrs, count);
    if (r->probe.lrs.count > most)
        return error_set("probe.lrs of the run names %d learning rates, and probe %s tries %d at most: give --lrs",
                         r->probe.lrs.count, probe_kind_name(kind), most);
    *count = r->probe.lrs.count;
    memcpy(lrs, r->probe.lrs.values, (size_t)*count * sizeof *lrs);
    return true;
}

/* The recipe's k first, which decides. */
static bool read_neighbours(const Job *job, const Recipe *r, ProbeOptions *o)
{
    static const int MORE[] = {10, 20, 100, 200};
    double ks[PROBE_NEIGHBOURS_MAX];
    int one;
    if (job->temperature && !read_numbers("temperature", job->temperature, 1, &o->temperature, &one))
        return false;
    if (!job->temperature)
        o->temperature = r->probe.temperature;
    if (!job->k) {
        o->k[o->k_count++] = r->probe.k;
        for (size_t i = 0; i < sizeof MORE / sizeof *MORE; i++)
            if (MORE[i] != r->probe.k)
                o->k[o->k_count++] = MORE[i];
        return true;
    }
    if (!read_numbers("k", job->k, PROBE_NEIGHBOURS_MAX, ks, &o->k_count))
        return false;
    for (int i = 0; i < o->k_count; i++)
        if ((o->k[i] = (int)ks[i]) != ks[i])
            return error_set("--k wants whole numbers, not '%s'", job->k);
    return true;
}

static bool read_options(const Job *job, const Recipe *r, ProbeKind kind, const Device *device, ProbeOptions *o)
{
    int one;
    *o = (ProbeOptions){.kind = kind,
                        .device = *device,
                        .train = job->train,
                        .val = job->val,
                        .blocks = job->blocks,
                        .pool = (FeaturePool)r->probe.features,
                        .batch = job->batch,
                        .bf16 = job->precision == 1,
                        .train_batch = job->train_batch ? job->train_batch : DEFAULTS[kind].batch,
                        .choose_on_val = job->choose == 1,
                        .seeds = job->seeds ? job->seeds : 1};
    if (job->features && (!feature_pool_find(job->features, &o->pool) || o->pool > FEATURE_CONCAT))
        return error_set("--features wants class_token, mean or concat, not '%s'", job->features);
    if (!job->features && !r->encoder.class_token)
        o->pool = FEATURE_MEAN;
    if (kind == PROBE_KNN)
        return read_neighbours(job, r, o);
    if (!read_rates(job, r, kind, o->lrs, &o->lr_count) ||
        !read_numbers("epochs", job->epochs ? job->epochs : DEFAULTS[kind].epochs, 1, &o->epochs, &one))
        return false;
    o->warmup_epochs = o->epochs / 9; /* 10 of 90 */
    return true;
}

static bool read_dense(const Job *job, const Recipe *r, ProbeKind kind, const Device *device, DenseOptions *o)
{
    int one;
    *o = (DenseOptions){.kind = kind,
                        .device = *device,
                        .train = job->pictures ? job->pictures : 2000,
                        .val = job->val_pictures ? job->val_pictures : 500,
                        .blocks = job->blocks,
                        .batch = job->batch,
                        .bf16 = job->precision == 1,
                        .train_batch = job->train_batch ? job->train_batch : DEFAULTS[kind].batch,
                        .choose_on_val = job->choose == 1,
                        .seeds = job->seeds ? job->seeds : 1};
    return read_rates(job, r, kind, o->lrs, &o->lr_count) &&
           read_numbers("epochs", job->epochs ? job->epochs : DEFAULTS[kind].epochs, 1, &o->epochs, &one);
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

/* Where the best learning rate is the last one that was tried on a side, a better one may lie beyond. */
static void print_edge(const double *lrs, int rates, int block, double best)
{
    double low = lrs[0], high = lrs[0];
    for (int i = 1; i < rates; i++) {
        low = lrs[i] < low ? lrs[i] : low;
        high = lrs[i] > high ? lrs[i] : high;
    }
    if (rates > 1 && (best == low || best == high))
        printf("block %d: %g is the %s learning rate that was tried; try %s ones with --lrs\n", block, best,
               best == low ? "smallest" : "largest", best == low ? "smaller" : "larger");
}

/* `rates` learning rates were tried, 0: none; `apart` training pictures decided, 0: the held-out ones. */
static void print_choice(int rates, size_t apart)
{
    if (rates > 1 && apart)
        printf(
            "the learning rate is the best of %d on %zu training pictures set apart; with it the probe then learnt from all\n",
            rates, apart);
    else if (rates > 1)
        printf("the learning rate is the best of %d on these held-out pictures: shares and intervals are a little high\n",
               rates);
}

static void print_table(const void *result, const void *options)
{
    const ProbeResult *r = result;
    const ProbeOptions *o = options;
    printf("%s probe, %s: %zu training pictures, %zu held out, %d classes\n", probe_kind_name(o->kind),
           o->kind == PROBE_ATTENTIVE ? "tokens" : feature_pool_name(o->pool), r->train_count, r->val_count, r->class_count);
    printf("  %-6s  %7s  %-15s  %7s  %8s\n", "block", "top-1", "95 % interval", "top-5", o->kind == PROBE_KNN ? "k" : "lr");
    for (int b = 0; b < r->block_count; b++) {
        const ProbeBlock *block = &r->blocks[b];
        printf("  %-6d  %6.2f%%  %6.2f - %6.2f  %6.2f%%  %8g", block->block, 100 * block->best.top1, 100 * block->best.low,
               100 * block->best.high, 100 * block->best.top5, block->best.setting);
        if (o->kind != PROBE_KNN && o->seeds > 1)
            printf("  deviation of the seeds %.2f", 100 * block->spread);
        printf("\n");
    }
    for (int b = 0; o->kind != PROBE_KNN && b < r->block_count; b++)
        print_edge(o->lrs, o->lr_count, r->blocks[b].block, r->blocks[b].best.setting);
    print_choice(o->kind == PROBE_KNN ? 0 : o->lr_count, r->apart_count);
    if (r->pairs == r->val_count) {
        printf("every held-out picture is a near copy of a training picture\n");
    } else if (r->pairs) {
        const ProbeBlock *last = &r->blocks[r->block_count - 1];
        printf(
            "%zu held-out pictures are near copies of a training picture (thumbnails alike by %g); without them block %d has "
            "%.2f%%\n",
            r->pairs, PROBE_ALIKE, last->block, 100 * last->top1_distinct);
    } else {
        printf("no held-out picture is a near copy of a training picture (thumbnails alike by %g)\n", PROBE_ALIKE);
    }
}

static void print_dense(const void *result, const void *options)
{
    const DenseResult *r = result;
    const DenseOptions *o = options;
    bool depth = o->kind == PROBE_DEPTH;
    printf("%s probe, patch tokens: %d pictures of the world, %d held out\n", probe_kind_name(o->kind), o->train, o->val);
    printf("  %-6s  %7s  %-15s  %8s  %8s\n", "block", depth ? "d1" : "mIoU", "95 % interval", depth ? "RMSE" : "pixels", "lr");
    for (int b = 0; b < r->block_count; b++) {
        const DenseBlock *block = &r->blocks[b];
        char second[32];
        snprintf(second, sizeof second, depth ? "%.3f m" : "%.2f%%",
                 depth ? block->best.depth.rmse : 100 * block->best.mask.pixel_accuracy);
        printf("  %-6d  %6.2f%%  %6.2f - %6.2f  %8s  %8g\n", block->block, 100 * dense_quality(o, &block->best),
               100 * block->low, 100 * block->high, second, block->best.lr);
    }
    for (int b = 0; b < r->block_count; b++)
        print_edge(o->lrs, o->lr_count, r->blocks[b].block, r->blocks[b].best.lr);
    print_choice(o->lr_count, r->apart_count);
}

/* The run of a checkpoint's folder as its name has it, two parts less, where that is the run, else from the root. */
static void add_run(Text *out, const char *from, const char *run)
{
    size_t length = strlen(from);
    for (int part = 0; part < 2; part++) {
        while (length > 0 && from[length - 1] == '/')
            length--;
        while (length > 0 && from[length - 1] != '/')
            length--;
    }
    Text shorter = {0};
    text_add(&shorter, "%.*s", (int)length, from);
    char *real = length && !shorter.failed ? realpath(shorter.data, NULL) : NULL;
    if (real && !strcmp(real, run))
        text_add(out, "%s", shorter.data);
    else
        text_add(out, "%s/", run);
    free(real);
    text_free(&shorter);
}

/* RUN/probes; of a checkpoint RUN/checkpoints/STEP, which goes when there are newer ones, RUN/probes/STEP. What stands behind a
 * `#` is told apart by a `-`. Owned by the caller. */
static char *default_folder(const char *given)
{
    Text folder = {0};
    char *from = memory_string(given);
    if (!from)
        return NULL;
    char *key = file_exists(from) ? NULL : strrchr(from, '#');
    if (key)
        *key++ = '\0';
    char *real = realpath(from, NULL), *meta = real ? file_join(real, "meta.json") : NULL;
    char *step = meta && file_exists(meta) ? strrchr(real, '/') : NULL, *between = NULL;
    if (step) {
        *step++ = '\0';
        between = strrchr(real, '/');
    }
    if (between && !strcmp(between, "/checkpoints")) {
        *between = '\0'; /* what is left is the run */
        add_run(&folder, from, real);
        text_add(&folder, "probes/%s", step);
    } else {
        text_add(&folder, "%s/probes", from);
    }
    if (key)
        text_add(&folder, "-%s", key);
    free(real);
    memory_free(meta);
    memory_free(from);
    if (folder.failed) {
        text_free(&folder);
        return NULL;
    }
    return folder.data;
}

/* Where results go. */
typedef struct {
    const Job *job;
    ProbeKind kind;
    char *folder;
    const char *features; /* NULL: it takes all tokens */
    const void *options;  /* ProbeOptions or DenseOptions */
} Place;

/* FOLDER/KIND.EXTENSION, of pooled features FOLDER/KIND-FEATURES.EXTENSION. Owned by the caller. */
static char *file_for(const Place *p, const char *extension)
{
    char name[80];
    snprintf(name, sizeof name, "%s%s%s.%s", probe_kind_name(p->kind), p->features ? "-" : "", p->features ? p->features : "",
             extension);
    return file_join(p->folder, name);
}

/* Writes what there is, and takes a file away that there is nothing for. */
static bool put_file(const Place *p, const char *extension, const Text *text)
{
    char *path = file_for(p, extension);
    bool ok = path && !text->failed && (text->length ? file_write(path, text->data, text->length) : file_remove(path));
    memory_free(path);
    return ok;
}

/* The JSON and, when there is a curve, an .svg beside it; what was kept of the blocks one by one goes. */
static bool put_results(const Place *p, Text *json, const Text *svg)
{
    text_add(json, "\n");
    return put_file(p, "json", json) && put_file(p, "svg", svg) && put_file(p, "part.json", &(Text){0});
}

/* What a probe of many blocks has so far outlives it. Whether files can be written is told at the end. */
static void keep_pictures(void *context, const ProbeResult *so_far)
{
    const Place *p = context;
    Text json = {0};
    probe_json(so_far, p->options, p->job->from, &json);
    if (!put_file(p, "part.json", &json))
        error_clear();
    text_free(&json);
}

static void keep_dense(void *context, const DenseResult *so_far)
{
    const Place *p = context;
    Text json = {0};
    dense_json(so_far, p->options, p->job->from, &json);
    if (!put_file(p, "part.json", &json))
        error_clear();
    text_free(&json);
}

/* Prints the object, or else the table by print(), and then writes the files: what cannot be written has been seen. */
static bool tell_results(const Place *p, Text *json, const Text *svg, const void *result,
                         void (*print)(const void *result, const void *options))
{
    bool ok = !json->failed && !svg->failed;
    if (ok && p->job->json)
        ok = printf("%s\n", json->data) > 0;
    else if (ok)
        print(result, p->options);
    return ok && put_results(p, json, svg);
}

static bool run_pictures(Place *p, const Device *device, Backbone *b)
{
    const Job *job = p->job;
    ProbeOptions o;
    ProbeResult result = {0};
    Text json = {0}, svg = {0};
    bool ok = read_options(job, &b->recipe, p->kind, device, &o);
    o.bad = show_bad;
    o.progress = !job->json && isatty(STDERR_FILENO) ? show_progress : NULL;
    o.block = keep_pictures;
    o.context = p;
    p->options = &o;
    p->features = p->kind == PROBE_ATTENTIVE ? NULL : feature_pool_name(o.pool);
    ok = ok && file_make_folder(p->folder) && probe_run(b, &o, &result);
    if (ok)
        probe_json(&result, &o, job->from, &json);
    if (ok && result.block_count > 1)
        probe_svg(&result, &o, job->from, &svg);
    ok = ok && tell_results(p, &json, &svg, &result, print_table);
    p->options = NULL;
    probe_free(&result);
    text_free(&json);
    text_free(&svg);
    return ok;
}

static bool run_dense(Place *p, const Device *device, Backbone *b)
{
    const Job *job = p->job;
    DenseOptions o;
    DenseResult result = {0};
    Text json = {0}, svg = {0};
    bool ok = read_dense(job, &b->recipe, p->kind, device, &o);
    o.progress = !job->json && isatty(STDERR_FILENO) ? show_progress : NULL;
    o.block = keep_dense;
    o.context = p;
    p->options = &o;
    ok = ok && file_make_folder(p->folder) && dense_run(b, &o, &result);
    if (ok)
        dense_json(&result, &o, job->from, &json);
    if (ok && result.block_count > 1)
        dense_svg(&result, &o, job->from, &svg);
    ok = ok && tell_results(p, &json, &svg, &result, print_dense);
    p->options = NULL;
    dense_free(&result);
    text_free(&json);
    text_free(&svg);
    return ok;
}

static int run_probe(void *options, const Arguments *arguments)
{
    const Job *job = options;
    Device device;
    Text note = {0};
    ProbeKind kind;
    bool ok = read_kind(arguments->words[0], &kind) && fits_kind(job, kind) && device_open(job->device, job->threads, &device);
    if (ok && !job->out && file_exists(job->from) && !file_is_folder(job->from))
        ok = error_set("--out wants the folder for the results, since %s is a file", job->from);
    if (!ok)
        return cli_usage(arguments->verb);
    Backbone *b = backbone_open(job->from, &note);
    ok = b != NULL;
    if (ok && note.length)
        cli_note(note.data, false);
    Place place = {.job = job, .kind = kind};
    ok = ok && (place.folder = job->out ? memory_string(job->out) : default_folder(job->from));
    bool made = ok && !file_exists(place.folder);
    ok = ok && (is_dense(kind) ? run_dense(&place, &device, b) : run_pictures(&place, &device, b));
    if (ok && !job->json)
        printf("results: %s\n", place.folder);
    if (!ok && place.folder && made)
        rmdir(place.folder); /* unless there is something in it */
    memory_free(place.folder);
    backbone_close(b);
    device_close(&device);
    text_free(&note);
    return ok ? EXIT_DONE : cli_failed();
}

#define AT(field) offsetof(Job, field)

static const char *const PRECISIONS[] = {"f32", "bf16", NULL};
static const char *const CHOICES[] = {"split", "val", NULL};

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
    {"out", OPTION_PATH, AT(out), .value = "DIR",
     .help = "folder for the results (default: RUN/probes, of a checkpoint RUN/probes/STEP)"},
    {"blocks", OPTION_TEXT, AT(blocks), .value = "N",
     .help = "the state behind block N, of `all` blocks, or of the `last` one behind the final norm", .initial = "last"},
    {"features", OPTION_TEXT, AT(features), .value = "WORD",
     .help =
         "knn, linear: what a picture's tokens become: class_token, mean or concat (default: the run's probe.features, or mean "
         "without a class token)"},
    {"k", OPTION_TEXT, AT(k), .value = "N,...",
     .help = "knn: numbers of neighbours, of which the first decides (default: the run's probe.k, then 10,20,100,200)"},
    {"temperature", OPTION_TEXT, AT(temperature), .value = "X",
     .help = "knn: of the votes (default: the run's probe.temperature)"},
    {"lrs", OPTION_TEXT, AT(lrs), .value = "X,...",
     .help = "trained probes: learning rates for a batch of 256, a head each (default: the run's probe.lrs, else linear "
             "0.03,0.1,0.3,1,3,10,30, attentive 1e-3,3e-3,1e-2, dense 0.016,0.05,0.16)"},
    {"choose", OPTION_CHOICE, AT(choose), .choices = CHOICES,
     .help =
         "trained probes: which pictures choose the learning rate: a tenth of the training ones, set apart, or as in papers "
         "the held-out ones themselves (default: split)"},
    {"epochs", OPTION_TEXT, AT(epochs), .value = "X",
     .help = "trained probes: epochs, a ninth of them warm-up (default: linear 90, attentive 30, dense 20)"},
    {"train-batch-size", OPTION_INT, AT(train_batch), .value = "N",
     .help = "trained probes: pictures of a step (default: linear 1024, attentive 256, dense 16)", .low = 2, .high = 1 << 20},
    {"seeds", OPTION_INT, AT(seeds), .value = "N", .help = "trained probes: runs with seeds 0, 1, .. (default 1)", .low = 1,
     .high = 100},
    {"pictures", OPTION_INT, AT(pictures), .value = "N", .help = "segmentation, depth: pictures of the world (default 2000)",
     .low = 2, .high = 10000000},
    {"val-pictures", OPTION_INT, AT(val_pictures), .value = "N",
     .help = "segmentation, depth: held-out pictures of the world (default 500)", .low = 1, .high = 10000000},
    {"precision", OPTION_CHOICE, AT(precision), .choices = PRECISIONS, .help = "what the encoder multiplies", .initial = "f32"},
    {"batch-size", OPTION_INT, AT(batch), .value = "N", .help = "pictures at a time through the encoder", .initial = "32",
     .low = 1, .high = 1 << 16},
    {"device", OPTION_TEXT, AT(device), .value = "D", .help = "what computes: cpu, cuda or ref", .initial = "cpu"},
    {"threads", OPTION_INT, AT(threads), .value = "N", .help = "threads (default: as many as processors)", .low = 1,
     .high = 1024},
    {"json", OPTION_SWITCH, AT(json), .help = "one JSON object on standard output"},
    {0}};

const Verb probe_verb = {
    .name = "probe",
    .line = "tell how good a run's features are",
    .operands = "knn|linear|attentive|segmentation|depth",
    .least = 1,
    .most = 1,
    .wanted = {"a kind of probe: knn, linear, attentive, segmentation or depth"},
    .about =
        "Makes features of labelled pictures with the frozen encoder of a run and tells how well the held-out ones' classes "
        "can be read off them: `knn` by a vote of the nearest training pictures; `linear` by a linear map trained as MAE "
        "trains it (BatchNorm, LARS), with several learning rates at once, but on features of each picture's middle, made "
        "once, not of random crops and mirrored pictures; `attentive` by a query that looks at all tokens, then a linear map "
        "(AdamW). Blocks by number are taken as they are (of knn behind the final norm).\n"
        "\n"
        "`segmentation` and `depth` tell how well each pixel's class or depth can be read off the patch tokens by a linear "
        "map, on pictures of the built-in world (--train world --val world), whose truth is known: mIoU over the background "
        "and the world's classes; d1, the share of pixels whose depth is wrong by less than a quarter, and RMSE in metres.\n"
        "\n"
        "RUN/probes/KIND.json (of knn and linear KIND-FEATURES.json, of a checkpoint in RUN/probes/STEP) holds every score "
        "with "
        "its interval, the classes' names, and the pictures that are in both sets "
        "or nearly so. What a stopped probe of all blocks had is in KIND-FEATURES.part.json. Which of "
        "several learning rates is taken, a tenth of the training pictures tells, of each class and "
        "always the same ones; with that rate the probe then learns from all, and is held against the held-out pictures once. "
        "With "
        "--choose val these choose too, as papers do it: shares and intervals are then a little high. Unreadable pictures are "
        "named and left out. With --blocks all, an .svg beside it shows the quality "
        "against the number of blocks kept.",
    .options = OPTIONS,
    .examples = "lacuna probe knn --from runs/mae --train cifar/train --val cifar/test\n"
                "lacuna probe linear --from runs/mae --train cifar/train --val cifar/test --blocks all --features mean\n"
                "lacuna probe segmentation --from runs/mae --train world --val world\n",
    .size = sizeof(Job),
    .run = run_probe};
