#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "image/draw.h"
#include "transfer/probe.h"
#include "transfer/tiny_backbone.h"

#define FOLDER "probe_test"

static ProbeOptions options_of(ProbeKind kind, const char *blocks, int threads)
{
    ProbeOptions o = {.kind = kind,
                      .train = FOLDER "/train",
                      .val = FOLDER "/val",
                      .blocks = blocks,
                      .pool = FEATURE_MEAN,
                      .batch = 7,
                      .k = {5, 1, 5000},
                      .k_count = 3,
                      .temperature = 0.07,
                      .lrs = {100, 1000},
                      .lr_count = 2,
                      .epochs = 30,
                      .warmup_epochs = 3,
                      .train_batch = 1024,
                      .seeds = 2};
    assert_true(device_open("cpu", threads, &o.device));
    return o;
}

/* A picture of random squares, reddish or bluish; `shift` makes it brighter. */
static void write_squares(const char *side, const char *class_name, int number, bool red, uint64_t seed, int shift)
{
    char path[256];
    Image image;
    uint8_t squares[8 * 8];
    Random random = random_stream(seed, RANDOM_TEST, 0, 0, (uint64_t)(2 * number + red));
    for (int i = 0; i < 64; i++)
        squares[i] = (uint8_t)random_below(&random, 150);
    assert_true(image_new(&image, 24, 24, 3));
    for (int y = 0; y < 24; y++)
        for (int x = 0; x < 24; x++)
            for (int c = 0; c < 3; c++)
                image.data[(y * 24 + x) * 3 + c] = (uint8_t)(squares[y / 3 * 8 + x / 3] + (c == (red ? 0 : 2) ? 90 : 0) +
                                                             (int)random_below(&random, 10) + shift);
    snprintf(path, sizeof path, FOLDER "/%s/%s", side, class_name);
    assert_true(file_make_folder(path));
    snprintf(path, sizeof path, FOLDER "/%s/%s/%02d.png", side, class_name, number);
    assert_true(image_write_png(path, &image));
    image_free(&image);
}

static int make_pictures(void **state)
{
    (void)state;
    if (!file_remove(FOLDER))
        return 1;
    for (int i = 0; i < 20; i++) {
        write_squares("train", "blue", i, false, 1, 0);
        write_squares("train", "red", i, true, 1, 0);
    }
    for (int i = 0; i < 8; i++)
        write_squares("val", "red", i, true, 2, 0);
    for (int i = 0; i < 5; i++)
        write_squares("val", "blue", i, false, 2, 0);
    write_squares("val", "blue", 30, false, 3, 0);
    /* Two that were trained on: the same bytes, and a brighter copy. */
    write_squares("val", "red", 12, true, 1, 0);
    write_squares("val", "blue", 13, false, 1, 15);
    return 0;
}

/* Blocks that are done, and their scores, can be kept while others are still to come. */
static void count_block(void *context, const ProbeResult *so_far)
{
    int *blocks = context;
    assert_int_equal(so_far->block_count, ++*blocks);
    assert_true(so_far->blocks[*blocks - 1].best.top1 > 0.7);
}

