/* The exact savings of decoders against the long way round, in f64: the same losses and the same gradients. */
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
#include "base/memory.h"
#include "base/random.h"
#include "mim/model.h"
#include "ops/fill/fill.h"

enum { SIDE = 16, PLACES = 16, PICTURES = 12, NUMBERS = 3 * SIDE * SIDE };

static Recipe recipe;
static int depth = 3;
static float images[PICTURES * NUMBERS];
static uint8_t hidden[PICTURES * PLACES], kept[64 * PICTURES];

/* A program of some pictures, its parameters random. */
typedef struct {
    Mim mim;
    ParamSet set, teacher_set;
    Tape *tape;
    Program *program;
} Built;

static void parse(const char *encoder, const char *decoders, const char *rest)
{
    char text[1024];
    snprintf(text, sizeof text, "image: {size: 16}\nencoder: {patch: 4, width: 16, depth: %d, heads: 2%s}\ndecoders:\n%s%s",
             depth, encoder, decoders, rest);
    if (!recipe_parse(&recipe, text, strlen(text), "the test's recipe") || !recipe_check(&recipe))
        fail_msg("%s", error_text());
}

static int begin(void **state)
{
    (void)state;
    Random random = random_stream(1, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < PICTURES * NUMBERS; i++)
        images[i] = (float)random_normal(&random);
    for (int i = 0; i < PICTURES; i++) {
        memset(hidden + i * PLACES, 1, PLACES);
        for (int seen = 0; seen < 4;) {
            uint8_t *place = &hidden[i * PLACES + (int)random_below(&random, PLACES)];
            seen += *place;
            *place = 0;
        }
    }
    for (size_t i = 0; i < sizeof kept; i++)
        kept[i] = random_below(&random, 4) > 0;
    return 0;
}

/* Weights from their names alone, so that both forms have the same. */
static void fill_parameters(Program *program, const ParamSet *set, const char *trained_name, const char *fixed_name)
{
    double *trained = program_storage(program, trained_name), *fixed = program_storage(program, fixed_name);
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        Random random = random_stream(2, RANDOM_TEST, 0, 0, random_hash(p->name));
        for (int64_t k = 0; k < p->count; k++)
            (p->kind == PARAM_TRAINED ? trained : fixed)[p->offset + k] =
                0.3 * random_normal(&random) + (p->init.kind == INIT_CONSTANT ? p->init.a : 0);
    }
}

static void build(Built *b, int batch, bool plain, bool evaluate)
{
    static const char *const names[] = {"loss.0", "loss.1", "loss.2", "loss.3"};
    Device device;
    *b = (Built){.tape = tape_new()};
    MimTeacher teacher = mim_teacher_alike(&recipe, 2);
    assert_true(device_open("ref64", 1, &device));
    if (!mim_open(&b->mim, &recipe, &teacher, &b->teacher_set, batch, plain, evaluate, false))
        fail_msg("%s", error_text());
    Segment first = evaluate ? SEGMENT_EVALUATE : SEGMENT_FIRST, last = evaluate ? SEGMENT_EVALUATE : SEGMENT_LAST;
    for (int s = (int)first; s <= (int)last; s++) {
        Ref losses[RECIPE_DECODERS_MAX];
        double weights[RECIPE_DECODERS_MAX];
        tape_segment(b->tape, (Segment)s);
        tape_use_params(b->tape, &b->set, "params", !evaluate);
        mim_forward(b->tape, &b->mim, losses);
        for (int k = 0; k < recipe.decoder_count; k++) {
            tape_keep(b->tape, losses[k], names[k]);
            weights[k] = recipe.decoders[k].weight;
        }
        if (!evaluate)
            tape_gradient(b->tape, losses, weights, recipe.decoder_count, fill);
    }
    b->program = program_make(b->tape, &device, NULL, 0);
    if (!b->program)
        fail_msg("%s", error_text());
    fill_parameters(b->program, &b->set, "params", "params.fixed");
    fill_parameters(b->program, &b->teacher_set, "teacher", "teacher.fixed");
}

static void drop(Built *b)
{
    program_free(b->program);
    tape_free(b->tape);
    param_set_free(&b->set);
    param_set_free(&b->teacher_set);
}

/* Runs pictures first.. through a segment and adds its losses. */
static void run(Built *b, Segment segment, int first, int count, double losses[RECIPE_DECODERS_MAX])
{
    int64_t batch_hidden = (int64_t)PICTURES * (PLACES - b->mim.visible);
    MimPictures pictures = {.images = images + first * NUMBERS, .hidden = hidden + first * PLACES};
    mim_feed(b->program, &b->mim, &pictures, count, kept + first, PICTURES, PICTURES, batch_hidden);
    program_run(b->program, segment);
    for (int k = 0; k < recipe.decoder_count; k++) {
        char name[32];
        snprintf(name, sizeof name, "loss.%d", k);
        losses[k] += *(const double *)program_kept(b->program, segment, name);
    }
}

