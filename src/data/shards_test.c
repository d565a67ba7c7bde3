/* Tar shards: what is read from them, stored indexes, and archives that were damaged or made to do harm. */
#include <fcntl.h>
#include <pthread.h>
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
#include "base/text.h"
#include "data/source.h"
#include "data/tar.h"
#include "image/draw.h"

#define HOME  "shards_test.tmp"
#define SHARD HOME "/one.tar"

static const SourceOptions uncached = {.no_cache = true};

/* ---- writing archives, right and wrong */

static void seal(uint8_t *header)
{
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
}

/* A header as POSIX has it; tests change it, then seal it. */
static void fill_header(uint8_t *header, const char *name, char type, size_t size)
{
    static const char magic[8] = {'u', 's', 't', 'a', 'r', 0, '0', '0'};
    memset(header, 0, 512);
    strncpy((char *)header, name, 100);
    snprintf((char *)header + 100, 8, "%07o", 0644);
    snprintf((char *)header + 124, 12, "%011zo", size);
    header[156] = (uint8_t)type;
    memcpy(header + 257, magic, sizeof magic);
    seal(header);
}

static void add_data(Text *tar, const void *data, size_t size)
{
    static const char zeros[512];
    text_add_bytes(tar, data, size);
    text_add_bytes(tar, zeros, (512 - size % 512) % 512);
}

static void add_typed(Text *tar, const char *name, char type, const void *data, size_t size)
{
    uint8_t header[512];
    fill_header(header, name, type, size);
    text_add_bytes(tar, header, sizeof header);
    add_data(tar, data, size);
}

static void add_member(Text *tar, const char *name, const void *data, size_t size)
{
    add_typed(tar, name, '0', data, size);
}

static void add_text(Text *tar, const char *name, const char *text)
{
    add_member(tar, name, text, strlen(text));
}

static void end_archive(Text *tar)
{
    static const char zeros[1024];
    text_add_bytes(tar, zeros, sizeof zeros);
}

/* A PNG of one colour; the bytes are owned by the caller. */
static char *make_picture(int value, size_t *size)
{
    Image image;
    assert_true(image_new(&image, 3, 4, 3));
    memset(image.data, value, image_size(&image));
    assert_true(image_write_png(HOME "/picture.png", &image));
    image_free(&image);
    char *bytes = file_read(HOME "/picture.png", 0, size);
    assert_non_null(bytes);
    assert_true(file_remove(HOME "/picture.png"));
    return bytes;
}

static void add_picture(Text *tar, const char *name, int value)
{
    size_t size;
    char *bytes = make_picture(value, &size);
    add_member(tar, name, bytes, size);
    memory_free(bytes);
}

static void write_archive(Text *tar, const char *path)
{
    end_archive(tar);
    assert_false(tar->failed);
    assert_true(file_write(path, tar->data, tar->length));
    text_free(tar);
}

