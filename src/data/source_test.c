/* Folders, CIFAR's files, the built-in world; splits, statistics, stored listings. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/system.h"
#include "data/cache.h"
#include "data/listing.h"
#include "data/source.h"
#include "data/world.h"
#include "image/draw.h"

#define HOME "source_test.tmp"

static char cwd[2048];

/* Writes a picture of noise as PNG, making the folders above it. */
static void write_picture(const char *path, int height, int width, int channels, uint64_t seed)
{
    char folder[512];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    assert_true(file_make_folder(folder));
    Image image;
    Random r = random_stream(seed, RANDOM_TEST, 0, 0, 0);
    assert_true(image_new(&image, height, width, channels));
    for (size_t i = 0; i < image_size(&image); i++)
        image.data[i] = (uint8_t)random_below(&r, 256);
    assert_true(image_write_png(path, &image));
    image_free(&image);
}

static void write_text(const char *path, const char *text)
{
    assert_true(file_write(path, text, strlen(text)));
}

/* Sets a path's time of change some seconds into the past. */
static void make_old(const char *path, int seconds)
{
    struct timespec times[2] = {{time(NULL) - seconds, 0}, {time(NULL) - seconds, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void assert_key(const Source *source, size_t i, const char *expect)
{
    char key[SOURCE_KEY_SIZE];
    assert_string_equal(source_key(source, i, key, sizeof key), expect);
}

static Source *open_or_fail(const char *where, const SourceOptions *options)
{
    Source *source = source_open(where, options);
    if (!source)
        fail_msg("%s", error_text());
    return source;
}

static void assert_refused(const char *where, const char *part)
{
    error_clear();
    assert_null(source_open(where, NULL));
    if (!strstr(error_text(), part))
        fail_msg("\"%s\" is not in \"%s\"", part, error_text());
}

static void labelled_folder(void **state)
{
    (void)state;
    write_picture(HOME "/labelled/a/2.png", 4, 5, 3, 1);
    write_picture(HOME "/labelled/a/deep/er/1.PNG", 4, 5, 3, 2);
    write_picture(HOME "/labelled/a b/x.JPeG", 4, 5, 3, 3);
    write_picture(HOME "/labelled/B/10.jpg", 4, 5, 1, 4);
    write_picture(HOME "/labelled/B/.hidden.png", 4, 5, 1, 5);
    write_text(HOME "/labelled/readme.txt", "not a picture");
    Source *source = open_or_fail(HOME "/labelled", NULL);
    assert_int_equal(source_count(source), 4);
    assert_key(source, 0, "B/10.jpg");
    assert_key(source, 1, "a b/x.JPeG");
    assert_key(source, 2, "a/2.png");
    assert_key(source, 3, "a/deep/er/1.PNG");
    assert_int_equal(source_class_count(source), 3);
    assert_string_equal(source_class_name(source, 0), "B");
    assert_string_equal(source_class_name(source, 1), "a");
    assert_string_equal(source_class_name(source, 2), "a b");
    int labels[] = {0, 2, 1, 1};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(source_label(source, i), labels[i]);
    Image image;
    assert_true(source_picture(source, 0, 3, &image)); /* grey, and not what its suffix says */
    assert_int_equal(image.height, 4);
    assert_int_equal(image.width, 5);
    assert_int_equal(image.channels, 3);
    assert_int_equal(image.data[0], image.data[2]);
    image_free(&image);
    source_close(source);

    write_picture(HOME "/labelled/outside.png", 4, 5, 3, 6);
    source = open_or_fail(HOME "/labelled", NULL);
    assert_int_equal(source_count(source), 5);
    assert_int_equal(source_class_count(source), 0);
    assert_int_equal(source_label(source, 0), -1);
    source_close(source);
}

static void links_in_a_circle_end(void **state)
{
    (void)state;
    write_picture(HOME "/links/a/1.png", 2, 2, 3, 1);
    write_picture(HOME "/elsewhere/2.png", 2, 2, 3, 2);
    assert_int_equal(symlink("..", HOME "/links/a/up"), 0);
    assert_int_equal(symlink(".", HOME "/links/a/self"), 0);
    assert_int_equal(symlink("../elsewhere", HOME "/links/b"), 0);
    assert_int_equal(symlink("nowhere", HOME "/links/a/3.png"), 0);
    Source *source = open_or_fail(HOME "/links", NULL);
    assert_int_equal(source_count(source), 2);
    assert_key(source, 0, "a/1.png");
    assert_key(source, 1, "b/2.png");
    source_close(source);
}

/* As caches of downloads lay files out: what a link is called tells what it is, and its neighbours are those of the link. */
static void a_link_is_what_its_name_says(void **state)
{
    (void)state;
    write_picture(HOME "/snap/1.png", 2, 2, 3, 1);
    assert_true(file_make_folder(HOME "/blobs"));
    write_text(HOME "/blobs/0a1b", "1.png\n");
    assert_int_equal(symlink("../blobs/0a1b", HOME "/snap/list.csv"), 0);
    Source *source = open_or_fail(HOME "/snap/list.csv", NULL);
    Image image;
    assert_true(source_picture(source, 0, 3, &image));
    image_free(&image);
    source_close(source);
}

/* Of a large file its start is looked at before memory is taken for it. */
static void large_files_that_are_no_pictures_cost_little(void **state)
{
    (void)state;
    enum { BYTES = 300 << 20 };
    assert_true(file_make_folder(HOME "/large"));
    write_text(HOME "/large/1.jpg", "no picture at all");
    assert_int_equal(truncate(HOME "/large/1.jpg", BYTES), 0);
    Source *source = open_or_fail(HOME "/large", NULL);
    Image image;
    long long before = system_peak_resident();
    assert_false(source_picture(source, 0, 3, &image));
    assert_non_null(strstr(error_text(), "1.jpg: this is neither a JPEG, PNG, WebP nor TIFF file"));
    assert_false(error_is_machine());
    assert_in_range(system_peak_resident() - before, 0, 16 << 20);
    source_close(source);
    assert_true(file_remove(HOME "/large"));
}

static void what_is_not_there_is_refused(void **state)
{
    (void)state;
    assert_true(file_make_folder(HOME "/empty/inner"));
    assert_refused(HOME "/empty", "hold a .jpg, .jpeg, .jpe, .jfif, .png, .webp, .tif or .tiff file");
    assert_refused(HOME "/missing", "no such file or folder");
    write_text(HOME "/text.txt", "x");
    assert_refused(HOME "/text.txt", "neither a folder nor");
    if (geteuid() != 0) {
        assert_int_equal(chmod(HOME "/empty/inner", 0), 0);
        assert_refused(HOME "/empty", "cannot list the folder");
        assert_int_equal(chmod(HOME "/empty/inner", 0755), 0);
    }
}

static void broken_picture_has_a_reason(void **state)
{
    (void)state;
    assert_true(file_make_folder(HOME "/broken"));
    write_text(HOME "/broken/a.jpg", "no picture at all");
    Source *source = open_or_fail(HOME "/broken", NULL);
    Image image;
    float mean[3], std[3];
    assert_false(source_picture(source, 0, 3, &image));
    assert_non_null(strstr(error_text(), "a.jpg"));
    assert_false(source_statistics(source, NULL, 0, 3, 1, mean, std));
    assert_non_null(strstr(error_text(), "not one could be read"));
    source_close(source);
}

/* Sheets of a run that lies among its pictures are none of them; a run that is named itself is looked into. */
static void runs_among_the_pictures_are_left_out(void **state)
{
    (void)state;
    Listing listing;
    write_picture(HOME "/among/1.png", 2, 2, 3, 1);
    write_picture(HOME "/among/run/samples/step.png", 2, 2, 3, 2);
    assert_true(listing_make(&listing, HOME "/among", NULL));
    assert_int_equal(listing.count, 2);
    listing_free(&listing);
    write_text(HOME "/among/run/recipe.yaml", "run: {}\n");
    assert_true(listing_make(&listing, HOME "/among", NULL));
    assert_int_equal(listing.count, 2);
    listing_free(&listing);
    write_text(HOME "/among/run/log.jsonl", "");
    assert_true(listing_make(&listing, HOME "/among", NULL));
    assert_int_equal(listing.count, 1);
    assert_string_equal(listing.text + listing.names[0], "1.png");
    listing_free(&listing);
    assert_true(listing_make(&listing, HOME "/among/run", NULL));
    assert_int_equal(listing.count, 1);
    listing_free(&listing);
}

/* The stored listing is used (it lists a file whose folder still has its old time) and an added file is noticed. */
static void stored_listing(void **state)
{
    (void)state;
    Listing listing;
    const char *stored = HOME "/listing";
    write_picture(HOME "/kept/a/1.png", 2, 2, 3, 1);
    write_picture(HOME "/kept/b/2.png", 2, 2, 3, 2);
    assert_true(listing_make(&listing, HOME "/kept", stored));
    assert_false(file_exists(stored)); /* the folders changed this very moment: not to be trusted */
    listing_free(&listing);

    const char *folders[] = {HOME "/kept/a", HOME "/kept/b", HOME "/kept"};
    for (int f = 0; f < 3; f++)
        make_old(folders[f], 100);
    for (int round = 0; round < 2; round++) {
        assert_true(listing_make(&listing, HOME "/kept", stored));
        assert_int_equal(listing.stored, round == 1);
        assert_int_equal(listing.count, 2);
        assert_string_equal(listing.text + listing.names[1], "b/2.png");
        listing_free(&listing);
    }
    write_picture(HOME "/kept/a/0.png", 2, 2, 3, 3);
    assert_true(listing_make(&listing, HOME "/kept", stored));
    assert_false(listing.stored);
    assert_int_equal(listing.count, 3);
    assert_string_equal(listing.text + listing.names[0], "a/0.png");
    listing_free(&listing);

    /* A damaged file is not believed. */
    make_old(folders[0], 50);
    make_old(folders[2], 50);
    assert_true(listing_make(&listing, HOME "/kept", stored));
    listing_free(&listing);
    size_t size;
    char *bytes = file_read(stored, 0, &size);
    assert_non_null(bytes);
    for (size_t at = 0; at < size; at += 7) {
        bytes[at] ^= 0x10;
        assert_true(file_write(stored, bytes, at % 3 ? size : at));
        bytes[at] ^= 0x10;
        assert_true(listing_make(&listing, HOME "/kept", stored));
        assert_false(listing.stored);
        assert_int_equal(listing.count, 3);
        listing_free(&listing);
    }
    memory_free(bytes);
}

/* Whether the listing is read or stored; a run's pictures, hidden ones and other files do not count. */
static void pictures_that_are_not_read_are_told_of(void **state)
{
    (void)state;
    Listing listing;
    const char *stored = HOME "/foreign-listing";
    write_picture(HOME "/foreign/a/1.png", 2, 2, 3, 1);
    static const char *const others[] = {"a/2.GIF", "a/3.RW2",   "4.bmp",           "a/.5.bmp",     "a/6.txt",
                                         "gif",     "run/7.bmp", "run/recipe.yaml", "run/log.jsonl"};
    assert_true(file_make_folder(HOME "/foreign/run"));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char path[256];
        snprintf(path, sizeof path, HOME "/foreign/%s", others[i]);
        write_text(path, "x");
    }
    static const char *const folders[] = {HOME "/foreign", HOME "/foreign/a", HOME "/foreign/run"};
    for (int f = 0; f < 3; f++)
        make_old(folders[f], 100);
    for (int round = 0; round < 2; round++) {
        Text words = {0};
        assert_true(listing_make(&listing, HOME "/foreign", stored));
        assert_int_equal(listing.stored, round == 1);
        assert_int_equal(listing.count, 1);
        listing_tell_foreign(&listing, &words);
        assert_string_equal(words.data, "3 files are not read: .bmp, .gif, .rw2; those that are wanted have to "
                                        "be converted, to PNG for instance");
        text_free(&words);
        listing_free(&listing);
    }
    size_t count = 9;
    Source *source = open_or_fail(HOME "/foreign", NULL);
    assert_string_equal(source_left_out(source, &count), "3 files are not read: .bmp, .gif, .rw2; those that are wanted "
                                                         "have to be converted, to PNG for instance");
    assert_int_equal(count, 3);
    source_close(source);
    source = open_or_fail(HOME "/kept", NULL);
    assert_null(source_left_out(source, &count));
    assert_int_equal(count, 0);
    source_close(source);
    assert_true(file_remove(HOME "/foreign/a/1.png") && file_remove(HOME "/foreign/a/2.GIF") &&
                file_remove(HOME "/foreign/a/3.RW2"));
    assert_refused(HOME "/foreign", ".tif or .tiff file; 1 file is not read: .bmp; if it is wanted it has to be "
                                    "converted, to PNG for instance");
}

/* Want of memory is told as such, and not by a sentence with a hole. */
static void a_refusal_for_which_memory_lacks(void **state)
{
    (void)state;
    bool whole = false;
    assert_true(file_make_folder(HOME "/others"));
    write_text(HOME "/others/1.bmp", "x");
    for (uint64_t n = 1; n <= 40; n++) { /* of those that are made some are of no account, and the last n are beyond them */
        error_clear();
        memory_fail_at(n);
        Source *source = source_open(HOME "/others", &(SourceOptions){.no_cache = true});
        memory_fail_at(0);
        assert_null(source);
        whole = strstr(error_text(), "for instance") != NULL;
        if (!whole && !error_is_machine())
            fail_msg("allocation %d: %s", (int)n, error_text());
    }
    assert_true(whole);
}

static void plain_statistics(const Source *source, int channels, float *mean, float *std)
{
    for (int c = 0; c < channels; c++) {
        double n = 0, sum = 0, square = 0;
        for (int pass = 0; pass < 2; pass++)
            for (size_t i = 0; i < source_count(source); i++) {
                Image image;
                assert_true(source_picture(source, i, channels, &image));
                for (size_t p = (size_t)c; p < image_size(&image); p += (size_t)channels) {
                    double v = image.data[p] / 255.0;
                    if (pass == 0) {
                        sum += v;
                        n++;
                    } else {
                        square += (v - sum / n) * (v - sum / n);
                    }
                }
                image_free(&image);
            }
        mean[c] = (float)(sum / n);
        std[c] = (float)sqrt(square / n);
    }
}

static void statistics(void **state)
{
    (void)state;
    char path[512];
    for (int i = 0; i < 12; i++) {
        snprintf(path, sizeof path, HOME "/stats/%d.png", i);
        write_picture(path, 3 + i, 7, i % 3 ? 3 : 1, (uint64_t)i);
        make_old(path, 1000);
    }
    for (int channels = 1; channels <= 3; channels += 2) {
        SourceOptions uncached = {.no_cache = true};
        Source *source = open_or_fail(HOME "/stats", &uncached);
        float mean[3], std[3], expect_mean[3], expect_std[3], again_mean[3], again_std[3];
        size_t bytes = (size_t)channels * sizeof *mean;
        plain_statistics(source, channels, expect_mean, expect_std);
        assert_true(source_statistics(source, NULL, 0, channels, 1, mean, std));
        for (int c = 0; c < channels; c++) {
            assert_float_equal(mean[c], expect_mean[c], 1e-6f);
            assert_float_equal(std[c], expect_std[c], 1e-6f);
        }
        for (int threads = 2; threads <= 5; threads++) {
            assert_true(source_statistics(source, NULL, 0, channels, threads, again_mean, again_std));
            assert_memory_equal(mean, again_mean, bytes);
            assert_memory_equal(std, again_std, bytes);
        }
        source_close(source);
        source = open_or_fail(HOME "/stats", NULL);
        for (int round = 0; round < 2; round++) {
            assert_true(source_statistics(source, NULL, 0, channels, 2, again_mean, again_std));
            assert_memory_equal(mean, again_mean, bytes);
            assert_memory_equal(std, again_std, bytes);
        }
        uint64_t few[] = {0, 3};
        assert_true(source_statistics(source, few, 2, channels, 1, again_mean, again_std));
        assert_memory_not_equal(mean, again_mean, bytes);
        source_close(source);
    }
    /* Stored statistics are taken while size and time stay, and not when a file was written anew. */
    Source *source = open_or_fail(HOME "/stats", NULL);
    float mean[3], std[3], later_mean[3], later_std[3];
    assert_true(source_statistics(source, NULL, 0, 3, 1, mean, std));
    struct stat before;
    assert_int_equal(stat(HOME "/stats/1.png", &before), 0);
    char *garbage = memory_new((size_t)before.st_size, 1);
    assert_true(file_write(HOME "/stats/1.png", garbage, (size_t)before.st_size));
    memory_free(garbage);
    struct timespec times[2] = {before.st_mtim, before.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, HOME "/stats/1.png", times, 0), 0);
    assert_true(source_statistics(source, NULL, 0, 3, 1, later_mean, later_std));
    assert_memory_equal(mean, later_mean, sizeof mean);
    write_picture(HOME "/stats/1.png", 4, 7, 3, 99);
    assert_true(source_statistics(source, NULL, 0, 3, 1, later_mean, later_std));
    assert_memory_not_equal(mean, later_mean, sizeof mean);
    source_close(source);
}

static void split_is_stable(void **state)
{
    (void)state;
    SourceOptions few = {.world_count = 1000}, more = {.world_count = 2000};
    Source *a = open_or_fail("world", &few), *b = open_or_fail("world", &more);
    SampleList train, held, more_train, more_held;
    assert_true(source_split(a, 0.1, &train, &held));
    assert_true(source_split(b, 0.1, &more_train, &more_held));
    assert_int_equal(train.count + held.count, 1000);
    assert_in_range(held.count, 70, 130);
    for (size_t i = 0; i < held.count; i++)
        assert_int_equal(held.samples[i], more_held.samples[i]); /* more pictures move none */
    for (size_t i = 0; i < train.count; i++)
        assert_int_equal(train.samples[i], more_train.samples[i]);
    /* Whatever else changes: runs of old and new versions hold out the same pictures. */
    uint64_t first[] = {5, 9, 10, 26};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(held.samples[i], first[i]);
    sample_list_free(&train);
    sample_list_free(&held);
    sample_list_free(&more_train);
    sample_list_free(&more_held);
    assert_true(source_split(a, 0, &train, &held));
    assert_int_equal(held.count, 0);
    sample_list_free(&train);
    sample_list_free(&held);
    source_close(a);
    source_close(b);
    SourceOptions two = {.world_count = 2};
    a = open_or_fail("world", &two);
    double shares[] = {1e-9, 1 - 1e-9};
    for (int s = 0; s < 2; s++) {
        assert_true(source_split(a, shares[s], &train, &held));
        assert_int_equal(train.count, 1);
        assert_int_equal(held.count, 1);
        sample_list_free(&train);
        sample_list_free(&held);
    }
    assert_false(source_split(a, 1.5, &train, &held));
    source_close(a);
}

/* Writes records whose bytes follow from their number: labels (i, or i % 20 and i), then planes. */
static void write_cifar(const char *path, int records, int labels, int first)
{
    size_t record = (size_t)labels + 3072, size = record * (size_t)records;
    uint8_t *bytes = memory_new(size, 1);
    assert_non_null(bytes);
    for (int i = 0; i < records; i++) {
        uint8_t *at = bytes + (size_t)i * record;
        at[0] = (uint8_t)((first + i) % 10);
        if (labels == 2)
            at[1] = (uint8_t)((first + i) % 100);
        for (int c = 0; c < 3; c++)
            for (int p = 0; p < 1024; p++)
                at[labels + c * 1024 + p] = (uint8_t)(first + i + 50 * c + p);
    }
    assert_true(file_write(path, bytes, size));
    memory_free(bytes);
}

static void assert_cifar_picture(const Source *source, size_t i, int value)
{
    Image image;
    assert_true(source_picture(source, i, 3, &image));
    assert_int_equal(image.height, 32);
    for (int p = 0; p < 1024; p++)
        for (int c = 0; c < 3; c++)
            assert_int_equal(image.data[3 * p + c], (uint8_t)(value + 50 * c + p));
    image_free(&image);
}

static void cifar_files(void **state)
{
    (void)state;
    assert_true(file_make_folder(HOME "/ten"));
    write_cifar(HOME "/ten/data_batch_1.bin", 3, 1, 0);
    write_cifar(HOME "/ten/data_batch_2.bin", 2, 1, 7);
    write_cifar(HOME "/ten/test_batch.bin", 4, 1, 3);
    Source *source = open_or_fail(HOME "/ten", NULL);
    assert_int_equal(source_count(source), 5);
    assert_int_equal(source_class_count(source), 10);
    assert_string_equal(source_class_name(source, 3), "3");
    assert_key(source, 2, "data_batch_1.bin#2");
    assert_key(source, 4, "data_batch_2.bin#1");
    assert_int_equal(source_label(source, 4), 8);
    assert_cifar_picture(source, 4, 8);
    Image view, image;
    assert_true(source_view(source, 1, 3, &view));
    assert_int_equal(view.data[4], 1 + 50 + 1);
    assert_true(source_picture(source, 1, 1, &image));
    assert_int_equal(image.data[0], (19595 * 1 + 38470 * 51 + 7471 * 101 + 32768) >> 16);
    image_free(&image);
    source_close(source);

    write_text(HOME "/ten/batches.meta.txt", "airplane\r\nautomobile\nbird\n\n");
    source = open_or_fail(HOME "/ten/test_batch.bin", NULL);
    assert_int_equal(source_count(source), 4);
    assert_key(source, 0, "test_batch.bin#0");
    assert_string_equal(source_class_name(source, 1), "automobile");
    assert_string_equal(source_class_name(source, 9), "9");
    source_close(source);

    assert_true(file_make_folder(HOME "/hundred"));
    write_cifar(HOME "/hundred/train.bin", 3, 2, 41);
    source = open_or_fail(HOME "/hundred", NULL);
    assert_int_equal(source_class_count(source), 100);
    assert_int_equal(source_label(source, 2), 43);
    assert_cifar_picture(source, 2, 43);
    source_close(source);

    write_text(HOME "/cut.bin", "123");
    assert_refused(HOME "/cut.bin", "not a multiple of 3073 (CIFAR-10) or of 3074 (CIFAR-100)");
    write_text(HOME "/none.bin", "");
    assert_refused(HOME "/none.bin", "not a multiple");
    uint8_t wrong[3073] = {10};
    assert_true(file_write(HOME "/label.bin", wrong, sizeof wrong));
    assert_refused(HOME "/label.bin", "record 0 has a label that does not exist");
}

/* What the pictures are: world_test.c. */
static void the_world_is_a_source(void **state)
{
    (void)state;
    SourceOptions options = {.world_count = 500, .world_height = 48, .world_width = 80, .world_seed = 3};
    World world = {3, 48, 80, false};
    Source *source = open_or_fail("world", &options);
    assert_int_equal(source_count(source), 500);
    assert_key(source, 5, "world#5");
    assert_int_equal(source_class_count(source), WORLD_CLASSES);
    for (size_t i = 0; i < 20; i++) {
        Image image, drawn;
        assert_int_equal(source_label(source, i), world_label(&world, i));
        assert_true(source_picture(source, i, i % 2 ? 3 : 1, &image));
        assert_true(world_picture(&world, i, (WorldMoment){0, 1}, i % 2 ? 3 : 1, &drawn));
        assert_memory_equal(image.data, drawn.data, image_size(&image));
        image_free(&image);
        image_free(&drawn);
    }
    assert_string_equal(source_class_name(source, 5), "torus");
    source_close(source);
    options.world_width = 80 * 40;
    assert_null(source_open("world", &options));
}

static void cache_keeps_what_fits(void **state)
{
    (void)state;
    SourceOptions options = {.world_count = 4, .world_height = 16, .world_width = 16};
    Source *source = open_or_fail("world", &options);
    PictureCache *cache = picture_cache_new(source, &(ImageRequest){.channels = 3}, 2 * 16 * 16 * 3 + 500);
    assert_non_null(cache);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < 4; i++) {
            Image image, direct;
            ImageBox box;
            bool kept;
            assert_true(picture_cache_get(cache, i, NULL, NULL, false, &image, &box, &kept));
            assert_int_equal(box.height * box.width, 16 * 16);
            assert_true(source_picture(source, i, 3, &direct));
            assert_memory_equal(image.data, direct.data, image_size(&image));
            assert_int_equal(kept, i < 2);
            if (!kept)
                image_free(&image);
            image_free(&direct);
        }
    assert_in_range(picture_cache_bytes(cache), 2 * 16 * 16 * 3, 2 * 16 * 16 * 3 + 500);
    picture_cache_free(cache);
    source_close(source);
}

