/* lacuna report: a page on one run, or on several side by side. */
#include <stdio.h>

#include "base/error.h"
#include "cli/cli.h"
#include "report/report.h"

int command_report(int argc, char **argv)
{
    static const char *const FLAGS[] = {"out", "help", NULL};
    const char *runs[REPORT_RUNS_MOST], *out = NULL;
    int count = 0;
    ArgReader args = arg_reader(argc, argv);
    for (ArgKind kind; (kind = arg_next(&args)) != ARG_END;) {
        bool ok = true;
        if (kind == ARG_FLAG && arg_is(&args, "out"))
            ok = (out = arg_value(&args)) != NULL;
        else if (kind == ARG_FLAG)
            ok = arg_unknown(&args, FLAGS);
        else if (count == REPORT_RUNS_MOST)
            ok = error_set("report puts at most %d runs side by side", REPORT_RUNS_MOST);
        else
            runs[count++] = args.text;
        if (!ok)
            return cli_usage("report");
    }
    if (!count || !out) {
        error_set(count ? "report wants --out FILE.html, the file to write" : "report wants RUN, a run directory");
        return cli_usage("report");
    }
    if (!report_write(runs, count, out))
        return cli_failed();
    printf("%s: %d run%s\n", out, count, count == 1 ? "" : "s");
    return EXIT_DONE;
}
