/* lacuna parity: golden cases in, a line a tensor out. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cli/cli.h"
#include "cli/parity_case.h"

static bool compute(ParityCase *c, const ParityOptions *options)
{
    const char *kind = parity_case_kind(c);
    if (!strcmp(kind, "pretrain") || !strcmp(kind, "classify") || !strcmp(kind, "contrast"))
        return parity_pretrain(c, options);
    if (!strcmp(kind, "posembed"))
        return parity_positions(c);
    if (!strcmp(kind, "schedule"))
        return parity_schedule(c);
    if (!strcmp(kind, "resize"))
        return parity_resize(c);
    if (!strcmp(kind, "augment"))
        return parity_augment(c);
    if (!strcmp(kind, "attention_distance") || !strcmp(kind, "attention_entropy") || !strcmp(kind, "head_kl") ||
        !strcmp(kind, "head_cosine"))
        return parity_attention(c);
    if (!strcmp(kind, "cka"))
        return parity_similarity(c);
    if (!strcmp(kind, "svd_share"))
        return parity_spectrum(c);
    if (!strcmp(kind, "analyse"))
        return parity_analyse(c, options);
    return error_set("case.kind '%s' is not carried out yet; this version does pretrain, classify, contrast, posembed, "
                     "schedule, resize, augment, attention_distance, attention_entropy, head_kl, head_cosine, cka, svd_share "
                     "and analyse",
                     kind);
}

/* One case; *held tells whether all its tensors agree. False after error_set() when it could not be run at all. */
static bool run_case(const char *path, const ParityOptions *options, const char *out, bool *held)
{
    ParityCase c;
    size_t lines = 0, failed = 0;
    bool ok = parity_case_open(&c, path) && compute(&c, options);
    if (ok) {
        printf("%s\n", c.name);
        failed = parity_case_judge(&c, &lines);
        *held = lines > 0 && failed == 0;
        if (*held)
            printf("%s: all %zu tensors agree\n", c.name, lines);
        else
            printf("%s: %zu of %zu tensors fail\n", c.name, failed, lines);
        ok = !out || parity_case_write(&c, out);
    }
    parity_case_close(&c);
    /* Errors of the files themselves name them already. */
    return ok || (strncmp(error_text(), path, strlen(path)) != 0 && error_context("%s", path));
}

static int run_cases(const char **paths, int count, const ParityOptions *options, const char *out)
{
    int good = 0;
    for (int i = 0; i < count; i++) {
        bool held = false;
        if (!run_case(paths[i], options, out, &held)) {
            cli_failed();
            held = false;
        }
        good += held;
    }
    printf("%d of %d cases agree\n", good, count);
    return good == count ? EXIT_DONE : EXIT_FAILED;
}

typedef struct {
    const char *device, *out;
    int precision, threads;
    bool plain;
} Job;

static int run_parity(void *options, const Arguments *arguments)
{
    const Job *job = options;
    ParityOptions parity = {.plain = job->plain, .bf16 = job->precision == 1};
    if (!device_open(job->device, job->threads, &parity.device))
        return cli_usage(arguments->verb);
    if (parity.device.f64) {
        error_set("parity takes device cpu, cuda or ref, in f32");
        return cli_usage(arguments->verb);
    }
    int code = run_cases(arguments->words, arguments->count, &parity, job->out);
    device_close(&parity.device);
    return code;
}

#define AT(field) offsetof(Job, field)

static const char *const PRECISIONS[] = {"f32", "bf16", NULL};

static const Option OPTIONS[] = {
    {"device", OPTION_TEXT, AT(device), .value = "D", .help = "what computes: cpu, cuda or ref", .initial = "cpu"},
    {"precision", OPTION_CHOICE, AT(precision),
     .help = "with bf16 only losses are judged, to 2e-2: the cases' numbers are exact", .initial = "f32",
     .choices = PRECISIONS},
    {"threads", OPTION_INT, AT(threads), .value = "N", .help = "threads (default: as many as processors)", .low = 1,
     .high = 1024},
    {"plain", OPTION_SWITCH, AT(plain),
     .help = "compute everything the long way: slower, the same up to rounding; to check the program"},
    {"out", OPTION_PATH, AT(out), .value = "DIR",
     .help = "write DIR/NAME.safetensors with what was computed, under the names of the case"},
    {0}};

const Verb parity_verb = {.name = "parity",
                          .line = "check the arithmetic against golden cases",
                          .operands = "CASE.json ...",
                          .least = 1,
                          .most = WORDS_ANY,
                          .wanted = {"at least one CASE.json"},
                          .about = "Reads golden cases (docs/spec/recipe.md), does what they say, and prints a line for each "
                                   "tensor: ok or FAIL, its name, "
                                   "the largest relative error, the tolerance. Exits with 0 only if all hold.",
                          .options = OPTIONS,
                          .examples = "lacuna parity tests/golden/*.json\n"
                                      "lacuna parity --device ref --out computed tests/golden/deepmim_pixels.json\n",
                          .size = sizeof(Job),
                          .run = run_parity};
