/* The ring of batches: what is in them, and in which order. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/loader_case.h"
#include "image/augment.h"
#include "image/draw.h"

#define HOME "loader_test.tmp"

/* The first batches against a plain loop over the spec: order, crop, flip, tensor. */
static void a_batch_is_what_the_spec_says(void **state)
{
    (void)state;
    Source *source = open_world(PICTURES);
    LoaderOptions o = usual(source);
    o.workers = 2;
    enum { STEPS = 2 * (PICTURES / BATCH) };
    Copy *copies = load(&o, STEPS);
    double ratio[2] = {3.0 / 4, 4.0 / 3};
    ResizeScratch scratch = {0};
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        uint32_t order[PICTURES];
        Random shuffle = random_stream(7, RANDOM_SHUFFLE, 1, epoch, 0);
        for (uint32_t i = 0; i < PICTURES; i++)
            order[i] = i;
        for (uint32_t i = PICTURES - 1; i > 0; i--) {
            uint32_t j = random_below(&shuffle, i + 1), kept = order[i];
            order[i] = order[j];
            order[j] = kept;
        }
        for (size_t p = 0; p < PICTURES / BATCH * BATCH; p++) {
            const Copy *c = &copies[epoch * (PICTURES / BATCH) + p / BATCH];
            uint8_t pixels[PER_PICTURE];
            float tensor[PER_PICTURE];
            Image image;
            assert_int_equal(c->step, epoch * (PICTURES / BATCH) + p / BATCH);
            assert_int_equal(c->epoch, epoch);
            assert_int_equal(c->count, BATCH);
            assert_int_equal(c->samples[p % BATCH], order[p]);
            assert_int_equal(c->labels[p % BATCH], source_label(source, order[p]));
            assert_true(source_picture(source, order[p], 3, &image));
            Random r = random_stream(7, RANDOM_AUGMENT, 1, epoch, order[p]);
            ImageBox box = crop_draw(&r, image.height, image.width, o.crop_scale, ratio);
            bool flip = random_uniform(&r) < 0.5;
            assert_true(image_resize(&image, box, SIDE, SIDE, RESIZE_BICUBIC, &scratch, pixels));
            image_to_tensor(pixels, SIDE, SIDE, 3, flip, o.mean, o.std, tensor);
            assert_memory_equal(tensor, c->images + p % BATCH * PER_PICTURE, sizeof tensor);
            image_free(&image);
        }
    }
    resize_scratch_free(&scratch);
    memory_free(copies);
    source_close(source);
}

/* Workers, ring, cache, memory and the place of the start change nothing. */
static void batches_do_not_depend_on_how_they_are_made(void **state)
{
    (void)state;
    enum { STEPS = 30 };
    Source *source = open_world(PICTURES);
    LoaderOptions o = usual(source);
    Copy *expect = load(&o, STEPS), *got;
    for (int workers = 1; workers <= 4; workers *= 2)
        for (int variant = 0; variant < 4; variant++) {
            void *memory = NULL;
            size_t bytes;
            o = usual(source);
            o.workers = workers;
            o.ring = variant == 0 ? 1 : variant == 1 ? 11 : 4;
            o.cache_mb = variant == 2 ? 1 : 0;
            if (variant == 3) {
                assert_true(loader_memory(&o, &bytes));
                assert_int_equal(bytes, 4 * BATCH * PER_PICTURE * sizeof(float));
                o.memory = memory = memory_new_aligned(bytes, 1);
            }
            got = load(&o, STEPS);
            assert_memory_equal(expect, got, STEPS * sizeof *got);
            memory_free(got);
            memory_free(memory);
            for (uint64_t first = 1; first < STEPS; first += 9) {
                o.memory = NULL;
                o.first = first;
                got = load(&o, STEPS - first);
                assert_memory_equal(expect + first, got, (STEPS - first) * sizeof *got);
                memory_free(got);
            }
        }
    o = usual(source);
    o.seed++;
    got = load(&o, 1);
    assert_memory_not_equal(expect[0].samples, got[0].samples, sizeof got[0].samples);
    memory_free(got);
    o = usual(source);
    o.stage++;
    got = load(&o, 1);
    assert_memory_not_equal(expect[0].images, got[0].images, sizeof got[0].images);
    memory_free(got);
    memory_free(expect);
    source_close(source);
}

