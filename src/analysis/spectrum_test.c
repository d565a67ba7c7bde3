/* The examples of docs/spec/analysis.md 5. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "analysis/spectrum.h"
#include "base/error.h"

static void assert_near(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-6 * fmax(1, fabs(expected))))
        fail_msg("%.9g and not %.9g", got, expected);
}

static Spectrum *open_spectrum(int n, int width)
{
    Spectrum *s = spectrum_new(n, width);
    if (!s)
        fail_msg("%s", error_text());
    return s;
}

static void tokens_alike_and_apart(void **state)
{
    (void)state;
    float alike[7 * 5], apart[4 * 4] = {0};
    double shares[5];
    for (int i = 0; i < 35; i++)
        alike[i] = (float)(i % 5 + 1) * (float)(i / 5 + 1);
    for (int i = 0; i < 4; i++)
        apart[i * 4 + (i * 3 + 1) % 4] = 2;
    Spectrum *s = open_spectrum(7, 5);
    spectrum_shares(spectrum_values(s, alike), spectrum_count(s), shares, 5);
    for (int i = 0; i < 5; i++)
        assert_float_equal(shares[i], 1, 1e-6);
    spectrum_free(s);
    s = open_spectrum(4, 4);
    const double *values = spectrum_values(s, apart);
    spectrum_shares(values, 4, shares, 5);
    for (int i = 0; i < 4; i++)
        assert_near(shares[i], (i + 1) / 4.0);
    assert_near(shares[4], 1);
    assert_near(spectrum_effective_rank(values, 4), 4);
    spectrum_free(s);
}

static void rows_are_brought_to_length_one(void **state)
{
    (void)state;
    static const float tokens[] = {3, 4, 0, 2, 1, 0};
    double share;
    Spectrum *s = open_spectrum(3, 2);
    const double *values = spectrum_values(s, tokens);
    assert_int_equal(spectrum_count(s), 2);
    assert_near(values[0], 1.414214);
    assert_near(values[1], 1);
    spectrum_shares(values, 2, &share, 1);
    assert_near(share, 0.585786);
    spectrum_free(s);
}

/* Also with the tokens and the width exchanged in size: the other products are taken then. */
static void nine_tokens_of_twelve_numbers(void **state)
{
    (void)state;
    static const double expected[] = {1.548282, 1.308250, 1.250571, 1.135570, 1.051976, 0.659826, 0.570388, 0.401712, 0.095498},
                        parts[] = {0.193003, 0.356084, 0.511975, 0.653531, 0.784666};
    float tokens[9 * 12], wide[9 * 12 * 2] = {0};
    double shares[5];
    for (int i = 0; i < 108; i++)
        tokens[i] = (float)cos(0.9 * i + 0.017 * i * i);
    Spectrum *s = open_spectrum(9, 12);
    const double *values = spectrum_values(s, tokens);
    for (int i = 0; i < 9; i++)
        assert_float_equal(values[i], expected[i], 2e-6);
    spectrum_shares(values, 9, shares, 5);
    for (int i = 0; i < 5; i++)
        assert_near(shares[i], parts[i]);
    assert_float_equal(spectrum_effective_rank(values, 9), 7.707987, 1e-5);
    /* Each token twice: the same values times the root of 2, from the products of the 12 columns. */
    for (int i = 0; i < 18; i++)
        for (int k = 0; k < 12; k++)
            wide[i * 12 + k] = tokens[i / 2 * 12 + k];
    Spectrum *twice = open_spectrum(18, 12);
    const double *more = spectrum_values(twice, wide);
    assert_int_equal(spectrum_count(twice), 12);
    for (int i = 0; i < 12; i++)
        assert_float_equal(more[i], i < 9 ? expected[i] * sqrt(2) : 0, 1e-5);
    /* Of a model that diverged nothing is told, neither from rows nor from columns. */
    tokens[20] = wide[20] = NAN;
    for (int i = 0; i < 2; i++) {
        values = i ? spectrum_values(twice, wide) : spectrum_centred(s, tokens);
        spectrum_shares(values, i ? 12 : 9, shares, 5);
        assert_true(isnan(values[0]) && isnan(shares[0]) && isnan(shares[4]) &&
                    isnan(spectrum_effective_rank(values, i ? 12 : 9)));
    }
    spectrum_free(s);
    spectrum_free(twice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tokens_alike_and_apart),
                                       cmocka_unit_test(rows_are_brought_to_length_one),
                                       cmocka_unit_test(nine_tokens_of_twelve_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
