/* Mean and deviation of the pixels of a source. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/kinds.h"

enum { CHANNELS = 3 };

/* Integers, so that the order of the additions does not matter; 64 bits hold the squares of 2.8e14 pixels. */
typedef struct {
    uint64_t pixels, sum[CHANNELS], square[CHANNELS];
} Sums;

typedef struct {
    const Source *source;
    const uint64_t *samples;
    size_t count;
    int channels;
    atomic_size_t next;
    pthread_mutex_t lock;
    Sums sums;
    char reason[512]; /* why a picture could not be read */
} Work;

static void add_picture(Sums *sums, const Image *image)
{
    size_t pixels = (size_t)image->height * (size_t)image->width, channels = (size_t)image->channels;
    sums->pixels += pixels;
    for (size_t c = 0; c < channels; c++) {
        uint64_t sum = 0, square = 0;
        for (size_t p = 0; p < pixels; p++) {
            uint32_t byte = image->data[p * channels + c];
            sum += byte;
            square += byte * byte;
        }
        sums->sum[c] += sum;
        sums->square[c] += square;
    }
}

static void *work(void *argument)
{
    Work *w = argument;
    Sums own = {0};
    char reason[sizeof w->reason] = "";
    for (size_t i; (i = atomic_fetch_add(&w->next, 1)) < w->count;) {
        Image image = {0};
        bool view = source_view(w->source, w->samples[i], w->channels, &image);
        if (!view && !source_picture(w->source, w->samples[i], w->channels, &image)) {
            snprintf(reason, sizeof reason, "%s", error_text());
            continue;
        }
        add_picture(&own, &image);
        if (!view)
            image_free(&image);
    }
    pthread_mutex_lock(&w->lock);
    w->sums.pixels += own.pixels;
    for (int c = 0; c < CHANNELS; c++) {
        w->sums.sum[c] += own.sum[c];
        w->sums.square[c] += own.square[c];
    }
    if (reason[0])
        memcpy(w->reason, reason, sizeof reason);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static const char stored_format[] = "lacuna statistics 1: %llu %llu %llu %llu %llu %llu %llu\n";

static bool take_stored(const char *path, Sums *sums)
{
    size_t size;
    char *text = file_exists(path) ? file_read(path, 4096, &size) : NULL;
    unsigned long long n[7];
    bool ok = text && sscanf(text, stored_format, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6]) == 7 && n[0] > 0;
    if (ok)
        *sums = (Sums){n[0], {n[1], n[2], n[3]}, {n[4], n[5], n[6]}};
    memory_free(text);
    error_clear();
    return ok;
}

static void store(const char *path, const Sums *s)
{
    char text[256];
    int n = snprintf(text, sizeof text, stored_format, (unsigned long long)s->pixels, (unsigned long long)s->sum[0],
                     (unsigned long long)s->sum[1], (unsigned long long)s->sum[2], (unsigned long long)s->square[0],
                     (unsigned long long)s->square[1], (unsigned long long)s->square[2]);
    file_write(path, text, (size_t)n);
    error_clear(); /* without the file the next start computes them again */
}

static void finish(const Sums *s, int channels, float *mean, float *std)
{
    double n = (double)s->pixels;
    for (int c = 0; c < channels; c++) {
        /* n sum(x^2) - sum(x)^2 in 128 bits: exact, where doubles would cancel. */
        unsigned __int128 spread = (unsigned __int128)s->pixels * s->square[c] - (unsigned __int128)s->sum[c] * s->sum[c];
        mean[c] = (float)((double)s->sum[c] / (255 * n));
        std[c] = spread ? (float)(sqrt((double)spread) / (255 * n)) : 1.0f;
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
    ok = w.sums.pixels > 0;
    if (!ok)
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
