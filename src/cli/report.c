/* lacuna report: a page on one run, or on several side by side. */
#include <stdio.h>

#include "cli/cli.h"
#include "report/report.h"

typedef struct {
    const char *out;
} ReportOptions;

static int run_report(void *options, const Arguments *arguments)
{
    const char *out = ((const ReportOptions *)options)->out;
    if (!report_write(arguments->words, arguments->count, out))
        return cli_failed();
    printf("%s: %d run%s\n", out, arguments->count, arguments->count == 1 ? "" : "s");
    return EXIT_DONE;
}

static const Option OPTIONS[] = {{"out", OPTION_PATH, offsetof(ReportOptions, out), .value = "FILE.html",
                                  .help = "the file to write", .wanted = "FILE.html, the file to write"},
                                 {0}};

const Verb report_verb = {
    .name = "report",
    .line = "write a page on a run, or on several side by side",
    .operands = "RUN ...",
    .least = 1,
    .most = REPORT_RUNS_MOST,
    .wanted = {"RUN, a run directory"},
    .about =
        "Writes one HTML file that needs nothing else: curves of every decoder on training and held-out pictures, learning "
        "rate, "
        "gradient norm, throughput, sheets, settings, and with several runs what differs between them. Every run keeps such a "
        "page of its own in RUN/report.html.",
    .options = OPTIONS,
    .examples = "lacuna report runs/deepmim --out deepmim.html\n"
                "lacuna report runs/world runs/deepmim --out compare.html\n",
    .size = sizeof(ReportOptions),
    .run = run_report};
