#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "data/world.h"
#include "transfer/dense_probe.h"
#include "transfer/tiny_backbone.h"

enum { SIDE = 16, CHANNELS = 3 };

static DenseOptions options_of(ProbeKind kind, int threads)
{
    DenseOptions o = {.kind = kind,
                      .train = 96,
                      .val = 24,
                      .blocks = "last",
                      .batch = 8,
                      .lrs = {1e-9, 1},
                      .lr_count = 2,
                      .epochs = 20,
                      .train_batch = 16,
                      .seeds = 1};
    assert_true(device_open("cpu", threads, &o.device));
    return o;
}

static DenseResult run(Backbone *b, const DenseOptions *o)
{
    DenseResult r;
    if (!dense_run(b, o, &r))
        fail_msg("%s", error_text());
    return r;
}

static void masks_are_learnt(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    DenseOptions o = options_of(PROBE_SEGMENTATION, 1);
    Text json = {0}, again = {0};
    b->recipe.encoder.depth = 5; /* as of a run that kept three */
    b->recipe.encoder.keep_blocks = 3;
    DenseResult r = run(b, &o);
    const DenseBlock *block = &r.blocks[0];
    assert_true(r.block_count == 1 && block->block == 3 && block->norm && r.classes == WORLD_CLASSES + 1);
    assert_true(r.apart_count == 10 && block->choice_count == 2 && block->count == 1); /* 9.6 of 96 */
    /* The head that has not moved guesses; the other tells at least ground from solids. */
    assert_true(block->best.lr == 1);
    assert_true(block->choice[1].mask.miou > block->choice[0].mask.miou && block->best.mask.pixel_accuracy > 0.6);
    assert_true(block->low <= block->best.mask.miou && block->best.mask.miou <= block->high && block->low < block->high);
    assert_true(block->iou[0] > 0.6 && block->scores[0].mask.miou == block->best.mask.miou);
    dense_json(&r, &o, "runs/\"x\"", &json);
    json_t *root = json_loads(json.data, 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_array_get(json_object_get(root, "classes"), 0)), "background");
    json_t *first = json_array_get(json_object_get(root, "blocks"), 0);
    assert_int_equal(json_array_size(json_object_get(first, "iou_by_class")), WORLD_CLASSES + 1);
    assert_int_equal(json_integer_value(json_object_get(root, "depth")), 3);
    assert_int_equal(json_integer_value(json_object_get(root, "full_depth")), 5);
    assert_string_equal(json_string_value(json_object_get(root, "chosen_on")), "split");
    assert_int_equal(json_integer_value(json_object_get(root, "split_pictures")), 10);
    json_decref(root);
    /* With the chosen rate the heads are those of that rate alone. */
    o.lrs[0] = 1;
    o.lr_count = 1;
    DenseResult alone = run(b, &o);
    assert_true(alone.apart_count == 0 && !alone.blocks[0].choice);
    assert_memory_equal(alone.blocks[0].scores, block->scores, sizeof *block->scores);
    assert_true(alone.blocks[0].low == block->low);
    dense_free(&alone);
    dense_free(&r);
    /* Threads change nothing. */
    o = options_of(PROBE_SEGMENTATION, 2);
    r = run(b, &o);
    dense_json(&r, &o, "runs/\"x\"", &again);
    assert_string_equal(json.data, again.data);
    dense_free(&r);
    text_free(&json);
    text_free(&again);
    backbone_close(b);
}

static void depth_is_learnt(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    DenseOptions o = options_of(PROBE_DEPTH, 1);
    o.blocks = "1";
    o.seeds = 2;
    o.choose_on_val = true;
    Text json = {0};
    DenseResult r = run(b, &o);
    const DenseBlock *block = &r.blocks[0];
    assert_true(block->block == 1 && !block->norm && block->count == 4 && block->scores[3].seed == 1);
    /* Unmoved, it says the middle depth everywhere. */
    assert_true(block->scores[0].depth.d1 > 0.2 && block->best.depth.d1 > 1.2 * block->scores[0].depth.d1);
    assert_true(block->best.depth.rmse < block->scores[0].depth.rmse && block->best.depth.silog < 0.5);
    assert_true(block->best.depth.d1 <= block->best.depth.d2 && block->best.depth.d2 <= block->best.depth.d3);
    assert_true(r.apart_count == 0 && !block->choice);
    dense_json(&r, &o, "run", &json);
    assert_non_null(strstr(json.data, "\"chosen_on\": \"val\""));
    json_t *root = json_loads(json.data, 0, NULL);
    assert_non_null(root);
    assert_true(json_real_value(
                    json_object_get(json_object_get(json_array_get(json_object_get(root, "blocks"), 0), "best"), "rmse")) > 0);
    json_decref(root);
    text_free(&json);
    dense_free(&r);
    backbone_close(b);
}

