/* Components as colours, against the numbers of docs/spec/analysis.md 9.4. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analysis/pca.h"
#include "base/error.h"

static void matrix_of_the_specification(void **state)
{
    (void)state;
    static const double eigenvalues[] = {1.176450, .429138, .035478}, axis[] = {.665142, .243315, -.506316, -.491964};
    static const uint8_t expected[6][3] = {{255, 255, 0},  {0, 255, 183},   {45, 0, 58},
                                           {203, 30, 102}, {248, 115, 174}, {239, 115, 255}};
    float tokens[24];
    uint8_t colours[6][3];
    Pca pca;
    for (int i = 0; i < 24; i++)
        tokens[i] = (float)cos(.9 * i + .017 * i * i);
    if (!pca_colours(tokens, 6, 4, &pca, colours[0]))
        fail_msg("%s", error_text());
    for (int j = 0; j < 3; j++)
        assert_true(fabs(pca.eigenvalues[j] - eigenvalues[j]) < 2e-6);
    for (int i = 0; i < 4; i++)
        assert_true(fabs((double)pca.axes[i] - axis[i]) < 2e-6);
    assert_memory_equal(colours, expected, sizeof expected);
    pca_free(&pca);
}

/* Fewer directions than colours, and tokens that are all alike. */
static void directions_that_are_not_there(void **state)
{
    (void)state;
    float line[8] = {1, 2, 2, 4, 3, 6, 5, 10}, alike[6] = {2, 2, 2, 2, 2, 2};
    uint8_t colours[4][3];
    Pca pca;
    assert_true(pca_colours(line, 4, 2, &pca, colours[0]));
    assert_int_equal(colours[0][0], 0);
    assert_int_equal(colours[1][0], 64);
    assert_int_equal(colours[3][0], 255);
    assert_int_equal(colours[3][2], 0);
    pca_free(&pca);
    assert_true(pca_colours(alike, 3, 2, &pca, colours[0]));
    for (int i = 0; i < 3; i++)
        assert_int_equal(colours[i][0], 0);
    pca_free(&pca);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(matrix_of_the_specification),
                                       cmocka_unit_test(directions_that_are_not_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
