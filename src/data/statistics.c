/* Mean and deviation of the pixels of a source. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
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
    char reason[512];         /* why a picture could not be read */
    const SourceWatch *watch; /* NULL: nobody is told */
    atomic_bool stop;         /* something failed that is no fault of a picture: `reason` tells what */
} Work;

static void tell(const Work *w, size_t done, double *next)
{
    enum { FIRST = 3, SECONDS = 5 };
    double now = clock_seconds();
    if (!*next)
        *next = now + FIRST;
    if (now < *next)
        return;
    w->watch->tell(w->watch->context, done < w->count ? done : w->count, w->count);
    *next = now + SECONDS;
}

/* `tells`: the calling thread. */
static void measure(Work *w, bool tells)
{
    double next = 0;
    PixelSums own = {0};
    char reason[sizeof w->reason] = "";
    ImageRequest request = {.channels = w->channels, .deep = true};
    for (size_t i; !atomic_load(&w->stop) && (i = atomic_fetch_add(&w->next, 1)) < w->count;) {
        Image image;
        ImageBox box;
        bool view = source_view(w->source, w->samples[i], request.channels, &image);
        if (!view && !source_part(w->source, w->samples[i], &request, &image, &box)) {
            snprintf(reason, sizeof reason, "%s", error_text());
            if (error_is_machine())
                break;
            continue;
        }
        pixel_sums_add_picture(&own, &image);
        if (!view)
            image_free(&image);
        if (tells)
            tell(w, i + 1, &next);
    }
    bool stop = reason[0] && error_is_machine();
    pthread_mutex_lock(&w->lock);
    pixel_sums_add(&w->sums, &own);
    if (reason[0] && !atomic_load(&w->stop))
        memcpy(w->reason, reason, sizeof reason);
    if (stop)
        atomic_store(&w->stop, true);
    pthread_mutex_unlock(&w->lock);
}

static void *work(void *argument)
{
    measure(argument, false);
    return NULL;
}

static const char stored_format[] = "lacuna statistics 2: %d %llu\n";
static const char stored_channel[] = " %llx %llx %llx %llx\n"; /* halves of sum and square, the upper one first */

static __int128 joined(unsigned long long high, unsigned long long low)
{
    return (__int128)((unsigned __int128)high << 64 | low);
}

static bool parse(const char *text, int channels, PixelSums *sums)
{
    unsigned long long pixels, n[4];
    if (sscanf(text, stored_format, &sums->channels, &pixels) != 2 || sums->channels != channels || !pixels)
        return false;
    sums->pixels = pixels;
    for (int c = 0; c < channels; c++) {
        text = strchr(text, '\n');
        if (!text || sscanf(++text, stored_channel, &n[0], &n[1], &n[2], &n[3]) != 4)
            return false;
        sums->sum[c] = joined(n[0], n[1]);
        sums->square[c] = joined(n[2], n[3]);
    }
    return true;
}

static bool take_stored(const char *path, int channels, PixelSums *sums)
{
    size_t size;
    char *text = file_exists(path) ? file_read(path, 1 << 16, &size) : NULL;
    bool ok = text && parse(text, channels, sums);
    if (!ok)
        *sums = (PixelSums){0};
    memory_free(text);
    error_clear();
    return ok;
}

static void store(const char *path, const PixelSums *s)
{
    Text text = {0};
    text_add(&text, stored_format, s->channels, (unsigned long long)s->pixels);
    for (int c = 0; c < s->channels; c++)
        text_add(&text, stored_channel, (unsigned long long)((unsigned __int128)s->sum[c] >> 64), (unsigned long long)s->sum[c],
                 (unsigned long long)((unsigned __int128)s->square[c] >> 64), (unsigned long long)s->square[c]);
    if (!text.failed)
        file_write(path, text.data, text.length);
    text_free(&text);
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
    return source_statistics_watched(source, samples, count, channels, threads, NULL, mean, std);
}

bool source_statistics_watched(const Source *source, const uint64_t *samples, size_t count, int channels, int threads,
                               const SourceWatch *watch, float *mean, float *std)
{
    enum { MOST = 64 };
    pthread_t started[MOST];
    uint64_t *all = NULL, hash;
    char *path = NULL, kind[32];
    snprintf(kind, sizeof kind, "statistics%d", channels);
    Work w = {.source = source, .channels = channels, .watch = watch, .lock = PTHREAD_MUTEX_INITIALIZER};
    bool ok = false;
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
        path = cache_path(kind, hash);
    if (path && take_stored(path, channels, &w.sums)) {
        ok = true;
        goto done;
    }
    int others = 0, wanted = (threads > MOST ? MOST : threads) - 1;
    while (others < wanted && pthread_create(&started[others], NULL, work, &w) == 0)
        others++;
    measure(&w, watch != NULL);
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
