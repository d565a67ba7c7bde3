/* Progress on a terminal of a given width, with and without colour, and in a pipe. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pty.h>
#include <unistd.h>

#include "cli/progress.h"

/* What arrives on a terminal of that many columns for steps 1..3 and a sentence between. */
static void show(int columns, bool coloured, int decoders, char *out, size_t size)
{
    int ours, theirs;
    struct winsize window = {.ws_row = 24, .ws_col = (unsigned short)columns};
    TrainerMetrics metrics = {.loss = 1.5, .losses = {0.25, 0.5, 0.75}, .accuracy = NAN};
    assert_int_equal(openpty(&ours, &theirs, NULL, NULL, &window), 0);
    Progress p = {.out = fdopen(theirs, "w"), .bar = true, .coloured = coloured};
    assert_non_null(p.out);
    for (int step = 1; step <= 3; step++) {
        PretrainProgress at = {.step = step,
                               .val_accuracy = NAN,
                               .last = 10,
                               .epoch = 0.1 * step,
                               .metrics = &metrics,
                               .decoders = decoders,
                               .lr = 1e-3,
                               .images_per_second = 123.4,
                               .data_wait = 0.25,
                               .seconds_left = 3725};
        p.shown = step == 1 ? 0 : -1; /* long ago */
        progress_step(&p, &at, false);
        if (step == 2)
            progress_say(&p, "a sentence");
    }
    progress_close(&p);
    fclose(p.out);
    size_t length = 0;
    for (ssize_t count; length + 1 < size && (count = read(ours, out + length, size - 1 - length)) > 0;)
        length += (size_t)count;
    assert_true(length > 0);
    out[length] = 0;
    close(ours);
}

/* The most characters between two returns to the start of a line, commands of the terminal left out. */
static int widest(const char *text)
{
    int most = 0, now = 0;
    for (; *text; text++) {
        if (*text == '\r' || *text == '\n') {
            now = 0;
        } else if (*text == '\033') {
            text += strcspn(text, "mK");
        } else {
            now++;
        }
        most = now > most ? now : most;
    }
    return most;
}

static void a_bar_fits_the_terminal(void **state)
{
    (void)state;
    char text[8192];
    show(200, true, 3, text, sizeof text);
    assert_non_null(strstr(text, "\r[\033[32m####\033[0m................]  step 2/10  epoch 0.20  loss 1.5000  (0.2500 0.5000 "
                                 "0.7500)  lr 1.00e-03  123 pictures/s  data_wait 25%  1:02:05 left\033[K"));
    assert_non_null(strstr(text, "\r\033[Ka sentence\r\n"));
    for (int columns = 10; columns < 160; columns += 7) {
        show(columns, true, 3, text, sizeof text);
        if (widest(text) >= columns && columns > 11) /* the sentence is as long as it is */
            fail_msg("%d columns in %d:\n%s", widest(text), columns, text);
    }
    show(60, false, 3, text, sizeof text);
    assert_non_null(strstr(text, "step 2/10"));
    assert_non_null(strstr(text, "left"));
    assert_null(strstr(text, "\033[32m"));
    show(200, false, 1, text, sizeof text);
    assert_null(strstr(text, "(0.25"));
}

static void a_pipe_gets_few_lines(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    TrainerMetrics metrics = {.loss = 1.5, .accuracy = NAN};
    Progress p = {.out = open_memstream(&text, &size)};
    for (int step = 1; step <= 1000; step++)
        progress_step(&p,
                      &(PretrainProgress){.step = step,
                                          .val_accuracy = NAN,
                                          .last = 1000,
                                          .metrics = &metrics,
                                          .decoders = 1,
                                          .validated = step >= 500 && step < 600,
                                          .val_loss = 1.25},
                      false);
    progress_say(&p, "done");
    progress_close(&p);
    fclose(p.out);
    int lines = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 4); /* the first step, the validation, the last step, the sentence */
    assert_non_null(strstr(text, "step 500/1000  epoch 0.00  loss 1.5000  val 1.2500  lr"));
    assert_null(strchr(text, '\r'));
    assert_null(strchr(text, '\033'));
    free(text);
}

static void colours_can_be_declined(void **state)
{
    (void)state;
    int ours, theirs, kept = dup(STDOUT_FILENO);
    assert_int_equal(openpty(&ours, &theirs, NULL, NULL, NULL), 0);
    fflush(stdout);
    dup2(theirs, STDOUT_FILENO);
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
    Progress without = progress_open(false, false);
    unsetenv("NO_COLOR");
    Progress with = progress_open(false, false);
    setenv("TERM", "dumb", 1);
    Progress dumb = progress_open(false, false);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    close(ours);
    close(theirs);
    assert_true(without.bar && !without.coloured);
    assert_true(with.bar && with.coloured);
    assert_false(dumb.bar || dumb.coloured);
}

static void times_read_well(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{-1, "0:00"}, {59.9, "0:59"}, {245, "4:05"}, {7384, "2:03:04"}, {273600, "3 d 4 h"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Text t = {0};
        progress_add_time(&t, cases[i].seconds);
        assert_string_equal(t.data, cases[i].text);
        text_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_bar_fits_the_terminal), cmocka_unit_test(a_pipe_gets_few_lines),
                                       cmocka_unit_test(colours_can_be_declined), cmocka_unit_test(times_read_well)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
