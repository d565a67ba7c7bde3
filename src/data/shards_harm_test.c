/* Tar shards that were damaged, or made to do harm. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HOME "shards_harm_test.tmp"

#include "base/random.h"
#include "data/shards_case.h"
#include "data/tar.h"

/* Without flushing it to the disk, which is what takes the time of thousands of rounds. */
static void write_fast(const void *bytes, size_t size)
{
    int fd = open(SHARD, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    assert_true(fd >= 0 && file_write_all(fd, SHARD, bytes, size));
    close(fd);
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

/* Its name first, as in all that is told of a shard. */
static void a_shard_that_shrinks_meanwhile(void **state)
{
    (void)state;
    char bytes[8];
    write_fast("12345", 5);
    int fd = open(SHARD, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(tar_read(fd, SHARD, bytes, 3, 2));
    assert_false(tar_read(fd, SHARD, bytes, 4, 2));
    assert_string_equal(error_text(), SHARD ": it ends at byte 5, before what it should hold there");
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(harm_is_refused),
        cmocka_unit_test(compressed_shards_are_refused),
        cmocka_unit_test(truncated_archives),
        cmocka_unit_test(damaged_archives),
        cmocka_unit_test(a_shard_that_shrinks_meanwhile),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
