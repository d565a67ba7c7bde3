/* K-means: it finds groups that are there, its codes are means of what is nearest to them, and threads change nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "mim/codebook.h"

enum { GROUPS = 12, MEMBERS = 150, WIDTH = 19, COUNT = GROUPS * MEMBERS };

static float rows[COUNT * WIDTH], centres[GROUPS * WIDTH];

/* Groups of deviation `spread` around centres of deviation 1. */
static void draw_rows(double spread)
{
    Random random = random_stream(4, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < GROUPS * WIDTH; i++)
        centres[i] = (float)random_normal(&random);
    for (int i = 0; i < COUNT; i++)
        for (int k = 0; k < WIDTH; k++)
            rows[i * WIDTH + k] = centres[i % GROUPS * WIDTH + k] + (float)(spread * random_normal(&random));
}

static void make(const char *device_name, int threads, int codes, float *book, double *left)
{
    Device device;
    assert_true(device_open(device_name, threads, &device));
    CodebookArgs args = {.rows = rows, .count = COUNT, .width = WIDTH, .codes = codes, .seed = 7};
    bool stopped;
    if (!codebook_make(&device, &args, book, left, &stopped) || stopped)
        fail_msg("%s", error_text());
    device_close(&device);
}

static double distance(const float *a, const float *b)
{
    double sum = 0;
    for (int k = 0; k < WIDTH; k++)
        sum += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
    return sum;
}

static int nearest(const float *row, const float *book, int codes)
{
    int best = 0;
    for (int c = 1; c < codes; c++)
        if (distance(row, book + c * WIDTH) < distance(row, book + best * WIDTH))
            best = c;
    return best;
}

static void groups_are_found(void **state)
{
    (void)state;
    float book[GROUPS * WIDTH];
    double left;
    draw_rows(0.05);
    make("cpu", 2, GROUPS, book, &left);
    for (int g = 0; g < GROUPS; g++) /* a mean of 150 numbers of deviation 0.05, in 19 directions */
        assert_true(distance(centres + g * WIDTH, book + nearest(centres + g * WIDTH, book, GROUPS) * WIDTH) < 19 * 1.6e-4);
    assert_true(left > 0.0015 && left < 0.005); /* 0.05^2 of 1 + 0.05^2, the centres' own spread is near 1 */
}

/* Where the groups run into each other: after the rounds, every code is near the mean of the rows that it is nearest to. */
static void codes_are_means_of_their_rows(void **state)
{
    (void)state;
    enum { CODES = 6 };
    float book[CODES * WIDTH];
    double left, sums[CODES][WIDTH] = {{0}}, worst = 0;
    int members[CODES] = {0};
    draw_rows(0.8);
    make("ref", 1, CODES, book, &left);
    assert_true(left > 0.3 && left < 0.9);
    for (int i = 0; i < COUNT; i++) {
        int code = nearest(rows + i * WIDTH, book, CODES);
        members[code]++;
        for (int k = 0; k < WIDTH; k++)
            sums[code][k] += (double)rows[i * WIDTH + k];
    }
    for (int c = 0; c < CODES; c++) {
        assert_true(members[c] > 0);
        for (int k = 0; k < WIDTH; k++) {
            double wrong = sums[c][k] / members[c] - (double)book[c * WIDTH + k];
            worst = wrong * wrong > worst ? wrong * wrong : worst;
        }
    }
    assert_true(worst < 0.1 * 0.1);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    float one[GROUPS * WIDTH], many[GROUPS * WIDTH];
    double left[2];
    draw_rows(0.8);
    make("cpu", 1, GROUPS, one, &left[0]);
    for (int threads = 2; threads <= 4; threads++) {
        make("cpu", threads, GROUPS, many, &left[1]);
        assert_memory_equal(one, many, sizeof one);
        assert_true(left[0] == left[1]);
    }
}

/* Equal rows make equal codes, of which the first is the one that is found. */
static void few_different_rows_do(void **state)
{
    (void)state;
    enum { CODES = 5 };
    float book[CODES * WIDTH];
    double left;
    for (int i = 0; i < COUNT * WIDTH; i++)
        rows[i] = (float)(i / WIDTH % 2);
    make("cpu", 1, CODES, book, &left);
    assert_true(left == 0);
    for (int i = 0; i < CODES * WIDTH; i++)
        assert_true(book[i] == 0 || book[i] == 1);
}

static bool stops_later(void *context)
{
    return --*(int *)context <= 0;
}

/* Between two of its first codes, and between products of a round; a whole one asks often enough. */
static void it_stops_when_asked(void **state)
{
    (void)state;
    float book[GROUPS * WIDTH];
    double left;
    bool stopped;
    Device device;
    draw_rows(0.8);
    assert_true(device_open("cpu", 2, &device));
    for (int asked = 1; asked <= GROUPS + 4; asked += 4) {
        int more = asked;
        CodebookArgs args = {
            .rows = rows, .count = COUNT, .width = WIDTH, .codes = GROUPS, .seed = 7, .stop = stops_later, .context = &more};
        assert_true(codebook_make(&device, &args, book, &left, &stopped));
        assert_true(stopped);
        assert_int_equal(more, 0);
    }
    device_close(&device);
}

static void remember(void *context, const char *what, int64_t done, int64_t all)
{
    int64_t *last = context; /* first codes told of, and rounds */
    bool rounds = all == CODEBOOK_ROUNDS;
    assert_non_null(strstr(what, rounds ? "rounds" : "first codes"));
    assert_true(rounds || all == GROUPS);
    assert_int_equal(done, rounds ? last[1] : last[0] + 1);
    last[rounds] = rounds ? done + 1 : done;
}

/* One code after the other, then one round after the other. */
static void it_tells_how_far_it_is(void **state)
{
    (void)state;
    float book[GROUPS * WIDTH];
    int64_t last[2] = {0, 0};
    double left;
    bool stopped;
    Device device;
    CodebookArgs args = {
        .rows = rows, .count = COUNT, .width = WIDTH, .codes = GROUPS, .seed = 7, .tell = remember, .listener = last};
    draw_rows(0.8);
    assert_true(device_open("cpu", 2, &device));
    assert_true(codebook_make(&device, &args, book, &left, &stopped));
    assert_int_equal(last[0], GROUPS - 1); /* the last one needs no look at the rows */
    assert_true(last[1] > 0 && last[1] <= CODEBOOK_ROUNDS);
    device_close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_found),       cmocka_unit_test(codes_are_means_of_their_rows),
        cmocka_unit_test(threads_change_nothing), cmocka_unit_test(few_different_rows_do),
        cmocka_unit_test(it_stops_when_asked),    cmocka_unit_test(it_tells_how_far_it_is)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
