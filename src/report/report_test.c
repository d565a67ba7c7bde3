/* The report of runs that the test writes itself: every curve is there, nothing is fetched, nothing from outside is markup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/draw.h"
#include "report/report.h"
#include "report/run_data.h"

#define HOME "report_test.tmp"

static int begin(void **state)
{
    (void)state;
    return file_remove(HOME) && file_make_folder(HOME) ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static void write_in(const char *run, const char *name, const char *text)
{
    char *path = file_join(run, name);
    assert_true(path && file_make_folder(run) && file_write(path, text, strlen(text)));
    memory_free(path);
}

/* A run of two decoders with so many steps, validated every 10 of them. */
static void write_run(const char *run, const char *tap, int steps, const char *last_line)
{
    Recipe r;
    Text yaml = {0}, log = {0};
    char setting[64];
    recipe_defaults(&r);
    snprintf(setting, sizeof setting, "decoders.0.tap=%s", tap);
    assert_true(recipe_set(&r, setting) && recipe_set(&r, "decoders.1.tap=last") && recipe_set(&r, "encoder.keep_blocks=11"));
    text_add(&yaml, "# recipe: deepmim<b>\n");
    recipe_write(&r, &yaml);
    write_in(run, "recipe.yaml", yaml.data);
    for (int i = 1; i <= steps; i++) {
        text_add(&log, "{\"step\":%d,\"epoch\":%g,\"loss\":%g,\"loss.0\":%g,\"loss.1\":%s", i, i / 10.0, 1.0 / i, 2.0 / i,
                 i == 7 ? "null" : "0.25");
        text_add(&log, ",\"lr\":1e-3,\"grad_norm\":%d", i);
        if (i % 10 == 0)
            text_add(&log, ",\"val_loss\":0.5,\"val_loss.0\":0.3,\"val_loss.1\":0.125,\"val_images\":4");
        text_add(&log, ",\"images_per_second\":100.0,\"seconds\":0.5,\"data_wait\":0.05}\n");
    }
    text_add(&log, "%s", last_line);
    write_in(run, "log.jsonl", log.data);
    text_free(&log);
    text_free(&yaml);
}

static char *read_report(const char *path)
{
    size_t size;
    char *text = file_read(path, 0, &size);
    if (!text)
        fail_msg("%s", error_text());
    return text;
}

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (; (text = strstr(text, word)); text += strlen(word))
        count++;
    return count;
}

static void write_sheet(const char *run, const char *name)
{
    Image image;
    char *folder = file_join(run, "samples"), *path = file_join(folder, name);
    assert_true(file_make_folder(folder) && image_new(&image, 3, 5, 3));
    memset(image.data, 7, image_size(&image));
    assert_true(image_write_png(path, &image));
    image_free(&image);
    memory_free(path);
    memory_free(folder);
}