static void assert_close(const char *what, double got, double expect, double size)
{
    if (!(fabs(got - expect) <= 1e-11 * size))
        fail_msg("%s: %.17g and not %.17g (size %g)", what, got, expect, size);
}

static void compare_losses(const double *got, const double *expect)
{
    for (int k = 0; k < recipe.decoder_count; k++) {
        assert_true(expect[k] > 0);
        assert_close("a loss", got[k], expect[k], expect[k]);
    }
}

/* A step in micro-batches of that many pictures. */
static void step(Built *b, int batch, double losses[RECIPE_DECODERS_MAX])
{
    memset(losses, 0, RECIPE_DECODERS_MAX * sizeof *losses);
    for (int first = 0; first < PICTURES; first += batch)
        run(b, first == 0 ? SEGMENT_FIRST : first + batch < PICTURES ? SEGMENT_MORE : SEGMENT_LAST, first, batch, losses);
}

/* Losses and gradients of a step, short in micro-batches of several sizes against plain at once. Returns the share of
 * operations that is left. */
static double compare_step(void)
{
    Built plain;
    double expect[RECIPE_DECODERS_MAX], losses[RECIPE_DECODERS_MAX], share = 0;
    build(&plain, PICTURES, true, false);
    assert_true(plain.mim.drop.count * PICTURES <= (int)sizeof kept);
    step(&plain, PICTURES, expect);
    const double *right = program_storage(plain.program, "params.grad");
    for (int batch = PICTURES; batch >= 1; batch /= 3) { /* 12, 4, and 1, of which nothing is shared */
        Built b;
        build(&b, batch, false, false);
        step(&b, batch, losses);
        compare_losses(losses, expect);
        const double *gradient = program_storage(b.program, "params.grad");
        assert_int_equal(b.set.count, plain.set.count);
        for (size_t i = 0; i < b.set.count; i++) {
            const Param *p = &b.set.params[i];
            assert_string_equal(p->name, plain.set.params[i].name);
            assert_int_equal(p->offset, plain.set.params[i].offset);
            double size = 0;
            for (int64_t k = p->offset; p->kind == PARAM_TRAINED && k < p->offset + p->count; k++)
                size = fmax(size, fabs(right[k]));
            assert_true(size > 0 || p->kind != PARAM_TRAINED);
            for (int64_t k = p->offset; p->kind == PARAM_TRAINED && k < p->offset + p->count; k++)
                assert_close(p->name, gradient[k], right[k], fmax(size, 1e-3));
        }
        if (batch == PICTURES)
            share = program_cost(b.program, SEGMENT_FIRST).flops / program_cost(plain.program, SEGMENT_FIRST).flops;
        drop(&b);
    }
    drop(&plain);
    return share;
}

/* Forward only, in a program with room for one picture more. */
static void compare_evaluation(void)
{
    Built plain, b;
    double expect[RECIPE_DECODERS_MAX] = {0}, losses[RECIPE_DECODERS_MAX] = {0};
    build(&plain, 6, true, true);
    build(&b, 6, false, true);
    run(&plain, SEGMENT_EVALUATE, 0, 5, expect);
    run(&b, SEGMENT_EVALUATE, 0, 5, losses);
    compare_losses(losses, expect);
    drop(&plain);
    drop(&b);
}

static void every_form_matches_the_plain_one(void **state)
{
    (void)state;
    static const char *const encoders[] = {"", ", class_token: 0", ", qkv_bias: no_k", ", qkv_bias: false, drop_path: 0.3",
                                           ", init: beit, layer_scale: 0.1, final_norm: false"};
    static const char *const decoders[] = {"  - {tap: last, width: 8, depth: 1, heads: 2}\n",
                                           "  - {tap: last, width: 8, depth: 2, heads: 2, drop_path: 0.4}\n",
                                           "  - {tap: last, width: 12, depth: 3, heads: 3, drop_path: 0.4}\n",
                                           "  - {tap: 1, width: 8, depth: 1, heads: 2}\n"
                                           "  - {tap: 2, width: 12, depth: 2, heads: 1, loss: {on: all}}\n"
                                           "  - {tap: last, width: 8, depth: 1, heads: 2, loss: {on: all}}\n"};
    static const char *const losses[] = {"", "loss: {on: all}\n"};
    for (size_t e = 0; e < sizeof encoders / sizeof *encoders; e++)
        for (size_t d = 0; d < sizeof decoders / sizeof *decoders; d++)
            for (size_t l = 0; l < sizeof losses / sizeof *losses; l++) {
                if (l && d == 3)
                    continue;
                parse(encoders[e], decoders[d], losses[l]);
                /* With the loss on all places hardly more than mask tokens is saved. */
                assert_true(compare_step() < (l || d == 3 ? 0.95 : 0.9));
                compare_evaluation();
            }
}

