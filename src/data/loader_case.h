/* What the tests of the loader share: small sources, the usual options, batches copied. Include behind cmocka.h. */
#ifndef LACUNA_DATA_LOADER_CASE_H
#define LACUNA_DATA_LOADER_CASE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/loader.h"

enum { PICTURES = 23, SIDE = 8, BATCH = 5, PER_PICTURE = 3 * SIDE * SIDE };

typedef struct {
    size_t told;
    char keys[512]; /* one behind the other */
    char last_key[64];
    bool with_reason;
} Told;

static inline void tell(void *context, const char *key, const char *reason)
{
    Told *told = context;
    told->told++;
    strncat(told->keys, key, sizeof told->keys - strlen(told->keys) - 1);
    snprintf(told->last_key, sizeof told->last_key, "%s", key);
    told->with_reason = strstr(reason, key) != NULL;
}

static inline Source *open_world(size_t count)
{
    SourceOptions options = {.world_count = count, .world_height = 12, .world_width = 18, .world_seed = 1};
    Source *source = source_open("world", &options);
    assert_non_null(source);
    return source;
}

static inline LoaderOptions usual(const Source *source)
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

static inline Loader *open_or_fail(const LoaderOptions *options)
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
static inline Copy *load(const LoaderOptions *options, size_t steps)
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

/* An empty folder to write to, with the stored listings and statistics in it. */
static inline int begin_in(const char *home)
{
    char folder[2048], cache[4096];
    if (!getcwd(folder, sizeof folder) || !file_remove(home) || !file_make_folder(home))
        return -1;
    snprintf(cache, sizeof cache, "%s/%s/cache", folder, home);
    return setenv("XDG_CACHE_HOME", cache, 1);
}

#endif
