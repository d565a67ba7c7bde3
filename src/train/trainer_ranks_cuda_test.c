/* Steps of several ranks on GPUs: each run of gradients is complete behind the piece with which it is fetched, and what comes
 * out is what the processor makes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "device/cuda/fake.h"
#include "train/pretended_ranks.h"
#include "train/tiny_recipe.h"
#include "train/trainer_parts.h"

enum { BATCH = 8, PICTURE = 3 * 16 * 16, PLACES = 16, STEPS = 3 };

static float images[BATCH * PICTURE];
static uint8_t hidden[BATCH * PLACES];
static const TrainerBatch batch = {.images = images, .hidden = hidden, .lr = 1e-3};

static Trainer *open_on(const Device *device, RankGroup *ranks, int micro_batch)
{
    Recipe recipe;
    assert_true(tiny_recipe(&recipe));
    recipe.encoder.drop_path = 0;
    recipe.encoder.width = 48; /* enough numbers for several runs */
    recipe.image.mean.kind = recipe.image.std.kind = STATISTICS_IMAGENET;
    recipe.run.precision = RUN_PRECISION_F32;
    return trainer_open(&recipe,
                        &(TrainerOptions){.device = *device, .batch = BATCH, .micro_batch = micro_batch, .ranks = ranks});
}

/* The fake has done all when a graph is launched, so numbers alone would not show a run that is fetched too early; that a copy
 * waits for its piece alone is shown by src/graph/program_cuda_test.c. */
static void check_pieces(const Trainer *t, Segment last)
{
    assert_true(t->run_count > 3 && t->runs[t->run_count - 1].piece > 3);
    for (int i = 0; i < t->run_count; i++)
        assert_int_equal(program_piece_end(t->train.program, last, t->runs[i].piece), t->runs[i].after);
}

/* GPUs sum all runs and the losses by themselves, and the update alone waits for that. */
static void check_sums(const Trainer *t)
{
    int sums = 0;
    for (const char *at = fake_log(); (at = strstr(at, "sum ")); at++)
        sums++;
    assert_int_equal(sums, t->run_count + 1);
    assert_int_equal(fake_unjoined() + fake_rushed(), 0);
    /* For the inputs before to be uploaded: of each part and of the update. For no sum. */
    assert_int_equal(fake_waits(), t->share / t->options.micro_batch + 1);
}

static void sums_are_those_of_the_processor(void **state)
{
    (void)state;
    for (int way = 0; way < 8; way++) {
        int micro_batch = way % 2 ? 1 : BATCH / 2;
        bool lanes = way / 2 % 2, among_gpus = way >= 4;
        Device cpu, cuda;
        fake_reset();
        fake_set_sums(among_gpus ? FAKE_SUMS_ALONE : FAKE_SUMS_MISSING);
        assert_true(device_open("cpu", 1, &cpu) && device_open("cuda", 1, &cuda));
        cuda.second_lane = lanes;
        fake_set_order(lanes ? FAKE_ASIDE_LAST : FAKE_AS_PUT);
        RankGroup *ranks[2] = {ranks_open(), ranks_open()};
        Trainer *a = open_on(&cpu, ranks[0], micro_batch), *b = open_on(&cuda, ranks[1], micro_batch);
        assert_true(a && b);
        check_pieces(b, micro_batch == BATCH / 2 ? SEGMENT_ONLY : SEGMENT_LAST);
        assert_true(trainer_has_other_gpus(b)); /* the pretended one knows none of its algorithms */
        assert_true(among_gpus ? !trainer_host_sums(b) : strstr(trainer_host_sums(b), "is missing") != NULL);
        for (int i = 0; i < STEPS; i++) {
            TrainerMetrics expect, got;
            fake_log_clear();
            assert_true(trainer_step(a, &batch, &expect) && trainer_begin(b, &batch));
            if (among_gpus && i > 0)
                check_sums(b);
            assert_true(trainer_end(b, &got) && got.finite);
            assert_true(fabs(got.loss - expect.loss) < 1e-4 * expect.loss);
            assert_true(fabs(got.grad_norm - expect.grad_norm) < 1e-3 * expect.grad_norm);
        }
        trainer_close(a);
        trainer_close(b);
        ranks_close(ranks[0]);
        ranks_close(ranks[1]);
        device_close(&cuda);
        device_close(&cpu);
        assert_int_equal(fake_open_things(), 0);
    }
}

static bool train_a_little(void)
{
    Device cuda;
    RankGroup *ranks = ranks_open();
    TrainerMetrics metrics;
    bool ok = device_open("cuda", 1, &cuda);
    Trainer *t = ok ? open_on(&cuda, ranks, 1) : NULL;
    ok = t && trainer_step(t, &batch, &metrics) && trainer_step(t, &batch, &metrics);
    trainer_close(t);
    device_close(&cuda);
    ranks_close(ranks);
    return ok;
}

static void check_faults(FakeSums sums)
{
    fake_reset();
    fake_set_sums(sums);
    assert_true(train_a_little());
    int calls = fake_calls(), failed = 0, tried = 0;
    for (int n = 1; n <= calls; n += 1 + calls / 60, tried++) {
        fake_reset();
        fake_set_sums(sums);
        fake_fail_at(n, tried % 2 ? FAKE_LOST : FAKE_ERROR);
        failed += !train_a_little();
        if (fake_open_things())
            fail_msg("call %d of %d: %d things are lost", n, calls, fake_open_things());
    }
    assert_true(failed >= tried - 2);
}

static void each_call_may_fail(void **state)
{
    (void)state;
    check_faults(FAKE_SUMS_MISSING);
    check_faults(FAKE_SUMS_ALONE);
}

static int draw(void **state)
{
    (void)state;
    tiny_draw(images, BATCH * PICTURE, hidden, BATCH * PLACES);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_are_those_of_the_processor), cmocka_unit_test(each_call_may_fail)};
    return cmocka_run_group_tests(tests, draw, NULL);
}
