/* What a worker does for one place of a batch, and how unreadable pictures are replaced and counted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/loader_parts.h"
#include "image/augment.h"
#include "image/prepare.h"

ImageRequest loader_form(const LoaderOptions *o)
{
    return (ImageRequest){.channels = o->channels, .deep = !o->shallow, .exif = o->exif, .draft = {o->draft[0], o->draft[1]}};
}

size_t loader_picture_size(const LoaderOptions *o)
{
    return (size_t)o->channels * (size_t)o->height * (size_t)o->width;
}

size_t loader_other_size(const LoaderOptions *o)
{
    return (size_t)o->channels * (size_t)o->other[0] * (size_t)o->other[1];
}

float *loader_other_images(const Loader *l, const Slot *slot)
{
    return slot->images + l->o.batch * loader_picture_size(&l->o) * (l->o.views == 2 ? 2 : 1);
}

/* Notes that `sample` was met and is unreadable; with a reason when it is this worker that found out. */
static bool note_miss(Loader *l, Slot *slot, Miss miss, const char *reason)
{
    bool ok = true;
    pthread_mutex_lock(&l->lock);
    if (reason && atomic_load(&l->state[miss.sample]) != LOADER_BAD) {
        char *copy = memory_string(reason);
        ok = copy && memory_grow((void **)&l->bads, l->bad_count, &l->bad_capacity, sizeof *l->bads);
        if (ok) {
            l->bads[l->bad_count++] = (Bad){miss.sample, copy};
            atomic_store(&l->state[miss.sample], LOADER_BAD);
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

/* A picture on its way into a batch. */
typedef struct {
    const LoaderOptions *o;
    uint32_t epoch;
    uint64_t sample;
    Image image;
    ImageBox box; /* of the image, that is wanted */
    bool kept, flip;
    ColourChange colours;
    Random random; /* from which a training picture's crop, flip and colours are drawn, view by view */
} Pick;

/* The crop of the next view. */
static ImageBox draw_box(Pick *pick, int height, int width)
{
    const LoaderOptions *o = pick->o;
    ImageBox box = crop_draw(&pick->random, height, width, o->crop_scale, o->crop_ratio);
    pick->flip = random_uniform(&pick->random) < o->flip;
    return box;
}

/* Which part of a picture is wanted, as soon as its size is known. */
static ImageBox choose_box(void *context, int height, int width)
{
    Pick *pick = context;
    const LoaderOptions *o = pick->o;
    if (!o->train && o->evaluate)
        return (ImageBox){0, 0, height, width};
    if (!o->train)
        return crop_centre(height, width, o->height, o->width);
    pick->random = random_stream(o->seed, RANDOM_AUGMENT, o->stage, pick->epoch, pick->sample);
    return o->views == 2 ? (ImageBox){0, 0, height, width} : draw_box(pick, height, width);
}

/* Finds the picture for a place of the batch: the one of the order, or the next readable one behind it. */
static bool find_picture(Loader *l, Slot *slot, size_t place, Pick *pick)
{
    for (size_t attempt = 0; attempt < l->count; attempt++) {
        size_t at = (slot->from + place + attempt) % l->count, listed = slot->order ? slot->order[at] : at;
        uint64_t sample = l->o.samples ? l->o.samples[listed] : listed;
        Miss miss = {place, attempt, sample};
        int state = atomic_load(&l->state[sample]);
        pick->sample = sample;
        if (state == LOADER_BAD) {
            if (!note_miss(l, slot, miss, NULL))
                return false;
        } else if (picture_cache_get(l->cache, sample, choose_box, pick, state == LOADER_WHOLE && !l->o.whole_files,
                                     &pick->image, &pick->box, &pick->kept)) {
            atomic_store(&l->state[sample], LOADER_WHOLE);
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

static bool evaluate(Worker *worker, const Image *image, float *to)
{
    const LoaderOptions *o = &worker->loader->o;
    float *floats = (float *)(void *)worker->pixels;
    if (image->depth != IMAGE_U8) {
        if (!image_evaluate_deep(image, o->evaluate, o->height, o->width, o->filter, &worker->scratch, floats))
            return false;
        image_to_tensor_deep(floats, o->height, o->width, o->channels, false, o->mean, o->std, to);
        return true;
    }
    if (!image_evaluate(image, o->evaluate, o->height, o->width, o->filter, &worker->scratch, worker->pixels))
        return false;
    image_to_tensor(worker->pixels, o->height, o->width, o->channels, false, o->mean, o->std, to);
    return true;
}

/* The crop that was chosen, or of several views the next one. */
static bool prepare_view(Worker *worker, Pick *pick, int view, float *to)
{
    const LoaderOptions *o = pick->o;
    if (o->train && o->views == 2)
        pick->box = draw_box(pick, pick->image.height, pick->image.width);
    if (o->train)
        pick->colours = colour_draw(&pick->random, &o->colours, view);
    return image_prepare(&pick->image, pick->box, o->height, o->width, o->filter, &pick->colours, pick->flip, o->mean, o->std,
                         &worker->scratch, worker->pixels, to);
}

bool loader_fill(Worker *worker, Slot *slot, size_t place)
{
    Loader *l = worker->loader;
    const LoaderOptions *o = &l->o;
    Pick pick = {.o = o, .epoch = slot->epoch};
    if (!find_picture(l, slot, place, &pick))
        return false;
    bool ok;
    float *to = slot->images + place * loader_picture_size(o);
    if (!o->train && o->evaluate)
        ok = evaluate(worker, &pick.image, to);
    else if (o->train && o->views == 2)
        ok = prepare_view(worker, &pick, 0, to) &&
             prepare_view(worker, &pick, 1, to + (size_t)o->batch * loader_picture_size(o));
    else
        ok = prepare_view(worker, &pick, 0, to);
    if (ok && loader_other_size(o))
        ok =
            image_prepare(&pick.image, pick.box, o->other[0], o->other[1], o->filter, &pick.colours, pick.flip, o->mean, o->std,
                          &worker->scratch, worker->pixels, loader_other_images(l, slot) + place * loader_other_size(o));
    slot->samples[place] = pick.sample;
    slot->labels[place] = source_label(o->source, pick.sample);
    if (!pick.kept)
        image_free(&pick.image);
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
    return error_set(
        "%zu of the %zu pictures at %.160s cannot be read, more than data.max_bad (%g) allows: `lacuna data check` "
        "names them all; a larger data.max_bad allows more%s%.160s",
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
