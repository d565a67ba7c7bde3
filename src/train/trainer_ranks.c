/* A step over several processes. Rank 0 has the run: it takes the pictures, draws the masks, decides, logs and saves. The
 * others hold a trainer of the same kind and compute their share of each step; since all add up the same gradients, their
 * weights stay the same to the bit. Rank 0 tells by messages what is to be done, with masks and the like; pictures are read
 * where it keeps them, or come so too. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "train/trainer_parts.h"

typedef enum {
    COMMAND_END,
    COMMAND_OPEN,
    COMMAND_JOIN,  /* GPUs that sum gradients by themselves */
    COMMAND_AHEAD, /* what the next step will take, while the present one is computed */
    COMMAND_STEP,
    COMMAND_FINISH, /* the step: rank 0 waits for it now */
    COMMAND_LEAVE   /* the group of COMMAND_JOIN, and the trainer with it */
} CommandKind;

/* What comes with a step, in this order. */
enum { IMAGES, TEACHER_IMAGES, HIDDEN, CODES, LABELS, SOFT, SECOND, KEPT, ARRAYS };

typedef struct {
    CommandKind kind;
    TrainerOptions options; /* its pointers and its device are rank 0's; whether there is a teacher counts */
    int threads;
    CudaSumsName group;
    bool joins;        /* the group; else sums go through the host */
    bool comes_before; /* the step's arrays were sent ahead */
    bool has[ARRAYS], is_shared[ARRAYS], touched[BUFFERS];
    SharedPlace places[ARRAYS]; /* of those that are shared, where rank 0's whole batch is */
    int64_t counts, steps;
    double lr, epoch, momentum;
} Command;

enum { WHY_BYTES = 1024 };

/* Whether a rank could open, and why not; whether its GPU can sum with others, and is such as rank 0's, so that what was timed
 * there is good for it. */
typedef struct {
    bool ok, can_sum, is_alike;
    char why[WHY_BYTES];
} Answer;

/* ---- both sides */

/* Bytes that a picture has of each array. */
static void array_bytes(const Trainer *t, size_t bytes[ARRAYS])
{
    const Recipe *r = &t->recipe;
    size_t places = (size_t)recipe_patches(r),
           teacher = (size_t)r->image.channels * (size_t)r->target.image_size[0] * (size_t)r->target.image_size[1];
    bytes[IMAGES] = bytes[SECOND] = trainer_picture_floats(t) * sizeof(float);
    bytes[TEACHER_IMAGES] = teacher * sizeof(float);
    bytes[HIDDEN] = places;
    bytes[CODES] = places * sizeof(int32_t);
    bytes[LABELS] = sizeof(int32_t);
    bytes[SOFT] = (size_t)(r->head.classes > 0 ? r->head.classes : 0) * sizeof(float);
    bytes[KEPT] = (size_t)trainer_branches(t);
}

static void array_places(const TrainerBatch *b, const void *at[ARRAYS])
{
    at[IMAGES] = b->images;
    at[TEACHER_IMAGES] = b->teacher_images;
    at[HIDDEN] = b->hidden;
    at[CODES] = b->codes;
    at[LABELS] = b->labels;
    at[SOFT] = b->soft;
    at[SECOND] = b->second;
    at[KEPT] = b->kept;
}

static void share_touched(Trainer *t, const bool touched[BUFFERS])
{
    for (int i = 0; i < BUFFERS; i++)
        if (touched[i])
            ranks_broadcast(t->options.ranks, trainer_buffer(t, i), (size_t)trainer_buffer_count(t, i) * sizeof(float));
    memset(t->touched, 0, sizeof t->touched);
}

/* ---- rank 0 */

/* GPUs sum by themselves where all of them can. Who fails in joining ends all, since the others may wait for it there. */
static bool join(Trainer *t, bool all_can)
{
    RankGroup *ranks = t->options.ranks;
    Command c = {.kind = COMMAND_JOIN, .joins = all_can && t->sums};
    if (t->sums && !all_can)
        snprintf(t->why_host_sums, sizeof t->why_host_sums, "another device has no NCCL");
    if (c.joins && !(c.joins = cuda_sums_name(t->sums, &c.group))) {
        snprintf(t->why_host_sums, sizeof t->why_host_sums, "%s", error_text());
        error_clear();
    }
    ranks_broadcast(ranks, &c, sizeof c);
    if (trainer_sums_join(t, c.joins ? &c.group : NULL))
        return true;
    ranks_break(ranks);
    return false;
}

/* What rank 0's GPU has timed, as text, so that nobody times for itself: empty when nothing was. */
static void send_timed(const Trainer *t)
{
    RankGroup *ranks = t->options.ranks;
    Text timed = {0};
    if (device_timed(&t->options.device))
        device_write_timed(&t->options.device, &timed);
    size_t length = timed.failed ? 0 : timed.length;
    ranks_broadcast(ranks, &length, sizeof length);
    ranks_broadcast(ranks, timed.data, length);
    text_free(&timed);
}

