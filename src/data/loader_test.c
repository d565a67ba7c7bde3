/* The ring of batches: what is in them, in which order, and what happens to bad pictures. */
#include <dirent.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/loader.h"
#include "image/augment.h"
#include "image/draw.h"

#define HOME "loader_test.tmp"

enum { PICTURES = 23, SIDE = 8, BATCH = 5, PER_PICTURE = 3 * SIDE * SIDE };

typedef struct {
    size_t told;
    char keys[512]; /* one behind the other */
    char last_key[64];
    bool with_reason;
} Told;

static void tell(void *context, const char *key, const char *reason)
{
    Told *told = context;
    told->told++;
    strncat(told->keys, key, sizeof told->keys - strlen(told->keys) - 1);
    snprintf(told->last_key, sizeof told->last_key, "%s", key);
    told->with_reason = strstr(reason, key) != NULL;
}

static Source *open_world(size_t count)
{
    SourceOptions options = {.world_count = count, .world_height = 12, .world_width = 18, .world_seed = 1};
    Source *source = source_open("world", &options);
    assert_non_null(source);
    return source;
}

static LoaderOptions usual(const Source *source)
{
    return (LoaderOptions){.source = source,
                           .train = true,
                           .batch = BATCH,
                           .seed = 7,
                           .stage = 1,
                           .height = SIDE,
                           .width = SIDE,
                           .channels = 3,
                           .crop_scale = {0.2, 1},
                           .flip = 0.5,
                           .mean = {0.5f, 0.4f, 0.3f},
                           .std = {0.2f, 0.3f, 0.4f},
                           .max_bad = 0.01};
}

static Loader *open_or_fail(const LoaderOptions *options)
{
    Loader *loader = loader_open(options);
    if (!loader)
        fail_msg("%s", error_text());
    return loader;
}

typedef struct {
    float images[BATCH * PER_PICTURE];
    uint64_t samples[BATCH];
    int32_t labels[BATCH];
    size_t count;
    uint64_t step;
    uint32_t epoch;
} Copy;

/* Loads `steps` batches into a fresh array, pausing at some so that the ring is both full and empty at times. */
static Copy *load(const LoaderOptions *options, size_t steps)
{
    Copy *copies = memory_new(steps, sizeof *copies);
    Loader *loader = open_or_fail(options);
    assert_non_null(copies);
    for (size_t s = 0; s < steps; s++) {
        LoaderBatch batch;
        if (!loader_next(loader, &batch))
            fail_msg("%s", error_text());
        Copy *c = &copies[s];
        c->count = batch.count;
        c->step = batch.step;
        c->epoch = batch.epoch;
        assert_true(batch.waited >= 0);
        memcpy(c->images, batch.images, batch.count * PER_PICTURE * sizeof(float));
        memcpy(c->samples, batch.samples, batch.count * sizeof *c->samples);
        memcpy(c->labels, batch.labels, batch.count * sizeof *c->labels);
        if (s % 5 == 2)
            usleep(2000);
        loader_release(loader);
    }
    loader_close(loader);
    return copies;
}

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

/* A folder of 40 pictures of which `bad` are no pictures. */
static Source *open_folder(const char *name, int bad)
{
    char folder[128], path[256];
    snprintf(folder, sizeof folder, HOME "/%s", name);
    assert_true(file_make_folder(folder));
    for (int i = 0; i < 40; i++) {
        Image image;
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        assert_true(image_new(&image, 9, 9, 3));
        memset(image.data, 5 * i, image_size(&image));
        assert_true(i % 7 == 3 && i / 7 < bad ? file_write(path, "broken", 6) : image_write_png(path, &image));
        image_free(&image);
    }
    Source *source = source_open(folder, NULL);
    assert_non_null(source);
    return source;
}