/* Where hidden patches enter the encoder as mask tokens, all of them are one in the first block, and the last block is carried
 * out where linear decoders look; of blocks, of which every picture has another number, nothing is spared. */
static void mask_tokens_in_the_encoder_match_too(void **state)
{
    (void)state;
    static const char *const encoders[] = {"", ", class_token: 0, position: learned", ", position: relative, qkv_bias: no_k",
                                           ", position: none, norm_pre: true, layer_scale: 0.1, drop_path: 0.3",
                                           ", class_token: 2, position: relative_per_block"},
                             *const decoders[] =
                                 {"  - {tap: 2, kind: linear, loss: {on: all}}\n"
                                  "  - {tap: last, kind: transformer, width: 8, depth: 1, heads: 2}\n",
                                  "  - {tap: last, kind: linear}\n  - {tap: 3, kind: pixel_shuffle}\n",
                                  "  - {tap: last, kind: linear}\n  - {tap: last, kind: linear, loss: {on: all}}\n",
                                  "  - {tap: last, kind: linear}\n  - {tap: 2, kind: linear, loss: {on: all}}\n"},
                             *const rest[] = {"", "mask: {kind: unit, unit: 8, ratio: 0.7}\n", "mask: {kind: block}\n"};
    char encoder[128];
    for (size_t e = 0; e < sizeof encoders / sizeof *encoders; e++)
        for (size_t d = 0; d < sizeof decoders / sizeof *decoders; d++)
            for (size_t k = 0; k < sizeof rest / sizeof *rest; k++) {
                snprintf(encoder, sizeof encoder, ", input: mask_token%s", encoders[e]);
                parse(encoder, decoders[d], rest[k]);
                double share = compare_step();
                assert_true(k == 2 ? share == 1 : share < (d % 2 ? 0.9 : 0.97));
                compare_evaluation();
            }
    depth = 1;
    parse(", input: mask_token, position: relative", "  - {kind: pixel_shuffle}\n", "");
    assert_true(compare_step() < 0.95);
    depth = 3;
}

/* Each kind of target, with and without class tokens among the places that count. */
static void every_target_matches_too(void **state)
{
    (void)state;
    static const char *const encoders[] = {"", ", class_token: 2, position: learned", ", class_token: 2"},
                             *const targets[] = {"{kind: hog, cell: 2}", "{normalise: window, window: 5}",
                                                 "{kind: features, normalise: token, class_token: true}",
                                                 "{kind: features, final_norm: true}"},
                             *const masked[] = {", input: mask_token, position: relative",
                                                ", input: mask_token, position: relative_per_block, class_token: 0"};
    char rest[200];
    for (size_t k = 0; k < sizeof targets / sizeof *targets; k++) {
        for (size_t e = 0; e < sizeof encoders / sizeof *encoders; e++) {
            snprintf(rest, sizeof rest, "target: %s\n", targets[k]);
            parse(encoders[e],
                  "  - {tap: 2, width: 8, depth: 2, heads: 2, loss: {on: all}}\n"
                  "  - {tap: last, width: 8, depth: 2, heads: 2}\n",
                  rest);
            assert_true(compare_step() < 1);
            compare_evaluation();
        }
        for (size_t e = 0; e < 2; e++) {
            if (e && strstr(targets[k], "class_token"))
                continue;
            snprintf(rest, sizeof rest, "target: %s\nmask: {kind: unit, unit: 8, ratio: 0.7}\n", targets[k]);
            parse(masked[e], "  - {tap: 2, kind: linear}\n  - {tap: last, kind: linear, loss: {on: all}}\n", rest);
            assert_true(compare_step() <= 1);
            compare_evaluation();
        }
    }
    parse(masked[0], "  - {kind: pixel_shuffle}\n", "mask: {kind: unit, unit: 8, ratio: 0.7}\n");
    assert_true(compare_step() < 0.9);
    parse(masked[0], "  - {kind: linear}\n", "target: {kind: features, normalise: token, class_token: true}\n");
    assert_true(compare_step() < 0.95);
    compare_evaluation();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_matches_the_plain_one),
        cmocka_unit_test(mask_tokens_in_the_encoder_match_too),
        cmocka_unit_test(every_target_matches_too),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
