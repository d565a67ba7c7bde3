#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "ops/bf16.h"
#include "transfer/attentive_probe.h"
#include "transfer/linear_probe.h"

enum { TRAIN = 400, VAL = 100, TOKENS = 6, WIDTH = 8, CLASSES = 3, HEADS = 2, STRIDE = TOKENS * WIDTH + 1 };

typedef struct {
    uint16_t tokens[TRAIN * STRIDE];
    float means[TRAIN * WIDTH];
    int32_t labels[TRAIN];
} Set;

/* Each token shows a class; that of the one with a mark counts. So the mean says little. */
static void draw(Set *set, int count, uint64_t seed)
{
    Random random = random_stream(seed, RANDOM_TEST, 0, 0, 0);
    memset(set, 0, sizeof *set);
    for (int i = 0; i < count; i++) {
        int marked = (int)random_below(&random, TOKENS);
        for (int t = 0; t < TOKENS; t++) {
            int shown = (int)random_below(&random, CLASSES);
            for (int c = 0; c < WIDTH; c++) {
                float x =
                    (float)(0.3 * random_normal(&random)) + (c == shown ? 2 : 0) + (c == WIDTH - 1 && t == marked ? 4 : 0);
                set->tokens[i * STRIDE + t * WIDTH + c] = bf16_from_float(x);
                set->means[i * WIDTH + c] += x / TOKENS;
            }
            if (t == marked)
                set->labels[i] = shown;
        }
    }
}

static double share(const int32_t *ranks)
{
    int hits = 0;
    for (int i = 0; i < VAL; i++)
        hits += ranks[i] == 0;
    return (double)hits / VAL;
}

static void it_finds_the_token_that_counts(void **state)
{
    (void)state;
    static Set train, val;
    static const double lrs[] = {1e-7, 0.2};
    int32_t ranks[HEADS * VAL], again[HEADS * VAL];
    draw(&train, TRAIN, 1);
    draw(&val, VAL, 2);
    AttentiveProbe probe = {.train = {train.tokens, train.labels, TRAIN, STRIDE},
                            .val = {val.tokens, val.labels, VAL, STRIDE},
                            .tokens = TOKENS,
                            .width = WIDTH,
                            .classes = CLASSES,
                            .lrs = lrs,
                            .lr_count = HEADS,
                            .epochs = 16,
                            .warmup_epochs = 2,
                            .batch = 32};
    assert_true(device_open("cpu", 1, &probe.device));
    if (!attentive_probe(&probe, ranks))
        fail_msg("%s", error_text());
    assert_true(share(ranks) < 0.7); /* that head has not moved */
    assert_true(share(ranks + VAL) > 0.95);
    LinearProbe linear = {.device = probe.device,
                          .train = {train.means, train.labels, TRAIN},
                          .val = {val.means, val.labels, VAL},
                          .width = WIDTH,
                          .classes = CLASSES,
                          .lrs = (double[]){100},
                          .lr_count = 1,
                          .epochs = 40,
                          .warmup_epochs = 4,
                          .batch = 32};
    assert_true(linear_probe(&linear, again));
    assert_true(share(again) < 0.8);
    /* Threads change nothing, the seed does. */
    probe.epochs = 2;
    probe.warmup_epochs = 0.5;
    assert_true(attentive_probe(&probe, ranks));
    assert_true(device_open("cpu", 3, &probe.device));
    assert_true(attentive_probe(&probe, again));
    assert_memory_equal(ranks, again, sizeof ranks);
    probe.seed = 1;
    assert_true(attentive_probe(&probe, again));
    assert_memory_not_equal(ranks, again, sizeof ranks);
    probe.batch = TRAIN + 1;
    assert_false(attentive_probe(&probe, again));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_finds_the_token_that_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
