#include "device/ranks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/ranks_transport.h"

/* Numbers that are summed at once: MPI counts with int, and the room for all ranks' parts is that large. */
enum { PIECE = 1 << 22 };

typedef struct {
    float *data;
    size_t count;
} Sum;

/* Memory of rank 0: its own, or as another rank sees it. */
typedef struct {
    const void *at; /* NULL: none */
    SharedName name;
} Room;

/* ranks_set_last_resort(); without `end` there is none. */
typedef struct {
    int seconds;
    void (*end)(void *context, const char *why);
    void *context;
    char why[1024];
} LastResort;

struct RankGroup {
    const RankTransport *transport;
    int rank, count;
    int *starts;  /* (count + 1) */
    float *parts; /* of every rank, what this one owns of a piece */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool has_thread, ends, broken;
    int exit_code; /* when it is broken */
    LastResort last;
    Sum sums[RANKS_SUMS_MOST]; /* a ring */
    size_t begun, done;
    bool shares; /* the others can read memory of rank 0 */
    Room room;
};

bool ranks_are_built(void)
{
    return ranks_mpi != NULL;
}

int ranks_started(void)
{
    const char *count = getenv("OMPI_COMM_WORLD_SIZE");
    long number = count ? strtol(count, NULL, 10) : 1;
    return number > 1 && number < 1 << 20 ? (int)number : 1;
}

/* ---- sums */

/* Each rank adds up what it owns of a piece, in the order of ranks; then all have all of it. */
static void sum_piece(RankGroup *r, float *data, int count)
{
    for (int i = 0; i <= r->count; i++)
        r->starts[i] = (int)((int64_t)count * i / r->count);
    int first = r->starts[r->rank], own = r->starts[r->rank + 1] - first;
    r->transport->collect(data, r->starts, r->parts);
    for (int k = 0; k < own; k++) {
        float sum = r->parts[k];
        for (int i = 1; i < r->count; i++)
            sum += r->parts[(size_t)i * (size_t)own + (size_t)k];
        data[first + k] = sum;
    }
    r->transport->share(data, r->starts);
}

