#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "transfer/linear_probe.h"
#include "transfer/table.h"

enum { TRAIN = 90, VAL = 60, WIDTH = 7, CLASSES = 3, HEADS = 3 };

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
        cmocka_unit_test(tables_lie_in_memory_or_in_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
