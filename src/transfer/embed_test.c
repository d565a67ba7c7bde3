#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "image/draw.h"
#include "transfer/embed.h"
#include "transfer/tiny_backbone.h"

#define FOLDER "embed_test"

static const char *const PATHS[] = {FOLDER "/out.npy", FOLDER "/out.csv", FOLDER "/out.safetensors"};

static bool embed(Backbone *b, const Source *source, const char *path, int threads, int batch, size_t *resumed)
{
    const FeatureWant wants[] = {{1, false, FEATURE_MEAN}, {3, true, FEATURE_MEAN}};
    EmbedOptions o = {.batch = batch, .wants = wants, .count = 2, .workers = threads};
    assert_true(device_open("cpu", threads, &o.device));
    return embed_write(b, source, path, &o, resumed);
}

static void same_file(const char *path, const char *bytes, size_t size)
{
    size_t other;
    char *now = file_read(path, 0, &other);
    assert_non_null(now);
    assert_int_equal(size, other);
    assert_memory_equal(bytes, now, size);
    memory_free(now);
}

/* Stopped after any number of writes, then asked again. */
static void a_broken_file_is_gone_on_with(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    Source *source = b ? features_source("world", &b->recipe, false) : NULL;
    assert_non_null(source);
    for (int k = 0; k < 3; k++) {
        size_t resumed, size, most = 0;
        assert_true(file_remove(FOLDER) && file_make_folder(FOLDER));
        if (!embed(b, source, PATHS[k], 1, 8, &resumed))
            fail_msg("%s", error_text());
        assert_int_equal(resumed, 0);
        char *whole = file_read(PATHS[k], 0, &size);
        assert_non_null(whole);
        for (uint64_t at = 1; at < 12; at++) {
            assert_true(file_remove(PATHS[k]));
            file_fail_at(at);
            bool done = embed(b, source, PATHS[k], 2, 8, &resumed);
            file_fail_at(0);
            if (done)
                break;
            assert_false(file_exists(PATHS[k]));
            /* A torn row behind the last whole one. */
            char name[64];
            snprintf(name, sizeof name, "%s.part", PATHS[k]);
            FILE *part = file_exists(name) ? fopen(name, "a") : NULL;
            if (part)
                assert_true(fputs("world#1,torn", part) > 0 && fclose(part) == 0);
            assert_true(embed(b, source, PATHS[k], 1, 8, &resumed));
            most = resumed > most ? resumed : most;
            same_file(PATHS[k], whole, size);
            assert_false(file_exists(FOLDER "/out.npy.part.key"));
        }
        assert_int_equal(most, 40);
        memory_free(whole);
    }
    source_close(source);
    backbone_close(b);
}

/* Other weights or another batch: nothing of the old part is used. */
static void a_part_of_something_else_is_thrown_away(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    Source *source = b ? features_source("world", &b->recipe, false) : NULL;
    size_t resumed, size;
    assert_non_null(source);
    assert_true(file_remove(FOLDER) && file_make_folder(FOLDER));
    for (int changed = 0; changed < 2; changed++) {
        file_fail_at(5);
        assert_false(embed(b, source, PATHS[0], 1, 8, &resumed));
        file_fail_at(0);
        assert_true(file_exists(FOLDER "/out.npy.part"));
        b->weights[0] += changed ? 0.5f : 0;
        assert_true(embed(b, source, PATHS[0], 1, 8, &resumed));
        assert_int_equal(resumed, changed ? 0 : 16);
        assert_true(file_remove(PATHS[0]));
    }
    assert_true(embed(b, source, PATHS[0], 1, 8, &resumed));
    char *bytes = file_read(PATHS[0], 0, &size);
    assert_true(embed(b, source, PATHS[0], 1, 3, &resumed)); /* the bytes do not depend on the batch */
    same_file(PATHS[0], bytes, size);
    memory_free(bytes);
    source_close(source);
    backbone_close(b);
}

