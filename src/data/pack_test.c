/* Shards that are packed: what comes back from them, their bytes, their names, and what is left when packing fails. */
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
#include "base/random.h"
#include "data/pack.h"
#include "data/pack_names.h"
#include "data/tar_write.h"
#include "image/draw.h"
#include "image/resize.h"

#define HOME "pack_test.tmp"

enum { PICTURES = 24, BROKEN = 2 };

static void put(const char *path, const void *bytes, size_t size)
{
    char whole[4096], *slash;
    snprintf(whole, sizeof whole, HOME "/%s", path);
    slash = strrchr(whole, '/');
    *slash = 0;
    assert_true(file_make_folder(whole));
    *slash = '/';
    if (!file_write(whole, bytes, size))
        fail_msg("%s", error_text());
}

/* A picture of noise, so that no two are the same. */
static void put_picture(const char *path, int number, int height, int width, int channels)
{
    Image image;
    size_t size;
    Random random = random_stream((uint64_t)number, RANDOM_TEST, 0, 0, 0);
    assert_true(image_new(&image, height, width, channels));
    for (size_t i = 0; i < image_size(&image); i++)
        image.data[i] = (uint8_t)random_below(&random, 256);
    uint8_t *bytes = strstr(path, ".j") ? image_encode_jpeg(&image, 90, &size) : image_encode_png(&image, &size);
    assert_non_null(bytes);
    put(path, bytes, size);
    memory_free(bytes);
    image_free(&image);
}

/* Two classes, of which one's name has a dot; PNG and JPEG, also under the other's name; two broken ones; names that are long,
 * have dots, or differ in nothing but the suffix. */
static void put_pictures(void)
{
    char path[600];
    for (int i = 0; i < PICTURES - 4; i++) {
        snprintf(path, sizeof path, "in/%s/%02d.%s", i % 3 ? "a cat" : "dog.2", i, i % 4 ? "png" : i % 8 ? "jfif" : "jpg");
        put_picture(path, i, 10 + i, 30 - i, i % 5 ? 3 : 1);
    }
    snprintf(path, sizeof path, "in/a cat/%0120d/%0200d.png", 1, 2);
    put_picture(path, 100, 9, 9, 3);
    put_picture("in/a cat/twin.png", 101, 9, 9, 3);
    put_picture("in/a cat/twin.jpg", 102, 9, 9, 3);
    put_picture("in/dog.2/x.y.z.png", 103, 9, 9, 3);
    put("in/a cat/05b.jpg", "no picture", 10);
    put("in/dog.2/99.png", "", 0);
}

static Source *open_source(const char *path)
{
    SourceOptions options = {.no_cache = true};
    Source *source = source_open(path, &options);
    if (!source)
        fail_msg("%s", error_text());
    return source;
}

typedef struct {
    char bad[256];
    size_t done;
} Heard;

static void hear_bad(void *context, const char *key, const char *why)
{
    Heard *heard = context;
    size_t length = strlen(heard->bad);
    snprintf(heard->bad + length, sizeof heard->bad - length, "%s: %s\n", key, why);
}

static void hear_progress(void *context, size_t done)
{
    ((Heard *)context)->done = done;
}

static PackOptions usual(const Source *source, const char *out, Heard *heard)
{
    *heard = (Heard){0};
    return (PackOptions){.source = source,
                         .out = out,
                         .shard_bytes = 1 << 20,
                         .quality = 95,
                         .threads = 2,
                         .bad = hear_bad,
                         .progress = hear_progress,
                         .context = heard};
}

static PackResult pack(const PackOptions *options)
{
    PackResult result;
    if (!source_pack(options, &result))
        fail_msg("%s", error_text());
    return result;
}

