#include "cli/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"

enum { BAR_WIDTH = 20, WIDTH_UNKNOWN = 80, PARTS_MOST = 11 };

Progress progress_open(bool json, bool quiet)
{
    Progress p = {.json = json, .quiet = quiet, .out = json ? stderr : stdout, .began = clock_seconds()};
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    /* A dumb terminal cannot go back to the start of a line and clear it. */
    p.bar = isatty(fileno(p.out)) && !(term && !strcmp(term, "dumb"));
    p.coloured = p.bar && !(no_color && *no_color);
    return p;
}

void progress_add_time(Text *t, double seconds)
{
    long long s = seconds > 0 && seconds < 1e15 ? (long long)seconds : 0;
    if (s >= 86400)
        text_add(t, "%lld d %lld h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        text_add(t, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        text_add(t, "%lld:%02lld", s / 60, s % 60);
}

/* ---- a line made of parts; those that matter least are left out where it is too narrow */

typedef struct {
    char text[512];
    int rank; /* 0: always there */
} Part;

typedef struct {
    Part parts[PARTS_MOST];
    int count;
} Line;

static char *new_part(Line *line, int rank)
{
    Part *part = &line->parts[line->count++];
    part->rank = rank;
    part->text[0] = 0;
    return part->text;
}

static void make_parts(Line *line, const PretrainProgress *p)
{
    Text time = {0};
    const size_t size = sizeof line->parts[0].text;
    snprintf(new_part(line, 0), size, "step %lld/%lld", (long long)p->step, (long long)p->last);
    snprintf(new_part(line, 6), size, "epoch %.2f", p->epoch);
    snprintf(new_part(line, 1), size, "loss %.4f", p->metrics->loss);
    if (p->decoders > 1) {
        char *part = new_part(line, 4);
        size_t at = 0;
        for (int k = 0; k < p->decoders && at < size; k++)
            at += (size_t)snprintf(part + at, size - at, "%s%.4f%s", k ? " " : "(", p->metrics->losses[k],
                                   k + 1 < p->decoders ? "" : ")");
    }
    if (!isnan(p->metrics->accuracy))
        snprintf(new_part(line, 4), size, "accuracy %.1f%%", 100 * p->metrics->accuracy);
    if (p->validated)
        snprintf(new_part(line, 1), size, "val %.4f", p->val_loss);
    if (p->validated && !isnan(p->val_accuracy))
        snprintf(new_part(line, 1), size, "val accuracy %.2f%%", 100 * p->val_accuracy);
    snprintf(new_part(line, 7), size, "lr %.2e", p->lr);
    snprintf(new_part(line, 3), size, "%.*f pictures/s", p->images_per_second < 10 ? 1 : 0, p->images_per_second);
    snprintf(new_part(line, 5), size, "data_wait %.0f%%", 100 * p->data_wait);
    progress_add_time(&time, p->seconds_left);
    snprintf(new_part(line, 2), size, "%s left", time.data ? time.data : "");
    text_free(&time);
}

static int line_width(const Line *line, int rank_most)
{
    int width = 0;
    for (int i = 0; i < line->count; i++)
        if (line->parts[i].rank <= rank_most)
            width += (width ? 2 : 0) + (int)strlen(line->parts[i].text);
    return width;
}

static void add_parts(Text *t, const Line *line, int rank_most)
{
    bool any = false;
    for (int i = 0; i < line->count; i++)
        if (line->parts[i].rank <= rank_most) {
            text_add(t, "%s%s", any ? "  " : "", line->parts[i].text);
            any = true;
        }
}

static int terminal_width(const Progress *p)
{
    struct winsize size;
    return ioctl(fileno(p->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : WIDTH_UNKNOWN;
}

/* A line that fills the last column would wrap, and one that wraps cannot be drawn over. */
static void add_bar_line(const Progress *p, Text *t, const Line *line, const PretrainProgress *step)
{
    enum { ROOM = BAR_WIDTH + 4, RANK_MOST = 7, RANK_BESIDE_BAR = 3 };
    int width = terminal_width(p) - 1, rank = RANK_MOST;
    while (rank > 0 && line_width(line, rank) + (rank >= RANK_BESIDE_BAR ? ROOM : 0) > width)
        rank--;
    if (rank >= RANK_BESIDE_BAR) {
        int done = step->last > 0 ? (int)(step->step * BAR_WIDTH / step->last) : BAR_WIDTH;
        text_add(t, "[%s", p->coloured ? "\033[32m" : "");
        for (int i = 0; i < BAR_WIDTH; i++)
            text_add(t, "%s%s", i == done && p->coloured ? "\033[0m" : "", i < done ? "#" : ".");
        text_add(t, "%s]  ", done == BAR_WIDTH && p->coloured ? "\033[0m" : "");
    }
    size_t before = t->length;
    add_parts(t, line, rank);
    if (!t->failed && rank == 0 && t->length - before > (size_t)width)
        t->data[t->length = before + (size_t)width] = 0;
}

/* ---- showing */

/* Ten seconds at first, in a long run a twentieth of the time so far, up to ten minutes: a log stays readable. */
static double pause_between_lines(const Progress *p, double now)
{
    double pause = (now - p->began) / 20;
    return pause < 10 ? 10 : pause > 600 ? 600 : pause;
}

void progress_step(Progress *p, const PretrainProgress *step, bool ends)
{
    double now = clock_seconds(), pause = p->bar ? 0.1 : pause_between_lines(p, now);
    if (p->json) {
        printf("%s\n", step->line);
        fflush(stdout);
    }
    /* With `json` each step has had its line: a bar beside it is for a terminal only. */
    if (p->quiet || (p->json && !p->bar))
        return;
    ends = ends || step->step == step->last;
    /* A validation is worth a line that stays, unless there are several in a moment. */
    bool worth = step->validated && (p->kept == 0 || now - p->kept >= 5);
    if (now - p->shown < pause && !ends && !worth && p->shown > 0)
        return;
    Line line = {0};
    Text t = {0};
    p->shown = now;
    make_parts(&line, step);
    if (p->bar)
        add_bar_line(p, &t, &line, step);
    else
        add_parts(&t, &line, 1 << 30);
    if (worth)
        p->kept = now;
    bool stays = !p->bar || worth || ends;
    if (!t.failed)
        fprintf(p->out, "%s%s%s%s", p->bar ? "\r" : "", t.data, p->bar ? "\033[K" : "", stays ? "\n" : "");
    p->drawn = !stays;
    fflush(p->out);
    text_free(&t);
}

void progress_say(Progress *p, const char *sentence)
{
    if (p->quiet)
        return;
    if (p->drawn)
        fputs("\r\033[K", p->out);
    cli_print_safely(p->out, sentence, false);
    fputc('\n', p->out);
    p->drawn = false;
    fflush(p->out);
}

void progress_close(Progress *p)
{
    if (p->drawn)
        fprintf(p->out, "\n");
    p->drawn = false;
}