/* The three formats hold the same. */
static void formats_agree(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    Source *source = b ? features_source("world", &b->recipe, false) : NULL;
    size_t resumed, size;
    NpyArray a;
    assert_non_null(source);
    b->recipe.encoder.depth = 5; /* as of a run that kept three */
    b->recipe.encoder.keep_blocks = 3;
    assert_true(file_remove(FOLDER) && file_make_folder(FOLDER));
    for (int k = 0; k < 3; k++)
        assert_true(embed(b, source, PATHS[k], 2, 16, &resumed));
    assert_true(npy_read(PATHS[0], &a));
    assert_true(a.ndim == 3 && a.shape[0] == 44 && a.shape[1] == 2 && a.shape[2] == 12);
    SafeTensors *st = safetensors_open(PATHS[2]);
    assert_non_null(st);
    const SafeTensor *features = safetensors_need(st, "features", 3, a.shape), *labels = safetensors_find(st, "labels");
    assert_true(features && labels && labels->shape[0] == 44);
    assert_memory_equal(features->data, a.data, features->bytes);
    assert_string_equal(safetensors_metadata(st, "blocks"), "1,3 normed");
    assert_string_equal(safetensors_metadata(st, "depth"), "3");
    assert_string_equal(safetensors_metadata(st, "full_depth"), "5");
    char *csv = file_read(PATHS[1], 0, &size), *names = file_read(FOLDER "/out.npy.names.csv", 0, &size);
    assert_true(csv && names);
    const char *line = strchr(csv, '\n') + 1, *name = strchr(names, '\n') + 1;
    for (int i = 0; i < 44; i++) {
        char text[64];
        int32_t label;
        memcpy(&label, (const char *)labels->data + 4 * i, sizeof label);
        int n = snprintf(text, sizeof text, "world#%d,%s", i, source_class_name(source, label));
        assert_true(!strncmp(line, text, (size_t)n) && !strncmp(name, text, (size_t)n) && name[n] == '\n' && line[n] == ',');
        for (int c = 0; c < 24; c++) {
            char *end;
            assert_true(strtof(line + n + 1, &end) == a.data[i * 24 + c]);
            n = (int)(end - line);
        }
        assert_true(line[n] == '\n');
        line += n + 1;
        name = strchr(name, '\n') + 1;
    }
    assert_true(*line == 0 && *name == 0);
    memory_free(csv);
    memory_free(names);
    npy_free(&a);
    safetensors_close(st);
    source_close(source);
    backbone_close(b);
}

static void write_csv(const char *name, const char *text)
{
    assert_true(file_write(name, text, strlen(text)));
}

/* Of three pictures one is damaged: its numbers are NaN. With none there is nothing to write. */
static void unreadable_pictures_become_nan(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    Image image;
    NpyArray a;
    size_t resumed;
    const FeatureWant want = {3, true, FEATURE_MEAN};
    EmbedOptions o = {.batch = 2, .wants = &want, .count = 1, .max_bad = 1};
    assert_true(b && device_open("cpu", 1, &o.device) && file_remove(FOLDER) && file_make_folder(FOLDER "/in"));
    assert_true(image_new(&image, 20, 20, 3) && image_write_png(FOLDER "/in/a.png", &image));
    image_free(&image);
    assert_true(file_write(FOLDER "/in/b.png", "no picture", 10));
    Source *source = features_source(FOLDER "/in", &b->recipe, 0);
    assert_non_null(source);
    if (!embed_write(b, source, PATHS[0], &o, &resumed))
        fail_msg("%s", error_text());
    source_close(source);
    assert_true(npy_read(PATHS[0], &a) && a.shape[0] == 2);
    assert_true(a.data[0] == a.data[0]);
    assert_true(a.data[12] != a.data[12]);
    npy_free(&a);
    assert_true(file_remove(FOLDER "/in/a.png"));
    source = features_source(FOLDER "/in", &b->recipe, 0);
    assert_non_null(source);
    assert_false(embed_write(b, source, PATHS[1], &o, &resumed));
    assert_non_null(strstr(error_text(), "cannot be read"));
    source_close(source);
    backbone_close(b);
}

static void what_must_not_be_written_upon_is_refused(void **state)
{
    (void)state;
    Backbone *b = tiny_backbone();
    Image image;
    size_t resumed;
    assert_true(b && file_remove(FOLDER) && file_make_folder(FOLDER));
    assert_true(image_new(&image, 20, 20, 3) && image_write_png(FOLDER "/a.png", &image));
    image_free(&image);
    write_csv(FOLDER "/list.csv", "a.png\n");
    Source *source = features_source(FOLDER "/list.csv", &b->recipe, 0);
    assert_non_null(source);
    assert_false(embed(b, source, FOLDER "/list.csv", 1, 8, &resumed));
    assert_non_null(strstr(error_text(), "names the pictures"));
    same_file(FOLDER "/list.csv", "a.png\n", 6);
    /* Another process is at it. */
    int other = open(FOLDER "/out.csv.part", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    assert_true(other >= 0 && flock(other, LOCK_EX) == 0);
    assert_false(embed(b, source, PATHS[1], 1, 8, &resumed));
    assert_non_null(strstr(error_text(), "another process"));
    close(other);
    if (!embed(b, source, PATHS[1], 1, 8, &resumed))
        fail_msg("%s", error_text());
    source_close(source);
    backbone_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_file_is_gone_on_with),
        cmocka_unit_test(a_part_of_something_else_is_thrown_away),
        cmocka_unit_test(formats_agree),
        cmocka_unit_test(unreadable_pictures_become_nan),
        cmocka_unit_test(what_must_not_be_written_upon_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