bool trainer_ranks_open(Trainer *t)
{
    RankGroup *ranks = t->options.ranks;
    Command c = {.kind = COMMAND_OPEN, .options = t->options, .threads = t->options.device.threads};
    Answer answer;
    bool ok = true, all_can = true;
    if (ranks_rank(ranks) > 0)
        return true;
    ranks_broadcast(ranks, &c, sizeof c);
    ranks_broadcast(ranks, &t->recipe, sizeof t->recipe);
    ranks_broadcast(ranks, &t->teacher, sizeof t->teacher);
    send_timed(t);
    for (int i = 1; i < ranks_count(ranks); i++) {
        ranks_receive(ranks, i, &answer, sizeof answer);
        if (!answer.ok && ok)
            ok = error_set("device %d of %d: %s", i, ranks_count(ranks), answer.why);
        all_can = all_can && answer.can_sum;
        t->has_other_gpus = t->has_other_gpus || !answer.is_alike;
    }
    return ok && (buffer_on_host(&t->options.device) || join(t, all_can));
}

bool trainer_has_other_gpus(const Trainer *t)
{
    return t->has_other_gpus;
}

void trainer_ranks_leave(Trainer *t)
{
    RankGroup *ranks = t->options.ranks;
    Command c = {.kind = COMMAND_LEAVE};
    bool together = t->joined && !ranks_are_broken(ranks);
    if (together && ranks_rank(ranks) == 0)
        ranks_broadcast(ranks, &c, sizeof c);
    cuda_sums_close(t->sums, together);
    t->sums = NULL;
    t->joined = false;
}

static void send_share(Trainer *t, const TrainerBatch *batch, const Command *c, int rank)
{
    RankGroup *ranks = t->options.ranks;
    const void *all[ARRAYS];
    size_t bytes[ARRAYS], share = (size_t)t->share, whole = (size_t)t->options.batch, first = share * (size_t)rank;
    array_places(batch, all);
    array_bytes(t, bytes);
    for (int i = 0; i < ARRAYS; i++)
        if (c->has[i] && !c->is_shared[i] && i != KEPT)
            ranks_send(ranks, rank, (const char *)all[i] + first * bytes[i], share * bytes[i]);
    for (size_t b = 0; c->has[KEPT] && b < bytes[KEPT]; b++)
        ranks_send(ranks, rank, batch->kept + b * whole + first, share);
}

static Command command_of(const Trainer *t, CommandKind kind, const TrainerBatch *batch, int64_t counts)
{
    const RankGroup *ranks = t->options.ranks;
    const void *all[ARRAYS];
    Command c = {
        .kind = kind, .counts = counts, .steps = t->steps, .lr = batch->lr, .epoch = batch->epoch, .momentum = batch->momentum};
    array_places(batch, all);
    for (int i = 0; i < ARRAYS; i++) {
        c.has[i] = all[i] != NULL;
        c.is_shared[i] = i != KEPT && ranks_shared_find(ranks, all[i], &c.places[i]);
    }
    return c;
}

static void send_shares(Trainer *t, const TrainerBatch *batch, const Command *c)
{
    for (int rank = 1; rank < ranks_count(t->options.ranks); rank++)
        send_share(t, batch, c, rank);
}

void trainer_ranks_ahead(Trainer *t, const TrainerBatch *batch, int64_t counts)
{
    Command c = command_of(t, COMMAND_AHEAD, batch, counts);
    ranks_broadcast(t->options.ranks, &c, sizeof c);
    send_shares(t, batch, &c);
}

void trainer_ranks_begin(Trainer *t, const TrainerBatch *batch, int64_t counts)
{
    Command c = command_of(t, COMMAND_STEP, batch, counts);
    c.comes_before = t->ahead;
    for (int i = 0; i < BUFFERS; i++)
        c.touched[i] = t->touched[i] && i != GRADIENT && trainer_buffer_count(t, i) > 0;
    ranks_broadcast(t->options.ranks, &c, sizeof c);
    share_touched(t, c.touched);
    if (!c.comes_before)
        send_shares(t, batch, &c);
}

void trainer_ranks_finish(Trainer *t)
{
    Command c = {.kind = COMMAND_FINISH};
    if (ranks_rank(t->options.ranks) == 0)
        ranks_broadcast(t->options.ranks, &c, sizeof c);
}

void trainer_dismiss(RankGroup *ranks)
{
    Command c = {.kind = COMMAND_END};
    if (ranks && !ranks_are_broken(ranks))
        ranks_broadcast(ranks, &c, sizeof c);
}

/* ---- the others */

typedef struct {
    RankGroup *ranks;
    Recipe recipe;
    MimTeacher teacher;
    Device device;
    Trainer *trainer;
    void *arrays[ARRAYS]; /* what is sent */
    TrainerBatch batch;   /* this rank's share */
} Served;

static void close_served(Served *s)
{
    trainer_close(s->trainer);
    s->trainer = NULL;
    for (int i = 0; i < ARRAYS; i++) {
        memory_free(s->arrays[i]);
        s->arrays[i] = NULL;
    }
    device_close(&s->device);
    s->device = (Device){0};
    ranks_shared_leave(s->ranks);
}

