/* Tar shards: what is read from them, and stored indexes. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#define HOME "shards_test.tmp"

#include "base/random.h"
#include "data/shards_case.h"
#include "data/tar.h"

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

static void make_old(const char *path, int seconds)
{
    struct timespec times[2] = {{time(NULL) - seconds, 0}, {time(NULL) - seconds, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_and_patterns), cmocka_unit_test(pictures_are_grouped_as_webdataset_groups),
        cmocka_unit_test(names_and_sizes),     cmocka_unit_test(a_large_member_that_is_no_picture_is_left_out),
        cmocka_unit_test(stored_index),        cmocka_unit_test(many_shards_and_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