/* The second size of a batch is what a loader of that size gives: the same crops and flips. */
static void two_sizes_are_of_the_same_crops(void **state)
{
    (void)state;
    enum { OTHER = 12, PER_OTHER = 3 * OTHER * OTHER };
    Source *source = open_world(PICTURES);
    for (int train = 0; train < 2; train++) {
        LoaderOptions both = usual(source), plain, large;
        both.train = train;
        both.workers = 2;
        both.steps = 4;
        plain = large = both;
        both.other[0] = both.other[1] = large.height = large.width = OTHER;
        size_t bytes, with_other;
        assert_true(loader_memory(&plain, &bytes) && loader_memory(&both, &with_other) && with_other > bytes);
        Loader *a = open_or_fail(&both), *b = open_or_fail(&plain), *c = open_or_fail(&large);
        for (int step = 0; step < 4; step++) {
            LoaderBatch got, expect, expect_other;
            if (!loader_next(a, &got) || !loader_next(b, &expect) || !loader_next(c, &expect_other))
                fail_msg("%s", error_text());
            assert_true(got.count == expect.count && got.count > 0 && !expect.other);
            assert_memory_equal(got.images, expect.images, got.count * PER_PICTURE * sizeof(float));
            assert_memory_equal(got.other, expect_other.images, got.count * PER_OTHER * sizeof(float));
            loader_release(a);
            loader_release(b);
            loader_release(c);
        }
        loader_close(a);
        loader_close(b);
        loader_close(c);
    }
    source_close(source);
}

static void one_pass_in_order_when_not_training(void **state)
{
    (void)state;
    Source *source = open_world(PICTURES);
    uint64_t list[] = {20, 3, 4, 5, 9, 1, 0};
    LoaderOptions o = usual(source);
    o.train = false;
    o.samples = list;
    o.count = 7;
    o.workers = 3;
    Loader *loader = open_or_fail(&o);
    LoaderBatch batch;
    size_t seen = 0;
    ResizeScratch scratch = {0};
    assert_int_equal(loader_epoch_steps(loader), 2);
    for (int s = 0; s < 2; s++) {
        assert_true(loader_next(loader, &batch));
        assert_int_equal(batch.count, s ? 2 : BATCH);
        for (size_t p = 0; p < batch.count; p++, seen++) {
            Image image;
            uint8_t pixels[PER_PICTURE];
            float tensor[PER_PICTURE];
            assert_int_equal(batch.samples[p], list[seen]);
            /* 12 x 18: the middle 12 x 12. */
            assert_true(source_picture(source, list[seen], 3, &image));
            assert_true(image_resize(&image, (ImageBox){.top = 0, .left = 3, .height = 12, .width = 12}, SIDE, SIDE,
                                     RESIZE_BICUBIC, &scratch, pixels));
            image_to_tensor(pixels, SIDE, SIDE, 3, false, o.mean, o.std, tensor);
            assert_memory_equal(tensor, batch.images + p * PER_PICTURE, sizeof tensor);
            image_free(&image);
        }
        loader_release(loader);
    }
    for (int again = 0; again < 2; again++) {
        assert_true(loader_next(loader, &batch));
        assert_int_equal(batch.count, 0);
    }
    loader_close(loader);
    resize_scratch_free(&scratch);

    o = usual(source);
    o.first = 3;
    o.steps = 5;
    loader = open_or_fail(&o);
    for (uint64_t s = 3; s < 6; s++) {
        assert_true(loader_next(loader, &batch));
        assert_int_equal(batch.count, s < 5 ? BATCH : 0);
        loader_release(loader);
    }
    loader_close(loader);
    source_close(source);
}

/* Pictures decoded whole to be kept, parts of them in the first epoch and in later ones, a cache that is full after a few: the
 * same numbers. A file that is damaged only behind most of the crops is bad in all of them, and for a loader that begins late.
 */