/* Without flushing it to the disk, which is what takes the time of thousands of rounds. */
static void write_fast(const void *bytes, size_t size)
{
    int fd = open(SHARD, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    assert_true(fd >= 0 && file_write_all(fd, SHARD, bytes, size));
    close(fd);
}

static void make_old(const char *path, int seconds)
{
    struct timespec times[2] = {{time(NULL) - seconds, 0}, {time(NULL) - seconds, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* ---- looking at sources */

static Source *open_or_fail(const char *where, const SourceOptions *options)
{
    Source *source = source_open(where, options);
    if (!source)
        fail_msg("%s", error_text());
    return source;
}

static void assert_sample(const Source *source, size_t i, const char *expect, int label, int value)
{
    char key[SOURCE_KEY_SIZE];
    Image image;
    assert_string_equal(source_key(source, i, key, sizeof key), expect);
    assert_int_equal(source_label(source, i), label);
    if (!source_picture(source, i, 3, &image))
        fail_msg("%s", error_text());
    assert_int_equal(image.width, 4);
    assert_int_equal(image.data[5], value);
    image_free(&image);
}

static void assert_refused_at(const char *where, const char *part)
{
    error_clear();
    assert_null(source_open(where, &uncached));
    if (!strstr(error_text(), part))
        fail_msg("\"%s\" is not in \"%s\"", part, error_text());
}

/* Ends and frees the archive, which is to be refused for that reason. */
static void assert_refused(Text *tar, const char *part)
{
    write_archive(tar, SHARD);
    assert_refused_at(SHARD, part);
    assert_non_null(strstr(error_text(), "one.tar"));
}

/* ---- tests */

static void labels_and_patterns(void **state)
{
    (void)state;
    Text tar = {0};
    assert_true(file_make_folder(HOME "/in"));
    add_typed(&tar, "in/", '5', "", 0);
    add_text(&tar, "in/a.cls", " 2\n");
    add_picture(&tar, "in/a.png", 10);
    add_picture(&tar, "in/b.PNG", 20);
    add_text(&tar, "in/b.json", "{}");
    add_text(&tar, "in/b.cls", "0");
    add_text(&tar, "in/._b.png", "what a Mac leaves");
    write_archive(&tar, HOME "/in/shard-08.tar");
    write_archive(&tar, HOME "/in/shard-09.tar"); /* without a member */
    add_picture(&tar, "c.left.png", 30);
    add_picture(&tar, "c.right.png", 40);
    add_text(&tar, "c.cls", "4");
    add_text(&tar, "c.right.cls", "3");
    write_archive(&tar, HOME "/in/shard-10.tar");
    static const char *const places[] = {HOME "/in/shard-{08..10}.tar", HOME "/in"};
    for (int p = 0; p < 2; p++) {
        Source *source = open_or_fail(places[p], &uncached);
        assert_int_equal(source_count(source), 4);
        assert_int_equal(source_class_count(source), 5);
        assert_sample(source, 3, "shard-10.tar#c.right.png", 3, 40);
        assert_sample(source, 0, "shard-08.tar#in/a.png", 2, 10);
        assert_sample(source, 2, "shard-10.tar#c.left.png", 4, 30);
        assert_sample(source, 1, "shard-08.tar#in/b.PNG", 0, 20);
        assert_non_null(strstr(source_summary(source), "4 pictures in 5 classes (3 tar shards, /"));
        float mean[3], std[3];
        assert_true(source_statistics(source, NULL, 0, 3, 2, mean, std));
        assert_float_equal(mean[0], 25 / 255.0, 1e-6);
        source_close(source);
    }
    assert_refused_at(HOME "/in/shard-{08..11}.tar", "in/shard-11.tar, which the pattern");
    assert_refused_at(HOME "/in/shard-{8..10}.tar", "in/shard-8.tar, which");
    assert_refused_at(HOME "/in/shard-{10..08}.tar", "its numbers fall");
    assert_refused_at(HOME "/in/shard-{a..b}.tar", "two numbers in braces");
    assert_refused_at(HOME "/in/shard-{1..}.tar", "two numbers in braces");
    assert_refused_at(HOME "/in/shard-{1.tar", "two numbers in braces");
    assert_refused_at(HOME "/in/shard-{1..2}-{1..2}.tar", "more than one pair");
    assert_refused_at(HOME "/in/shard-{0..999999999}.tar", "too many shards");
    assert_refused_at(HOME "/in/shard-{0..99999999999999999999}.tar", "two numbers in braces");
    assert_refused_at(HOME "/in/shard-{08..10}.tar.gz", "no shard at");
    assert_refused_at(HOME "/{1..2}/shard.tar", "braces in the file's name");

    /* Pictures come first: a folder with one is a folder of pictures. */
    Image image;
    assert_true(image_new(&image, 2, 2, 3));
    memset(image.data, 0, image_size(&image));
    assert_true(image_write_png(HOME "/in/z.png", &image));
    image_free(&image);
    Source *source = open_or_fail(HOME "/in", &uncached);
    assert_int_equal(source_count(source), 1);
    source_close(source);
    assert_true(file_remove(HOME "/in"));
}

/* A mask beside a picture is no picture; a dot in a picture's name does not make it one's mask. */
static void pictures_are_grouped_as_webdataset_groups(void **state)
{
    (void)state;
    Text tar = {0};
    add_picture(&tar, "__notes__/logo.png", 1);
    add_picture(&tar, "__cover__", 1);
    add_picture(&tar, "a.seg.png", 2);
    add_picture(&tar, "in.to/a.depth.left.png", 3);
    add_picture(&tar, "a.png", 4);
    add_text(&tar, "a.cls", "1");
    add_picture(&tar, "photo.2020.png", 5);
    add_text(&tar, "photo.2020.cls", "0");
    add_picture(&tar, "photo.2021.png", 6);
    add_text(&tar, "photo.cls", "2");
    add_picture(&tar, "in.to/a.PNG", 7);
    add_text(&tar, "in.to/a.cls", "3");
    add_picture(&tar, "b__/__a__.png", 8);
    add_text(&tar, "b__/__a__.cls", "4");
    write_archive(&tar, SHARD);
    Source *source = open_or_fail(SHARD, &uncached);
    assert_int_equal(source_count(source), 5);
    assert_sample(source, 0, "one.tar#a.png", 1, 4);
    assert_sample(source, 1, "one.tar#photo.2020.png", 0, 5);
    assert_sample(source, 2, "one.tar#photo.2021.png", 2, 6);
    assert_sample(source, 3, "one.tar#in.to/a.PNG", 3, 7);
    assert_sample(source, 4, "one.tar#b__/__a__.png", 4, 8);
    source_close(source);
}

/* Every way a name or a size is written, and a name that would lead out of a folder if it were a path. */
static void names_and_sizes(void **state)
{
    (void)state;
    Text tar = {0};
    uint8_t header[512];
    char longer[TAR_NAME_SIZE + 100], key[SOURCE_KEY_SIZE], record[1024];
    size_t size;
    char *bytes = make_picture(7, &size);
    memset(longer, 'x', sizeof longer);
    memcpy(longer + TAR_NAME_SIZE - 5, ".png", 5);

    add_member(&tar, "../../etc/a.png", bytes, size);
    fill_header(header, "c.png", '0', size); /* ustar's prefix */
    snprintf((char *)header + 345, 155, "a/b");
    seal(header);
    text_add_bytes(&tar, header, 512);
    add_data(&tar, bytes, size);
    memcpy(header + 257, "ustar  ", 8); /* the same in GNU's old form: no prefix */
    seal(header);
    text_add_bytes(&tar, header, 512);
    add_data(&tar, bytes, size);
    fill_header(header, "old.png", 0, size); /* V7 */
    memset(header + 257, 0, 8);
    snprintf((char *)header + 124, 12, "%10zo ", size);
    seal(header);
    text_add_bytes(&tar, header, 512);
    add_data(&tar, bytes, size);
    add_typed(&tar, "././@LongLink", 'K', "somewhere", 10);
    add_typed(&tar, "././@LongLink", 'L', longer, TAR_NAME_SIZE); /* with its zero byte: the longest name there may be */
    add_member(&tar, "cut", bytes, size);
    add_typed(&tar, "pax_global_header", 'g', "20 comment=a commit\n", 20);
    int n = snprintf(record, sizeof record, "18 path=d/\xC3\xA9=.png\n%d size=%zu\n", size < 100 ? 11 : 12, size);
    add_typed(&tar, "PaxHeaders/e", 'x', record, (size_t)n);
    add_typed(&tar, "././@LongLink", 'L', "the pax name counts.png", 24);
    fill_header(header, "e", '0', 0); /* the size stands in the pax header only */
    text_add_bytes(&tar, header, 512);
    add_data(&tar, bytes, size);
    fill_header(header, "binary.png", '0', 0); /* GNU's binary size */
    memset(header + 124, 0, 12);
    header[124] = 0x80;
    header[134] = (uint8_t)(size >> 8);
    header[135] = (uint8_t)size;
    seal(header);
    text_add_bytes(&tar, header, 512);
    add_data(&tar, bytes, size);
    add_member(&tar, "empty.png", "", 0);
    fill_header(header, "folder.png", '5', 5000); /* a folder has no bytes */
    text_add_bytes(&tar, header, 512);
    write_archive(&tar, SHARD);
    memory_free(bytes);

    Source *source = open_or_fail(SHARD, &uncached);
    assert_int_equal(source_class_count(source), 0);
    assert_int_equal(source_count(source), 8);
    snprintf(key, sizeof key, "one.tar#%s", longer);
    const char *const keys[] = {"one.tar#../../etc/a.png", "one.tar#a/b/c.png", "one.tar#c.png", "one.tar#old.png", key,
                                "one.tar#d/\xC3\xA9=.png", "one.tar#binary.png"};
    for (size_t i = 0; i < 7; i++)
        assert_sample(source, i, keys[i], -1, 7);
    Image image;
    assert_false(source_picture(source, 7, 3, &image)); /* it shows when it is asked for, as in a folder */
    assert_non_null(strstr(error_text(), "one.tar#empty.png"));
    source_close(source);
}

static void add_sized(Text *tar, const char *field, size_t size)
{
    uint8_t header[512];
    fill_header(header, "a.png", '0', 0);
    memcpy(header + 124, field, size);
    seal(header);
    text_add_bytes(tar, header, 512);
}

static void harm_is_refused(void **state)
{
    (void)state;
    Text tar = {0};
    static const struct {
        const char *field, *reason;
    } sizes[] = {
        {"77777777777", "truncated: a member of 8589934591 bytes"},
        {"777777777777", "truncated: a member of 68719476735 bytes"},
        {"-0000000001", "a size that is negative"},
        {"0000000 001", "a size that is negative, too large or no number"},
        {"00000000009", "no number"},
        {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "a size that is negative"},
        {"\x81\0\0\0\0\0\0\0\0\0\0\0", "too large or no number"},
        {"\x80\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01", "too large"},
        {"\x80\0\0\0\x80\0\0\0\0\0\0\0", "too large"},
        {"\x80\0\0\0\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "truncated: a member of 9223372036854775807 bytes"},
        {"\x80\0\0\0\x7F\xFF\xFF\xFF\xFF\xFF\xFE\x00", "truncated: a member of"},
    };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        add_sized(&tar, sizes[s].field, 12);
        assert_refused(&tar, sizes[s].reason);
    }
    static const struct {
        char type;
        const char *data, *reason;
    } extensions[] = {
        {'x', "20 size=99999999999\n", "truncated: a member of 99999999999 bytes"},
        {'x', "34 size=9999999999999999999999999\n", "a pax size that is no number, or too large"},
        {'x', "11 size=-1\n", "a pax size that is no number"},
        {'x', "8 size=\n", "an empty pax size"},
        {'x', "99 path=a.png\n", "a pax record that is malformed"},
        {'x', "14 path=a.png;", "a pax record that is malformed"},
        {'x', "99999999999999999999 path=a.png\n", "a pax record that is malformed"},
        {'x', "2 \n", "a pax record that is malformed"},
        {'x', "0 path=a\n", "a pax record that is malformed"},
        {'x', "8 abcde\n", "a pax record without a value"},
        {'x', "22 GNU.sparse.major=1\n", "sparse"},
        {'g', "14 path=a.png\n", "a path for all members"},
        {'L', "", "a member without a name"},
        {'S', "a", "sparse"},
        {'M', "a", "continued"},
    };
    for (size_t e = 0; e < sizeof extensions / sizeof *extensions; e++) {
        add_typed(&tar, "x.png", extensions[e].type, extensions[e].data, strlen(extensions[e].data));
        add_text(&tar, "b.png", "b");
        assert_refused(&tar, extensions[e].reason);
    }
    add_typed(&tar, "x", 'x', "15 path=a\0.png\n", 15);
    add_text(&tar, "b.png", "b");
    assert_refused(&tar, "a path with a zero byte");
    char *large = memory_new((1 << 20) + 1, 1);
    assert_non_null(large);
    memset(large, 'x', 1 << 16);
    add_typed(&tar, "x", 'x', large, (1 << 20) + 1);
    assert_refused(&tar, "an extension header of 1048577 bytes");
    add_typed(&tar, "x", 'L', large, TAR_NAME_SIZE);
    assert_refused(&tar, "a name of 3584 bytes");
    memory_free(large);
    add_typed(&tar, "x", 'L', "a.png", 5);
    assert_refused(&tar, "an extension header without a member");
    add_typed(&tar, "a.png", '2', "", 0);
    assert_refused(&tar, "is a link");
    add_text(&tar, "a.png", "x");
    add_text(&tar, "b.png", "x");
    add_text(&tar, "a.png", "y");
    assert_refused(&tar, "the name a.png occurs twice, at bytes 0 and 2048");
    add_text(&tar, "a.PNG", "x");
    add_text(&tar, "a.jpg", "x");
    add_text(&tar, "a.png", "y");
    assert_refused(&tar, "a.PNG and a.png are the same part of a sample twice");
    add_text(&tar, "a.png", "x");
    add_text(&tar, "a.cls", "1");
    add_text(&tar, "a.CLS", "2");
    assert_refused(&tar, "labels of the same picture");
    static const char *const labels[] = {"",
                                         "x",
                                         "-1",
                                         "1.5",
                                         "1048576",
                                         "99999999999999999999",
                                         "                                                                 1"};
    for (size_t l = 0; l < sizeof labels / sizeof *labels; l++) {
        add_text(&tar, "a.cls", labels[l]);
        assert_refused(&tar, "is no whole number");
    }
    add_text(&tar, "a.png", "x");
    add_text(&tar, "a.cls", "1");
    add_text(&tar, "b.png", "x");
    assert_refused(&tar, "one.tar#b.png has no label (a .cls member), unlike one.tar#a.png");
    add_text(&tar, "a.txt", "x");
    assert_refused(&tar, "no pictures at");
    add_text(&tar, "a.png", "x");
    end_archive(&tar);
    add_text(&tar, "b.png", "x");
    assert_refused(&tar, "data behind the mark of the archive's end");
    text_add(&tar, "no archive at all, but a text of more than a block:%600d", 1);
    assert_refused(&tar, "no tar archive");
    assert_true(file_write(SHARD, "", 0));
    assert_refused_at(SHARD, "truncated");
    assert_true(file_remove(SHARD));
    assert_true(file_make_folder(SHARD "/one.tar"));
    assert_refused_at(SHARD, "not a regular file");
    assert_true(file_remove(SHARD));
}

/* A bad picture is no bad shard, also where its start tells that it is bad. */
static void a_large_member_that_is_no_picture_is_left_out(void **state)
{
    (void)state;
    enum { BYTES = 2 << 20 };
    Text tar = {0};
    char *text = memory_new(BYTES, 1);
    assert_non_null(text);
    memset(text, 'x', BYTES);
    add_member(&tar, "a.jpg", text, BYTES);
    add_picture(&tar, "b.png", 7);
    write_archive(&tar, SHARD);
    Source *source = source_open(SHARD, &uncached);
    assert_non_null(source);
    Image image;
    uint64_t before = memory_count();
    assert_false(source_picture(source, 0, 3, &image));
    assert_non_null(strstr(error_text(), "a.jpg: this is neither a JPEG, PNG, WebP nor TIFF file"));
    assert_false(error_is_machine());
    assert_in_range(memory_count() - before, 0, 2); /* the name, the start */
    assert_true(source_picture(source, 1, 3, &image));
    image_free(&image);
    source_close(source);
    memory_free(text);
}

static void compressed_shards_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"a.tar.gz", "x", "gunzip"},
        {"a.TGZ", "x", "gunzip"},
        {"a.tar.zst", "x", "unzstd"},
        {"a.tar.xz", "x", "unxz"},
        {"a.tar.bz2", "x", "bunzip2"},
        {"a.tar", "\x1F\x8B\x08", "gunzip"},
        {"a.tar", "\x28\xB5\x2F\xFD", "unzstd"},
        {"a.tar",
         "\xFD"
         "7zXZ",
         "unxz"},
        {"a.tar", "BZh9", "bunzip2"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int padded = 0; padded < 2; padded++) {
            char path[256], bytes[2000] = "";
            snprintf(path, sizeof path, HOME "/packed/%s", cases[c][0]);
            snprintf(bytes, sizeof bytes, "%s", cases[c][1]);
            assert_true(file_make_folder(HOME "/packed"));
            assert_true(file_write(path, bytes, padded ? sizeof bytes : strlen(bytes)));
            assert_refused_at(path, cases[c][2]);
            assert_refused_at(HOME "/packed", cases[c][2]);
            assert_true(file_remove(HOME "/packed"));
        }
}

static void make_whole(Text *tar)
{
    add_typed(tar, "in/", '5', "", 0);
    add_typed(tar, "g", 'g', "20 comment=a commit\n", 20);
    add_picture(tar, "in/a.png", 1);
    add_text(tar, "in/a.cls", "1\n");
    add_typed(tar, "long", 'L', "in/long.png", 12);
    add_picture(tar, "cut", 2);
    add_typed(tar, "x", 'x', "17 path=in/b.png\n", 17);
    add_picture(tar, "cut", 3);
    add_text(tar, "in/b.cls", "0");
    add_text(tar, "in/long.cls", "2");
}

/* What is cut off anywhere before its mark of the end is refused. */
static void truncated_archives(void **state)
{
    (void)state;
    Text tar = {0};
    make_whole(&tar);
    size_t data = tar.length;
    end_archive(&tar);
    assert_true(file_write(SHARD, tar.data, tar.length));
    Source *source = open_or_fail(SHARD, &uncached);
    assert_sample(source, 0, "one.tar#in/a.png", 1, 1);
    assert_sample(source, 1, "one.tar#in/long.png", 2, 2);
    assert_sample(source, 2, "one.tar#in/b.png", 0, 3);
    source_close(source);
    for (size_t cut = 0; cut < data + 512; cut += cut % 512 < 2 || cut % 512 > 509 ? 1 : 85) {
        write_fast(tar.data, cut);
        assert_refused_at(SHARD, "truncated");
        assert_non_null(strstr(error_text(), "at byte"));
    }
    for (size_t percent = 1; percent < 100; percent++) {
        size_t cut = tar.length * percent / 100;
        write_fast(tar.data, cut);
        source = source_open(SHARD, &uncached);
        assert_true((source != NULL) == (cut >= data + 512)); /* 512 zero bytes end an archive */
        source_close(source);
    }
    text_free(&tar);
}

/* Asks for all that a source says it has. */
static void use(const Source *source)
{
    char key[SOURCE_KEY_SIZE];
    Image image;
    for (size_t i = 0; i < source_count(source); i++) {
        assert_non_null(strstr(source_key(source, i, key, sizeof key), "one.tar#"));
        assert_in_range(source_label(source, i) + 1, 0, source_class_count(source));
        error_clear();
        if (source_picture(source, i, 3, &image))
            image_free(&image);
        else
            assert_true(error_text()[0]);
    }
}

/* Bytes overwritten anywhere, with headers' sums made to hold again in half of the rounds so that what is behind is reached. */
static void damaged_archives(void **state)
{
    (void)state;
    Text tar = {0};
    make_whole(&tar);
    end_archive(&tar);
    uint8_t *bytes = memory_new(tar.length, 1);
    assert_non_null(bytes);
    Random r = random_stream(11, RANDOM_TEST, 0, 0, 0);
    int opened = 0, refused = 0, fields[] = {0, 99, 100, 124, 125, 135, 148, 156, 257, 262, 345};
    for (int round = 0; round < 4000; round++) {
        memcpy(bytes, tar.data, tar.length);
        for (uint32_t n = 1 + random_below(&r, 5); n; n--) {
            size_t block = 512 * (size_t)random_below(&r, (uint32_t)(tar.length / 512)), at = block + random_below(&r, 512);
            if (round % 4 > 1)
                at = block + (size_t)fields[random_below(&r, sizeof fields / sizeof *fields)];
            bytes[at] = random_below(&r, 3) ? (uint8_t)random_below(&r, 256) : (uint8_t) "017x Lg\x80"[random_below(&r, 8)];
            if (round % 2 && tar.data[block + 257] == 'u') /* a header */
                seal(bytes + block);
        }
        write_fast(bytes, tar.length);
        error_clear();
        Source *source = source_open(SHARD, &uncached);
        assert_true(source || error_text()[0]);
        if (source)
            use(source);
        opened += source != NULL;
        refused += source == NULL;
        source_close(source);
    }
    assert_true(opened > 200 && refused > 200);
    memory_free(bytes);
    text_free(&tar);
}

static void stored_index(void **state)
{
    (void)state;
    Text tar = {0};
    TarIndex index;
    const char *stored = HOME "/index";
    make_whole(&tar);
    end_archive(&tar);
    assert_true(file_write(SHARD, tar.data, tar.length));
    assert_true(tar_index_make(&index, SHARD, stored));
    assert_false(file_exists(stored)); /* the shard changed this very moment: not to be trusted */
    tar_index_free(&index);
    make_old(SHARD, 100);
    for (int round = 0; round < 2; round++) {
        assert_true(tar_index_make(&index, SHARD, stored));
        assert_int_equal(index.stored, round);
        assert_int_equal(index.count, 3);
        assert_string_equal(index.text + index.pictures[1].name, "in/long.png");
        assert_int_equal(index.pictures[1].label, 2);
        assert_memory_equal(tar.data + index.pictures[2].offset, "\x89PNG", 4);
        tar_index_free(&index);
    }
    /* Another time or another archive is noticed. */
    make_old(SHARD, 50);
    assert_true(tar_index_make(&index, SHARD, stored));
    assert_false(index.stored);
    tar_index_free(&index);

    /* A damaged index is not believed. */
    size_t size;
    char *bytes = file_read(stored, 0, &size);
    assert_non_null(bytes);
    for (size_t at = 0; at < size; at += 3) {
        bytes[at] ^= 0x10;
        assert_true(file_write(stored, bytes, at % 2 ? size : at));
        bytes[at] ^= 0x10;
        assert_true(tar_index_make(&index, SHARD, stored));
        assert_false(index.stored);
        assert_int_equal(index.count, 3);
        tar_index_free(&index);
    }
    memory_free(bytes);

    /* A shard that is replaced under an open source gives no garbage. */
    Source *source = open_or_fail(SHARD, NULL);
    assert_true(file_write(SHARD, tar.data, tar.length));
    Image image;
    assert_false(source_picture(source, 0, 3, &image));
    assert_non_null(strstr(error_text(), "has changed since it was indexed"));
    source_close(source);
    text_free(&tar);
}

enum { SHARDS = 70, THREADS = 4 }; /* more shards than are kept open */

typedef struct {
    const Source *source;
    uint64_t number;
    size_t wrong;
} Reader;

static void *read_at_random(void *self)
{
    Reader *reader = self;
    Random r = random_stream(3, RANDOM_TEST, 0, 0, reader->number);
    for (int round = 0; round < 500; round++) {
        Image image;
        size_t i = random_below(&r, SHARDS);
        if (!source_picture(reader->source, i, 3, &image)) {
            reader->wrong++;
            continue;
        }
        reader->wrong += image.data[0] != i;
        image_free(&image);
    }
    return NULL;
}

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void many_shards_and_threads(void **state)
{
    (void)state;
    assert_true(file_make_folder(HOME "/many"));
    for (int s = 0; s < SHARDS; s++) {
        char path[128];
        Text tar = {0};
        snprintf(path, sizeof path, HOME "/many/%d.tar", s);
        add_picture(&tar, "a.png", s);
        write_archive(&tar, path);
    }
    pthread_t threads[THREADS];
    int before = count_descriptors();
    Source *source = open_or_fail(HOME "/many/{0..69}.tar", &uncached);
    Reader readers[THREADS];
    for (uint64_t t = 0; t < THREADS; t++) {
        readers[t] = (Reader){source, t, 0};
        assert_int_equal(pthread_create(&threads[t], NULL, read_at_random, &readers[t]), 0);
    }
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        assert_int_equal(readers[t].wrong, 0);
    }
    assert_in_range(count_descriptors() - before, 2, 64); /* some are kept open, not all */
    source_close(source);
    assert_int_equal(count_descriptors(), before);
}

static int set_up(void **state)
{
    (void)state;
    char cwd[2048], cache[4096];
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_and_patterns),
        cmocka_unit_test(pictures_are_grouped_as_webdataset_groups),
        cmocka_unit_test(names_and_sizes),
        cmocka_unit_test(harm_is_refused),
        cmocka_unit_test(a_large_member_that_is_no_picture_is_left_out),
        cmocka_unit_test(compressed_shards_are_refused),
        cmocka_unit_test(truncated_archives),
        cmocka_unit_test(damaged_archives),
        cmocka_unit_test(stored_index),
        cmocka_unit_test(many_shards_and_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