static void expect_same_file(const char *a, const char *b)
{
    size_t size_a, size_b;
    char *bytes_a = file_read(a, 0, &size_a), *bytes_b = file_read(b, 0, &size_b);
    assert_non_null(bytes_a);
    assert_non_null(bytes_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(bytes_a, bytes_b, size_a);
    memory_free(bytes_a);
    memory_free(bytes_b);
}

/* The good pictures of the folder, in its order. */
static void expect_what_was_packed(const Source *in, const Source *out)
{
    assert_int_equal(source_count(in), PICTURES + BROKEN);
    assert_int_equal(source_count(out), PICTURES);
    assert_int_equal(source_class_count(out), 2);
    assert_string_equal(source_class_name(out, 0), "a cat");
    assert_string_equal(source_class_name(out, 1), "dog.2");
    size_t at = 0;
    for (size_t i = 0; i < source_count(in); i++) {
        char *bytes, *packed;
        size_t size, packed_size;
        Image image = {0};
        if (!source_picture(in, i, 3, &image))
            continue;
        image_free(&image);
        char key[SOURCE_KEY_SIZE];
        assert_null(strstr(source_key(out, at, key, sizeof key), ".jfif")); /* a JPEG is called one */
        assert_true(source_file(in, i, &bytes, &size) && source_file(out, at, &packed, &packed_size));
        assert_int_equal(size, packed_size);
        assert_memory_equal(bytes, packed, size);
        assert_int_equal(source_label(in, i), source_label(out, at));
        memory_free(bytes);
        memory_free(packed);
        at++;
    }
    assert_int_equal(at, PICTURES);
}

static void what_is_packed_comes_back(void **state)
{
    (void)state;
    Heard heard;
    Source *in = open_source(HOME "/in");
    PackOptions o = usual(in, HOME "/out", &heard);
    PackResult result = pack(&o);
    assert_int_equal(result.pictures, PICTURES);
    assert_int_equal(result.bad, BROKEN);
    assert_int_equal(result.shards, 1);
    assert_int_equal(heard.done, PICTURES + BROKEN);
    assert_string_equal(heard.bad, "a cat/05b.jpg: this is neither a JPEG, PNG, WebP nor TIFF file\n"
                                   "dog.2/99.png: the file is empty\n");
    assert_false(file_exists(HOME "/out.tmp"));
    Source *out = open_source(HOME "/out");
    expect_what_was_packed(in, out);
    char key[SOURCE_KEY_SIZE];
    bool found = false;
    for (size_t i = 0; i < PICTURES; i++)
        found = found || !strcmp(source_key(out, i, key, sizeof key), "out-000000.tar#dog.2/x_y_z.png");
    assert_true(found);
    source_close(out);
    source_close(in);
    /* Another program reads the same names. */
    assert_int_equal(system("tar -tf " HOME "/out/out-000000.tar >" HOME "/names 2>&1"), 0);
    size_t size;
    char *names = file_read(HOME "/names", 0, &size), name[1000];
    assert_non_null(names);
    snprintf(name, sizeof name, "a cat/%0120d/%0200d.png\na cat/%0120d/%0200d.cls\n", 1, 2, 1, 2);
    assert_non_null(strstr(names, name));
    assert_non_null(strstr(names, "dog.2/x_y_z.png\ndog.2/x_y_z.cls\n"));
    memory_free(names);
}

static void threads_and_shards_change_no_byte(void **state)
{
    (void)state;
    Heard heard;
    Source *in = open_source(HOME "/in");
    for (int threads = 1; threads <= 4; threads++) {
        char out[64], one[128], first[128];
        snprintf(out, sizeof out, HOME "/%d/few", threads);
        PackOptions o = usual(in, out, &heard);
        o.threads = threads;
        o.shard_count = 7;
        assert_int_equal(pack(&o).shards, 4);
        for (int s = 0; s < 4; s++) {
            snprintf(one, sizeof one, "%s/few-%06d.tar", out, s);
            snprintf(first, sizeof first, HOME "/1/few/few-%06d.tar", s);
            expect_same_file(first, one);
        }
        Source *packed = open_source(out);
        expect_what_was_packed(in, packed);
        source_close(packed);
    }
    /* By bytes: no shard is larger, but for one with a single picture. */
    PackOptions o = usual(in, HOME "/bytes", &heard);
    o.shard_bytes = 6000;
    PackResult result = pack(&o);
    assert_true(result.shards > 4 && result.shards < PICTURES);
    for (size_t s = 0; s < result.shards; s++) {
        char path[128];
        size_t size;
        snprintf(path, sizeof path, HOME "/bytes/bytes-%06zu.tar", s);
        char *bytes = file_read(path, 0, &size);
        assert_non_null(bytes);
        assert_int_equal(size % 10240, 0); /* tar's records, filled up behind what is counted */
        while (size && !bytes[size - 1])
            size--;
        assert_true(size <= 6000);
        memory_free(bytes);
    }
    Source *packed = open_source(HOME "/bytes");
    expect_what_was_packed(in, packed);
    source_close(packed);
    source_close(in);
}

static void what_is_too_long_for_jpeg_becomes_png(void **state)
{
    (void)state;
    put_picture("longest/a.png", 1, 5, 82000, 1);
    Heard heard;
    Source *in = open_source(HOME "/longest"), *out;
    PackOptions o = usual(in, HOME "/longest-out", &heard);
    o.short_side = 4;
    o.quality = 95;
    pack(&o);
    out = open_source(o.out);
    Image image;
    assert_true(source_picture(out, 0, 1, &image));
    assert_int_equal(image.width, 65600);
    image_free(&image);
    source_close(out);
    source_close(in);
}

static void pictures_are_shrunk(void **state)
{
    (void)state;
    put_picture("sizes/a.png", 1, 100, 33, 3);
    put_picture("sizes/b.jpg", 2, 40, 90, 1);
    put_picture("sizes/c.jpeg", 3, 20, 200, 3);
    Heard heard;
    Source *in = open_source(HOME "/sizes"), *out;
    for (int lossless = 0; lossless < 2; lossless++) {
        const char *folder = lossless ? HOME "/lossless" : HOME "/small";
        PackOptions o = usual(in, folder, &heard);
        o.short_side = 20;
        o.quality = lossless ? 0 : 95;
        pack(&o);
        out = open_source(folder);
        static const int sizes[][2] = {{60, 20}, {20, 45}, {20, 200}};
        assert_int_equal(source_class_count(out), 0);
        for (size_t i = 0; i < 3; i++) {
            Image image, whole;
            int channels;
            char *bytes;
            size_t size;
            uint8_t expect[60 * 45 * 3];
            ResizeScratch scratch = {0};
            assert_true(source_file(out, i, &bytes, &size));
            assert_string_equal(image_format(bytes, size), lossless && i < 2 ? "PNG" : "JPEG");
            assert_true(image_probe(bytes, size, "it", NULL, NULL, &channels));
            assert_int_equal(channels, i == 1 ? 1 : 3);
            memory_free(bytes);
            assert_true(source_picture(out, i, channels, &image) && source_picture(in, i, channels, &whole));
            assert_int_equal(image.height, sizes[i][0]);
            assert_int_equal(image.width, sizes[i][1]);
            if (lossless && i < 2) {
                assert_true(image_resize(&whole, (ImageBox){0, 0, whole.height, whole.width}, image.height, image.width,
                                         RESIZE_BICUBIC, &scratch, expect));
                assert_memory_equal(expect, image.data, image_size(&image));
            } else if (i == 2) {
                assert_memory_equal(whole.data, image.data, image_size(&image)); /* small already: as it was */
            }
            image_free(&image);
            image_free(&whole);
            resize_scratch_free(&scratch);
        }
        source_close(out);
    }
    source_close(in);
}

/* EXIF's orientation outlasts the new coding. */
static void turned_pictures_stay_turned(void **state)
{
    (void)state;
    static const char *const names[] = {"jpeg/turned.jpg", "png/turned.png", "tiff/turned.tif", "webp/turned.webp"};
    char path[4096];
    for (int i = 0; i < 4; i++) {
        size_t size;
        snprintf(path, sizeof path, LACUNA_SOURCE "/tests/fuzz/corpus/%s", names[i]);
        char *bytes = file_read(path, 0, &size);
        assert_non_null(bytes);
        snprintf(path, sizeof path, "turned/%d.%s", i, file_name(names[i]));
        put(path, bytes, size);
        memory_free(bytes);
    }
    Heard heard;
    Source *in = open_source(HOME "/turned");
    for (int lossless = 0; lossless < 2; lossless++) {
        PackOptions o = usual(in, lossless ? HOME "/kept-png" : HOME "/kept", &heard);
        o.short_side = 8;
        o.quality = lossless ? 0 : 90;
        pack(&o);
        Source *out = open_source(o.out);
        for (size_t i = 0; i < 4; i++) {
            char *bytes;
            size_t size;
            ImageFacts facts;
            Image image;
            assert_true(source_file(out, i, &bytes, &size));
            assert_true(image_facts(bytes, size, "it", &facts));
            assert_int_equal(facts.orientation, 6);
            ImageRequest request = {.channels = facts.channels, .deep = true, .exif = true};
            assert_true(image_decode_part(bytes, size, "it", &request, &image));
            image_free(&image);
            memory_free(bytes);
        }
        source_close(out);
    }
    source_close(in);
}

static void what_is_no_file_becomes_png(void **state)
{
    (void)state;
    Heard heard;
    SourceOptions world = {.world_count = 12, .world_height = 16, .world_width = 20};
    Source *in = source_open("world", &world), *out;
    PackOptions o = usual(in, HOME "/world", &heard);
    pack(&o);
    out = open_source(HOME "/world");
    assert_int_equal(source_count(out), 12);
    assert_int_equal(source_class_count(out), source_class_count(in));
    for (size_t i = 0; i < 12; i++) {
        Image a, b;
        assert_true(source_picture(in, i, 3, &a) && source_picture(out, i, 3, &b));
        assert_memory_equal(a.data, b.data, image_size(&a));
        assert_int_equal(source_label(in, i), source_label(out, i));
        assert_string_equal(source_class_name(in, source_label(in, i)), source_class_name(out, source_label(out, i)));
        image_free(&a);
        image_free(&b);
    }
    source_close(out);
    source_close(in);
}

static void names_stay_inside_and_apart(void **state)
{
    (void)state;
    static const char *const keys[][2] = {{"a/b.jpg", "a/b"},
                                          {"../../etc/b.c.JPG", "etc/b_c"},
                                          {"/abs//./x.tif", "abs/x"},
                                          {"s-000.tar#d/e.png", "s-000.tar/d/e"},
                                          {"data_batch_1.bin#17", "data_batch_1.bin/17"},
                                          {"..", "picture"},
                                          {".hidden.png", "_hidden"},
                                          {"__pics__/a.jpg", "__pics__-/a"},
                                          {"in/__pics__/a.jpg", "in/__pics__/a"},
                                          {"plain", "plain"}};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        Text stem = {0};
        pack_stem(keys[k][0], &stem);
        assert_string_equal(stem.data, keys[k][1]);
        text_free(&stem);
    }
    /* Twins get their numbers, also where the number makes another twin. */
    static const char lines[] = "in/a.jpg\nin/a.png\nin/a-0.png\n./in/b.jpg\nin/b.jpg\n";
    put("list.csv", lines, sizeof lines - 1);
    Source *list = open_source(HOME "/list.csv");
    PackNames names = {0};
    assert_true(pack_names_make(&names, list));
    static const char *const stems[] = {"in/a-0-0", "in/a-1", "in/a-0-2", "in/b-3", "in/b-4"};
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(names.text.data + names.stem[i], stems[i]);
    pack_names_free(&names);
    source_close(list);
}

