#include "data/cache.h"

#include <stdatomic.h>

#include "base/memory.h"

enum { EMPTY, FILLING, READY };
enum { OVERHEAD = 64 }; /* bytes a block costs beside its content, so that a million small pictures keep to the limit */

typedef struct {
    atomic_int state;
    Image image;
} Place;

struct PictureCache {
    const Source *source;
    ImageRequest form;
    size_t limit;
    atomic_size_t used;
    atomic_bool full; /* a picture was left out */
    Place *places;    /* one a sample; NULL: nothing is kept */
};

PictureCache *picture_cache_new(const Source *source, const ImageRequest *form, size_t limit)
{
    Image view;
    PictureCache *cache = memory_new(1, sizeof *cache);
    if (!cache)
        return NULL;
    cache->source = source;
    cache->form = *form;
    cache->limit = limit;
    if (limit && !source_view(source, 0, form->channels, &view)) {
        cache->places = memory_new(source_count(source), sizeof *cache->places);
        if (!cache->places) {
            memory_free(cache);
            return NULL;
        }
    }
    return cache;
}

void picture_cache_free(PictureCache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; cache->places && i < source_count(cache->source); i++)
        image_free(&cache->places[i].image);
    memory_free(cache->places);
    memory_free(cache);
}

/* Takes room for a picture from the limit. */
static bool reserve(PictureCache *cache, size_t bytes)
{
    size_t used = atomic_load(&cache->used);
    do {
        if (bytes > cache->limit || used > cache->limit - bytes)
            return false;
    } while (!atomic_compare_exchange_weak(&cache->used, &used, used + bytes));
    return true;
}

/* Hands a fresh whole picture to its place; false when it has none. */
static bool keep(PictureCache *cache, Place *place, const Image *image)
{
    size_t bytes = image_size(image) + OVERHEAD;
    int empty = EMPTY;
    if (!reserve(cache, bytes)) {
        atomic_store(&cache->full, true);
        return false;
    }
    if (!atomic_compare_exchange_strong(&place->state, &empty, FILLING)) {
        atomic_fetch_sub(&cache->used, bytes); /* another thread decoded it meanwhile */
        return false;
    }
    place->image = *image;
    atomic_store_explicit(&place->state, READY, memory_order_release);
    return true;
}

bool picture_cache_get(PictureCache *cache, size_t i, ImageBox (*choose)(void *context, int height, int width), void *context,
                       bool known, Image *out, ImageBox *box, bool *kept)
{
    ImageRequest part = cache->form;
    part.choose = choose;
    part.context = context;
    part.known = known;
    Place *place = cache->places ? &cache->places[i] : NULL;
    *kept = true;
    if (place && atomic_load_explicit(&place->state, memory_order_acquire) == READY)
        *out = place->image;
    else if (!source_view(cache->source, i, cache->form.channels, out)) {
        *kept = false;
        if (!place || atomic_load(&cache->full))
            return source_part(cache->source, i, &part, out, box);
        if (!source_part(cache->source, i, &cache->form, out, box))
            return false;
        *kept = keep(cache, place, out);
    }
    *box = image_choose(&part, out);
    return true;
}

size_t picture_cache_bytes(const PictureCache *cache)
{
    return atomic_load(&cache->used);
}
