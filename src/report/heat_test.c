/* Heat maps, and charts over something else than epochs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "report/chart.h"
#include "report/heat.h"

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (; (text = strstr(text, word)); text += strlen(word))
        count++;
    return count;
}

static void cells_hold_their_numbers(void **state)
{
    (void)state;
    const double values[] = {1, 0.25, NAN, -0.5, 1.5, 0.875};
    Text out = {0};
    heat_draw(&(Heat){.title = "a < b",
                      .rows = 2,
                      .columns = 3,
                      .values = values,
                      .row_name = "layer of <x>",
                      .column_name = "layer",
                      .note = "Read me & you."},
              &out);
    assert_false(out.failed);
    assert_int_equal(count_of(out.data, "<rect class=\"cell\""), 5);
    assert_int_equal(count_of(out.data, ">-</text>"), 1); /* the blank one */
    assert_non_null(strstr(out.data, "layer of &lt;x> 0, layer 1: 0.25</title>"));
    assert_non_null(strstr(out.data, "fill-opacity=\"0.000\"><title>layer of &lt;x> 1, layer 0: -0.5<"));
    assert_non_null(strstr(out.data, "fill-opacity=\"0.500\"><title>layer of &lt;x> 1, layer 1: 1.5<"));
    assert_non_null(strstr(out.data, ">0.88</text>"));
    assert_non_null(strstr(out.data, "a &lt; b"));
    assert_non_null(strstr(out.data, "<p class=\"note\">Read me &amp; you.</p></figure>"));
    /* Row 0 lies at the bottom. */
    assert_non_null(strstr(out.data, "x=\"40.0\" y=\"52.0\" width=\"45.0\" height=\"45.0\" fill-opacity=\"0.500\""));
    text_free(&out);
}

static void many_cells_have_no_numbers_on_them(void **state)
{
    (void)state;
    static double values[30 * 30];
    Text out = {0};
    heat_draw(&(Heat){.title = "t", .rows = 30, .columns = 30, .values = values, .row_name = "r", .column_name = "c"}, &out);
    assert_int_equal(count_of(out.data, "<rect class=\"cell\""), 900);
    assert_int_equal(count_of(out.data, ">0.00</text>"), 0);
    assert_int_equal(count_of(out.data, "class=\"note\""), 0);
    text_free(&out);
}

static void charts_count_what_they_say(void **state)
{
    (void)state;
    Text out = {0};
    Chart chart = {.title = "t", .x_name = "block", .note = "How to read it.", .fixed = true, .high = 2};
    ChartSeries *s = chart_series(&chart, 2, 3, CHART_DASHED, "level");
    assert_non_null(s);
    s->points[s->count++] = (ChartPoint){1, 1};
    s->points[s->count++] = (ChartPoint){2, 1};
    assert_true(chart_draw(&chart, &out));
    assert_non_null(strstr(out.data, "class=\"line c3 dashed\" data-name=\"level\""));
    assert_non_null(strstr(out.data, "data-unit=\"block\""));
    assert_non_null(strstr(out.data, ">block</text>"));
    assert_null(strstr(out.data, "epoch"));
    assert_null(strstr(out.data, ">0.5</text><text")); /* blocks are whole */
    assert_non_null(strstr(out.data, "<p class=\"note\">How to read it.</p></figure>"));
    chart_free(&chart);
    text_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cells_hold_their_numbers),
                                       cmocka_unit_test(many_cells_have_no_numbers_on_them),
                                       cmocka_unit_test(charts_count_what_they_say)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