static void headers_take_names_of_every_length(void **state)
{
    (void)state;
    enum { LONGEST = 400 };
    char name[LONGEST + 1] = "", *bytes;
    size_t size;
    uint64_t expect = 1024;
    FILE *file = fopen(HOME "/long.tar", "w");
    assert_non_null(file);
    /* Slashes now and then, so that all ways to cut a name come up; names must differ. */
    for (int n = 0; n < LONGEST - 4; n++) {
        name[n] = n % 60 == 59 ? '/' : 'x';
        if (name[n] == '/')
            continue;
        memcpy(name + n + 1, ".png", 5);
        expect += tar_member_size(name, 3);
        assert_true(tar_write_member(fileno(file), "it", name, "abc", 3));
    }
    assert_true(tar_write_end(fileno(file), "it"));
    fclose(file);
    bytes = file_read(HOME "/long.tar", 0, &size);
    assert_int_equal(size, (expect + 10239) / 10240 * 10240); /* tar's records */
    memory_free(bytes);
    Source *source = open_source(HOME "/long.tar");
    assert_int_equal(source_count(source), LONGEST - 4 - 6);
    char key[SOURCE_KEY_SIZE];
    source_key(source, source_count(source) - 1, key, sizeof key);
    assert_int_equal(strlen(key), strlen("long.tar#") + LONGEST);
    source_close(source);
}

