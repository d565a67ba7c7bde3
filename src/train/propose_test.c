/* The proposal: what fits which pictures and machines, and that every one of them could be trained. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "image/draw.h"
#include "train/propose.h"

#define HOME "propose_test.tmp"

static Recipe recipe, again;

static void propose(PictureSurvey survey, int processors, Recipe *r)
{
    Text why = {0};
    survey.looked_at = survey.looked_at ? survey.looked_at : 500;
    survey.channels = survey.channels ? survey.channels : 3;
    if (!propose_recipe(&survey, "some/where/my photos/", processors, 0, r, &why) || !recipe_check(r))
        fail_msg("%s", error_text());
    assert_non_null(strstr(why.data, "image.size"));
    text_free(&why);
}

static void fits(size_t count, int side, int processors, int size, int patch, int width, int decoder_width, int batch)
{
    propose((PictureSurvey){.count = count, .short_side = side}, processors, &recipe);
    if (recipe.image.size[0] != size || recipe.encoder.patch != patch || recipe.encoder.width != width ||
        recipe.decoders[0].width != decoder_width || recipe.schedule.batch_size != batch)
        fail_msg("%zu pictures of %d: size %d, patch %d, width %d, decoder %d, batch %d", count, side, recipe.image.size[0],
                 recipe.encoder.patch, recipe.encoder.width, recipe.decoders[0].width, recipe.schedule.batch_size);
    propose((PictureSurvey){.count = count, .short_side = side}, processors, &again);
    assert_memory_equal(&recipe, &again, sizeof recipe);
}

static void it_fits_pictures_and_machine(void **state)
{
    (void)state;
    fits(110, 367, 2, 128, 16, 96, 64, 32);
    assert_int_equal(recipe.schedule.epochs, 1600);
    assert_int_equal(recipe.data.val_every, 16);
    fits(110, 367, 16, 224, 16, 96, 64, 32);
    fits(50000, 32, 2, 32, 4, 192, 128, 256);
    fits(50000, 32, 16, 32, 4, 384, 256, 256);
    fits(10000, 64, 2, 64, 8, 192, 128, 256);
    fits(10000, 100, 64, 96, 8, 192, 128, 256);
    fits(1300000, 400, 2, 128, 16, 192, 128, 256);
    assert_false(recipe.image.draft);
    fits(5000, 600, 2, 128, 16, 192, 128, 256); /* 2 x 128 / sqrt(0.2) = 572.4 */
    assert_true(recipe.image.draft);
    fits(5000, 572, 2, 128, 16, 192, 128, 256);
    assert_false(recipe.image.draft);
    fits(1300000, 400, 16, 224, 16, 384, 256, 1024);
    fits(1300000, 400, 128, 224, 16, 768, 512, 1024);
    assert_int_equal(recipe.encoder.depth, 12);
    assert_int_equal(recipe.decoders[0].depth, 8);
    assert_true(recipe.schedule.blr == 1.5e-4);
    assert_string_equal(recipe.name, "mae-my-photos");
    assert_string_equal(recipe.data.train, "some/where/my photos/");
    /* Even the fewest fill a batch. */
    for (size_t count = PROPOSE_PICTURES_LEAST; count < 400; count++) {
        propose((PictureSurvey){.count = count, .short_side = 64}, 2, &recipe);
        assert_true((double)recipe.schedule.batch_size <= (double)count * (1 - recipe.data.val_share) * 0.9);
    }
    propose((PictureSurvey){.count = 100000, .short_side = 64, .channels = 1}, 2, &recipe);
    assert_int_equal(recipe.image.channels, 1);
    assert_int_equal(recipe.image.mean.kind, STATISTICS_AUTO);
}

static void what_is_too_little_is_told(void **state)
{
    (void)state;
    Text why = {0};
    assert_false(propose_recipe(&(PictureSurvey){.count = 15, .short_side = 64, .channels = 3}, "x", 2, 0, &recipe, &why));
    assert_non_null(strstr(error_text(), "x holds 15 pictures: at least 16"));
    assert_false(propose_recipe(&(PictureSurvey){.count = 1500, .short_side = 15}, "x", 2, 0, &recipe, &why));
    assert_non_null(strstr(error_text(), "15 pixels across"));
    assert_true(propose_recipe(&(PictureSurvey){.count = 5000, .short_side = 64, .channels = 3}, "x", 2, 1, &recipe, &why));
    assert_int_equal(recipe.encoder.width, 96);
    assert_false(propose_recipe(&(PictureSurvey){.count = 5000, .short_side = 64, .channels = 3}, "x", 2, 2, &recipe, &why));
    text_free(&why);
}

static void write_picture(const char *name, int height, int width)
{
    Image image;
    assert_true(image_new(&image, height, width, 3));
    memset(image.data, 100, image_size(&image));
    assert_true(image_write_png(name, &image));
    image_free(&image);
}

static void it_looks_at_headers(void **state)
{
    (void)state;
    PictureSurvey survey;
    assert_true(file_remove(HOME) && file_make_folder(HOME));
    assert_false(propose_look(HOME, &survey));
    write_picture(HOME "/a.png", 40, 60);
    write_picture(HOME "/b.png", 90, 50);
    write_picture(HOME "/c.png", 30, 30);
    assert_true(file_write(HOME "/d.png", "no picture", 10));
    assert_true(propose_look(HOME, &survey));
    assert_int_equal(survey.count, 4);
    assert_int_equal(survey.looked_at, 4);
    assert_int_equal(survey.unreadable, 1);
    assert_int_equal(survey.short_side, 40);
    assert_int_equal(survey.channels, 3);
    assert_true(file_remove(HOME "/a.png") && file_remove(HOME "/b.png") && file_remove(HOME "/c.png"));
    assert_false(propose_look(HOME, &survey));
    assert_non_null(strstr(error_text(), "none of the 1 pictures"));
    assert_true(file_remove(HOME));
    assert_true(propose_look("world", &survey));
    assert_int_equal(survey.looked_at, PROPOSE_LOOKED_AT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_fits_pictures_and_machine),
                                       cmocka_unit_test(what_is_too_little_is_told), cmocka_unit_test(it_looks_at_headers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