static void parts_of_files_make_the_same_batches(void **state)
{
    (void)state;
    enum { STEPS = 40 };
    static const char folder[] = HOME "/parts";
    char path[64];
    assert_true(file_make_folder(folder));
    for (int i = 0; i < 24; i++) {
        Image image;
        size_t size;
        uint8_t *bytes;
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        assert_true(image_new(&image, 90 + i, 80 - i, 3));
        for (size_t k = 0; k < image_size(&image); k++)
            image.data[k] = (uint8_t)(k * k >> 5 ^ k / 240 * (size_t)i);
        if (i % 3 == 1) {
            /* Files of the first scans alone are the hardest: what is missing is guessed from far around. */
            snprintf(path, sizeof path, "%s/%02d.jpg", folder, i);
            bytes = i > 12 ? (uint8_t *)file_read(LACUNA_SOURCE "/tests/fuzz/corpus/jpeg/first-scans.jpg", 0, &size)
                           : image_encode_jpeg(&image, 90, &size);
        } else {
            bytes = image_encode_png(&image, &size);
        }
        assert_non_null(bytes);
        if (i == 5)
            bytes[size - 40] ^= 255; /* in the last rows */
        assert_true(file_write(path, bytes, size));
        memory_free(bytes);
        image_free(&image);
    }
    Source *source = source_open(folder, NULL);
    assert_non_null(source);
    LoaderOptions o = usual(source);
    Copy *expect = NULL;
    o.max_bad = 0.1;
    o.bad = tell;
    for (int variant = 0; variant < 5; variant++) {
        Told told = {0};
        PictureCache *cache = NULL;
        ImageRequest form = loader_form(&o);
        o.bad_context = &told;
        o.cache_mb = variant == 1 ? 8 : 0;
        if (variant == 2)
            assert_non_null(cache = picture_cache_new(source, &form, 70000)); /* for three pictures */
        o.cache = cache;
        o.first = variant == 3 ? STEPS / 2 : 0;
        o.whole_files = variant == 4;
        Copy *got = load(&o, STEPS - o.first);
        expect = expect ? expect : got;
        assert_memory_equal(expect + o.first, got, (STEPS - o.first) * sizeof *got);
        assert_int_equal(told.told, 1);
        assert_string_equal(told.keys, "05.png");
        if (got != expect)
            memory_free(got);
        picture_cache_free(cache);
    }
    memory_free(expect);
    source_close(source);
}

/* Writes a PNG file with a block of EXIF behind its header; orientation 0: without. */
static void write_turned(const char *path, const Image *image, int orientation)
{
    enum { HEADER = 33, BLOCK = 26, CHUNK = 12 + BLOCK };
    uint8_t chunk[CHUNK] = {0, 0, 0, BLOCK, 'e', 'X',  'I',  'f', 'I', 'I', 42, 0, 8,
                            0, 0, 0, 1,     0,   0x12, 0x01, 3,   0,   1,   0,  0, 0};
    chunk[8 + 18] = (uint8_t)orientation;
    size_t size, more = orientation ? CHUNK : 0;
    uint8_t *png = image_encode_png(image, &size), *file = malloc(size + CHUNK);
    assert_true(png && file);
    memcpy(file, png, HEADER);
    memcpy(file + HEADER, chunk, more);
    memcpy(file + HEADER + more, png + HEADER, size - HEADER);
    assert_true(file_write(path, file, size + more));
    memory_free(png);
    free(file);
}