static void expect_refused(const PackOptions *o, const char *words)
{
    PackResult result;
    assert_false(source_pack(o, &result));
    if (!strstr(error_text(), words))
        fail_msg("'%s' does not say '%s'", error_text(), words);
}

static void a_failure_leaves_nothing(void **state)
{
    (void)state;
    Heard heard;
    Source *in = open_source(HOME "/in");
    PackOptions o = usual(in, HOME "/none", &heard);
    /* Writes of a shard, of the classes, and what lies between. */
    for (uint64_t n = 1; n <= 40; n += 13) {
        file_fail_at(n);
        expect_refused(&o, "No space left");
        file_fail_at(0);
        assert_false(file_exists(HOME "/none") || file_exists(HOME "/none.tmp"));
    }
    put("full/x", "x", 1);
    o.out = HOME "/full";
    expect_refused(&o, "not empty");
    o.out = HOME "/full/x";
    expect_refused(&o, "is there already");
    o.out = HOME "/left";
    put("left.tmp/x", "x", 1);
    expect_refused(&o, "is in the way");
    assert_true(file_exists(HOME "/left.tmp/x"));
    assert_true(file_make_folder(HOME "/empty"));
    o.out = HOME "/empty";
    pack(&o);
    source_close(in);
    put("bad/a.png", "x", 1);
    Source *bad = open_source(HOME "/bad");
    o = usual(bad, HOME "/none", &heard);
    expect_refused(&o, "not one picture");
    source_close(bad);
    put("lines/a\nb/1.png", "x", 1);
    bad = open_source(HOME "/lines");
    o.source = bad;
    expect_refused(&o, "classes.txt");
    source_close(bad);
    assert_false(file_exists(HOME "/none") || file_exists(HOME "/none.tmp"));
}

