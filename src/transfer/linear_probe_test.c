#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "graph/tape.h"
#include "nn/init.h"
#include "transfer/linear_probe.h"
#include "transfer/probe_steps.h"
#include "transfer/table.h"

enum { TRAIN = 90, VAL = 300, WIDTH = 7, CLASSES = 3, HEADS = 3 };

static float train[TRAIN * WIDTH], val[VAL * WIDTH];
static int32_t train_labels[TRAIN], val_labels[VAL];

/* Column c is large for class c and lies far from 0 with its own scale, as raw features do. `noise` hides it. */
static void draw(float *features, int32_t *labels, int count, double noise, uint64_t seed)
{
    Random random = random_stream(seed, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < count; i++) {
        labels[i] = i % CLASSES;
        for (int c = 0; c < WIDTH; c++)
            features[i * WIDTH + c] =
                (float)((random_normal(&random) * noise + (labels[i] == c ? 2 : 0)) * (c + 1) * 10 + 100 * c);
    }
}

static LinearProbe small_probe(const double *lrs)
{
    return (LinearProbe){.train = {train, train_labels, TRAIN},
                         .val = {val, val_labels, VAL},
                         .width = WIDTH,
                         .classes = CLASSES,
                         .lrs = lrs,
                         .lr_count = HEADS,
                         .epochs = 40,
                         .warmup_epochs = 4,
                         .batch = 16};
}

static double share(const int32_t *ranks)
{
    int hits = 0;
    for (int i = 0; i < VAL; i++)
        hits += ranks[i] == 0;
    return (double)hits / VAL;
}

static void classes_are_learnt(void **state)
{
    (void)state;
    static const double lrs[] = {1e-6, 300, 1000};
    int32_t ranks[HEADS * VAL], again[HEADS * VAL];
    LinearProbe probe = small_probe(lrs);
    draw(train, train_labels, TRAIN, 0.3, 1);
    draw(val, val_labels, VAL, 0.3, 2);
    assert_true(device_open("cpu", 1, &probe.device));
    assert_true(linear_probe(&probe, ranks));
    assert_true(share(ranks) < 0.9); /* that head has not moved */
    assert_true(share(ranks + VAL) > 0.98 && share(ranks + 2 * VAL) > 0.98);
    for (int i = 0; i < HEADS * VAL; i++)
        assert_true(ranks[i] >= 0 && ranks[i] < CLASSES);
    /* Threads change nothing, the seed does. */
    assert_true(device_open("cpu", 3, &probe.device));
    assert_true(linear_probe(&probe, again));
    assert_memory_equal(ranks, again, sizeof ranks);
    probe.seed = 1;
    assert_true(linear_probe(&probe, again));
    assert_memory_not_equal(ranks, again, sizeof ranks);
    /* So do the reference kernels only by rounding. */
    probe.seed = 0;
    assert_true(device_open("ref", 1, &probe.device));
    assert_true(linear_probe(&probe, again));
    assert_true(fabs(share(again + VAL) - share(ranks + VAL)) < 0.04);
}

static void labels_by_chance_stay_by_chance(void **state)
{
    (void)state;
    static const double lrs[] = {1, 3, 10};
    int32_t ranks[HEADS * VAL];
    LinearProbe probe = small_probe(lrs);
    draw(train, train_labels, TRAIN, 0.3, 1);
    draw(val, val_labels, VAL, 0.3, 2);
    Random random = random_stream(4, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < VAL; i++)
        val_labels[i] = (int32_t)random_below(&random, CLASSES);
    assert_true(device_open("cpu", 2, &probe.device));
    assert_true(linear_probe(&probe, ranks));
    assert_true(share(ranks) < 0.6);
    probe.batch = TRAIN + 1;
    assert_false(linear_probe(&probe, ranks));
    assert_non_null(strstr(error_text(), "no more than there are"));
    probe.batch = 16;
    train[5] = NAN; /* no head stays finite: every picture is wrong, whatever its class */
    assert_true(linear_probe(&probe, ranks));
    for (int i = 0; i < HEADS * VAL; i++)
        assert_int_equal(ranks[i], CLASSES);
}

