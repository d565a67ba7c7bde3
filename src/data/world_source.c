/* The built-in world as a source of pictures. */
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "data/kinds.h"
#include "data/world.h"

static const WorldMoment STILL = {0, 1};

static void world_close(void *self)
{
    memory_free(self);
}

static void world_key(const Source *source, size_t i, char *room, size_t size)
{
    (void)source;
    snprintf(room, size, "world#%zu", i);
}

static int world_sample_label(const Source *source, size_t i)
{
    return world_label(source->self, i);
}

static bool world_sample_picture(const Source *source, size_t i, int channels, Image *out)
{
    return world_picture(source->self, i, STILL, channels, out);
}

static bool world_fingerprint(const Source *source, const uint64_t *samples, size_t count, uint64_t *hash)
{
    const World *world = source->self;
    enum { VERSION = 2 }; /* raised when the pictures change */
    uint64_t what[] = {VERSION, world->seed, (uint64_t)world->height, (uint64_t)world->width, world->held_out};
    *hash = hash_bytes(HASH_START, what, sizeof what);
    *hash = hash_bytes(*hash, samples, count * sizeof *samples);
    return true;
}

static const SourceKind world_kind = {world_close,       world_key, world_sample_label, NULL, world_sample_picture,
                                      world_fingerprint, NULL};

bool world_open(Source *source, const SourceOptions *options)
{
    World *world = memory_new(1, sizeof *world);
    if (!world)
        return false;
    source->self = world;
    source->kind = &world_kind;
    source->count = options->world_count ? options->world_count : 10000;
    world->seed = options->world_seed;
    world->held_out = options->world_held_out;
    world->height = options->world_height ? options->world_height : 64;
    world->width = options->world_width ? options->world_width : 64;
    if (!world_check(world) || !source_classes(source, WORLD_CLASSES))
        return false;
    for (int c = 0; c < WORLD_CLASSES; c++)
        if (!(source->class_names[c] = memory_string(world_class_name(c))))
            return false;
    text_add(&source->summary, "%zu pictures of %d x %d in %d classes (the built-in world, seed %llu%s)", source->count,
             world->height, world->width, WORLD_CLASSES, (unsigned long long)world->seed, world->held_out ? ", held out" : "");
    return !source->summary.failed;
}
