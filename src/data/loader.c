#include "data/loader_parts.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

enum { LOWER_PRIORITY = 5, LARGEST_ITEM = 16 };

/* Bytes of a slot's pictures, a multiple of the alignment. */
static bool slot_bytes(const LoaderOptions *o, size_t *bytes)
{
    if (!size_multiply(loader_picture_size(o) * (o->views == 2 ? 2 : 1) + loader_other_size(o), sizeof(float), bytes) ||
        !size_multiply(*bytes, o->batch, bytes) || *bytes > SIZE_MAX - MEMORY_ALIGN)
        return false;
    *bytes = (*bytes + MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN;
    return true;
}

static bool check_options(const LoaderOptions *o)
{
    if (o->channels < 1 || o->channels > IMAGE_CHANNELS_MAX)
        return error_set("pictures of %d channels cannot be loaded: image.channels goes from 1 to %d", o->channels,
                         IMAGE_CHANNELS_MAX);
    if (o->height < 1 || o->width < 1 || o->height > 1 << 15 || o->width > 1 << 15)
        return error_set("pictures cannot be loaded as %d x %d: image.size goes from 1 to 32768", o->height, o->width);
    if (o->other[0] < 0 || o->other[1] < 0 || o->other[0] > 1 << 15 || o->other[1] > 1 << 15)
        return error_set("pictures cannot be loaded as %d x %d: target.image_size goes from 1 to 32768", o->other[0],
                         o->other[1]);
    if (o->batch < 1)
        return error_set("a batch of 0 pictures cannot be loaded: schedule.batch_size is at least 1");
    return true;
}

static int ring_of(const LoaderOptions *o)
{
    return o->ring > 0 ? o->ring : 3;
}

bool loader_memory(const LoaderOptions *options, size_t *bytes)
{
    if (!check_options(options))
        return false;
    if (!slot_bytes(options, bytes) || !size_multiply(*bytes, (size_t)ring_of(options), bytes))
        return error_set("%d batches of %zu pictures of %d x %d are more than memory can address", ring_of(options),
                         options->batch, options->height, options->width);
    return true;
}

/* The order of an epoch: made when its first batch is begun, in the place of an epoch that no batch in the ring belongs to. */
static const uint32_t *order_of(Loader *l, uint64_t epoch)
{
    size_t place = epoch % l->order_count;
    uint32_t *order = l->orders + place * l->count;
    if (l->order_epochs[place] == epoch)
        return order;
    Random r = random_stream(l->o.seed, RANDOM_SHUFFLE, l->o.stage, (uint32_t)epoch, 0);
    for (size_t i = 0; i < l->count; i++)
        order[i] = (uint32_t)i;
    for (size_t i = l->count - 1; i > 0; i--) {
        size_t j = random_below(&r, (uint32_t)(i + 1));
        uint32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    l->order_epochs[place] = epoch;
    return order;
}

static void slot_begin(Loader *l, Slot *slot, uint64_t step)
{
    uint64_t inside = l->o.train ? step % l->epoch_steps : step, epoch = l->o.train ? step / l->epoch_steps : 0;
    slot->step = step;
    slot->epoch = (uint32_t)epoch;
    slot->order = l->o.train ? order_of(l, epoch) : NULL;
    slot->from = (size_t)inside * l->o.batch;
    slot->count = l->count - slot->from < l->o.batch ? l->count - slot->from : l->o.batch;
    slot->items = (slot->count + l->item - 1) / l->item;
    slot->done = 0;
    slot->miss_count = 0;
    slot->error[0] = 0;
}

static void slot_fail(Loader *l, Slot *slot, const char *text)
{
    pthread_mutex_lock(&l->lock);
    if (!slot->error[0])
        snprintf(slot->error, sizeof slot->error, "%s", text);
    pthread_mutex_unlock(&l->lock);
}

/* The threads that compute come first: when one of them waits at a barrier for another whose core this thread has taken, the
 * whole step waits. So a smaller share of a contested core, and no taking it over the moment a batch is released: a batch
 * thread waits until the present one's time is up. Best effort; on Linux both calls are about this thread alone. */
static void stand_behind(void)
{
    pthread_setschedparam(pthread_self(), SCHED_BATCH, &(struct sched_param){0});
    id_t self = (id_t)syscall(SYS_gettid);
    setpriority(PRIO_PROCESS, self, getpriority(PRIO_PROCESS, self) + LOWER_PRIORITY);
}

static void *work(void *argument)
{
    Worker *worker = argument;
    Loader *l = worker->loader;
    stand_behind();
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && !(l->next_step < l->end && l->next_step < l->released + (uint64_t)l->o.ring))
            pthread_cond_wait(&l->work, &l->lock);
        if (l->stop)
            break;
        Slot *slot = &l->slots[l->next_step % (uint64_t)l->o.ring];
        if (l->next_item == 0)
            slot_begin(l, slot, l->next_step);
        size_t from = l->next_item++ * l->item, to = from + l->item < slot->count ? from + l->item : slot->count;
        if (l->next_item == slot->items) {
            l->next_step++;
            l->next_item = 0;
        }
        pthread_mutex_unlock(&l->lock);
        for (size_t place = from; place < to; place++)
            if (!loader_fill(worker, slot, place)) {
                slot_fail(l, slot, error_text());
                break;
            }
        pthread_mutex_lock(&l->lock);
        if (++slot->done == slot->items)
            pthread_cond_signal(&l->ready);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static bool start_workers(Loader *l)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the thread that trains */
    int failure = 0;
    for (int w = 0; w < l->o.workers && !failure; w++) {
        Worker *worker = &l->workers[w];
        worker->loader = l;
        worker->pixels = memory_new_aligned(loader_picture_size(&l->o) + loader_other_size(&l->o), sizeof(float));
        if (!worker->pixels)
            break;
        failure = pthread_create(&worker->thread, NULL, work, worker);
        if (failure)
            error_set("cannot start a loader thread: %s", strerror(failure));
        else
            l->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return l->started == l->o.workers;
}

static bool make_slots(Loader *l)
{
    size_t ring = (size_t)l->o.ring, bytes, all;
    if (!loader_memory(&l->o, &all) || !slot_bytes(&l->o, &bytes))
        return false;
    char *memory = l->o.memory;
    if (!memory) {
        memory = memory_new_aligned(all, 1);
        l->own_memory = (float *)memory;
    }
    l->slots = memory_new(ring, sizeof *l->slots);
    if (!memory || !l->slots)
        return false;
    for (size_t s = 0; s < ring; s++) {
        l->slots[s].images = (float *)(memory + s * bytes);
        l->slots[s].samples = memory_new(l->o.batch, sizeof *l->slots[s].samples);
        l->slots[s].labels = memory_new(l->o.batch, sizeof *l->slots[s].labels);
        if (!l->slots[s].samples || !l->slots[s].labels)
            return false;
    }
    return true;
}

static bool make_orders(Loader *l)
{
    size_t words, ring = (size_t)l->o.ring;
    if (!l->o.train)
        return true;
    uint64_t spanned = (ring - 1 + l->epoch_steps - 1) / l->epoch_steps + 1;
    l->order_count = spanned < ring ? (size_t)spanned : ring;
    if (!size_multiply(l->order_count, l->count, &words))
        return error_set("%zu pictures are too many to be shuffled", l->count);
    l->orders = memory_new(words, sizeof *l->orders);
    l->order_epochs = memory_new(l->order_count, sizeof *l->order_epochs);
    if (!l->orders || !l->order_epochs)
        return false;
    for (size_t i = 0; i < l->order_count; i++)
        l->order_epochs[i] = UINT64_MAX;
    return true;
}

/* Defaults in the place of zeros, and what must hold. */
static bool complete_options(Loader *l)
{
    LoaderOptions *o = &l->o;
    if (!check_options(o))
        return false;
    o->ring = ring_of(o);
    o->workers = o->workers > 0 ? o->workers : 1;
    if (o->crop_scale[0] == 0 && o->crop_scale[1] == 0)
        o->crop_scale[0] = o->crop_scale[1] = 1;
    if (o->crop_ratio[0] == 0 && o->crop_ratio[1] == 0) {
        o->crop_ratio[0] = 3.0 / 4;
        o->crop_ratio[1] = 4.0 / 3;
    }
    bool any = false;
    for (int c = 0; c < o->channels; c++)
        any = any || o->std[c] != 0;
    for (int c = 0; c < o->channels; c++) {
        if (!any)
            o->std[c] = 1;
        if (!(o->std[c] > 0))
            return error_set("pictures cannot be divided by a deviation of %g: image.std must be above 0", (double)o->std[c]);
    }
    if (!(o->crop_scale[0] > 0 && o->crop_scale[0] <= o->crop_scale[1]))
        return error_set("augment.crop_scale [%g, %g] is no range of shares above 0", o->crop_scale[0], o->crop_scale[1]);
    if (!(o->crop_ratio[0] > 0 && o->crop_ratio[0] <= o->crop_ratio[1]))
        return error_set("augment.crop_ratio [%g, %g] is no range above 0", o->crop_ratio[0], o->crop_ratio[1]);
    size_t available = source_count(o->source);
    l->count = o->samples ? o->count : available;
    for (size_t i = 0; o->samples && i < l->count; i++)
        if (o->samples[i] >= available)
            return error_set("sample %llu is asked for, but %s has %zu", (unsigned long long)o->samples[i],
                             source_where(o->source), available);
    if (l->count == 0)
        return error_set("no pictures to load from %s: the list is empty", source_where(o->source));
    if (l->count > UINT32_MAX)
        return error_set("%zu pictures are more than the %u that can be shuffled", l->count, UINT32_MAX);
    if (o->train && l->count < o->batch)
        return error_set("%zu training picture%s at %s do not fill one batch of %zu: set schedule.batch_size to %zu or less",
                         l->count, l->count == 1 ? "" : "s", source_where(o->source), o->batch, l->count);
    l->epoch_steps = o->train ? l->count / o->batch : (l->count + o->batch - 1) / o->batch;
    l->end = o->steps ? o->steps : UINT64_MAX;
    if (!o->train && l->end > l->epoch_steps)
        l->end = l->epoch_steps;
    return true;
}

Loader *loader_open(const LoaderOptions *options)
{
    Loader *l = memory_new(1, sizeof *l);
    if (!l)
        return NULL;
    l->o = *options;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    if (!complete_options(l) || !make_slots(l) || !make_orders(l))
        goto fail;
    /* Small enough that all workers share a batch, large enough that taking one costs nothing. */
    l->item = l->o.batch / (2 * (size_t)l->o.workers);
    l->item = l->item < 1 ? 1 : l->item > LARGEST_ITEM ? LARGEST_ITEM : l->item;
    l->next_step = l->delivered = l->released = l->o.first;
    l->cache = l->o.cache;
    ImageRequest form = loader_form(&l->o);
    if (!l->cache)
        l->cache = l->own_cache = picture_cache_new(l->o.source, &form, l->o.cache_mb << 20);
    l->state = memory_new(source_count(l->o.source), sizeof *l->state);
    l->workers = memory_new((size_t)l->o.workers, sizeof *l->workers);
    l->counted = memory_new(source_count(l->o.source), sizeof *l->counted);
    if (!l->cache || !l->state || !l->counted || !l->workers)
        goto fail;
    for (size_t b = 0; b < l->o.known_bad_count; b++)
        l->counted[l->o.known_bad[b]] = 1;
    l->bad_counted = l->o.known_bad_count;
    if (!start_workers(l))
        goto fail;
    return l;
fail:
    loader_close(l);
    return NULL;
}

void loader_close(Loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int w = 0; w < l->started; w++)
        pthread_join(l->workers[w].thread, NULL);
    for (int w = 0; l->workers && w < l->o.workers; w++) {
        resize_scratch_free(&l->workers[w].scratch);
        memory_free(l->workers[w].pixels);
    }
    for (int s = 0; l->slots && s < l->o.ring; s++) {
        memory_free(l->slots[s].samples);
        memory_free(l->slots[s].labels);
        memory_free(l->slots[s].misses);
    }
    for (size_t b = 0; b < l->bad_count; b++)
        memory_free(l->bads[b].reason);
    memory_free(l->bads);
    memory_free(l->slots);
    memory_free(l->own_memory);
    memory_free(l->orders);
    memory_free(l->order_epochs);
    memory_free((void *)l->state);
    memory_free(l->counted);
    memory_free(l->workers);
    picture_cache_free(l->own_cache);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    pthread_mutex_destroy(&l->lock);
    memory_free(l);
}

uint64_t loader_epoch_steps(const Loader *l)
{
    return l->epoch_steps;
}

bool loader_next(Loader *l, LoaderBatch *out)
{
    *out = (LoaderBatch){0};
    if (l->delivered >= l->end)
        return true;
    if (l->delivered - l->released == (uint64_t)l->o.ring)
        return error_set("all %d batches of the ring are held: release one first", l->o.ring);
    Slot *slot = &l->slots[l->delivered % (uint64_t)l->o.ring];
    double before = clock_seconds();
    pthread_mutex_lock(&l->lock);
    /* Before the batch's last item is handed out the slot may still show an older batch. */
    while (!(l->next_step > l->delivered && slot->done == slot->items))
        pthread_cond_wait(&l->ready, &l->lock);
    pthread_mutex_unlock(&l->lock);
    double waited = clock_seconds() - before;
    if (!loader_count_misses(l, slot))
        return false;
    if (slot->error[0])
        return error_set("%s", slot->error);
    *out = (LoaderBatch){.images = slot->images,
                         .second = l->o.views == 2 ? slot->images + l->o.batch * loader_picture_size(&l->o) : NULL,
                         .other = loader_other_size(&l->o)
                                      ? slot->images + l->o.batch * loader_picture_size(&l->o) * (l->o.views == 2 ? 2 : 1)
                                      : NULL,
                         .samples = slot->samples,
                         .labels = slot->labels,
                         .count = slot->count,
                         .step = slot->step,
                         .epoch = slot->epoch,
                         .waited = waited};
    l->delivered++;
    return true;
}

void loader_release(Loader *l)
{
    pthread_mutex_lock(&l->lock);
    if (l->released < l->delivered)
        l->released++;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
}

size_t loader_bad_count(const Loader *l)
{
    return l->bad_counted;
}