static void class_names_must_reach(void **state)
{
    (void)state;
    Heard heard;
    Source *in = open_source(HOME "/in");
    PackOptions o = usual(in, HOME "/classes", &heard);
    pack(&o);
    source_close(in);
    SourceOptions options = {.no_cache = true};
    put("classes/classes.txt", "one\n", 4);
    assert_null(source_open(HOME "/classes", &options));
    assert_non_null(strstr(error_text(), "names 1 classes"));
    put("classes/classes.txt", "one\n\n", 5);
    assert_null(source_open(HOME "/classes", &options));
    assert_non_null(strstr(error_text(), "line 2 is empty"));
    put("classes/classes.txt", "one\r\ntwo\r\nthree", 15);
    Source *source = open_source(HOME "/classes");
    assert_int_equal(source_class_count(source), 3);
    assert_string_equal(source_class_name(source, 2), "three");
    source_close(source);
}

static int set_up(void **state)
{
    (void)state;
    if (!file_remove(HOME) || !file_make_folder(HOME))
        return -1;
    put_pictures();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_packed_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(threads_and_shards_change_no_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_long_for_jpeg_becomes_png, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pictures_are_shrunk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(turned_pictures_stay_turned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_file_becomes_png, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_stay_inside_and_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(headers_take_names_of_every_length, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failure_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(class_names_must_reach, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
