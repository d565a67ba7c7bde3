/* Features and heads on a GPU whose calls fail, on the fake runtime: whichever it is, the right numbers come out or an error,
 * and nothing of the GPU stays taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "device/cuda/fake.h"
#include "transfer/linear_probe.h"
#include "transfer/neighbours.h"
#include "transfer/tiny_backbone.h"
#include "transfer/token_heads.h"

enum { COUNT = 4, WIDTH = 12, TOKENS = 17, CLASSES = 2, NUMBERS = COUNT * 3 * 16 * 16, MOST = COUNT * WIDTH };

static float images[NUMBERS], numbers_in[COUNT * TOKENS * WIDTH];
static int32_t labels[COUNT] = {0, 1, 1, 0};

typedef bool Life(const Device *device, float *found);

static bool features_life(const Device *device, float *found)
{
    Backbone *b = tiny_backbone();
    FeatureWant want = {.block = 2, .pool = FEATURE_MEAN};
    FeaturesOptions o = {.device = *device, .batch = COUNT, .wants = &want, .count = 1};
    Features *f = b ? features_open(b, &o) : NULL;
    bool ok = f && features_run(f, images, COUNT) && features_read(f, 0, COUNT, found);
    features_close(f);
    backbone_close(b);
    return ok;
}

static bool linear_life(const Device *device, float *found)
{
    int32_t ranks[2 * COUNT];
    static const double lrs[] = {0.1, 1};
    ProbeSet set = {numbers_in, labels, COUNT, NULL};
    bool ok = linear_probe(&(LinearProbe){.device = *device,
                                          .train = set,
                                          .val = set,
                                          .width = WIDTH,
                                          .classes = CLASSES,
                                          .lrs = lrs,
                                          .lr_count = 2,
                                          .epochs = 2,
                                          .warmup_epochs = 1,
                                          .batch = 2},
                           ranks);
    for (int i = 0; ok && i < 2 * COUNT; i++)
        found[i] = (float)ranks[i];
    return ok;
}

static bool heads_life(const Device *device, float *found)
{
    static const double lrs[] = {0.1};
    TokenHeads *h = token_heads_open(&(TokenHeadsOptions){.kind = HEAD_CLASSES,
                                                          .device = *device,
                                                          .tokens = TOKENS,
                                                          .width = WIDTH,
                                                          .outputs = CLASSES,
                                                          .lrs = lrs,
                                                          .count = 1,
                                                          .batch = COUNT});
    const float *outputs = NULL;
    if (h) {
        memcpy(token_heads_features(h), numbers_in, sizeof numbers_in);
        memcpy(token_heads_labels(h), labels, sizeof labels);
        if (token_heads_step(h, 1, COUNT)) {
            memcpy(token_heads_evaluate_features(h), numbers_in, sizeof numbers_in);
            outputs = token_heads_evaluate(h) ? token_heads_outputs(h, 0) : NULL;
        }
    }
    if (outputs)
        memcpy(found, outputs, COUNT * CLASSES * sizeof *found);
    token_heads_close(h);
    return outputs != NULL;
}

static bool neighbours_life(const Device *device, float *found)
{
    Neighbour near[COUNT];
    bool ok = neighbours_find(device, numbers_in, COUNT, numbers_in, COUNT, 2, 1, near);
    for (int i = 0; ok && i < COUNT; i++)
        found[i] = near[i].similarity;
    return ok;
}

/* The device is closed behind an error, which says why. */
static bool live(Life *life, float *found)
{
    Device cuda;
    memset(found, 0, MOST * sizeof *found);
    bool ok = device_open("cuda", 1, &cuda) && life(&cuda, found);
    if (!ok)
        assert_true(strlen(error_text()) > 0);
    device_close(&cuda);
    return ok;
}

static void each_call_may_fail(void **state)
{
    (void)state;
    Life *const lives[] = {features_life, linear_life, heads_life, neighbours_life};
    for (int l = 0; l < 4; l++) {
        float expect[MOST], found[MOST];
        fake_reset();
        int before = fake_calls();
        if (!live(lives[l], expect))
            fail_msg("life %d: %s", l, error_text());
        assert_int_equal(fake_open_things(), 0);
        int calls = fake_calls() - before, failed = 0;
        for (int n = 1; n <= calls; n++) {
            fake_reset();
            fake_fail_at(n, n % 2 ? FAKE_ERROR : FAKE_OUT_OF_MEMORY);
            error_clear();
            if (live(lives[l], found))
                assert_memory_equal(found, expect, sizeof expect);
            else
                failed++;
            if (fake_open_things())
                fail_msg("life %d, call %d of %d: %d things are lost", l, n, calls, fake_open_things());
        }
        if (failed < calls - 8)
            fail_msg("life %d: of %d calls only %d are missed", l, calls, failed);
    }
}

static int draw_input(void **state)
{
    (void)state;
    for (int i = 0; i < NUMBERS; i++)
        images[i] = (float)(i % 23) / 11 - 1;
    for (int i = 0; i < COUNT * TOKENS * WIDTH; i++)
        numbers_in[i] = (float)(i % 19) / 9 - 1;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_call_may_fail)};
    return cmocka_run_group_tests(tests, draw_input, NULL);
}
