/* Mean and deviation of the pixels of a source. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/kinds.h"
#include "data/sums.h"

typedef struct {
    const Source *source;
    const uint64_t *samples;
    size_t count;
    int channels;
    atomic_size_t next;
    pthread_mutex_t lock;
    PixelSums sums;
    char reason[512]; /* why a picture could not be read */
    atomic_bool stop; /* something failed that is no fault of a picture: `reason` tells what */
} Work;

static void *work(void *argument)
{
    Work *w = argument;
    PixelSums own = {0};
    char reason[sizeof w->reason] = "";
    for (size_t i; !atomic_load(&w->stop) && (i = atomic_fetch_add(&w->next, 1)) < w->count;) {
        Image image = {0};
        bool view = source_view(w->source, w->samples[i], w->channels, &image);
        if (!view && !source_picture(w->source, w->samples[i], w->channels, &image)) {
            snprintf(reason, sizeof reason, "%s", error_text());
            if (error_is_machine())
                break;
            continue;
        }
        pixel_sums_add_picture(&own, &image);
        if (!view)
            image_free(&image);
    }
    bool stop = reason[0] && error_is_machine();
    pthread_mutex_lock(&w->lock);
    pixel_sums_add(&w->sums, &own);
    if (reason[0] && !atomic_load(&w->stop))
        memcpy(w->reason, reason, sizeof reason);
    if (stop)
        atomic_store(&w->stop, true);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static const char stored_format[] = "lacuna statistics 1: %llu %llu %llu %llu %llu %llu %llu\n";

static bool take_stored(const char *path, PixelSums *sums)
{
    size_t size;
    char *text = file_exists(path) ? file_read(path, 4096, &size) : NULL;
    unsigned long long n[7];
    bool ok = text && sscanf(text, stored_format, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6]) == 7 && n[0] > 0;
    if (ok)
        *sums = (PixelSums){n[0], {n[1], n[2], n[3]}, {n[4], n[5], n[6]}};
    memory_free(text);
    error_clear();
    return ok;
}

static void store(const char *path, const PixelSums *s)
{
    char text[256];
    int n = snprintf(text, sizeof text, stored_format, (unsigned long long)s->pixels, (unsigned long long)s->sum[0],
                     (unsigned long long)s->sum[1], (unsigned long long)s->sum[2], (unsigned long long)s->square[0],
                     (unsigned long long)s->square[1], (unsigned long long)s->square[2]);
    file_write(path, text, (size_t)n);
    error_clear(); /* without the file the next start computes them again */
}

static void finish(const PixelSums *s, int channels, float *mean, float *std)
{
    for (int c = 0; c < channels; c++) {
        double deviation = pixel_sums_deviation(s, c);
        mean[c] = (float)pixel_sums_mean(s, c);
        std[c] = deviation > 0 ? (float)deviation : 1.0f;
    }
}

bool source_statistics(const Source *source, const uint64_t *samples, size_t count, int channels, int threads, float *mean,
                       float *std)
{
    enum { MOST = 64 };
    pthread_t started[MOST];
    uint64_t *all = NULL, hash;
    char *path = NULL;
    Work w = {.source = source, .channels = channels, .lock = PTHREAD_MUTEX_INITIALIZER};
    bool ok = false;
    if (channels != 1 && channels != 3)
        return error_set("statistics of %d channels are not available: 1 or 3", channels);
    if (!samples) {
        count = source->count;
        all = memory_new(count, sizeof *all);
        if (!all)
            return false;
        for (size_t i = 0; i < count; i++)
            all[i] = i;
        samples = all;
    }
    w.samples = samples;
    w.count = count;
    if (!source->no_cache && source->kind->fingerprint && source->kind->fingerprint(source, samples, count, &hash))
        path = cache_path(channels == 1 ? "statistics1" : "statistics3", hash);
    if (path && take_stored(path, &w.sums)) {
        ok = true;
        goto done;
    }
    int others = 0, wanted = (threads > MOST ? MOST : threads) - 1;
    while (others < wanted && pthread_create(&started[others], NULL, work, &w) == 0)
        others++;
    work(&w);
    for (int t = 0; t < others; t++)
        pthread_join(started[t], NULL);
    ok = w.sums.pixels > 0 && !atomic_load(&w.stop);
    if (atomic_load(&w.stop))
        error_set("no statistics of the pictures at %s: %s", source->where, w.reason);
    else if (!ok)
        error_set("no statistics of the pictures at %s: not one could be read%s%s", source->where,
                  w.reason[0] ? "; one of them: " : "", w.reason);
    else if (path && !w.reason[0]) /* a picture that failed may be read next time */
        store(path, &w.sums);
done:
    if (ok)
        finish(&w.sums, channels, mean, std);
    pthread_mutex_destroy(&w.lock);
    memory_free(path);
    memory_free(all);
    return ok;
}
