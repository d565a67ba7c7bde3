/* The whole of `lacuna analyse` on runs that the test writes itself: every file is there, numbers do not depend on batches, a
 * model beside itself is the same, unreadable pictures are left out, want of memory is told. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "analysis/analyse.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/draw.h"
#include "train/checkpoint.h"

#define HOME "analyse_test.tmp"
#define DATA HOME "/pictures"

enum { PICTURES = 9 };

static Device device;
static int cka_batch = 256, told_of; /* of the analyses below; unreadable pictures */

/* A run with its first weights. */
static void save_run(const char *run, const char *text)
{
    Recipe r;
    TrainerOptions options = {.device = device, .batch = 2, .micro_batch = 2};
    if (!recipe_parse(&r, text, strlen(text), "test") || !recipe_check(&r))
        fail_msg("%s", error_text());
    Trainer *t = trainer_open(&r, &options);
    CheckpointMeta meta = {.step = 1,
                           .steps_per_epoch = 4,
                           .pictures = 9,
                           .channels = 3,
                           .mean = {0.5f, 0.25f, 0.125f},
                           .std = {0.25f, 0.5f, 0.75f}};
    assert_true(t && file_make_folder(run) && checkpoint_save(run, t, &r, &meta, 1));
    trainer_close(t);
}

