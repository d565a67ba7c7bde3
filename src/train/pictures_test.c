/* The pictures of a run: which of the named bad ones still are, and where held-out ones come from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/pictures.h"
#include "train/tiny_recipe.h"

#define HOME "pictures_test.tmp"

static void copy_seed(const char *from, const char *to)
{
    size_t size;
    char *bytes = file_read(from, 0, &size);
    assert_non_null(bytes);
    assert_true(file_write(to, bytes, size));
    memory_free(bytes);
}

/* Float samples are good to train on and no bytes: what is asked must be what the loader asks. */
static void a_picture_is_bad_when_the_loader_cannot_have_it(void **state)
{
    (void)state;
    Recipe recipe;
    Pictures pictures;
    BadNames names = {0};
    SampleList bad;
    char key[SOURCE_KEY_SIZE];
    assert_true(file_make_folder(HOME "/in"));
    copy_seed(LACUNA_SOURCE "/tests/fuzz/corpus/tiff/float.tif", HOME "/in/a.tif");
    copy_seed(LACUNA_SOURCE "/tests/fuzz/corpus/tiff/float.tif", HOME "/in/b.tif");
    assert_true(file_write(HOME "/in/c.tif", "broken", 6));
    assert_true(tiny_recipe(&recipe));
    recipe.image.channels = 1;
    recipe.data.val_share = 0;
    snprintf(recipe.data.train, sizeof recipe.data.train, HOME "/in");
    if (!pictures_open(&recipe, &pictures))
        fail_msg("%s", error_text());
    assert_int_equal(pictures.train.count, 3);
    assert_true(bad_names_add(&names, "c.tif") && bad_names_add(&names, "a.tif"));
    assert_true(pictures_known_bad(&pictures, &recipe, &names, &bad));
    assert_int_equal(bad.count, 1);
    assert_string_equal(source_key(pictures.source, bad.samples[0], key, sizeof key), "c.tif");
    sample_list_free(&bad);
    bad_names_free(&names);
    pictures_close(&pictures);
}

static void the_worlds_held_out_pictures_are_no_seeds(void **state)
{
    (void)state;
    Recipe recipe;
    Pictures pictures;
    assert_true(tiny_recipe(&recipe));
    snprintf(recipe.data.val, sizeof recipe.data.val, "world");
    if (!pictures_open(&recipe, &pictures))
        fail_msg("%s", error_text());
    for (uint64_t seed = 0; seed < 3; seed++) {
        SourceOptions options = {.world_count = 5, .world_height = 16, .world_width = 16, .world_seed = seed};
        Source *other = source_open("world", &options);
        assert_non_null(other);
        for (size_t i = 0; i < 5; i++) {
            Image a, b;
            assert_true(source_picture(pictures.val_source, i, 3, &a) && source_picture(other, i, 3, &b));
            assert_memory_not_equal(a.data, b.data, image_size(&a));
            image_free(&a);
            image_free(&b);
        }
        source_close(other);
    }
    pictures_close(&pictures);
}

static int begin(void **state)
{
    (void)state;
    return file_remove(HOME) && file_make_folder(HOME) ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_is_bad_when_the_loader_cannot_have_it),
        cmocka_unit_test(the_worlds_held_out_pictures_are_no_seeds),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