static void one_run(void **state)
{
    (void)state;
    const char *run = HOME "/one";
    write_run(run, "6", 40, "{\"step\":41,\"loss\":");
    for (int i = 1; i <= 9; i++) {
        char name[32];
        snprintf(name, sizeof name, "step-%08d.png", i);
        write_sheet(run, name);
    }
    write_in(run, "bad_files.csv", "file,reason\n<script>.png,\"cut, off\"\n");
    write_in(run, "environment.json", "{\"device\": \"cpu & co\"}");
    if (!report_write(&run, 1, HOME "/one.html"))
        fail_msg("%s", error_text());
    char *page = read_report(HOME "/one.html");
    assert_int_equal(count_of(page, "width 768, 11 of 12 blocks, 12 heads"), 1);
    /* Each decoder: a faint line, a line, dots. */
    assert_int_equal(count_of(page, "data-name=\"block 6\""), 2);
    assert_int_equal(count_of(page, "data-name=\"last block\""), 2);
    assert_int_equal(count_of(page, "data-name=\"block 6, held out\""), 1);
    assert_int_equal(count_of(page, "data-name=\"last block, held out\""), 1);
    assert_int_equal(count_of(page, "<circle"), 8);
    assert_int_equal(count_of(page, "<figure class=\"chart\">"), 5);
    /* A step without a number leaves a gap: the pen is set down twice. */
    const char *curve = strstr(page, "class=\"faint c1\""), *curve_end = strchr(curve, '>');
    int pens = 0;
    for (; curve < curve_end; curve++)
        pens += *curve == 'M';
    assert_int_equal(pens, 2);
    assert_int_equal(count_of(page, "<img "), 4);
    assert_non_null(strstr(page, "Step 9<"));
    assert_non_null(strstr(page, "Step 1<"));
    assert_non_null(strstr(page, "40 steps, epoch 4 of 800"));
    assert_non_null(strstr(page, "block 6 0.3000, last block 0.1250"));
    assert_non_null(strstr(page, "cpu &amp; co"));
    assert_non_null(strstr(page, "could not be read: 1<"));
    /* Names are no markup, and nothing is fetched. */
    assert_non_null(strstr(page, "&lt;script>.png"));
    assert_non_null(strstr(page, "deepmim&lt;b>"));
    assert_null(strstr(page, "<script>.png"));
    assert_null(strstr(page, "<b>"));
    assert_int_equal(count_of(page, "http"), count_of(page, "http://www.w3.org/2000/svg"));
    assert_int_equal(count_of(page, "src="), count_of(page, "src=\"data:"));
    memory_free(page);
}

/* Each of two names: the last block by epoch, and all blocks by the newest probe. */
static void probes_are_drawn(void **state)
{
    (void)state;
    const char *run = HOME "/probed";
    write_run(
        run, "6", 20,
        "{\"step\":21,\"epoch\":2.1,\"loss\":1,\"probe\":{\"knn\":{\"1\":0.1,\"2\":0.2,\"3\":0.25},\"odd\":{\"3\":null}}}\n"
        "{\"step\":22,\"epoch\":2.2,\"loss\":1,\"probe\":{\"knn\":{\"1\":0.1,\"2\":0.3,\"3\":0.5}}}\n");
    if (!report_write(&run, 1, HOME "/probed.html"))
        fail_msg("%s", error_text());
    char *page = read_report(HOME "/probed.html");
    assert_non_null(strstr(page, "Probes while training"));
    const char *by_epoch = strstr(page, "kNN by epoch, last block that has it"),
               *by_block = strstr(page, "kNN by block, newest probe"),
               *odd = strstr(page, "odd by epoch, last block that has it");
    assert_true(by_epoch && by_block && odd && by_epoch < by_block && by_block < odd);
    assert_non_null(strstr(by_block, ">block</text>"));
    /* Held-out losses, then 2 probes and 3 blocks. */
    assert_int_equal(count_of(page, "<circle"), 4 + 2 + 3);
    memory_free(page);
}

static void several_runs(void **state)
{
    (void)state;
    const char *runs[] = {HOME "/mae", HOME "/deep/"};
    write_run(runs[0], "2", 30, "");
    write_run(runs[1], "4", 50, "");
    write_sheet(runs[0], "step-00000030.png");
    assert_true(report_write(runs, 2, HOME "/both.html"));
    char *page = read_report(HOME "/both.html");
    assert_non_null(strstr(page, "<title>mae and deep</title>"));
    assert_int_equal(count_of(page, "<figure class=\"chart\">"), 7);
    assert_int_equal(count_of(page, "data-name=\"block 2\""), 2);
    assert_int_equal(count_of(page, "data-name=\"block 4\""), 2);
    assert_int_equal(count_of(page, "data-name=\"mae, held out\""), 1);
    assert_non_null(strstr(page, "<th>decoders.0.tap</th><td>2</td><td>4</td>"));
    assert_int_equal(count_of(page, "<img "), 1);
    memory_free(page);
}