/* The first weights (HEADS x CLASSES, WIDTH) that the probe draws by its seed. */
static void first_weights(uint64_t seed, float *weights)
{
    ParamSet set = {0};
    Tape *t = tape_new();
    float buffer[1024], fixed;
    tape_segment(t, SEGMENT_ONLY);
    tape_use_params(t, &set, "head", true);
    scope_push(t, "head");
    param(t, "weight", shape_2(HEADS * CLASSES, WIDTH), (Init){.kind = INIT_NORMAL, .a = 0.01});
    param(t, "bias", shape_1(HEADS * CLASSES), init_constant(0));
    scope_pop(t);
    assert_false(tape_failed(t));
    assert_true((size_t)set.trained_count <= sizeof buffer / sizeof *buffer);
    init_params(&set, seed, 0, buffer, &fixed);
    memcpy(weights, buffer + set.params[0].offset, HEADS * CLASSES * WIDTH * sizeof *weights);
    param_set_free(&set);
    tape_free(t);
}

/* Rows of a batch, or all, brought to mean 0 and variance 1 by the given ones. */
static double standard(double x, const double *mean, const double *variance, int c)
{
    return (x - mean[c]) / sqrt(variance[c] + 1e-6);
}

/* One head in double precision, straight from docs/spec/transfer.md B.1. */
static void reference_head(const LinearProbe *p, double lr, const float *first, int32_t *ranks)
{
    double w[CLASSES][WIDTH], b[CLASSES] = {0}, mw[CLASSES][WIDTH] = {{0}}, mb[CLASSES] = {0};
    double run_mean[WIDTH] = {0}, run_variance[WIDTH];
    uint32_t order[TRAIN];
    int batch = p->batch, steps = TRAIN / batch;
    for (int k = 0; k < CLASSES; k++)
        for (int c = 0; c < WIDTH; c++)
            w[k][c] = first[k * WIDTH + c];
    for (int c = 0; c < WIDTH; c++)
        run_variance[c] = 1;
    for (uint32_t epoch = 0; epoch < p->epochs; epoch++) {
        probe_shuffle(p->seed, epoch, order, TRAIN);
        for (int step = 0; step < steps; step++) {
            double mean[WIDTH] = {0}, variance[WIDTH] = {0}, gw[CLASSES][WIDTH] = {{0}}, gb[CLASSES] = {0}, ww = 0, gg = 0;
            double at = epoch + (double)step / steps, peak = lr * batch / 256,
                   rate = peak * (at < p->warmup_epochs
                                      ? at / p->warmup_epochs
                                      : 0.5 * (1 + cos(acos(-1) * (at - p->warmup_epochs) / (p->epochs - p->warmup_epochs))));
            for (int i = 0; i < batch; i++)
                for (int c = 0; c < WIDTH; c++)
                    mean[c] += (double)train[order[step * batch + i] * WIDTH + (uint32_t)c] / batch;
            for (int i = 0; i < batch; i++)
                for (int c = 0; c < WIDTH; c++)
                    variance[c] += pow((double)train[order[step * batch + i] * WIDTH + (uint32_t)c] - mean[c], 2) / batch;
            for (int c = 0; c < WIDTH; c++) {
                run_mean[c] = 0.9 * run_mean[c] + 0.1 * mean[c];
                run_variance[c] = 0.9 * run_variance[c] + 0.1 * variance[c] * batch / (batch - 1);
            }
            for (int i = 0; i < batch; i++) {
                const float *x = train + order[step * batch + i] * WIDTH;
                double logit[CLASSES], sum = 0;
                for (int k = 0; k < CLASSES; k++) {
                    logit[k] = b[k];
                    for (int c = 0; c < WIDTH; c++)
                        logit[k] += w[k][c] * standard((double)x[c], mean, variance, c);
                    sum += exp(logit[k]);
                }
                for (int k = 0; k < CLASSES; k++) {
                    double slope = (exp(logit[k]) / sum - (train_labels[order[step * batch + i]] == k)) / batch;
                    gb[k] += slope;
                    for (int c = 0; c < WIDTH; c++)
                        gw[k][c] += slope * standard((double)x[c], mean, variance, c);
                }
            }
            for (int k = 0; k < CLASSES; k++)
                for (int c = 0; c < WIDTH; c++) {
                    ww += w[k][c] * w[k][c];
                    gg += gw[k][c] * gw[k][c];
                }
            for (int k = 0; k < CLASSES; k++) {
                b[k] -= rate * (mb[k] = 0.9 * mb[k] + gb[k]);
                for (int c = 0; c < WIDTH; c++)
                    w[k][c] -= rate * (mw[k][c] = 0.9 * mw[k][c] + 0.001 * sqrt(ww / gg) * gw[k][c]);
            }
        }
    }
    for (int i = 0; i < VAL; i++) {
        float logit[CLASSES];
        for (int k = 0; k < CLASSES; k++) {
            double sum = b[k];
            for (int c = 0; c < WIDTH; c++)
                sum += w[k][c] * standard((double)val[i * WIDTH + c], run_mean, run_variance, c);
            logit[k] = (float)sum;
        }
        ranks[i] = probe_rank(logit, CLASSES, val_labels[i]);
    }
}