static void blocks_are_probed(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    assert_non_null(b);
    b->recipe.encoder.depth = 5; /* as of a run that kept three */
    b->recipe.encoder.keep_blocks = 3;
    for (int kind = PROBE_KNN; kind <= PROBE_ATTENTIVE; kind++) {
        char *first = NULL;
        for (int threads = 1; threads <= 2; threads++) {
            ProbeOptions o = options_of((ProbeKind)kind, "all", threads);
            if (kind == PROBE_ATTENTIVE)
                o.lrs[0] = 0.01, o.lrs[1] = 0.03;
            ProbeResult r;
            Text json = {0}, svg = {0};
            int told = 0;
            o.block = count_block;
            o.context = &told;
            if (!probe_run(b, &o, &r))
                fail_msg("%s", error_text());
            assert_int_equal(told, 3);
            assert_true(r.block_count == 3 && r.train_count == 40 && r.val_count == 16 && r.class_count == 2);
            assert_string_equal(r.classes[1], "red"); /* by the training folder, whatever the held-out one's order */
            for (int l = 0; l < 3; l++) {
                const ProbeBlock *block = &r.blocks[l];
                assert_int_equal(block->block, l + 1);
                assert_true(block->norm == (kind == PROBE_KNN)); /* B.4 */
                assert_int_equal(block->count, 2); /* 5000 neighbours are left out; two seeds of the chosen rate */
                assert_int_equal(block->choice_count, kind == PROBE_KNN ? 0 : 4);
                assert_true(block->best.top1 > 0.7); /* colours are easily told apart, even by random weights */
                assert_true(block->best.low < block->best.top1 && block->best.top1 <= block->best.high);
                assert_true(fabs(block->best.top1 - (9 * block->by_class[1] + 7 * block->by_class[0]) / 16) < 1e-9);
                assert_true(block->best.top5 == 1);
            }
            assert_int_equal(r.apart_count, kind == PROBE_KNN ? 0 : 4);
            assert_int_equal(r.pairs, 2);
            assert_string_equal(r.shown_names[0][0], "blue/13.png");
            assert_string_equal(r.shown_names[0][1], "blue/13.png");
            assert_string_equal(r.shown_names[1][1], "red/12.png");
            probe_json(&r, &o, "runs/\"x\"", &json);
            probe_svg(&r, &o, "runs/<x>", &svg);
            json_t *root = json_loads(json.data, 0, NULL);
            assert_non_null(root);
            assert_string_equal(json_string_value(json_array_get(json_object_get(root, "classes"), 0)), "blue");
            assert_int_equal(json_array_size(json_object_get(root, "blocks")), 3);
            assert_int_equal(json_integer_value(json_object_get(root, "depth")), 3);
            assert_int_equal(json_integer_value(json_object_get(root, "full_depth")), 5);
            /* Never more than there are. */
            assert_int_equal(json_integer_value(json_object_get(root, "batch_size")), kind == PROBE_KNN ? 0 : 40);
            const char *on = json_string_value(json_object_get(root, "chosen_on"));
            assert_string_equal(on ? on : "none", kind == PROBE_KNN ? "none" : "split");
            json_decref(root);
            assert_non_null(strstr(svg.data, "runs/&lt;x>"));
            assert_non_null(strstr(svg.data, "</svg>"));
            assert_non_null(
                strstr(svg.data, kind == PROBE_KNN ? "kept, behind the final norm" : "kept, without the final norm"));
            if (first)
                assert_string_equal(first, json.data); /* threads change nothing */
            else
                first = memory_string(json.data);
            text_free(&json);
            text_free(&svg);
            probe_free(&r);
        }
        memory_free(first);
    }
    backbone_close(b);
}

static void the_last_block_goes_through_the_norm(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    ProbeOptions o = options_of(PROBE_LINEAR, "last", 1);
    ProbeResult r;
    assert_true(b && probe_run(b, &o, &r));
    assert_true(r.block_count == 1 && r.blocks[0].block == 3 && r.blocks[0].norm);
    probe_free(&r);
    backbone_close(b);
}

/* Held-out pictures in each other's folder: whoever has learnt is wrong there, and only a choice by them would prefer a head
 * that has not. With the rate that training pictures choose, the probe is what it would be with that rate alone. */
static void held_out_pictures_do_not_choose(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    assert_non_null(b);
    for (int i = 0; i < 8; i++) {
        write_squares("swapped", "red", i, false, 2, 0);
        write_squares("swapped", "blue", i, true, 2, 0);
    }
    for (int kind = PROBE_LINEAR; kind <= PROBE_ATTENTIVE; kind++) {
        ProbeOptions o = options_of((ProbeKind)kind, "last", 1);
        ProbeResult chosen, alone, on_val;
        Text json = {0};
        o.val = FOLDER "/swapped";
        o.epochs = 100; /* both kinds have learnt by then, whatever the kernels round */
        o.lrs[0] = 1e-9;
        o.lrs[1] = kind == PROBE_LINEAR ? 30 : 0.03;
        if (!probe_run(b, &o, &chosen))
            fail_msg("%s", error_text());
        const ProbeBlock *block = &chosen.blocks[0];
        assert_true(chosen.apart_count == 4 && block->count == 2 && block->choice_count == 4);
        assert_true(block->choice[3].setting == o.lrs[1] && block->choice[3].seed == 1);
        assert_true(block->choice[1].top1 > 0.7 && block->best.setting == o.lrs[1] && block->best.top1 < 0.3);
        o.choose_on_val = true;
        assert_true(probe_run(b, &o, &on_val));
        assert_true(on_val.apart_count == 0 && on_val.blocks[0].count == 4 && !on_val.blocks[0].choice);
        assert_true(on_val.blocks[0].best.setting == 1e-9 && on_val.blocks[0].best.top1 > block->best.top1);
        probe_json(&on_val, &o, "x", &json);
        assert_non_null(strstr(json.data, "\"chosen_on\": \"val\""));
        o.lrs[0] = o.lrs[1];
        o.lr_count = 1;
        o.choose_on_val = false;
        assert_true(probe_run(b, &o, &alone));
        assert_true(alone.apart_count == 0 && alone.blocks[0].count == 2 && !alone.blocks[0].choice);
        assert_memory_equal(alone.blocks[0].scores, block->scores, 2 * sizeof *block->scores);
        text_free(&json);
        probe_free(&chosen);
        probe_free(&alone);
        probe_free(&on_val);
    }
    backbone_close(b);
}