/* Numbers and interval are of all seeds: the mean of what each says of the same draws. */
static void intervals_are_of_all_seeds(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    for (int kind = PROBE_SEGMENTATION; kind <= PROBE_DEPTH; kind++) {
        DenseOptions o = options_of((ProbeKind)kind, 1);
        o.lrs[0] = 1;
        o.lr_count = 1;
        o.epochs = 2;
        DenseResult one = run(b, &o);
        o.seeds = 2;
        DenseResult two = run(b, &o);
        const DenseBlock *first = &one.blocks[0], *both = &two.blocks[0];
        double a = dense_quality(&o, &both->scores[0]), z = dense_quality(&o, &both->scores[1]);
        assert_memory_equal(&first->scores[0], &both->scores[0], sizeof both->scores[0]);
        assert_true(a != z && fabs(dense_quality(&o, &both->best) - (a + z) / 2) < 1e-12);
        assert_true(fabs(both->spread - fabs(a - z) / sqrt(2)) < 1e-12 && first->spread == 0);
        /* That of one seed, moved. */
        assert_true(both->low != first->low && both->high != first->high);
        assert_true(both->low < (a + z) / 2 && (a + z) / 2 < both->high);
        if (kind == PROBE_DEPTH)
            assert_true(fabs(both->best.depth.rmse - (both->scores[0].depth.rmse + both->scores[1].depth.rmse) / 2) < 1e-12);
        double mean = 0, told = 0;
        for (int c = 0; kind == PROBE_SEGMENTATION && c < two.classes; c++)
            if (!isnan(both->iou[c])) {
                mean += both->iou[c];
                told++;
            }
        assert_true(kind == PROBE_DEPTH || fabs(mean / told - both->best.mask.miou) < 1e-9);
        dense_free(&one);
        dense_free(&two);
    }
    backbone_close(b);
}

/* What the encoder sees of picture i is the world's picture i, pixel by pixel: there the truth holds. */
static bool compare_batch(void *context, Features *f, const LoaderBatch *batch)
{
    (void)context;
    (void)f;
    World world = {.height = SIDE, .width = SIDE, .held_out = true};
    for (size_t i = 0; i < batch->count; i++) {
        Image image;
        assert_true(world_picture(&world, batch->samples[i], (WorldMoment){0, 1}, CHANNELS, &image));
        for (int k = 0; k < SIDE * SIDE; k++)
            for (int c = 0; c < CHANNELS; c++) {
                float expected = ((float)image.data[k * CHANNELS + c] / 255 - 0.5f) / 0.25f;
                assert_true(fabsf(batch->images[(i * CHANNELS + (size_t)c) * SIDE * SIDE + (size_t)k] - expected) < 1e-5f);
            }
        image_free(&image);
    }
    return true;
}

static void whole_pictures_are_those_of_the_truth(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    FeatureWant want = {.block = 3, .pool = FEATURE_PATCHES};
    FeaturesOptions o = {.batch = 5, .wants = &want, .count = 1};
    assert_true(device_open("cpu", 1, &o.device));
    Features *f = features_open(b, &o);
    Source *source = source_open(
        "world", &(SourceOptions){.world_count = 7, .world_height = SIDE, .world_width = SIDE, .world_held_out = true});
    assert_true(f && source);
    assert_true(features_pass(f, &(FeaturesPass){.source = source, .whole = true, .batch = compare_batch}));
    source_close(source);
    features_close(f);
    backbone_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(masks_are_learnt), cmocka_unit_test(depth_is_learnt),
                                       cmocka_unit_test(intervals_are_of_all_seeds),
                                       cmocka_unit_test(whole_pictures_are_those_of_the_truth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