static int begin(void **state)
{
    (void)state;
    if (!file_remove(HOME) || !file_make_folder(DATA) || !device_open("cpu", 2, &device))
        return 1;
    for (int i = 0; i < PICTURES; i++) {
        Image image;
        char name[64];
        snprintf(name, sizeof name, DATA "/%d.png", i);
        if (!image_new(&image, 14, 18, 3))
            return 1;
        for (size_t k = 0; k < image_size(&image); k++)
            image.data[k] = (uint8_t)(k * (size_t)(3 + i) + k / 40 * (size_t)(7 * i));
        if (!image_write_png(name, &image))
            return 1;
        image_free(&image);
    }
    save_run(HOME "/one", "image: {size: [8, 12], mean: [0.5, 0.25, 0.125], std: [0.25, 0.5, 0.75]}\n"
                          "encoder: {patch: 4, width: 12, depth: 2, heads: 2}\n"
                          "decoders: [{tap: 1, width: 8, depth: 1, heads: 2}, {tap: last, width: 8, depth: 1, heads: 2}]\n"
                          "run: {seed: 5}\n");
    save_run(HOME "/two",
             "image: {size: 12, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}\n"
             "encoder: {patch: 3, width: 8, depth: 4, keep_blocks: 3, heads: 1, class_token: false, position: learned}\n"
             "decoders: [{tap: last, target: {kind: hog, cell: 3}, width: 8, depth: 1, heads: 2}]\n"
             "run: {seed: 6}\n");
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static void forget(void *context, const char *key, const char *reason)
{
    (void)reason;
    told_of++;
    snprintf(context, 64, "%s", key);
}

static bool analyse(const char *const *from, int count, const char *out, int batch, char bad[64], size_t *pictures)
{
    Text notes = {0};
    bool ok = analyse_write(&(AnalyseOptions){.from = from,
                                              .count = count,
                                              .data = DATA,
                                              .out = out,
                                              .device = device,
                                              .batch = batch,
                                              .cka_batch = cka_batch,
                                              .bad = forget,
                                              .context = bad},
                            &notes, pictures);
    text_free(&notes);
    return ok;
}

static char *read_text(const char *path)
{
    size_t size;
    char *text = file_read(path, 0, &size);
    if (!text)
        fail_msg("%s", error_text());
    return text;
}

static void same_file(const char *a, const char *b)
{
    char *x = read_text(a), *y = read_text(b);
    assert_string_equal(x, y);
    memory_free(x);
    memory_free(y);
}

static void models_that_have_little_in_common(void **state)
{
    (void)state;
    const char *from[] = {HOME "/one", HOME "/two/"};
    static const struct {
        const char *name;
        size_t rows;
    } tables[] = {{"heads", 4 + 3},     {"pairs", 4},  {"layers", 3 + 4}, {"frequencies", 3 * 1 + 4 * 2},
                  {"cka", 9 + 12 + 16}, {"weights", 0}};
    char bad[64] = "";
    size_t pictures;
    if (!analyse(from, 2, HOME "/out", 4, bad, &pictures))
        fail_msg("%s", error_text());
    assert_int_equal(pictures, PICTURES);
    assert_string_equal(bad, "");
    char *text = read_text(HOME "/out/numbers.json");
    json_error_t fault;
    json_t *root = json_loads(text, 0, &fault);
    if (!root)
        fail_msg("numbers.json: %s", fault.text);
    for (size_t t = 0; t < 5; t++)
        if (json_array_size(json_object_get(root, tables[t].name)) != tables[t].rows)
            fail_msg("%s has %zu rows", tables[t].name, json_array_size(json_object_get(root, tables[t].name)));
    const json_t *two = json_array_get(json_object_get(root, "models"), 1);
    assert_int_equal(json_integer_value(json_object_get(two, "blocks")), 3);
    assert_int_equal(json_integer_value(json_object_get(two, "full_depth")), 4);
    char *page = read_text(HOME "/out/report.html");
    assert_true(strstr(page, "width 12, 2 blocks,") && strstr(page, "width 8, 3 of 4 blocks,"));
    memory_free(page);
    /* A layer is like itself; one head has no other. */
    const json_t *cka = json_object_get(root, "cka"), *heads = json_object_get(root, "heads");
    assert_true(fabs(json_number_value(json_object_get(json_array_get(cka, 0), "cka")) - 1) < 1e-9);
    /* Class tokens are the same in every picture until they have looked at it; the second model has none. */
    assert_true(json_is_null(json_object_get(json_array_get(cka, 0), "cka_class")));
    assert_true(fabs(json_number_value(json_object_get(json_array_get(cka, 8), "cka_class")) - 1) < 1e-9);
    assert_true(json_is_null(json_object_get(json_array_get(cka, 20), "cka_class")));
    assert_true(json_is_null(json_object_get(json_array_get(cka, 36), "cka_class")));
    assert_true(json_number_value(json_object_get(json_array_get(cka, 36), "cka")) > 0);
    assert_true(json_is_null(json_object_get(json_array_get(heads, 6), "kl")));
    assert_true(json_number_value(json_object_get(json_array_get(heads, 0), "kl")) > 0);
    json_decref(root);
    memory_free(text);
    assert_true(file_exists(HOME "/out/pictures/1-reconstruction.png"));
    assert_true(file_exists(HOME "/out/pictures/2-attention.png"));
    assert_false(file_exists(HOME "/out/pictures/2-reconstruction.png")); /* it predicts gradients */
    /* The same bytes with other batches. */
    assert_true(analyse(from, 2, HOME "/other", 9, bad, &pictures));
    same_file(HOME "/out/numbers.json", HOME "/other/numbers.json");
    same_file(HOME "/out/report.html", HOME "/other/report.html");
}

/* Checkpoints carry the name of their run; of what is called alike the ends of the paths tell. */
static void models_have_names(void **state)
{
    (void)state;
    const char *from[] = {HOME "/one", HOME "/one/checkpoints/latest/", HOME "/one/checkpoints/step-00000001/model.safetensors",
                          HOME "/one/../one/", HOME "/two/checkpoints/step-00000001"};
    static const char *const names[] = {"1: " HOME "/one", "one-latest", "one-step-00000001", "4: " HOME "/one/../one/",
                                        "two-step-00000001"};
    char bad[64] = "";
    size_t pictures;
    if (!analyse(from, 5, HOME "/named", 4, bad, &pictures))
        fail_msg("%s", error_text());
    char *text = read_text(HOME "/named/numbers.json");
    json_t *root = json_loads(text, 0, NULL), *models = json_object_get(root, "models");
    for (size_t m = 0; m < 5; m++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(models, m), "name")), names[m]);
    /* The same weights say so. */
    const char *weights = json_string_value(json_object_get(json_array_get(models, 0), "weights"));
    assert_string_equal(weights, json_string_value(json_object_get(json_array_get(models, 2), "weights")));
    assert_string_not_equal(weights, json_string_value(json_object_get(json_array_get(models, 4), "weights")));
    json_decref(root);
    memory_free(text);
    char *page = read_text(HOME "/named/report.html");
    assert_non_null(strstr(page, "Similarity to the other models"));
    memory_free(page);
}

