/* What is exported: names and shapes that timm expects, its config, and an example that says the truth. What timm makes of it
 * is tests/oracle/timm_export.py's matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "train/checkpoint.h"
#include "transfer/export.h"
#include "transfer/features.h"

#define HOME "export_test.tmp"
#define RUN  HOME "/run"
#define OUT  HOME "/out"

static Recipe recipe;
static Device device;

static int begin(void **state)
{
    (void)state;
    static const char text[] = "image: {size: [8, 12], mean: [0.5, 0.25, 0.125], std: [0.25, 0.5, 0.75]}\n"
                               "encoder: {patch: 4, width: 12, depth: 2, heads: 2}\n"
                               "decoders: [{tap: 1, width: 8, depth: 1, heads: 2}, {tap: last, width: 8, depth: 1, heads: 2}]\n"
                               "run: {seed: 5}\n";
    return file_remove(HOME) && file_make_folder(HOME) && recipe_parse(&recipe, text, sizeof text - 1, "test") &&
                   device_open("cpu", 1, &device)
               ? 0
               : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

/* A run of that recipe with its first weights. */
static void save_run(void)
{
    TrainerOptions options = {.device = device, .batch = 2, .micro_batch = 2};
    if (!recipe_check(&recipe))
        fail_msg("%s", error_text());
    Trainer *t = trainer_open(&recipe, &options);
    CheckpointMeta meta = {.step = 1,
                           .steps_per_epoch = 4,
                           .pictures = 9,
                           .channels = 3,
                           .mean = {0.5f, 0.25f, 0.125f},
                           .std = {0.25f, 0.5f, 0.75f}};
    assert_true(t && file_remove(RUN) && file_make_folder(RUN) && checkpoint_save(RUN, t, &recipe, &meta, 1));
    trainer_close(t);
}

static SafeTensors *open_out(const char *name)
{
    char *path = file_join(OUT, name);
    SafeTensors *file = safetensors_open(path);
    if (!file)
        fail_msg("%s", error_text());
    memory_free(path);
    return file;
}

static json_t *read_config(void)
{
    json_t *config = json_load_file(OUT "/config.json", 0, NULL);
    assert_non_null(config);
    return config;
}

static void expect_shape(const SafeTensors *file, const char *name, int ndim, const int64_t *shape)
{
    if (!safetensors_need(file, name, ndim, shape))
        fail_msg("%s", error_text());
}

static void a_folder_for_timm(void **state)
{
    (void)state;
    save_run();
    if (!export_timm(RUN, OUT, &device, NULL))
        fail_msg("%s", error_text());
    SafeTensors *model = open_out("model.safetensors"), *decoders = open_out("decoders.safetensors");
    expect_shape(model, "cls_token", 3, (const int64_t[]){1, 1, 12});
    expect_shape(model, "pos_embed", 3, (const int64_t[]){1, 7, 12});
    expect_shape(model, "patch_embed.proj.weight", 4, (const int64_t[]){12, 3, 4, 4});
    expect_shape(model, "blocks.1.attn.qkv.bias", 1, (const int64_t[]){36});
    expect_shape(model, "norm.weight", 1, (const int64_t[]){12});
    assert_int_equal(safetensors_count(model), 4 + 2 * 12 + 2);
    assert_string_equal(safetensors_metadata(model, "format"), "pt");
    expect_shape(decoders, "decoders.1.pred.weight", 2, (const int64_t[]){48, 8});
    for (size_t i = 0; i < safetensors_count(decoders); i++)
        assert_memory_equal(safetensors_at(decoders, i)->name, "decoders.", 9);
    safetensors_close(model);
    safetensors_close(decoders);
    json_t *config = read_config(), *args = json_object_get(config, "model_args"),
           *cfg = json_object_get(config, "pretrained_cfg");
    int height, width, input[3];
    double mean[3];
    const char *pool;
    assert_int_equal(json_unpack(args, "{s:[i,i],s:s}", "img_size", &height, &width, "global_pool", &pool), 0);
    assert_true(height == 8 && width == 12 && !strcmp(pool, "token"));
    assert_int_equal(json_unpack(cfg, "{s:[i,i,i],s:[f,f,f]}", "input_size", &input[0], &input[1], &input[2], "mean", &mean[0],
                                 &mean[1], &mean[2]),
                     0);
    assert_true(input[0] == 3 && input[1] == 8 && input[2] == 12 && mean[1] == 0.25);
    json_decref(config);
}

/* encoder.keep_blocks: an encoder of so many blocks, for timm and for whoever opens the file alone. */
static void blocks_that_are_kept(void **state)
{
    (void)state;
    int depth;
    Recipe read;
    assert_true(recipe_set(&recipe, "encoder.depth=5") && recipe_set(&recipe, "encoder.keep_blocks=2"));
    save_run();
    if (!export_timm(RUN, OUT, &device, NULL) || !export_safetensors(RUN, HOME "/encoder.safetensors", NULL))
        fail_msg("%s", error_text());
    SafeTensors *model = open_out("model.safetensors");
    assert_int_equal(safetensors_count(model), 4 + 2 * 12 + 2);
    safetensors_close(model);
    json_t *config = read_config();
    assert_int_equal(json_unpack(json_object_get(config, "model_args"), "{s:i}", "depth", &depth), 0);
    assert_int_equal(depth, 2);
    json_decref(config);
    assert_true(checkpoint_recipe(HOME "/encoder.safetensors", &read));
    assert_int_equal(recipe_depth(&read), 2);
}

