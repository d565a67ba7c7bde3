#include "data/survey.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "data/kinds.h"

enum { THREADS_MOST = 64, COLOURS = 3 };

/* What one thread leaves for the one that visits. */
typedef struct {
    PictureFacts facts;
    char *why;       /* owned */
    PixelSums *sums; /* owned */
    atomic_bool done;
} Finding;

typedef struct {
    const Source *source;
    bool measure;
    size_t count, visited;
    Finding *findings;
    atomic_size_t next;
    atomic_bool stop; /* something failed that is no fault of a picture */
    pthread_mutex_t lock;
    char *failure; /* why, from whichever thread it was first */
    SurveyVisit *visit;
    void *context;
} Survey;

/* Whole words, since a byte at a time would take as long as decoding. Each step is one-to-one in the hash so far. */
static uint64_t picture_hash(const Image *image)
{
    const uint64_t factor = 0x9E3779B97F4A7C15u;
    uint64_t hash = (uint64_t)image->height << 32 | (uint64_t)image->width, kind = (uint64_t)image->depth * 256;
    hash ^= (kind + (uint64_t)image->channels - COLOURS) << 24; /* nothing for bytes in colour */
    size_t size = image_size(image);
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = 0;
        memcpy(&word, image->data + at, size - at < 8 ? size - at : 8);
        hash = (hash ^ word) * factor;
        hash ^= hash >> 32;
    }
    return hash;
}

/* The name that errors are to begin with, so that it can be taken off again: the key is reported apart. */
static const char picture_name[] = "picture";

static bool read_picture(const Survey *s, size_t i, PictureFacts *facts, Image *image)
{
    char *bytes, *key = NULL;
    size_t size;
    if (!source_file(s->source, i, &bytes, &size))
        return false;
    if (!bytes) {
        facts->channels = COLOURS;
        return source_picture(s->source, i, COLOURS, image);
    }
    ImageFacts said;
    ImageRequest request = {.deep = true};
    bool ok = image_facts(bytes, size, picture_name, &said);
    if (ok) {
        request.channels = said.channels == 1 ? COLOURS : said.channels;
        facts->channels = said.channels;
        facts->alpha = said.alpha;
        facts->depth = said.depth;
        ok = image_decode_part(bytes, size, picture_name, &request, image);
    }
    if (ok && (ok = (key = source_key(s->source, i, NULL, 0)) != NULL)) {
        const char *promised = image_suffix_format(key);
        facts->format = image_format(bytes, size);
        facts->wrong_suffix = promised && facts->format && strcmp(promised, facts->format) != 0;
    }
    memory_free(key);
    memory_free(bytes);
    return ok;
}

static void give_up(Survey *s, size_t i)
{
    char *key = source_key(s->source, i, NULL, 0), *why = memory_string(error_without(picture_name, error_text()));
    pthread_mutex_lock(&s->lock);
    if (!s->failure) {
        if (key && why) /* else the present error is that of memory */
            error_set("%s: %s", key, why);
        s->failure = memory_string(error_text());
    }
    memory_free(key);
    memory_free(why);
    pthread_mutex_unlock(&s->lock);
    atomic_store(&s->stop, true);
}

static void look_at(Survey *s, size_t i)
{
    Finding *f = &s->findings[i];
    Image image = {0};
    if (read_picture(s, i, &f->facts, &image)) {
        f->facts.height = image.height;
        f->facts.width = image.width;
        if (s->measure && (f->sums = memory_new(1, sizeof *f->sums))) {
            f->facts.hash = picture_hash(&image);
            pixel_sums_add_picture(f->sums, &image);
            f->facts.sums = f->sums;
        } else if (s->measure) {
            give_up(s, i);
        }
    } else if (error_is_machine()) {
        give_up(s, i);
    } else {
        f->why = memory_string(error_without(picture_name, error_text()));
        if (!f->why)
            give_up(s, i);
        f->facts = (PictureFacts){.why = f->why};
    }
    image_free(&image);
    atomic_store(&f->done, true);
}

static void *work(void *argument)
{
    Survey *s = argument;
    for (size_t i; !atomic_load(&s->stop) && (i = atomic_fetch_add(&s->next, 1)) < s->count;)
        look_at(s, i);
    return NULL;
}

/* Visits what is finished without a gap. False when a visit wants to stop. */
static bool visit_finished(Survey *s)
{
    for (; s->visited < s->count && atomic_load(&s->findings[s->visited].done); s->visited++) {
        Finding *f = &s->findings[s->visited];
        bool go_on = !atomic_load(&s->stop) && s->visit(s->context, s->visited, &f->facts);
        memory_free(f->why);
        memory_free(f->sums);
        f->why = NULL;
        f->sums = NULL;
        if (!go_on)
            return false;
    }
    return true;
}

bool source_survey(const Source *source, int threads, bool measure, SurveyVisit *visit, void *context)
{
    pthread_t started[THREADS_MOST];
    Survey s = {.source = source,
                .measure = measure,
                .count = source->count,
                .findings = memory_new(source->count, sizeof(Finding)),
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .visit = visit,
                .context = context};
    if (!s.findings)
        return false;
    int others = 0, wanted = (threads > THREADS_MOST ? THREADS_MOST : threads) - 1;
    while (others < wanted && pthread_create(&started[others], NULL, work, &s) == 0)
        others++;
    bool ok = true;
    for (size_t i; ok && !atomic_load(&s.stop) && (i = atomic_fetch_add(&s.next, 1)) < s.count;) {
        look_at(&s, i);
        ok = visit_finished(&s);
    }
    if (!ok)
        atomic_store(&s.stop, true);
    for (int t = 0; t < others; t++)
        pthread_join(started[t], NULL);
    ok = ok && !atomic_load(&s.stop) && visit_finished(&s);
    if (s.failure)
        error_set("%s", s.failure);
    for (size_t i = s.visited; i < s.count; i++) {
        memory_free(s.findings[i].why);
        memory_free(s.findings[i].sums);
    }
    memory_free(s.failure);
    memory_free(s.findings);
    pthread_mutex_destroy(&s.lock);
    return ok;
}
