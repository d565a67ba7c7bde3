#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "transfer/token_heads.h"

enum { BATCH = 3, TOKENS = 6, WIDTH = 8, CLASSES = 4, HEIGHT = 4, PX = 5, PIXELS = HEIGHT * PX, HEADS = 2 };

/* scale cos(0.9 j + 0.017 j^2 + i), j flat. */
static void fill_numbers(float *out, int64_t count, double i, double scale, double more)
{
    for (int64_t j = 0; j < count; j++)
        out[j] = (float)(more + scale * cos(0.9 * (double)j + 0.017 * (double)(j * j) + i));
}

static TokenHeadsOptions options_of(TokenHeadKind kind, const char *device, const double *lrs)
{
    TokenHeadsOptions o = {.kind = kind,
                           .tokens = TOKENS,
                           .width = WIDTH,
                           .rows = 2,
                           .columns = 3,
                           .height = HEIGHT,
                           .px_width = PX,
                           .outputs = kind == HEAD_DEPTH ? 1 : CLASSES,
                           .lrs = lrs,
                           .count = HEADS,
                           .decay = 0.1,
                           .batch = BATCH};
    assert_true(device_open(device, 1, &o.device));
    return o;
}

static void set_weights(TokenHeads *h, int k)
{
    const ParamSet *set = token_heads_params(h, k);
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        bool one = strstr(p->name, "norm") && strstr(p->name, "weight");
        fill_numbers(token_heads_weights(h, k) + p->offset, p->count, (double)i, 0.4, one);
    }
}

/* Three steps of AdamW (rate 0.05, decay 0.1 of matrices) and an evaluation, by PyTorch 2 in double: losses, the first outputs,
 * and the sum of all. The other head's rate is too small to move it. */
static const struct {
    TokenHeadKind kind;
    double losses[3], outputs[8], sum;
} TORCH[] = {{HEAD_CLASSES,
              {2.133587, 1.111615, 0.566478},
              {0.273345, -0.644223, 1.966648, -0.786827, 1.607657, -1.245366, -0.506045, 0.247999},
              3.32753},
             {HEAD_PIXELS,
              {1.590243, 1.513162, 1.446644},
              {1.340655, -0.911251, 0.021126, -0.273396, 0.460736, -0.299784, -0.162393, -0.084247},
              -19.80137},
             {HEAD_DEPTH,
              {0.763051, 0.623405, 0.515087},
              {1.242256, 0.377241, -0.920282, -0.243543, 0.207617, 1.006806, 0.289189, -0.787238},
              6.96082}};

static double give_truth(TokenHeads *h, TokenHeadKind kind)
{
    double counted = kind == HEAD_CLASSES ? BATCH : 0;
    if (kind == HEAD_CLASSES)
        memcpy(token_heads_labels(h), (int32_t[]){2, 0, 3}, BATCH * sizeof(int32_t));
    for (int i = 0; kind == HEAD_PIXELS && i < BATCH * PIXELS; i++)
        counted += (token_heads_labels(h)[i] = i * 7 % 5 - 1) >= 0;
    if (kind == HEAD_DEPTH)
        fill_numbers(token_heads_targets(h), BATCH * PIXELS, 2, 1, 0);
    for (int i = 0; kind == HEAD_DEPTH && i < BATCH * PIXELS; i++)
        counted += (double)(token_heads_counts(h)[i] = i % 3 ? 1 : 0);
    return counted;
}

static void heads_learn_as_pytorch_does(void **state)
{
    (void)state;
    static const double lrs[] = {1e-12, 0.05 * 256 / BATCH};
    static const char *const devices[] = {"ref", "cpu"};
    for (int at = 0; at < 6; at++) {
        TokenHeadKind kind = TORCH[at / 2].kind;
        TokenHeadsOptions o = options_of(kind, devices[at % 2], lrs);
        TokenHeads *h = token_heads_open(&o);
        if (!h)
            fail_msg("%s", error_text());
        set_weights(h, 0);
        set_weights(h, 1);
        for (int step = 0; step < 3; step++) {
            fill_numbers(token_heads_features(h), BATCH * TOKENS * WIDTH, 0.5, 1, 0);
            token_heads_step(h, 1, give_truth(h, kind));
            assert_true(fabs(token_heads_loss(h, 1) - TORCH[at / 2].losses[step]) < 2e-5);
            assert_true(fabs(token_heads_loss(h, 0) - TORCH[at / 2].losses[0]) < 2e-5);
        }
        fill_numbers(token_heads_evaluate_features(h), BATCH * TOKENS * WIDTH, 0.5, 1, 0);
        token_heads_evaluate(h);
        const float *out = token_heads_outputs(h, 1);
        double sum = 0;
        for (int i = 0; i < BATCH * (kind == HEAD_CLASSES ? 1 : PIXELS) * (int)o.outputs; i++)
            sum += (double)out[i];
        for (int i = 0; i < 8; i++)
            assert_true(fabs((double)out[i] - TORCH[at / 2].outputs[i]) < 1e-4);
        assert_true(fabs(sum - TORCH[at / 2].sum) < 1e-3);
        token_heads_close(h);
    }
}

/* What is not finite stops that head alone. */
static void a_head_that_diverges_stops_alone(void **state)
{
    (void)state;
    static const double lrs[] = {1, 1};
    TokenHeadsOptions o = options_of(HEAD_CLASSES, "cpu", lrs);
    TokenHeads *h = token_heads_open(&o);
    assert_non_null(h);
    token_heads_weights(h, 0)[0] = INFINITY;
    float before = token_heads_weights(h, 1)[0], second = token_heads_weights(h, 0)[1];
    fill_numbers(token_heads_features(h), BATCH * TOKENS * WIDTH, 0.5, 1, 0);
    token_heads_step(h, 1, give_truth(h, HEAD_CLASSES));
    assert_true(token_heads_weights(h, 1)[0] != before);
    assert_true(token_heads_weights(h, 0)[1] == second);
    token_heads_close(h);
}

static void heads_divide_the_width(void **state)
{
    (void)state;
    assert_int_equal(token_heads_attention(768), 12);
    assert_int_equal(token_heads_attention(192), 3);
    assert_int_equal(token_heads_attention(12), 1);
    assert_int_equal(token_heads_attention(200), 2); /* 3 do not divide it */
    assert_null(token_heads_open(&(TokenHeadsOptions){.count = TOKEN_HEADS_MOST + 1}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(heads_learn_as_pytorch_does),
                                       cmocka_unit_test(a_head_that_diverges_stops_alone),
                                       cmocka_unit_test(heads_divide_the_width)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