/* Features that say little and few steps: every constant of the recipe moves some picture across a border. */
static void heads_learn_as_the_recipe_says(void **state)
{
    (void)state;
    static const double lrs[] = {10, 100, 1000};
    static float weights[HEADS * CLASSES * WIDTH];
    int32_t ranks[HEADS * VAL], expected[HEADS * VAL];
    LinearProbe probe = small_probe(lrs);
    probe.epochs = 5;
    probe.warmup_epochs = 1;
    probe.batch = 20;
    probe.seed = 3;
    draw(train, train_labels, TRAIN, 4, 1);
    draw(val, val_labels, VAL, 4, 2);
    for (int i = 0; i < TRAIN; i++) /* classes of unequal size, for the biases */
        train_labels[i] = i % 5 == 1 ? 0 : train_labels[i];
    assert_true(device_open("cpu", 1, &probe.device));
    assert_true(linear_probe(&probe, ranks));
    first_weights(probe.seed, weights);
    for (int h = 0; h < HEADS; h++)
        reference_head(&probe, lrs[h], weights + h * CLASSES * WIDTH, expected + h * VAL);
    int others = 0; /* two logits may be as good as equal */
    for (int i = 0; i < HEADS * VAL; i++)
        others += ranks[i] != expected[i];
    assert_true(others <= 2);
    assert_memory_not_equal(ranks, ranks + VAL, VAL * sizeof *ranks);
    assert_memory_not_equal(ranks + VAL, ranks + 2 * VAL, VAL * sizeof *ranks);
}

static void tables_lie_in_memory_or_in_a_file(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        Table t;
        assert_true(table_make(&t, 300, 70, k ? 1000 : TABLE_MEMORY));
        assert_true(k ? t.mapped == 84000 : t.mapped == 0);
        for (int i = 0; i < 21000; i++)
            assert_true(t.data[i] == 0);
        t.data[20999] = 5;
        table_free(&t);
        assert_null(t.data);
    }
    Table t;
    assert_false(table_make(&t, SIZE_MAX / 2, 70, TABLE_MEMORY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_are_learnt),
        cmocka_unit_test(labels_by_chance_stay_by_chance),
        cmocka_unit_test(heads_learn_as_the_recipe_says),
        cmocka_unit_test(tables_lie_in_memory_or_in_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
