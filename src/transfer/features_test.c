#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "transfer/tiny_backbone.h"

enum { PICTURES = 5, NUMBERS = 3 * 16 * 16, PLACES = 16, WIDTH = 12 };

static float images[PICTURES * NUMBERS];

static int draw_images(void **state)
{
    (void)state;
    Random random = random_stream(3, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < PICTURES * NUMBERS; i++)
        images[i] = (float)random_normal(&random);
    return 0;
}

static Features *open_features(Backbone *b, const char *device, int threads, int batch, const FeatureWant *wants, int count)
{
    FeaturesOptions o = {.batch = batch, .wants = wants, .count = count};
    assert_true(device_open(device, threads, &o.device));
    Features *f = features_open(b, &o);
    if (!f)
        fail_msg("%s", error_text());
    return f;
}

/* All pictures, `batch` at a time. */
static void read_all(Features *f, int batch, int want, float *out)
{
    size_t numbers = (size_t)(features_rows(f, want) * features_width(f, want));
    for (int i = 0; i < PICTURES; i += batch) {
        int some = PICTURES - i < batch ? PICTURES - i : batch;
        features_run(f, images + i * NUMBERS, some);
        features_read(f, want, some, out + (size_t)i * numbers);
    }
}

static double largest_difference(const float *a, const float *b, int count)
{
    double most = 0;
    for (int i = 0; i < count; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* Each pool is what it says of the tokens, of a block in the middle, of the last one, and behind the norm. */
static void pools_follow_from_tokens(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    assert_non_null(b);
    static const struct {
        int block;
        bool norm;
    } places[] = {{2, false}, {3, false}, {2, true}, {3, true}};
    for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
        FeatureWant wants[5];
        for (int i = 0; i < 5; i++)
            wants[i] = (FeatureWant){places[k].block, places[k].norm, (FeaturePool)i};
        float tokens[PICTURES * (PLACES + 1) * WIDTH], patches[PICTURES * PLACES * WIDTH], both[PICTURES * 2 * WIDTH],
            one[PICTURES * WIDTH];
        Features *f = open_features(b, "cpu", 2, PICTURES, wants, 5);
        read_all(f, PICTURES, 4, tokens);
        read_all(f, PICTURES, 3, patches);
        read_all(f, PICTURES, 2, both);
        for (int i = 0; i < PICTURES; i++) {
            const float *own = tokens + i * (PLACES + 1) * WIDTH;
            float mean[WIDTH] = {0};
            for (int l = 1; l <= PLACES; l++)
                for (int c = 0; c < WIDTH; c++)
                    mean[c] += own[l * WIDTH + c] / PLACES;
            assert_memory_equal(patches + i * PLACES * WIDTH, own + WIDTH, sizeof(float) * PLACES * WIDTH);
            assert_true(largest_difference(both + i * 2 * WIDTH, own, WIDTH) < 1e-5);
            assert_true(largest_difference(both + i * 2 * WIDTH + WIDTH, mean, WIDTH) < 1e-5);
        }
        features_close(f);
        /* Asked for alone, only the class token goes through the last block. */
        f = open_features(b, "cpu", 2, PICTURES, &wants[FEATURE_CLASS_TOKEN], 1);
        read_all(f, PICTURES, 0, one);
        for (int i = 0; i < PICTURES; i++)
            assert_true(largest_difference(one + i * WIDTH, tokens + i * (PLACES + 1) * WIDTH, WIDTH) < 1e-5);
        features_close(f);
    }
    backbone_close(b);
}

static void bytes_do_not_depend_on_threads_or_batches(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    assert_non_null(b);
    const FeatureWant wants[] = {{3, true, FEATURE_CONCAT}, {1, false, FEATURE_MEAN}};
    float first[2][PICTURES * 2 * WIDTH], other[PICTURES * 2 * WIDTH];
    for (int batch = 1; batch <= PICTURES; batch += 2)
        for (int threads = 1; threads <= 3; threads++) {
            Features *f = open_features(b, "cpu", threads, batch, wants, 2);
            for (int want = 0; want < 2; want++) {
                size_t bytes = sizeof(float) * PICTURES * (size_t)features_width(f, want);
                read_all(f, batch, want, batch == 1 && threads == 1 ? first[want] : other);
                if (batch > 1 || threads > 1)
                    assert_memory_equal(first[want], other, bytes);
            }
            features_close(f);
        }
    Features *f = open_features(b, "ref", 1, PICTURES, wants, 1);
    read_all(f, PICTURES, 0, other);
    assert_true(largest_difference(first[0], other, PICTURES * 2 * WIDTH) < 1e-4);
    features_close(f);
    backbone_close(b);
}

static void what_is_not_there_is_refused(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    assert_non_null(b);
    FeatureWant want = {4, false, FEATURE_MEAN}, *wants = NULL;
    FeaturesOptions o = {.batch = 1, .wants = &want, .count = 1};
    int count;
    assert_true(device_open("cpu", 1, &o.device));
    assert_null(features_open(b, &o));
    assert_non_null(strstr(error_text(), "blocks 1 to 3"));
    assert_false(features_wants(&b->recipe, "0", FEATURE_MEAN, false, &wants, &count));
    assert_false(features_wants(&b->recipe, "2x", FEATURE_MEAN, false, &wants, &count));
    assert_non_null(strstr(error_text(), "'2x'"));
    assert_true(features_wants(&b->recipe, "last", FEATURE_MEAN, false, &wants, &count));
    assert_true(count == 1 && wants[0].block == 3 && wants[0].norm);
    memory_free(wants);
    assert_true(features_wants(&b->recipe, "all", FEATURE_MEAN, false, &wants, &count));
    assert_true(count == 3 && wants[2].block == 3 && !wants[2].norm);
    memory_free(wants);
    b->recipe.encoder.class_token = false;
    want = (FeatureWant){3, false, FEATURE_CONCAT};
    assert_null(features_open(b, &o));
    assert_non_null(strstr(error_text(), "no class token"));
    b->recipe.decoders[0].tap = 3;
    want = (FeatureWant){3, true, FEATURE_MEAN};
    assert_null(features_open(b, &o));
    assert_non_null(strstr(error_text(), "no final norm"));
    backbone_close(b);
}

/* docs/spec/analysis.md 6: case T without its last block, whose final norm stays. The weights are those of backbones.md 2.7. */
static void the_last_block_is_left_out_of_case_t(void **state)
{
    (void)state;
    enum { COUNT = 8, SIDE_NUMBERS = 3 * 16 * 16, TOKENS = 17, OUT = COUNT * TOKENS * 8 };
    static const char text[] = "image: {size: 16, mean: [0, 0, 0], std: [1, 1, 1]}\n"
                               "encoder: {patch: 4, width: 8, depth: 2, heads: 2, mlp_ratio: 2}\n"
                               "decoders: [{tap: last, width: 8, depth: 1, heads: 2}]\n";
    static const char *const own[] = {"patch_embed.proj.weight", "patch_embed.proj.bias", "cls_token"},
                             *const of_block[] = {"norm1.weight",     "norm1.bias",     "attn.qkv.weight", "attn.qkv.bias",
                                                  "attn.proj.weight", "attn.proj.bias", "norm2.weight",    "norm2.bias",
                                                  "mlp.fc1.weight",   "mlp.fc1.bias",   "mlp.fc2.weight",  "mlp.fc2.bias"};
    static const double first[] = {1.248807, -1.165798, .882951, -1.595764, -.218496, -.186333, -.009772, .336063};
    static float pictures[COUNT * SIDE_NUMBERS], out[OUT];
    Recipe r;
    assert_true(recipe_parse(&r, text, sizeof text - 1, "case T") && recipe_check(&r));
    Backbone *whole = backbone_new(&r);
    assert_true(recipe_set(&r, "encoder.keep_blocks=1"));
    Backbone *kept = backbone_new(&r);
    assert_true(whole && kept);
    for (int t = 0; t < 3 + 2 * 12 + 2; t++) {
        char name[64];
        snprintf(name, sizeof name, "%s", t < 3 ? own[t] : t == 27 ? "norm.weight" : "norm.bias");
        if (t >= 3 && t < 27)
            snprintf(name, sizeof name, "blocks.%d.%s", (t - 3) / 12, of_block[(t - 3) % 12]);
        int at = param_find(&whole->params, name);
        assert_true(at >= 0);
        const Param *p = &whole->params.params[at];
        bool gain = strstr(name, "norm") && strstr(name, "weight");
        for (int64_t i = 0; i < p->count; i++) {
            double g = sin(0.37 * t + 1.7 * (double)i + 0.011 * (double)(i * i));
            whole->weights[p->offset + i] = (float)(gain ? 1 + 0.2 * g : 0.5 * g);
        }
    }
    assert_true(backbone_take(kept, &whole->params, whole->weights));
    for (int i = 0; i < COUNT * SIDE_NUMBERS; i++)
        pictures[i] = (float)cos(0.9 * i + 0.017 * (double)i * i);
    FeatureWant *wants;
    int count;
    assert_true(features_wants(&kept->recipe, "last", FEATURE_TOKENS, false, &wants, &count));
    assert_true(count == 1 && wants[0].block == 1 && wants[0].norm);
    Features *f = open_features(kept, "ref", 1, COUNT, wants, 1);
    features_run(f, pictures, COUNT);
    features_read(f, 0, COUNT, out);
    double sum = 0;
    for (int i = 0; i < OUT; i++)
        sum += (double)out[i];
    for (int i = 0; i < 8; i++)
        if (fabs((double)out[i] - first[i]) > 2e-5)
            fail_msg("number %d is %.6f, expected %.6f", i, (double)out[i], first[i]);
    if (fabs(sum + 76.161106) > 1e-3)
        fail_msg("the sum is %.6f", sum);
    memory_free(wants);
    features_close(f);
    backbone_close(kept);
    backbone_close(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_follow_from_tokens),
        cmocka_unit_test(bytes_do_not_depend_on_threads_or_batches),
        cmocka_unit_test(what_is_not_there_is_refused),
        cmocka_unit_test(the_last_block_is_left_out_of_case_t),
    };
    return cmocka_run_group_tests(tests, draw_images, NULL);
}