/* 1 of 9 is far above a run's data.max_bad. Some are in the wrong folder: one neighbour votes for one class (B.3). */
static void unreadable_and_mistaken_pictures(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    ProbeOptions o = options_of(PROBE_KNN, "last", 1);
    ProbeResult r;
    assert_non_null(b);
    for (int i = 0; i < 4; i++) {
        write_squares("torn", "red", i, true, 7, 0);
        write_squares("torn", "blue", i, i == 0, 7, 0);
    }
    assert_true(file_write(FOLDER "/torn/red/9.png", "no picture", 10));
    o.val = FOLDER "/torn";
    if (!probe_run(b, &o, &r))
        fail_msg("%s", error_text());
    assert_int_equal(r.val_count, 8);
    assert_true(r.blocks[0].scores[1].setting == 1 && r.blocks[0].scores[1].top1 < 1);
    assert_true(r.blocks[0].scores[1].top5 == r.blocks[0].scores[1].top1);
    assert_true(r.blocks[0].best.setting == 5 && r.blocks[0].best.top5 == 1);
    probe_free(&r);
    backbone_close(b);
}

static void sets_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    assert_non_null(b);
    ProbeOptions o = options_of(PROBE_KNN, "last", 1);
    ProbeResult r;
    write_squares("other", "green", 0, true, 1, 0);
    write_squares("other", "red", 0, true, 1, 0);
    o.val = FOLDER "/other";
    assert_false(probe_run(b, &o, &r));
    assert_non_null(strstr(error_text(), "class green"));
    probe_free(&r);
    o.val = FOLDER "/train/blue";
    assert_false(probe_run(b, &o, &r));
    assert_non_null(strstr(error_text(), "no labels"));
    probe_free(&r);
    backbone_close(b);
}

/* Without its twins nothing is left of such a set: no share is told. */
static void a_set_against_itself(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    ProbeOptions o = options_of(PROBE_KNN, "last", 1);
    ProbeResult r;
    Text json = {0};
    o.val = o.train;
    assert_true(b && probe_run(b, &o, &r));
    assert_true(r.pairs == r.val_count && isnan(r.blocks[0].top1_distinct));
    probe_json(&r, &o, "x", &json);
    assert_non_null(strstr(json.data, "\"top1_without_duplicates\": null"));
    text_free(&json);
    probe_free(&r);
    backbone_close(b);
}

static void intervals_are_wilsons(void **state)
{
    (void)state;
    double low, high;
    probe_interval(0.9, 1000, &low, &high);
    assert_true(fabs(low - 0.879852) < 1e-5 && fabs(high - 0.917089) < 1e-5);
    probe_interval(0, 10, &low, &high);
    assert_true(low < 1e-12 && fabs(high - 0.277535) < 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_probed),
        cmocka_unit_test(the_last_block_goes_through_the_norm),
        cmocka_unit_test(held_out_pictures_do_not_choose),
        cmocka_unit_test(unreadable_and_mistaken_pictures),
        cmocka_unit_test(sets_that_do_not_fit_are_refused),
        cmocka_unit_test(a_set_against_itself),
        cmocka_unit_test(intervals_are_wilsons),
    };
    return cmocka_run_group_tests(tests, make_pictures, NULL);
}
