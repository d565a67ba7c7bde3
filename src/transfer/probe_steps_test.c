#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "transfer/probe_steps.h"

enum { COUNT = 60, CLASSES = 4 };

/* Classes of 40, 14, 5 and 1 pictures, mixed. */
static void draw_labels(int32_t *labels)
{
    for (int i = 0; i < COUNT; i++)
        labels[i] = i == 17 ? 3 : i % 12 == 5 ? 2 : i % 4 == 3 ? 1 : 0;
}

static void a_tenth_of_each_class_is_set_apart(void **state)
{
    (void)state;
    int32_t labels[COUNT];
    uint32_t rows[COUNT], again[COUNT];
    size_t learn, of_class[CLASSES] = {0}, apart[CLASSES] = {0};
    bool seen[COUNT] = {false};
    draw_labels(labels);
    assert_true(probe_set_apart(labels, CLASSES, COUNT, rows, &learn));
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(rows[i] < COUNT && !seen[rows[i]]);
        assert_true(i == 0 || i == learn || rows[i] > rows[i - 1]);
        seen[rows[i]] = true;
        of_class[labels[rows[i]]]++;
        apart[labels[rows[i]]] += i >= learn;
    }
    assert_true(of_class[0] > 30 && of_class[3] == 1 && of_class[2] < 10);
    for (int c = 0; c < 3; c++)
        assert_int_equal(apart[c], of_class[c] < 15 ? 1 : (of_class[c] + 5) / 10);
    assert_int_equal(apart[3], 0); /* the only one of its class is needed to learn from */
    assert_true(probe_set_apart(labels, CLASSES, COUNT, again, &learn));
    assert_memory_equal(rows, again, sizeof rows);
    /* Without labels a tenth of all. */
    assert_true(probe_set_apart(NULL, 0, COUNT, rows, &learn));
    assert_int_equal(learn, 54);
    bool last_ones = true; /* they are drawn, not the end of the list */
    for (size_t i = learn; i < COUNT; i++)
        last_ones = last_ones && rows[i] >= 54;
    assert_false(last_ones);
    assert_true(probe_set_apart(NULL, 0, 2, rows, &learn));
    assert_int_equal(learn, 1);
}

static void classes_of_one_picture_are_refused(void **state)
{
    (void)state;
    static const int32_t labels[] = {2, 0, 1};
    uint32_t rows[3];
    size_t learn;
    assert_false(probe_set_apart(labels, 3, 3, rows, &learn));
    assert_non_null(strstr(error_text(), "none can be set apart"));
}

static void the_best_rate_is_best_on_average(void **state)
{
    (void)state;
    static const double quality[2][3][2] = {{{0.5, 9}, {0.9, 9}, {0.4, 9}}, {{0.75, 9}, {0.25, 9}, {0.85, 9}}};
    assert_int_equal(probe_best_rate(quality[0][0], sizeof quality[0][0], 3, 1), 1);
    assert_int_equal(probe_best_rate(quality[0][0], sizeof quality[0][0], 3, 2), 0); /* of equal ones the first */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_tenth_of_each_class_is_set_apart),
                                       cmocka_unit_test(classes_of_one_picture_are_refused),
                                       cmocka_unit_test(the_best_rate_is_best_on_average)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
