/* Amplitudes by frequency, against the numbers of docs/spec/analysis.md 10. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analysis/fourier.h"

static void close_to(double value, double expected)
{
    if (!(fabs(value - expected) < 1e-5))
        fail_msg("%.9g instead of %.9g", value, expected);
}

/* Amplitudes 0, a, b of a map of one channel. */
static void check_map(int rows, int columns, const float *map, int count, double a, double b)
{
    Fourier *f = fourier_new(rows, columns, 1);
    assert_non_null(f);
    fourier_add(f, map);
    assert_int_equal(fourier_count(f), count);
    close_to(fourier_amplitude(f, 0), 0);
    if (count > 1)
        close_to(fourier_amplitude(f, 1), a);
    if (count > 2)
        close_to(fourier_amplitude(f, 2), b);
    fourier_free(f);
}

static void maps_of_the_specification(void **state)
{
    (void)state;
    float impulse[16] = {1}, constant[16], rising[16], wave[16], six[36], five[25];
    for (int i = 0; i < 16; i++) {
        constant[i] = 1;
        rising[i] = (float)i;
        wave[i] = (float)(1 + cos(acos(-1.0) / 2 * (i / 4 + i % 4)));
    }
    for (int i = 0; i < 36; i++)
        six[i] = (float)cos(.9 * i + .017 * i * i);
    for (int i = 0; i < 25; i++)
        five[i] = six[i];
    check_map(4, 4, impulse, 2, 0, 0);
    check_map(4, 4, constant, 2, -16.588099, 0);
    check_map(4, 4, rising, 2, -18.603002, 0);
    check_map(4, 4, wave, 2, -.693147, 0);
    check_map(6, 6, six, 3, 2.628082, 1.722587);
    check_map(5, 5, five, 3, 1.500837, .089346);
}

/* Of channels and pictures the mean of the logarithms; a map of other sides walks its own diagonal. */
static void means_and_rectangles(void **state)
{
    (void)state;
    float both[2][32], wide[4 * 8];
    for (int i = 0; i < 16; i++) {
        both[0][2 * i] = both[1][2 * i + 1] = i == 0;
        both[0][2 * i + 1] = both[1][2 * i] = 1;
    }
    Fourier *f = fourier_new(4, 4, 2);
    fourier_add(f, both[0]);
    close_to(fourier_amplitude(f, 1), -16.588099 / 2);
    fourier_add(f, both[1]);
    close_to(fourier_amplitude(f, 1), -16.588099 / 2);
    fourier_free(f);
    for (int i = 0; i < 32; i++) /* one cycle down, two across */
        wide[i] = (float)(1 + cos(acos(-1.0) * (0.5 * (i / 8) + 0.5 * (i % 8))));
    check_map(4, 8, wide, 2, -.693147, 0);
    assert_null(fourier_new(0, 4, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(maps_of_the_specification), cmocka_unit_test(means_and_rectangles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
