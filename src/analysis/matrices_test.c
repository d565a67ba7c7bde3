/* Singular values of weights: the example of docs/spec/analysis.md 8, and a whole encoder. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "analysis/matrices.h"
#include "base/memory.h"
#include "transfer/tiny_backbone.h"

static void the_example_of_the_specification(void **state)
{
    (void)state;
    Param params[] = {
        {.name = "blocks.2.mlp.fc1.weight", .shape = shape_2(2, 2), .count = 4, .kind = PARAM_TRAINED},
        {.name = "blocks.2.norm1.weight", .shape = shape_1(2), .count = 2, .kind = PARAM_TRAINED, .offset = 4},
        {.name = "blocks.0.attn.proj.weight", .shape = shape_2(3, 2), .count = 6, .kind = PARAM_TRAINED, .offset = 6},
        {.name = "decoders.0.blocks.0.mlp.fc1.weight", .shape = shape_2(2, 2), .count = 4, .kind = PARAM_TRAINED}};
    static const float weights[] = {1, 1, 0, 1, 5, 5, 0, 3, 3, 0, 0, 0};
    const ParamSet set = {.params = params, .count = 4};
    const double large = 1.618034, small = 0.618034, share = large / (large + small);
    Matrix *matrices;
    size_t count;
    assert_true(matrices_measure(&set, weights, 2, &matrices, &count));
    assert_int_equal(count, 2);
    assert_string_equal(matrices[0].kind, "fc1");
    assert_int_equal(matrices[0].block, 3);
    assert_true(fabs(matrices[0].norm - sqrt(large * large + small * small)) < 1e-6);
    assert_true(fabs(matrices[0].share - share) < 1e-6);
    assert_true(fabs(matrices[0].effective_rank - exp(-share * log(share) - (1 - share) * log(1 - share))) < 1e-6);
    assert_true(matrices[1].full == 2 && fabs(matrices[1].share - 0.5) < 1e-9 && fabs(matrices[1].effective_rank - 2) < 1e-9);
    memory_free(matrices);
}

/* Neurons in another order are the same matrix; threads change no bit. */
static void the_order_of_neurons_changes_nothing(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    Matrix *matrices, *other;
    size_t count, again;
    assert_non_null(b);
    assert_true(matrices_measure(&b->params, b->weights, 1, &matrices, &count));
    assert_int_equal(count, 3 * 4); /* of each block qkv, proj, fc1 and fc2 */
    assert_true(matrices_measure(&b->params, b->weights, 3, &other, &again));
    assert_int_equal(count, again);
    for (size_t i = 0; i < count; i++) {
        assert_true(matrices[i].share == other[i].share && matrices[i].effective_rank == other[i].effective_rank);
        assert_true(matrices[i].effective_rank > 1 && matrices[i].effective_rank < matrices[i].full);
    }
    memory_free(other);
    const Param *p = &b->params.params[param_find(&b->params, "blocks.1.mlp.fc1.weight")];
    float *w = b->weights + p->offset, kept[64];
    size_t width = (size_t)p->shape.d[1];
    memcpy(kept, w, width * sizeof *w);
    memcpy(w, w + 5 * width, width * sizeof *w);
    memcpy(w + 5 * width, kept, width * sizeof *w);
    assert_true(matrices_measure(&b->params, b->weights, 2, &other, &again));
    for (size_t i = 0; i < count; i++)
        assert_true(fabs(matrices[i].effective_rank - other[i].effective_rank) < 1e-9 * matrices[i].effective_rank);
    memory_free(other);
    memory_free(matrices);
    backbone_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_example_of_the_specification),
                                       cmocka_unit_test(the_order_of_neurons_changes_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
