/* Pictures of five channels and 16 bits through the program: looked at, trained on, drawn; one of three channels among them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <tiffio.h>

#include "base/random.h"
#include "run_program.h"

#define HOME "many_channels_test.tmp"

enum { COUNT = 20, SIDE = 24, CHANNELS = 5 };

static const char recipe[] = "image: {size: 16, channels: 5, mean: auto, std: auto}\n"
                             "data: {train: " HOME "/pictures, val_share: 0.2, workers: 2, max_bad: 0.1}\n"
                             "encoder: {patch: 4, width: 16, depth: 2, heads: 2}\n"
                             "decoders:\n"
                             "  - {tap: last, width: 8, depth: 1, heads: 2}\n"
                             "schedule: {batch_size: 4, epochs: 10, warmup_epochs: 1, lr: 1e-3}\n"
                             "run: {threads: 1, seed: 5}\n";

/* Channel c of every picture has the mean (c + 1) / 8. */
static void write_picture(const char *path, int channels, uint64_t seed)
{
    TIFF *tiff = TIFFOpen(path, "w");
    assert_non_null(tiff);
    const uint16_t kinds[CHANNELS] = {0};
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, SIDE);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, SIDE);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, channels);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, 16);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, channels == 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK);
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, seed & 1 ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_ADOBE_DEFLATE);
    if (channels != 3)
        TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, channels - 1, kinds);
    Random random = random_stream(seed, RANDOM_TEST, 0, 0, 0);
    static uint16_t pixels[SIDE][SIDE][CHANNELS];
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < CHANNELS; c++)
                pixels[y][x][c] = (uint16_t)(8192 * c + (int)random_below(&random, 16384));
    for (int plane = 0; plane < (seed & 1 ? channels : 1); plane++)
        for (int y = 0; y < SIDE; y++) {
            uint16_t row[SIDE * CHANNELS];
            for (int i = 0; i < SIDE * (seed & 1 ? 1 : channels); i++)
                row[i] = seed & 1 ? pixels[y][i][plane] : pixels[y][i / channels][i % channels];
            assert_int_equal(TIFFWriteScanline(tiff, row, (uint32_t)y, (uint16_t)plane), 1);
        }
    TIFFClose(tiff);
}

static int begin(void **state)
{
    (void)state;
    if (!file_remove(HOME) || !file_make_folder(HOME "/pictures") || !file_write(HOME "/five.yaml", recipe, strlen(recipe)))
        return 1;
    for (int i = 0; i < COUNT; i++) {
        char path[64];
        snprintf(path, sizeof path, HOME "/pictures/%02d.tif", i);
        write_picture(path, i == 7 ? 3 : CHANNELS, (uint64_t)i);
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static void stats_show_channels_and_depth(void **state)
{
    (void)state;
    Ran ran = run_program("data stats --json " HOME "/pictures"), text = run_program("data stats " HOME "/pictures");
    json_t *stats = json_loads(ran.out, 0, NULL), *channels = json_object_get(stats, "channels");
    assert_non_null(stats);
    assert_int_equal(json_integer_value(json_object_get(channels, "colour")), 1);
    assert_int_equal(json_integer_value(json_object_get(channels, "others")), COUNT - 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(stats, "depth"), "16")), COUNT);
    assert_int_equal(json_array_size(json_object_get(stats, "mean")), CHANNELS);
    for (size_t c = 0; c < CHANNELS; c++) {
        double mean = json_number_value(json_array_get(json_object_get(stats, "mean"), c));
        assert_float_equal(mean, ((double)c + 1) / 8, 0.004);
        double deviation = json_number_value(json_array_get(json_object_get(stats, "deviation"), c));
        assert_float_equal(deviation, 0.25 / 3.4641, 0.002);
    }
    assert_int_equal(json_array_size(json_object_get(stats, "groups")), 2);
    assert_non_null(strstr(text.out, "channels      0 grey, 1 colour, 19 of 5 channels\n"));
    assert_non_null(strstr(text.out, "depth         0 of 8 bits, 20 of 16, 0 float\n"));
    json_decref(stats);
    ran_free(&ran);
    ran_free(&text);
}

static void five_channels_train(void **state)
{
    (void)state;
    Ran ran = run_program("pretrain " HOME "/five.yaml --max-steps 12 --json --out " HOME "/run");
    if (ran.code)
        fail_msg("%s", ran.err);
    assert_non_null(strstr(ran.out, "\"step\":12"));
    assert_non_null(strstr(ran.err, "the picture has 3 channels where 5 are wanted: set image.channels"));
    ran_free(&ran);
    ran = run_program("reconstruct --from " HOME "/run --count 2 --out " HOME "/sheet.png");
    if (ran.code)
        fail_msg("%s", ran.err);
    ran_free(&ran);
    ran = run_program("reconstruct --from " HOME "/run --images " HOME "/pictures/03.tif --out " HOME "/sheet.png");
    if (ran.code)
        fail_msg("%s", ran.err);
    ran_free(&ran);
    ran = run_program("reconstruct --from " HOME "/run --images " HOME "/pictures/07.tif --out " HOME "/sheet.png");
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "the picture has 3 channels where 5 are wanted"));
    ran_free(&ran);
}

static void names_of_statistics_have_three_channels(void **state)
{
    (void)state;
    Ran ran = run_program("pretrain " HOME "/five.yaml --max-steps 1 image.mean=imagenet image.std=imagenet --out " HOME "/no");
    assert_int_equal(ran.code != 0, 1);
    assert_non_null(strstr(ran.err, "give a list of 5 numbers, or auto"));
    ran_free(&ran);
    ran = run_program("pretrain " HOME "/five.yaml --max-steps 1 'image.mean=[0.1, 0.2, 0.3, 0.4, 0.5]' "
                      "'image.std=[0.1, 0.1, 0.1, 0.1, 0.1]' image.exif=true image.draft=true --out " HOME "/lists");
    if (ran.code)
        fail_msg("%s", ran.err);
    ran_free(&ran);
    ran = run_program("pretrain " HOME "/five.yaml --max-steps 1 --data world --out " HOME "/world");
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "data.train: the pictures of world have 3 channels, not 5: set image.channels"));
    ran_free(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stats_show_channels_and_depth),
        cmocka_unit_test(five_channels_train),
        cmocka_unit_test(names_of_statistics_have_three_channels),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