/* What a picture is evaluated as does not depend on its depth. */
static void deep_pictures_are_evaluated_as_bytes_are(void **state)
{
    (void)state;
    enum { HEIGHT = 40, WIDTH = 90 };
    static const char *const folders[] = {HOME "/bytes", HOME "/deep"};
    Image image;
    uint16_t *deep = memory_new(HEIGHT * WIDTH, sizeof *deep);
    size_t size;
    assert_true(deep && image_new(&image, HEIGHT, WIDTH, 1));
    for (size_t i = 0; i < HEIGHT * WIDTH; i++) {
        image.data[i] = (uint8_t)(40 + i % WIDTH + i / WIDTH * 3); /* another shape shows */
        deep[i] = (uint16_t)(257 * image.data[i]);
    }
    uint8_t *png = image_encode_png16(deep, HEIGHT, WIDTH, &size);
    assert_true(png && file_make_folder(folders[0]) && file_make_folder(folders[1]));
    assert_true(image_write_png(HOME "/bytes/a.png", &image) && file_write(HOME "/deep/a.png", png, size));
    memory_free(png);
    memory_free(deep);
    image_free(&image);
    float kept[2][SIDE * SIDE];
    for (int f = 0; f < 2; f++) {
        Source *source = source_open(folders[f], NULL);
        assert_non_null(source);
        LoaderOptions o = {.source = source,
                           .batch = 1,
                           .height = SIDE,
                           .width = SIDE,
                           .channels = 1,
                           .evaluate = image_evaluate_side(SIDE),
                           .std = {1}};
        Loader *loader = open_or_fail(&o);
        LoaderBatch batch;
        assert_true(loader_next(loader, &batch) && batch.count == 1);
        memcpy(kept[f], batch.images, sizeof kept[f]);
        loader_close(loader);
        source_close(source);
    }
    for (int i = 0; i < SIDE * SIDE; i++)
        assert_true(fabsf(kept[0][i] - kept[1][i]) < 1.1f / 255);
    assert_true(file_remove(folders[0]) && file_remove(folders[1]));
}

/* Pictures stored lying, with a tag, and the same stored upright: the same batches with `exif`, others without. */
static void turned_pictures_are_cropped_upright(void **state)
{
    (void)state;
    enum { STEPS = 12, ROWS = 40, COLUMNS = 30, COUNT = 12 };
    char path[64];
    assert_true(file_make_folder(HOME "/turned") && file_make_folder(HOME "/upright"));
    for (int i = 0; i < COUNT; i++) {
        Image upright, stored;
        assert_true(image_new(&upright, ROWS, COLUMNS, 3) && image_new(&stored, COLUMNS, ROWS, 3));
        for (int y = 0; y < ROWS; y++)
            for (int x = 0; x < COLUMNS; x++) {
                const uint8_t pixel[3] = {(uint8_t)(6 * y), (uint8_t)(8 * x), (uint8_t)(20 * i)};
                memcpy(upright.data + (ptrdiff_t)(y * COLUMNS + x) * 3, pixel, 3);
                /* Stored a quarter turned to the left. */
                memcpy(stored.data + (ptrdiff_t)((COLUMNS - 1 - x) * ROWS + y) * 3, pixel, 3);
            }
        snprintf(path, sizeof path, HOME "/turned/%02d.png", i);
        write_turned(path, &stored, 6);
        snprintf(path, sizeof path, HOME "/upright/%02d.png", i);
        write_turned(path, &upright, 0);
        image_free(&upright);
        image_free(&stored);
    }
    Source *turned = source_open(HOME "/turned", NULL), *upright = source_open(HOME "/upright", NULL);
    assert_true(turned && upright);
    LoaderOptions o = usual(upright);
    Copy *expect = load(&o, STEPS);
    o.source = turned;
    o.exif = true;
    for (int kept = 0; kept < 2; kept++) {
        o.cache_mb = (size_t)kept;
        Copy *got = load(&o, STEPS);
        assert_memory_equal(expect, got, STEPS * sizeof *got);
        memory_free(got);
    }
    o.exif = false;
    Copy *other = load(&o, STEPS);
    assert_true(memcmp(expect, other, STEPS * sizeof *other));
    memory_free(other);
    memory_free(expect);
    source_close(turned);
    source_close(upright);
}

static int set_up(void **state)
{
    (void)state;
    return begin_in(HOME);
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_what_the_spec_says),        cmocka_unit_test(batches_do_not_depend_on_how_they_are_made),
        cmocka_unit_test(two_sizes_are_of_the_same_crops),      cmocka_unit_test(one_pass_in_order_when_not_training),
        cmocka_unit_test(parts_of_files_make_the_same_batches), cmocka_unit_test(deep_pictures_are_evaluated_as_bytes_are),
        cmocka_unit_test(turned_pictures_are_cropped_upright),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