/* Two runs of one name, and two decoders on one block, are told apart. */
static void names_that_collide_are_made_longer(void **state)
{
    (void)state;
    const char *runs[] = {HOME "/x/run", HOME "/y/run/", HOME "/z"};
    write_run(runs[0], "last", 20, "");
    write_run(runs[1], "4", 20, "");
    write_run(runs[2], "4", 20, "");
    assert_true(report_write(runs, 3, HOME "/three.html"));
    char *page = read_report(HOME "/three.html");
    assert_non_null(strstr(page, "<title>x/run, y/run and z</title>"));
    assert_int_equal(count_of(page, "data-name=\"last block (0)\""), 2);
    assert_int_equal(count_of(page, "data-name=\"last block (1)\""), 2);
    memory_free(page);
}

static void any_number_of_steps_fits(void **state)
{
    (void)state;
    RunData data;
    write_run(HOME "/long", "6", 10000, "");
    assert_true(run_data_read(&data, HOME "/long"));
    assert_true(data.bin_count >= RUN_BINS / 2 && data.bin_count <= RUN_BINS);
    int steps = 0;
    double norms = 0;
    for (size_t i = 0; i < data.bin_count; i++) {
        steps += data.bins[i].steps;
        norms += data.bins[i].sums[RUN_GRAD_NORM];
        assert_true(data.bins[i].counts[RUN_WAIT] == data.bins[i].steps);
    }
    assert_int_equal(steps, 10000);
    assert_true(norms == 10000.0 * 10001 / 2);
    assert_true(data.bins[data.bin_count - 1].epoch == 1000);
    assert_int_equal(data.validation_count, 1000);
    assert_int_equal(data.steps, 10000);
    run_data_free(&data);
}

static void what_is_no_run_is_refused(void **state)
{
    (void)state;
    const char *run = HOME "/none";
    assert_false(report_write(&run, 1, HOME "/none.html"));
    assert_non_null(strstr(error_text(), "none"));
    assert_false(file_exists(HOME "/none.html"));
    /* Nothing logged yet is fine, lines that are no JSON are not. */
    write_run(run, "6", 0, "");
    assert_true(report_write(&run, 1, HOME "/none.html"));
    char *page = read_report(HOME "/none.html");
    assert_int_equal(count_of(page, "Nothing was logged yet"), 5);
    memory_free(page);
    write_run(run, "6", 3, "{]\n");
    assert_false(report_write(&run, 1, HOME "/none.html"));
    assert_non_null(strstr(error_text(), "behind step 3"));
}

static void want_of_memory_is_told(void **state)
{
    (void)state;
    const char *runs[] = {HOME "/mae", HOME "/deep"};
    write_run(runs[0], "2", 30, "");
    write_run(runs[1], "4", 50, "");
    write_sheet(runs[0], "step-00000030.png");
    assert_true(report_write(runs, 2, HOME "/whole.html"));
    for (uint64_t n = 1;; n++) {
        memory_fail_at(n);
        error_clear();
        bool written = report_write(runs, 2, HOME "/both.html");
        memory_fail_at(0);
        if (written)
            break;
        assert_non_null(strstr(error_text(), "out of memory"));
        assert_false(file_exists(HOME "/both.html"));
        assert_true(n < 2000);
    }
    char *whole = read_report(HOME "/whole.html"), *both = read_report(HOME "/both.html");
    assert_string_equal(whole, both);
    memory_free(whole);
    memory_free(both);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(one_run, begin, end),
                                       cmocka_unit_test_setup_teardown(probes_are_drawn, begin, end),
                                       cmocka_unit_test_setup_teardown(several_runs, begin, end),
                                       cmocka_unit_test_setup_teardown(names_that_collide_are_made_longer, begin, end),
                                       cmocka_unit_test_setup_teardown(any_number_of_steps_fits, begin, end),
                                       cmocka_unit_test_setup_teardown(what_is_no_run_is_refused, begin, end),
                                       cmocka_unit_test_setup_teardown(want_of_memory_is_told, begin, end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