static int set_up(void **state)
{
    (void)state;
    char cache[4096];
    if (!getcwd(cwd, sizeof cwd) || !file_remove(HOME) || !file_make_folder(HOME))
        return -1;
    snprintf(cache, sizeof cache, "%s/" HOME "/cache", cwd);
    return setenv("XDG_CACHE_HOME", cache, 1);
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : -1;
}

static uint64_t names_of_list(const char *text)
{
    assert_true(file_write(HOME "/names.csv", text, strlen(text)));
    Source *source = source_open(HOME "/names.csv", &(SourceOptions){.no_cache = true});
    if (!source)
        fail_msg("%s", error_text());
    const uint64_t samples[] = {0, 1, 2};
    uint64_t names = source_names(source, samples, 3);
    source_close(source);
    return names;
}

/* Wherever the folder of all of them lies, but in their order and with their labels. */
static void names_tell_pictures_apart(void **state)
{
    (void)state;
    assert_true(file_make_folder(HOME));
    uint64_t names = names_of_list("/a/b/cat/1.png,0\n/a/b/cat/2.png,0\n/a/b/dog/1.png,1\n");
    assert_true(names != 0);
    assert_true(names == names_of_list("/elsewhere/cat/1.png,0\n/elsewhere/cat/2.png,0\n/elsewhere/dog/1.png,1\n"));
    assert_true(names == names_of_list("cat/1.png,0\ncat/2.png,0\ndog/1.png,1\n"));
    assert_true(names != names_of_list("cat/1.png,0\ncat/3.png,0\ndog/1.png,1\n"));
    assert_true(names != names_of_list("cat/2.png,0\ncat/1.png,0\ndog/1.png,1\n"));
    assert_true(names != names_of_list("cat/1.png,0\ncat/2.png,1\ndog/1.png,1\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labelled_folder),
        cmocka_unit_test(links_in_a_circle_end),
        cmocka_unit_test(a_link_is_what_its_name_says),
        cmocka_unit_test(large_files_that_are_no_pictures_cost_little),
        cmocka_unit_test(what_is_not_there_is_refused),
        cmocka_unit_test(broken_picture_has_a_reason),
        cmocka_unit_test(runs_among_the_pictures_are_left_out),
        cmocka_unit_test(a_refusal_for_which_memory_lacks),
        cmocka_unit_test(stored_listing),
        cmocka_unit_test(pictures_that_are_not_read_are_told_of),
        cmocka_unit_test(statistics),
        cmocka_unit_test(split_is_stable),
        cmocka_unit_test(cifar_files),
        cmocka_unit_test(the_world_is_a_source),
        cmocka_unit_test(cache_keeps_what_fits),
        cmocka_unit_test(names_tell_pictures_apart),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