static void a_model_beside_itself(void **state)
{
    (void)state;
    const char *from[] = {HOME "/one", HOME "/one"};
    char bad[64] = "";
    size_t pictures;
    assert_true(analyse(from, 2, HOME "/out", 3, bad, &pictures));
    char *text = read_text(HOME "/out/weights.csv");
    int rows = 0;
    assert_non_null(strstr(text, "1: " HOME "/one,2: " HOME "/one,blocks.1.mlp.fc2.weight,2,fc2,1,0,1\n"));
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        rows++;
    assert_true(rows > 20);
    memory_free(text);
}

static void unreadable_pictures_are_left_out(void **state)
{
    (void)state;
    const char *one = HOME "/one";
    char bad[64] = "";
    size_t pictures;
    assert_true(analyse(&one, 1, HOME "/clean", 4, bad, &pictures));
    assert_true(file_write(DATA "/4x.png", "no picture", 10));
    assert_true(analyse(&one, 1, HOME "/dirty", 4, bad, &pictures));
    assert_int_equal(pictures, PICTURES);
    assert_string_equal(bad, "4x.png");
    same_file(HOME "/clean/heads.csv", HOME "/dirty/heads.csv");
    same_file(HOME "/clean/layers.csv", HOME "/dirty/layers.csv");
    /* What was planned for one picture more is told as it was; an empty chart of one head's differences is not drawn. */
    same_file(HOME "/clean/cka.csv", HOME "/dirty/cka.csv");
    same_file(HOME "/clean/numbers.json", HOME "/dirty/numbers.json");
    char *page = read_text(HOME "/dirty/report.html"), minibatches[64];
    snprintf(minibatches, sizeof minibatches, "over 1 minibatch of up to %d pictures, %d of %d in all", PICTURES, PICTURES,
             PICTURES);
    assert_non_null(strstr(page, minibatches));
    assert_non_null(strstr(page, "Diversity of heads (KL)"));
    memory_free(page);
    /* What fills no minibatch since one is missing counts, and two models tell of it once. */
    const char *both[] = {one, HOME "/two"};
    cka_batch = 5;
    told_of = 0;
    assert_true(analyse(both, 2, HOME "/rest", 4, bad, &pictures));
    cka_batch = 256;
    assert_int_equal(told_of, 1);
    char *text = read_text(HOME "/rest/numbers.json");
    assert_non_null(strstr(text, "\"cka_batch\": 5,\n\"cka_batches\": 2,\n\"cka_pictures\": 9,"));
    memory_free(text);
    const char *two = HOME "/two";
    assert_true(analyse(&two, 1, HOME "/single", 4, bad, &pictures));
    page = read_text(HOME "/single/report.html");
    assert_null(strstr(page, "Diversity of heads (KL)"));
    memory_free(page);
    assert_true(file_remove(DATA "/4x.png"));
    const char *none = HOME "/none";
    assert_false(analyse(&none, 1, HOME "/out", 4, bad, &pictures));
    assert_non_null(strstr(error_text(), "there is no run"));
}

static void want_of_memory_is_told(void **state)
{
    (void)state;
    const char *from[] = {HOME "/one", HOME "/two"};
    char bad[64] = "";
    size_t pictures;
    /* Every one of the first, then a few of the many that follow. */
    for (uint64_t n = 1, told = 0;; n += n < 40 ? 1 : n / 8) {
        memory_fail_at(n);
        error_clear();
        bool ok = analyse(from, 2, HOME "/out", 4, bad, &pictures);
        memory_fail_at(0);
        if (ok && n > 40 && ++told == 2)
            break;
        if (!ok)
            if (!strstr(error_text(), "out of memory"))
                fail_msg("allocation %llu: %s", (unsigned long long)n, error_text());
        assert_true(n < 1000000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(models_that_have_little_in_common), cmocka_unit_test(models_have_names),
                                       cmocka_unit_test(a_model_beside_itself),
                                       cmocka_unit_test(unreadable_pictures_are_left_out),
                                       cmocka_unit_test(want_of_memory_is_told)};
    return cmocka_run_group_tests(tests, begin, end);
}
