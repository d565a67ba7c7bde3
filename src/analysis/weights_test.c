/* Weights beside each other: docs/spec/analysis.md 8. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "analysis/weights.h"
#include "transfer/tiny_backbone.h"

static void matrices_of_the_specification(void **state)
{
    (void)state;
    Param one = {.name = "blocks.11.attn.qkv.weight", .shape = shape_2(2, 2), .count = 4, .kind = PARAM_TRAINED}, other = one,
          wide = one;
    ParamSet first = {.params = &one, .count = 1}, second = {.params = &other, .count = 1};
    static const float w[] = {1, 0, 0, 1}, v[] = {1, 1, 0, 1}, zero[4] = {0};
    WeightPair pair;
    assert_true(weights_compare(&first, w, 0, &second, v, &pair));
    assert_true(fabs(pair.cosine - 0.816497) < 1e-6);
    assert_true(fabs(pair.relative - 0.707107) < 1e-6);
    assert_true(fabs(pair.ratio - sqrt(1.5)) < 1e-12);
    assert_int_equal(pair.block, 12);
    assert_string_equal(pair.kind, "qkv");
    assert_true(weights_compare(&first, zero, 0, &second, v, &pair));
    assert_true(isnan(pair.cosine) && isnan(pair.relative));
    wide.shape = shape_2(1, 4);
    second.params = &wide;
    assert_false(weights_compare(&first, w, 0, &second, v, &pair));
}

static void every_kind_of_a_block_has_its_name(void **state)
{
    (void)state;
    static const char *const kinds[] = {"qkv", "proj", "fc1", "fc2", "norm", "other"};
    int counts[6] = {0};
    Backbone *b = tiny_backbone();
    for (size_t i = 0; i < b->params.count; i++) {
        WeightPair pair;
        if (!weights_compare(&b->params, b->weights, i, &b->params, b->weights, &pair))
            continue; /* the position table is fixed */
        for (int k = 0; k < 6; k++)
            counts[k] += !strcmp(pair.kind, kinds[k]);
        if (!isnan(pair.cosine)) /* a bias may still be zero */
            assert_true(fabs(pair.cosine - 1) < 1e-9 && pair.relative < 1e-12);
    }
    for (int k = 0; k < 4; k++)
        assert_int_equal(counts[k], 6);
    assert_int_equal(counts[4], 14);
    assert_int_equal(counts[5], 3);
    backbone_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(matrices_of_the_specification),
                                       cmocka_unit_test(every_kind_of_a_block_has_its_name)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