static void *sum_all(void *context)
{
    RankGroup *r = context;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (r->done == r->begun && !r->ends)
            pthread_cond_wait(&r->changed, &r->lock);
        if (r->done == r->begun)
            break;
        Sum s = r->sums[r->done % RANKS_SUMS_MOST];
        pthread_mutex_unlock(&r->lock);
        for (size_t at = 0; at < s.count; at += PIECE)
            sum_piece(r, s.data + at, s.count - at < PIECE ? (int)(s.count - at) : PIECE);
        pthread_mutex_lock(&r->lock);
        r->done++;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

void ranks_sum_begin(RankGroup *r, float *data, size_t count)
{
    pthread_mutex_lock(&r->lock);
    while (r->begun - r->done == RANKS_SUMS_MOST)
        pthread_cond_wait(&r->changed, &r->lock);
    r->sums[r->begun++ % RANKS_SUMS_MOST] = (Sum){data, count};
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void ranks_sum_wait(RankGroup *r, int left)
{
    pthread_mutex_lock(&r->lock);
    while (r->begun - r->done > (size_t)left)
        pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

void ranks_sum_end(RankGroup *r)
{
    ranks_sum_wait(r, 0);
}

/* ---- memory of rank 0 */

/* Tried once: whether all the others can read it. */
static bool can_share(RankGroup *r)
{
    SharedName name = {0};
    void *own = r->rank ? NULL : shared_new(1, &name);
    bool can = own != NULL, others;
    r->transport->broadcast(&name, sizeof name);
    if (r->rank) {
        const void *seen = name.bytes ? shared_open(&name) : NULL;
        can = seen != NULL;
        shared_close(seen, &name);
        r->transport->send(0, &can, sizeof can);
    }
    for (int i = 1; !r->rank && i < r->count; i++) {
        r->transport->receive(i, &others, sizeof others);
        can = can && others;
    }
    shared_free(own, &name);
    error_clear();
    return can;
}

void *ranks_shared_new(RankGroup *r, size_t bytes)
{
    void *at = r->shares && !r->room.at ? shared_new(bytes, &r->room.name) : NULL;
    r->room.at = r->room.at ? r->room.at : at;
    if (!at)
        error_clear();
    return at;
}

void ranks_shared_free(RankGroup *r, void *at)
{
    if (!at)
        return;
    shared_free(at, &r->room.name);
    r->room = (Room){0};
}

bool ranks_shared_find(const RankGroup *r, const void *at, SharedPlace *place)
{
    const char *first = r->room.at, *here = at;
    if (!first || here < first || here >= first + r->room.name.bytes)
        return false;
    *place = (SharedPlace){r->room.name, (uint64_t)(here - first)};
    return true;
}

void ranks_shared_leave(RankGroup *r)
{
    shared_close(r->room.at, &r->room.name);
    r->room = (Room){0};
}

const void *ranks_shared_at(RankGroup *r, const SharedPlace *place)
{
    if (!r->room.at || r->room.name.mark != place->memory.mark) {
        ranks_shared_leave(r);
        r->room = (Room){shared_open(&place->memory), place->memory};
    }
    return r->room.at ? (const char *)r->room.at + place->at : NULL;
}

/* ---- all else */

RankGroup *ranks_open(void)
{
    if (!ranks_are_built()) {
        error_set("this lacuna was built without MPI, so it trains on one device only; install libopenmpi-dev and openmpi-bin "
                  "and build again");
        return NULL;
    }
    RankGroup *r = memory_new(1, sizeof *r);
    if (!r)
        return NULL;
    r->transport = ranks_mpi();
    r->exit_code = 1;
    if (!r->transport->open(&r->rank, &r->count)) {
        error_set("MPI cannot be started with threads");
        memory_free(r);
        return NULL;
    }
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->starts = memory_new((size_t)r->count + 1, sizeof *r->starts);
    r->parts = memory_new((size_t)PIECE + (size_t)r->count, sizeof *r->parts);
    r->shares = can_share(r);
    if (r->starts && r->parts)
        r->has_thread = pthread_create(&r->thread, NULL, sum_all, r) == 0 || error_set("a thread cannot be started");
    if (r->has_thread)
        return r;
    /* The others are not told: mpirun ends them when this process ends without having left. */
    memory_free(r->starts);
    memory_free(r->parts);
    memory_free(r);
    return NULL;
}

void ranks_close(RankGroup *r)
{
    if (!r)
        return;
    if (r->broken)
        r->transport->abort(r->exit_code);
    pthread_mutex_lock(&r->lock);
    r->ends = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    r->transport->close();
    if (r->rank)
        ranks_shared_leave(r);
    memory_free(r->starts);
    memory_free(r->parts);
    memory_free(r);
}

static void *resort(void *context)
{
    LastResort *last = context;
    sleep((unsigned)last->seconds);
    last->end(last->context, last->why);
    memory_free(last);
    return NULL;
}

void ranks_set_last_resort(RankGroup *r, int seconds, void (*end)(void *context, const char *why), void *context)
{
    r->last = (LastResort){.seconds = seconds, .end = end, .context = context};
}

/* The thread has a copy, since the group may be gone when it wakes. */
void ranks_break(RankGroup *r)
{
    pthread_t thread;
    LastResort *last = r->broken || !r->last.end ? NULL : memory_new(1, sizeof *last);
    r->broken = true;
    if (!last)
        return;
    *last = r->last;
    snprintf(last->why, sizeof last->why, "%s", error_text());
    if (pthread_create(&thread, NULL, resort, last))
        memory_free(last);
    else
        pthread_detach(thread);
}

void ranks_set_exit_code(RankGroup *r, int code)
{
    r->exit_code = code;
}

bool ranks_are_broken(const RankGroup *r)
{
    return r->broken;
}

int ranks_rank(const RankGroup *r)
{
    return r ? r->rank : 0;
}

int ranks_count(const RankGroup *r)
{
    return r ? r->count : 1;
}

void ranks_send(RankGroup *r, int to, const void *data, size_t bytes)
{
    r->transport->send(to, data, bytes);
}

void ranks_receive(RankGroup *r, int from, void *data, size_t bytes)
{
    r->transport->receive(from, data, bytes);
}

void ranks_broadcast(RankGroup *r, void *data, size_t bytes)
{
    r->transport->broadcast(data, bytes);
}
