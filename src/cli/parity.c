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
    if (!strcmp(kind, "pretrain"))
        return parity_pretrain(c, options);
    if (!strcmp(kind, "posembed"))
        return parity_positions(c);
    if (!strcmp(kind, "schedule"))
        return parity_schedule(c);
    if (!strcmp(kind, "resize"))
        return parity_resize(c);
    if (!strcmp(kind, "augment"))
        return parity_augment(c);
    return error_set(
        "case.kind '%s' is not carried out yet; this version does pretrain, posembed, schedule, resize and augment", kind);
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

static int run_cases(char **paths, int count, const ParityOptions *options, const char *out)
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

int command_parity(int argc, char **argv)
{
    static const char *const FLAGS[] = {"device", "precision", "threads", "plain", "out", "help", NULL};
    const char *device = "cpu", *precision = "f32", *out = NULL;
    int threads = 0, count = 0;
    ParityOptions options = {0};
    ArgReader args = arg_reader(argc, argv);
    for (ArgKind kind; (kind = arg_next(&args)) != ARG_END;) {
        bool ok;
        if (kind == ARG_WORD) {
            argv[count++] = argv[args.at]; /* cases gather at the front, where all has been read */
            continue;
        }
        if (kind == ARG_FLAG && arg_is(&args, "device"))
            ok = (device = arg_value(&args)) != NULL;
        else if (kind == ARG_FLAG && arg_is(&args, "precision"))
            ok = (precision = arg_value(&args)) != NULL;
        else if (kind == ARG_FLAG && arg_is(&args, "out"))
            ok = (out = arg_value(&args)) != NULL;
        else if (kind == ARG_FLAG && arg_is(&args, "threads"))
            ok = arg_int(&args, 1, 1024, &threads);
        else if (kind == ARG_FLAG && arg_is(&args, "plain"))
            ok = arg_switch(&args, &options.plain);
        else
            ok = arg_unknown(&args, FLAGS);
        if (!ok)
            return cli_usage("parity");
    }
    if (count == 0) {
        error_set("parity wants at least one CASE.json");
        return cli_usage("parity");
    }
    options.bf16 = !strcmp(precision, "bf16");
    if (!options.bf16 && strcmp(precision, "f32") != 0) {
        error_set("precision %s is not known; use f32 or bf16", precision);
        return cli_usage("parity");
    }
    if (!device_open(device, threads, &options.device))
        return cli_usage("parity");
    if (options.device.f64) {
        error_set("parity takes device cpu or ref, in f32");
        return cli_usage("parity");
    }
    return run_cases(argv, count, &options, out);
}
