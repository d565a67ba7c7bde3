/* What the tests of tar shards share: writing archives, right and wrong, and looking at sources. Include behind cmocka.h, with
 * HOME, the test's folder, defined. */
#ifndef LACUNA_DATA_SHARDS_CASE_H
#define LACUNA_DATA_SHARDS_CASE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/source.h"
#include "image/draw.h"

#define SHARD HOME "/one.tar"

static const SourceOptions uncached = {.no_cache = true};

static inline void seal(uint8_t *header)
{
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
}

/* A header as POSIX has it; tests change it, then seal it. */
static inline void fill_header(uint8_t *header, const char *name, char type, size_t size)
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

static inline void add_data(Text *tar, const void *data, size_t size)
{
    static const char zeros[512];
    text_add_bytes(tar, data, size);
    text_add_bytes(tar, zeros, (512 - size % 512) % 512);
}

static inline void add_typed(Text *tar, const char *name, char type, const void *data, size_t size)
{
    uint8_t header[512];
    fill_header(header, name, type, size);
    text_add_bytes(tar, header, sizeof header);
    add_data(tar, data, size);
}

static inline void add_member(Text *tar, const char *name, const void *data, size_t size)
{
    add_typed(tar, name, '0', data, size);
}

static inline void add_text(Text *tar, const char *name, const char *text)
{
    add_member(tar, name, text, strlen(text));
}

static inline void end_archive(Text *tar)
{
    static const char zeros[1024];
    text_add_bytes(tar, zeros, sizeof zeros);
}

/* A PNG of one colour; the bytes are owned by the caller. */
static inline char *make_picture(int value, size_t *size)
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

static inline void add_picture(Text *tar, const char *name, int value)
{
    size_t size;
    char *bytes = make_picture(value, &size);
    add_member(tar, name, bytes, size);
    memory_free(bytes);
}

static inline void write_archive(Text *tar, const char *path)
{
    end_archive(tar);
    assert_false(tar->failed);
    assert_true(file_write(path, tar->data, tar->length));
    text_free(tar);
}

static inline void make_whole(Text *tar)
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

static inline Source *open_or_fail(const char *where, const SourceOptions *options)
{
    Source *source = source_open(where, options);
    if (!source)
        fail_msg("%s", error_text());
    return source;
}

static inline void assert_sample(const Source *source, size_t i, const char *expect, int label, int value)
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

static inline void assert_refused_at(const char *where, const char *part)
{
    error_clear();
    assert_null(source_open(where, &uncached));
    if (!strstr(error_text(), part))
        fail_msg("\"%s\" is not in \"%s\"", part, error_text());
}

/* Ends and frees the archive, which is to be refused for that reason. */
static inline void assert_refused(Text *tar, const char *part)
{
    write_archive(tar, SHARD);
    assert_refused_at(SHARD, part);
    assert_non_null(strstr(error_text(), "one.tar"));
}

static inline int set_up(void **state)
{
    (void)state;
    char cwd[2048], cache[4096];
    if (!getcwd(cwd, sizeof cwd) || !file_remove(HOME) || !file_make_folder(HOME))
        return -1;
    snprintf(cache, sizeof cache, "%s/" HOME "/cache", cwd);
    return setenv("XDG_CACHE_HOME", cache, 1);
}

static inline int tear_down(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : -1;
}

#endif
