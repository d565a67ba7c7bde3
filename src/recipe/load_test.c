/* Recipes in files: bases, the shipped ones, golden cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "recipe/recipe.h"
#include "recipe/round_trip.h"

static void write_text(const char *path, const char *text)
{
    assert_true(file_write(path, text, strlen(text)));
}

/* Whether the key is a line of a text that recipe_load_keys() made. */
static bool is_line(const void *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        if (strcspn(line, "\n") == length && !memcmp(line, key, length))
            return true;
    return false;
}

static void bases_are_followed(void **state)
{
    (void)state;
    char folder[] = "recipe-XXXXXX", path[200];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/one.yaml", folder);
    write_text(path, "encoder: {depth: 4, width: 8}\nschedule: {lr: 1}\ndecoders: [{tap: 1}, {tap: 2}]\n");
    snprintf(path, sizeof path, "%s/two.yaml", folder);
    write_text(path, "encoder: {width: 16}\nbase: one\nschedule: {blr: 2}\n");
    assert_int_equal(setenv("LACUNA_RECIPES", folder, 1), 0);
    Recipe r;
    assert_true(recipe_load(&r, "two"));
    assert_string_equal(r.name, "two");
    assert_int_equal(r.encoder.depth, 4);
    assert_int_equal(r.encoder.width, 16);
    assert_int_equal(r.decoder_count, 2);
    assert_true(r.schedule.blr == 2 && r.schedule.lr == RECIPE_AUTO);
    Text keys = {0};
    write_text(path, "base: one\ndecoders: [{}, {target: {kind: hog}, tap: 2}]\nmask: {min_block: 4, ratio: 0.5}\n");
    assert_true(recipe_load_keys(&r, path, &keys));
    assert_string_equal(keys.data, "decoders.1.target.kind\ndecoders.1.tap\nmask.min_block\nmask.ratio\n");
    text_free(&keys);
    write_text(path, "mask: {min_block: 4}\nlacuna: 1\n");
    assert_true(recipe_load_keys(&r, path, &keys));
    assert_null(keys.data);
    write_text(path, "base: one\ndecoders: [{target: {kind: pixels, cell: 4}}]\n");
    assert_true(recipe_load_keys(&r, path, &keys));
    assert_true(recipe_check_idle(&r, is_line, "decoders.0.target.kind\ntarget.cell\n"));
    assert_false(recipe_check_idle(&r, is_line, keys.data));
    assert_non_null(strstr(error_text(), "decoders.0.target.cell 4 does nothing without target.kind hog"));
    text_free(&keys);
    write_text(path, "base: ./one.yaml\n");
    assert_true(recipe_load(&r, path)); /* relative to the file, not to the working directory */
    assert_int_equal(r.encoder.depth, 4);
    write_text(path, "base: two\n");
    assert_false(recipe_load(&r, "two"));
    assert_non_null(strstr(error_text(), "is one its own base?"));
    write_text(path, "mask: {ratio: 0.5}\nbase: three\n");
    assert_false(recipe_load(&r, path));
    assert_non_null(strstr(error_text(), "two.yaml:2: base"));
    assert_false(recipe_load(&r, "mae-cifar01"));
    assert_string_equal(error_text(), "no recipe is named 'mae-cifar01'; did you mean mae-cifar10?");
    assert_false(recipe_load(&r, "missing/x.yaml"));
    assert_non_null(strstr(error_text(), "missing/x.yaml"));
    unsetenv("LACUNA_RECIPES");
    assert_true(file_remove(folder));
}

static void count_names(void *context, const char *name, const char *path)
{
    Recipe r;
    if (!recipe_load(&r, name) || !recipe_check(&r))
        fail_msg("%s", error_text());
    assert_string_equal(r.name, name);
    assert_true(file_exists(path));
    check_round_trip(&r);
    ++*(int *)context;
}

static void shipped_recipes_load(void **state)
{
    (void)state;
    int count = 0;
    assert_true(recipe_each_name(count_names, &count));
    assert_true(count >= 3);
    Recipe r;
    assert_true(recipe_load(&r, "deepmim-cifar10"));
    assert_int_equal(r.decoder_count, 4);
    static const int taps[] = {6, 8, 10, TAP_LAST};
    for (int k = 0; k < 4; k++) {
        assert_int_equal(r.decoders[k].tap, taps[k]);
        assert_int_equal(r.decoders[k].width, 192);
        assert_int_equal(r.decoders[k].depth, 2);
        assert_int_equal(r.decoders[k].heads, 3);
        assert_int_equal(r.decoders[k].target.normalise, NORMALISE_PATCH);
    }
    assert_int_equal(r.image.mean.kind, STATISTICS_AUTO);
    assert_int_equal(r.schedule.batch_size, 256);
    assert_int_equal(r.schedule.epochs, 25);
    assert_true(recipe_lr(&r) == 1.5e-4);
}

static void cases_are_recipes(void **state)
{
    (void)state;
    static const char text[] =
        "{\n \"image\": {\"size\": [16, 24], \"channels\": 1, \"mean\": [0.45], \"std\": [0.22]},\n"
        " \"encoder\": {\"patch\": 4, \"width\": 12, \"depth\": 2, \"heads\": 2, \"norm_eps\": 1e-06,\n"
        "  \"class_token\": true, \"qkv_bias\": true},\n"
        " \"decoders\": [{\"tap\": \"last\", \"width\": 8, \"depth\": 1, \"heads\": 2, \"weight\": 1.0}],\n"
        " \"optimizer\": {\"no_decay\": []},\n"
        " \"schedule\": {\"batch_size\": 4, \"epochs\": 4, \"warmup_epochs\": 1, \"lr\": 0.004},\n"
        " \"case\": {\"kind\": \"pretrain\", \"steps\": 3, \"anything\": [{\"else\": null}]}\n}\n";
    Recipe r;
    char path[] = "case-XXXXXX.json";
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    close(fd);
    write_text(path, text);
    if (!recipe_load_case(&r, path))
        fail_msg("%s", error_text());
    assert_true(recipe_check(&r));
    assert_int_equal(r.encoder.class_token, 1);
    assert_true(r.image.mean.values[0] == 0.45f);
    assert_true(recipe_lr(&r) == 0.004);
    check_round_trip(&r);
    assert_int_equal(r.decoders[0].tap, TAP_LAST);
    assert_false(recipe_load(&r, path));
    assert_non_null(strstr(error_text(), "case: unknown key"));
    assert_true(file_remove(path));
}

static void golden_cases_load(void **state)
{
    (void)state;
    static const char *const names[] = {"mae_normpix", "mae_pixels", "mae_rect",       "deepmim_pixels", "adamw_eps",
                                        "loss_l1",     "loss_all",   "loss_smooth_l1", "loss_cosine",    "accumulation",
                                        "clip",        "drop_path",  "quick_gelu",     "mixed_targets"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        Recipe r;
        char path[1000];
        snprintf(path, sizeof path, "%s/tests/golden/%s.json", LACUNA_SOURCE, names[i]);
        if (!recipe_load_case(&r, path) || !recipe_check(&r))
            fail_msg("%s", error_text());
        assert_string_equal(r.name, names[i]);
        assert_true(r.schedule.lr > 0 && r.schedule.blr == RECIPE_AUTO);
        check_round_trip(&r);
    }
}

/* Cut and damaged text is read or refused, never worse (run with sanitizers to see worse). */

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bases_are_followed), cmocka_unit_test(shipped_recipes_load),
                                       cmocka_unit_test(cases_are_recipes), cmocka_unit_test(golden_cases_load)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