static void bad_pictures_are_replaced_and_named(void **state)
{
    (void)state;
    enum { STEPS = 24 };
    Source *source = open_folder("few", 4); /* 3, 10, 17, 24 */
    LoaderOptions o = usual(source);
    o.max_bad = 0.1;
    Copy *expect = load(&o, STEPS);
    for (int workers = 1; workers <= 4; workers++) {
        Told told = {0};
        o.workers = workers;
        o.ring = workers;
        o.bad = tell;
        o.bad_context = &told;
        Copy *got = load(&o, STEPS);
        assert_memory_equal(expect, got, STEPS * sizeof *got);
        assert_int_equal(told.told, 4);
        assert_true(told.with_reason);
        memory_free(got);
        o.first = 13;
        got = load(&o, STEPS - 13);
        assert_memory_equal(expect + 13, got, (STEPS - 13) * sizeof *got);
        memory_free(got);
        o.first = 0;
    }
    /* The replacement is the next readable one of the order. */
    uint32_t order[40];
    Random shuffle = random_stream(7, RANDOM_SHUFFLE, 1, 0, 0);
    for (uint32_t i = 0; i < 40; i++)
        order[i] = i;
    for (uint32_t i = 39; i > 0; i--) {
        uint32_t j = random_below(&shuffle, i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    for (size_t p = 0; p < 40; p++) {
        size_t at = p;
        while (order[at] % 7 == 3 && order[at] / 7 < 4)
            at = (at + 1) % 40;
        assert_int_equal(expect[p / BATCH].samples[p % BATCH], order[at]);
    }
    memory_free(expect);
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

static void too_many_bad_pictures_stop_at_the_same_batch(void **state)
{
    (void)state;
    Source *source = open_folder("many", 6);
    char first_error[512] = "", first_keys[512] = "";
    int first_step = -1;
    for (int workers = 1; workers <= 4; workers++) {
        LoaderOptions o = usual(source);
        Told told = {0};
        o.max_bad = 0.1; /* 4 of 40 */
        o.batch = 20;
        o.workers = workers;
        o.ring = 2 * workers;
        o.bad = tell;
        o.bad_context = &told;
        Loader *loader = open_or_fail(&o);
        LoaderBatch batch;
        int step = 0;
        while (loader_next(loader, &batch)) {
            assert_int_equal(batch.count, 20);
            loader_release(loader);
            assert_in_range(++step, 0, 2);
        }
        assert_int_equal(told.told, 5);
        assert_int_equal(loader_bad_count(loader), 5);
        assert_non_null(strstr(error_text(), "data.max_bad"));
        assert_non_null(strstr(error_text(), told.last_key));
        if (first_step < 0) {
            first_step = step;
            snprintf(first_error, sizeof first_error, "%s", error_text());
            snprintf(first_keys, sizeof first_keys, "%s", told.keys);
        }
        assert_int_equal(step, first_step);
        assert_string_equal(error_text(), first_error);
        assert_string_equal(told.keys, first_keys);
        assert_false(loader_next(loader, &batch));
        loader_close(loader);
    }
    /* Not one readable picture, and all of them may be bad. */
    uint64_t bad[] = {3, 10, 17, 24, 31, 38};
    LoaderOptions o = usual(source);
    LoaderBatch batch;
    o.samples = bad;
    o.count = 6;
    o.max_bad = 1;
    Loader *loader = open_or_fail(&o);
    assert_false(loader_next(loader, &batch));
    assert_non_null(strstr(error_text(), "cannot be read"));
    loader_close(loader);
    source_close(source);
}

static void assert_refused(const LoaderOptions *options, const char *part)
{
    error_clear();
    assert_null(loader_open(options));
    if (!strstr(error_text(), part))
        fail_msg("\"%s\" is not in \"%s\"", part, error_text());
}

static void bad_pictures_of_earlier_sessions_count(void **state)
{
    (void)state;
    Source *source = open_folder("known", 4);
    const uint64_t known[] = {3, 10, 17};
    LoaderOptions o = usual(source);
    Told told = {0};
    o.max_bad = 0.1; /* 4 of 40 */
    o.bad = tell;
    o.bad_context = &told;
    o.known_bad = known;
    o.known_bad_count = 3;
    memory_free(load(&o, 24));
    assert_int_equal(told.told, 1);
    assert_string_equal(told.keys, "24.png");
    /* With one that is allowed less the new one is too many; with two less, those known are. */
    for (int less = 1; less <= 2; less++) {
        bool ok = true;
        LoaderBatch batch;
        o.max_bad = (4 - less) / 40.0;
        told = (Told){0};
        Loader *loader = open_or_fail(&o);
        int step = 0;
        while (ok && step < 24 && (ok = loader_next(loader, &batch))) {
            loader_release(loader);
            step++;
        }
        assert_false(ok);
        assert_non_null(strstr(error_text(), "data.max_bad"));
        assert_int_equal(loader_bad_count(loader), 5 - less);
        assert_int_equal(told.told, 2 - less);
        assert_int_equal(step == 0, less == 2);
        loader_close(loader);
    }
    source_close(source);
}

/* Without a free descriptor no file can be opened: that is no fault of the pictures. */
static void an_error_of_the_machine_is_no_bad_picture(void **state)
{
    (void)state;
    Source *source = open_folder("machine", 0);
    LoaderOptions o = usual(source);
    Told told = {0};
    struct rlimit limit, none;
    float mean[3], std[3];
    o.bad = tell;
    o.bad_context = &told;
    o.max_bad = 1;
    int lowest = dup(0);
    assert_true(lowest >= 0 && close(lowest) == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = limit;
    none.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    Loader *loader = open_or_fail(&o);
    LoaderBatch batch;
    bool ok = loader_next(loader, &batch);
    char *why = memory_string(error_text());
    bool measured = source_statistics(source, NULL, 0, 3, 2, mean, std);
    char *why_not = memory_string(error_text());
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_false(ok);
    assert_false(measured);
    assert_non_null(strstr(why, "Too many open files"));
    assert_non_null(strstr(why_not, "Too many open files"));
    assert_int_equal(told.told, 0);
    memory_free(why);
    memory_free(why_not);
    loader_close(loader);
    source_close(source);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    Source *source = open_world(4);
    uint64_t wrong = 4;
    LoaderOptions o = usual(source);
    assert_refused(&o, "schedule.batch_size");
    o.batch = 2;
    o.channels = 65;
    assert_refused(&o, "image.channels");
    o = usual(source);
    o.train = false;
    o.batch = SIZE_MAX / 100;
    assert_refused(&o, "more than memory can address");
    o = usual(source);
    o.batch = 1;
    o.std[1] = 0;
    assert_refused(&o, "image.std");
    o = usual(source);
    o.batch = 1;
    o.samples = &wrong;
    o.count = 1;
    assert_refused(&o, "sample 4");
    o.count = 0;
    assert_refused(&o, "the list is empty");
    o = usual(source);
    o.batch = 2;
    o.ring = 2;
    Loader *loader = open_or_fail(&o);
    LoaderBatch batch;
    assert_true(loader_next(loader, &batch));
    assert_true(loader_next(loader, &batch));
    assert_false(loader_next(loader, &batch));
    assert_non_null(strstr(error_text(), "release one first"));
    loader_release(loader);
    assert_true(loader_next(loader, &batch));
    assert_int_equal(batch.step, 2);
    loader_close(loader);
    source_close(source);
}

static void closing_in_the_middle_does_not_hang(void **state)
{
    (void)state;
    Source *source = open_world(PICTURES);
    for (int round = 0; round < 40; round++) {
        LoaderOptions o = usual(source);
        o.workers = 1 + round % 4;
        o.ring = 1 + round % 3;
        Loader *loader = open_or_fail(&o);
        for (int s = 0; s < round % 5; s++) {
            LoaderBatch batch;
            assert_true(loader_next(loader, &batch));
            if (s < round % 5 - 1 || round % 2)
                loader_release(loader);
        }
        loader_close(loader);
    }
    loader_close(NULL);
    source_close(source);
}

static void want_of_memory_is_an_error_and_no_bad_picture(void **state)
{
    (void)state;
    Source *source = open_world(PICTURES);
    LoaderOptions o = usual(source);
    bool done = false;
    for (uint64_t n = 1; !done && n < 200; n++) {
        memory_fail_at(n);
        Loader *loader = loader_open(&o);
        LoaderBatch batch;
        for (int s = 0; loader && !done; s++) {
            if (!loader_next(loader, &batch))
                break;
            loader_release(loader);
            done = s == 10; /* the n-th allocation is further on */
        }
        if (!done)
            assert_non_null(strstr(error_text(), "out of memory"));
        if (loader)
            assert_int_equal(loader_bad_count(loader), 0);
        loader_close(loader);
        memory_fail_at(0);
    }
    assert_true(done);
    source_close(source);
}

static void a_kept_set_is_loaded_without_allocations(void **state)
{
    (void)state;
    Source *source = open_world(PICTURES);
    LoaderOptions o = usual(source);
    o.cache_mb = 1;
    o.workers = 2;
    Loader *loader = open_or_fail(&o);
    LoaderBatch batch;
    bool quiet = false;
    /* A worker takes memory of its own with its first picture, which on a busy machine may come late. */
    for (int round = 0; round < 20 && !quiet; round++) {
        uint64_t before = memory_count();
        for (int k = 0; k < 200; k++) {
            assert_true(loader_next(loader, &batch));
            loader_release(loader);
        }
        quiet = round > 0 && memory_count() == before;
    }
    assert_true(quiet);
    loader_close(loader);
    source_close(source);
}

/* Threads of this process that are batch work of lower priority. */
static int threads_behind(void)
{
    int found = 0, own = getpriority(PRIO_PROCESS, 0);
    DIR *folder = opendir("/proc/self/task");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        int id = atoi(entry->d_name);
        found +=
            id > 0 && sched_getscheduler(id) == SCHED_BATCH && getpriority(PRIO_PROCESS, (id_t)id) >= (own < 19 ? own + 1 : 19);
    }
    closedir(folder);
    return found;
}

static void workers_stand_behind_those_who_compute(void **state)
{
    (void)state;
    Source *source = open_world(PICTURES);
    LoaderOptions o = usual(source);
    o.workers = 3;
    int before = sched_getscheduler(0);
    Loader *loader = open_or_fail(&o);
    /* They step back as the first thing they do; that they have begun shows after a while. */
    for (int tries = 0; tries < 1000 && threads_behind() < 3; tries++)
        usleep(10000);
    assert_int_equal(threads_behind(), 3);
    assert_int_equal(sched_getscheduler(0), before);
    loader_close(loader);
    source_close(source);
}

static int set_up(void **state)
{
    (void)state;
    char folder[2048], cache[4096];
    if (!getcwd(folder, sizeof folder) || !file_remove(HOME) || !file_make_folder(HOME))
        return -1;
    snprintf(cache, sizeof cache, "%s/" HOME "/cache", folder);
    return setenv("XDG_CACHE_HOME", cache, 1);
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_what_the_spec_says),
        cmocka_unit_test(batches_do_not_depend_on_how_they_are_made),
        cmocka_unit_test(two_sizes_are_of_the_same_crops),
        cmocka_unit_test(one_pass_in_order_when_not_training),
        cmocka_unit_test(bad_pictures_are_replaced_and_named),
        cmocka_unit_test(parts_of_files_make_the_same_batches),
        cmocka_unit_test(deep_pictures_are_evaluated_as_bytes_are),
        cmocka_unit_test(turned_pictures_are_cropped_upright),
        cmocka_unit_test(too_many_bad_pictures_stop_at_the_same_batch),
        cmocka_unit_test(bad_pictures_of_earlier_sessions_count),
        cmocka_unit_test(an_error_of_the_machine_is_no_bad_picture),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(closing_in_the_middle_does_not_hang),
        cmocka_unit_test(want_of_memory_is_an_error_and_no_bad_picture),
        cmocka_unit_test(a_kept_set_is_loaded_without_allocations),
        cmocka_unit_test(workers_stand_behind_those_who_compute),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