static void the_example_says_the_truth(void **state)
{
    (void)state;
    save_run();
    assert_true(export_timm(RUN, OUT, &device, NULL));
    SafeTensors *example = open_out("example.safetensors");
    float images[2 * 3 * 8 * 12], tokens[2 * 7 * 12], mine[2 * 7 * 12];
    expect_shape(example, "image", 4, (const int64_t[]){2, 3, 8, 12});
    expect_shape(example, "tokens", 3, (const int64_t[]){2, 7, 12});
    safetensor_to_f32(safetensors_find(example, "image"), images);
    safetensor_to_f32(safetensors_find(example, "tokens"), tokens);
    Device ref;
    assert_true(device_open("ref", 1, &ref));
    Backbone *b = backbone_open(RUN, NULL);
    FeatureWant want = {.block = 2, .norm = true, .pool = FEATURE_TOKENS};
    Features *f = features_open(b, &(FeaturesOptions){.device = ref, .batch = 2, .wants = &want, .count = 1});
    assert_non_null(f);
    features_run(f, images, 2);
    features_read(f, 0, 2, mine);
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++)
        assert_float_equal(mine[i], tokens[i], 1e-5);
    features_close(f);
    backbone_close(b);
    safetensors_close(example);
}

static void forms_that_timm_has_otherwise(void **state)
{
    (void)state;
    assert_true(recipe_set(&recipe, "encoder.qkv_bias=no_k") && recipe_set(&recipe, "encoder.patch_bias=false") &&
                recipe_set(&recipe, "encoder.class_token=0") && recipe_set(&recipe, "encoder.position=none") &&
                recipe_set(&recipe, "encoder.input=mask_token"));
    save_run();
    if (!export_timm(RUN, OUT, &device, NULL))
        fail_msg("%s", error_text());
    SafeTensors *model = open_out("model.safetensors"), *decoders = open_out("decoders.safetensors");
    expect_shape(model, "blocks.0.attn.qkv.bias", 1, (const int64_t[]){36});
    expect_shape(model, "patch_embed.proj.bias", 1, (const int64_t[]){12});
    assert_null(safetensors_find(model, "blocks.0.attn.q_bias"));
    assert_null(safetensors_find(model, "blocks.0.attn.v_bias"));
    assert_null(safetensors_find(model, "mask_token"));
    assert_non_null(safetensors_find(decoders, "mask_token"));
    float bias[36];
    safetensor_to_f32(safetensors_find(model, "blocks.0.attn.qkv.bias"), bias);
    for (int i = 12; i < 24; i++)
        assert_true(bias[i] == 0);
    safetensors_close(model);
    safetensors_close(decoders);
    json_t *config = read_config();
    const char *pool, *position;
    assert_int_equal(json_unpack(config, "{s:{s:s,s:s}}", "model_args", "global_pool", &pool, "pos_embed", &position), 0);
    assert_string_equal(pool, "avg");
    assert_string_equal(position, "none");
    json_decref(config);
}

static void what_timm_lacks_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const keys[] = {"encoder={input: mask_token, position: relative}", "encoder.class_token=2",
                                       "encoder.norm_eps=1e-5"};
    static const char *const words[] = {"encoder.position", "encoder.class_token", "encoder.norm_eps"};
    Recipe plain = recipe;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        recipe = plain;
        assert_true(recipe_set(&recipe, keys[i]) && file_remove(RUN));
        save_run();
        assert_false(export_timm(RUN, OUT, &device, NULL));
        assert_non_null(strstr(error_text(), words[i]));
        assert_false(file_exists(OUT));
    }
    /* Its own file does not mind. */
    if (!export_safetensors(RUN, OUT, NULL))
        fail_msg("%s", error_text());
    SafeTensors *file = safetensors_open(OUT);
    assert_non_null(file);
    assert_non_null(safetensors_metadata(file, "recipe"));
    assert_null(safetensors_find(file, "decoders.0.pred.weight"));
    assert_non_null(safetensors_find(file, "blocks.0.attn.qkv.weight"));
    safetensors_close(file);
    /* What is there stays. */
    assert_false(export_safetensors(RUN, OUT, NULL));
    assert_non_null(strstr(error_text(), "is there already"));
    assert_false(export_timm(RUN, OUT, &device, NULL));
    assert_non_null(strstr(error_text(), "is there already"));
}

static void want_of_memory_and_disk_leave_nothing(void **state)
{
    (void)state;
    save_run();
    for (uint64_t n = 1;; n++) {
        memory_fail_at(n);
        bool done = export_timm(RUN, OUT, &device, NULL);
        memory_fail_at(0);
        if (done)
            break;
        assert_non_null(strstr(error_text(), "memory"));
        assert_false(file_exists(OUT));
        assert_false(file_exists(OUT ".tmp"));
    }
    assert_false(file_exists(OUT ".tmp"));
    assert_true(file_remove(OUT));
    for (uint64_t n = 1;; n++) {
        file_fail_at(n);
        bool done = export_timm(RUN, OUT, &device, NULL);
        file_fail_at(0);
        if (done)
            break;
        assert_non_null(strstr(error_text(), "o space left"));
        assert_false(file_exists(OUT));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(a_folder_for_timm, begin, end),
                                       cmocka_unit_test_setup_teardown(blocks_that_are_kept, begin, end),
                                       cmocka_unit_test_setup_teardown(the_example_says_the_truth, begin, end),
                                       cmocka_unit_test_setup_teardown(forms_that_timm_has_otherwise, begin, end),
                                       cmocka_unit_test_setup_teardown(what_timm_lacks_is_refused_by_name, begin, end),
                                       cmocka_unit_test_setup_teardown(want_of_memory_and_disk_leave_nothing, begin, end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
