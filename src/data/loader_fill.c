/* What a worker does for one place of a batch, and how unreadable pictures are replaced and counted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/loader_parts.h"
#include "image/augment.h"

size_t loader_picture_size(const LoaderOptions *o)
{
    return (size_t)o->channels * (size_t)o->height * (size_t)o->width;
}

/* Notes that `sample` was met and is unreadable; with a reason when it is this worker that found out. */
static bool note_miss(Loader *l, Slot *slot, Miss miss, const char *reason)
{
    bool ok = true;
    pthread_mutex_lock(&l->lock);
    if (reason && !atomic_load(&l->is_bad[miss.sample])) {
        char *copy = memory_string(reason);
        ok = copy && memory_grow((void **)&l->bads, l->bad_count, &l->bad_capacity, sizeof *l->bads);
        if (ok) {
            l->bads[l->bad_count++] = (Bad){miss.sample, copy};
            atomic_store(&l->is_bad[miss.sample], 1);
        } else {
            memory_free(copy);
        }
    }
    ok = ok && memory_grow((void **)&slot->misses, slot->miss_count, &slot->miss_capacity, sizeof *slot->misses);
    if (ok)
        slot->misses[slot->miss_count++] = miss;
    pthread_mutex_unlock(&l->lock);
    return ok;
}

static double most_bad(const Loader *l)
{
    return l->o.max_bad * (double)l->count;
}

/* Finds the picture for a place of the batch: the one of the order, or the next readable one behind it. */
static bool find_picture(Loader *l, Slot *slot, size_t place, uint64_t *sample, Image *image, bool *kept)
{
    for (size_t attempt = 0; attempt < l->count; attempt++) {
        size_t at = (slot->from + place + attempt) % l->count, listed = slot->order ? slot->order[at] : at;
        *sample = l->o.samples ? l->o.samples[listed] : listed;
        Miss miss = {place, attempt, *sample};
        if (atomic_load(&l->is_bad[*sample])) {
            if (!note_miss(l, slot, miss, NULL))
                return false;
        } else if (picture_cache_get(l->cache, *sample, image, kept)) {
            return true;
        } else {
            /* An error of the machine says nothing about the picture, and what a run computes must not depend on it. */
            if (error_is_machine() || !note_miss(l, slot, miss, error_text()))
                return false;
        }
        if ((double)(attempt + 1) > most_bad(l))
            break;
    }
    return error_set("too many pictures at %s cannot be read", source_where(l->o.source));
}

/* The largest centred rectangle with the shape of the result. */
static ImageBox centre_box(const Image *image, int height, int width)
{
    int64_t h = image->height, w = image->width, H = height, W = width;
    ImageBox box = {0, 0, image->height, image->width};
    if (w * H > h * W) {
        int64_t cut = (2 * h * W + H) / (2 * H);
        box.width = (int)(cut < 1 ? 1 : cut > w ? w : cut);
    } else {
        int64_t cut = (2 * w * H + W) / (2 * W);
        box.height = (int)(cut < 1 ? 1 : cut > h ? h : cut);
    }
    box.top = (image->height - box.height) / 2;
    box.left = (image->width - box.width) / 2;
    return box;
}

bool loader_fill(Worker *worker, Slot *slot, size_t place)
{
    Loader *l = worker->loader;
    const LoaderOptions *o = &l->o;
    Image image = {0};
    uint64_t sample = 0;
    bool kept, flip = false;
    ImageBox box;
    if (!find_picture(l, slot, place, &sample, &image, &kept))
        return false;
    if (o->train) {
        Random r = random_stream(o->seed, RANDOM_AUGMENT, o->stage, slot->epoch, sample);
        box = crop_draw(&r, image.height, image.width, o->crop_scale, o->crop_ratio);
        flip = random_uniform(&r) < o->flip;
    } else {
        box = centre_box(&image, o->height, o->width);
    }
    bool ok = image_resize(&image, box, o->height, o->width, o->filter, &worker->scratch, worker->pixels);
    if (ok)
        image_to_tensor(worker->pixels, o->height, o->width, o->channels, flip, o->mean, o->std,
                        slot->images + place * loader_picture_size(o));
    slot->samples[place] = sample;
    slot->labels[place] = source_label(o->source, sample);
    if (!kept)
        image_free(&image);
    return ok;
}

static int compare_misses(const void *a, const void *b)
{
    const Miss *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return x->attempt < y->attempt ? -1 : x->attempt > y->attempt;
}

/* The first miss from *next on of a picture that no batch delivered so far had met: marks it, copies what is to be told. */
static bool next_new_miss(Loader *l, const Slot *slot, size_t *next, uint64_t *sample, char reason[LOADER_ERROR_SIZE])
{
    while (*next < slot->miss_count) {
        *sample = slot->misses[(*next)++].sample;
        if (l->counted[*sample])
            continue;
        l->counted[*sample] = 1;
        pthread_mutex_lock(&l->lock);
        for (size_t b = 0; b < l->bad_count; b++)
            if (l->bads[b].sample == *sample)
                snprintf(reason, LOADER_ERROR_SIZE, "%s", l->bads[b].reason);
        pthread_mutex_unlock(&l->lock);
        return true;
    }
    return false;
}

static bool are_few(const Loader *l, const char *last)
{
    if ((double)l->bad_counted <= most_bad(l))
        return true;
    return error_set("%zu of the %zu pictures at %.200s cannot be read, more than data.max_bad (%g) allows%s%.200s",
                     l->bad_counted, l->count, source_where(l->o.source), l->o.max_bad, *last ? "; the last is " : "", last);
}

bool loader_count_misses(Loader *l, Slot *slot)
{
    size_t next = 0;
    uint64_t sample;
    char reason[LOADER_ERROR_SIZE] = "", key[SOURCE_KEY_SIZE];
    if (slot->miss_count)
        qsort(slot->misses, slot->miss_count, sizeof *slot->misses, compare_misses);
    bool few = are_few(l, ""); /* too many may be known of earlier sessions */
    while (few && next_new_miss(l, slot, &next, &sample, reason)) {
        l->bad_counted++;
        source_key(l->o.source, sample, key, sizeof key);
        if (l->o.bad)
            l->o.bad(l->o.bad_context, key, reason);
        few = are_few(l, reason);
    }
    if (!few)
        snprintf(slot->error, sizeof slot->error, "%s", error_text());
    return few;
}