static bool open_device(Served *s, int threads)
{
    char name[32];
    const char *kind = recipe_word("run.device", (int)s->recipe.run.device);
    bool is_cuda = s->recipe.run.device == RUN_DEVICE_CUDA;
    snprintf(name, sizeof name, is_cuda ? "%s:%d" : "%s", kind, ranks_rank(s->ranks));
    if (!device_open(name, threads, &s->device))
        return false;
    device_set_tf32(&s->device, s->recipe.run.tf32);
    return true;
}

/* Algorithms that rank 0 has timed, for the device that was opened. */
static bool read_timed(Served *s, const char *timed, bool *is_alike)
{
    *is_alike = true;
    return !timed[0] || device_read_timed(&s->device, timed, is_alike);
}

static bool serve_open(Served *s, const Command *c)
{
    Answer answer = {.ok = false};
    size_t length;
    TrainerOptions options = c->options;
    close_served(s);
    ranks_broadcast(s->ranks, &s->recipe, sizeof s->recipe);
    ranks_broadcast(s->ranks, &s->teacher, sizeof s->teacher);
    ranks_broadcast(s->ranks, &length, sizeof length);
    char *timed = memory_new(length + 1, 1);
    if (!timed) /* nothing of what follows would be understood */
        return false;
    ranks_broadcast(s->ranks, timed, length);
    options.ranks = s->ranks;
    options.teacher = &s->teacher;
    answer.ok = open_device(s, c->threads) && read_timed(s, timed, &answer.is_alike);
    memory_free(timed);
    options.device = s->device;
    answer.ok = answer.ok && (s->trainer = trainer_open(&s->recipe, &options)) != NULL;
    answer.can_sum = answer.ok && s->trainer->sums;
    if (!answer.ok)
        snprintf(answer.why, sizeof answer.why, "%s", error_text());
    ranks_send(s->ranks, 0, &answer, sizeof answer);
    return true;
}

/* What this rank computes of a batch: where rank 0 keeps it, or what it sends. */
static bool take_share(Served *s, const Command *c)
{
    const Trainer *t = s->trainer;
    size_t bytes[ARRAYS], share = (size_t)t->share, rank = (size_t)ranks_rank(s->ranks);
    const void *at[ARRAYS] = {NULL};
    array_bytes(t, bytes);
    for (int i = 0; i < ARRAYS; i++) {
        if (!c->has[i])
            continue;
        if (c->is_shared[i]) {
            const char *whole = ranks_shared_at(s->ranks, &c->places[i]);
            if (!whole)
                return false;
            at[i] = whole + rank * share * bytes[i];
            continue;
        }
        if (!s->arrays[i] && !(s->arrays[i] = memory_new(share, bytes[i])))
            return false;
        for (size_t b = 0; i == KEPT && b < bytes[i]; b++)
            ranks_receive(s->ranks, 0, (char *)s->arrays[i] + b * share, share);
        if (i != KEPT)
            ranks_receive(s->ranks, 0, s->arrays[i], share * bytes[i]);
        at[i] = s->arrays[i];
    }
    s->batch = (TrainerBatch){.images = at[IMAGES],
                              .teacher_images = at[TEACHER_IMAGES],
                              .hidden = at[HIDDEN],
                              .codes = at[CODES],
                              .labels = at[LABELS],
                              .soft = at[SOFT],
                              .second = at[SECOND],
                              .kept = at[KEPT],
                              .epoch = c->epoch};
    return true;
}

static bool serve_step(Served *s, const Command *c)
{
    Trainer *t = s->trainer;
    t->steps = c->steps;
    share_touched(t, c->touched);
    if (!c->comes_before) {
        t->ahead = false;
        if (!take_share(s, c))
            return false;
    }
    s->batch.lr = c->lr;
    s->batch.momentum = c->momentum;
    return trainer_compute(t, &s->batch, c->counts);
}

static bool serve(Served *s, const Command *c)
{
    TrainerMetrics metrics;
    switch (c->kind) {
    case COMMAND_AHEAD:
        return take_share(s, c) && trainer_feed_ahead(s->trainer, &s->batch, c->counts);
    case COMMAND_FINISH:
        return trainer_end(s->trainer, &metrics);
    case COMMAND_OPEN:
        return serve_open(s, c);
    case COMMAND_JOIN:
        return trainer_sums_join(s->trainer, c->joins ? &c->group : NULL);
    case COMMAND_STEP:
        return serve_step(s, c);
    default: /* COMMAND_END, COMMAND_LEAVE */
        close_served(s);
        return true;
    }
}

bool trainer_serve(RankGroup *ranks)
{
    Served *s = memory_new(1, sizeof *s);
    bool ok = s != NULL;
    Command c = {.kind = COMMAND_OPEN};
    if (s)
        s->ranks = ranks;
    while (ok && c.kind != COMMAND_END) {
        ranks_broadcast(ranks, &c, sizeof c);
        ok = serve(s, &c);
    }
    if (!ok)
        ranks_break(ranks);
    if (s)
        close_served(s);
    memory_free(s);
    return ok || error_context("device %d of %d", ranks_rank(ranks), ranks_count(ranks));
}
