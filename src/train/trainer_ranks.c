/* A step over several processes. Rank 0 has the run: it takes the pictures, draws the masks, decides, logs and saves. The
 * others hold a trainer of the same kind and compute their share of each step; since all add up the same gradients, their
 * weights stay the same to the bit, and nothing but pictures and gradients travels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "train/trainer_parts.h"

typedef enum { COMMAND_END, COMMAND_OPEN, COMMAND_STEP } CommandKind;

/* What comes with a step, in this order. */
enum { IMAGES, TEACHER_IMAGES, HIDDEN, CODES, LABELS, SOFT, SECOND, KEPT, ARRAYS };

typedef struct {
    CommandKind kind;
    TrainerOptions options; /* its pointers and its device are rank 0's; whether there is a teacher counts */
    int threads;
    bool has[ARRAYS], touched[BUFFERS];
    int64_t counts, steps;
    double lr, epoch, momentum;
} Command;

enum { WHY_BYTES = 1024 };

/* Whether a rank could open, and why not. */
typedef struct {
    bool ok;
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

bool trainer_ranks_open(Trainer *t)
{
    RankGroup *ranks = t->options.ranks;
    Command c = {.kind = COMMAND_OPEN, .options = t->options, .threads = t->options.device.threads};
    Answer answer;
    bool ok = true;
    if (ranks_rank(ranks) > 0)
        return true;
    ranks_broadcast(ranks, &c, sizeof c);
    ranks_broadcast(ranks, &t->recipe, sizeof t->recipe);
    ranks_broadcast(ranks, &t->teacher, sizeof t->teacher);
    for (int i = 1; i < ranks_count(ranks); i++) {
        ranks_receive(ranks, i, &answer, sizeof answer);
        if (!answer.ok && ok)
            ok = error_set("device %d of %d: %s", i, ranks_count(ranks), answer.why);
    }
    return ok;
}

static void send_share(Trainer *t, const TrainerBatch *batch, const Command *c, int rank)
{
    RankGroup *ranks = t->options.ranks;
    const void *all[ARRAYS];
    size_t bytes[ARRAYS], share = (size_t)t->share, whole = (size_t)t->options.batch, first = share * (size_t)rank;
    array_places(batch, all);
    array_bytes(t, bytes);
    for (int i = 0; i < ARRAYS; i++)
        if (c->has[i] && i != KEPT)
            ranks_send(ranks, rank, (const char *)all[i] + first * bytes[i], share * bytes[i]);
    for (size_t b = 0; c->has[KEPT] && b < bytes[KEPT]; b++)
        ranks_send(ranks, rank, batch->kept + b * whole + first, share);
}

void trainer_ranks_begin(Trainer *t, const TrainerBatch *batch, int64_t counts)
{
    RankGroup *ranks = t->options.ranks;
    Command c = {.kind = COMMAND_STEP,
                 .counts = counts,
                 .steps = t->steps,
                 .lr = batch->lr,
                 .epoch = batch->epoch,
                 .momentum = batch->momentum};
    const void *all[ARRAYS];
    array_places(batch, all);
    for (int i = 0; i < ARRAYS; i++)
        c.has[i] = all[i] != NULL;
    for (int i = 0; i < BUFFERS; i++)
        c.touched[i] = t->touched[i] && i != GRADIENT && trainer_buffer_count(t, i) > 0;
    ranks_broadcast(ranks, &c, sizeof c);
    share_touched(t, c.touched);
    for (int rank = 1; rank < ranks_count(ranks); rank++)
        send_share(t, batch, &c, rank);
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
    void *arrays[ARRAYS];
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

static void serve_open(Served *s, const Command *c)
{
    Answer answer = {.ok = false};
    TrainerOptions options = c->options;
    close_served(s);
    ranks_broadcast(s->ranks, &s->recipe, sizeof s->recipe);
    ranks_broadcast(s->ranks, &s->teacher, sizeof s->teacher);
    options.ranks = s->ranks;
    options.teacher = &s->teacher;
    answer.ok = open_device(s, c->threads);
    options.device = s->device;
    answer.ok = answer.ok && (s->trainer = trainer_open(&s->recipe, &options)) != NULL;
    if (!answer.ok)
        snprintf(answer.why, sizeof answer.why, "%s", error_text());
    ranks_send(s->ranks, 0, &answer, sizeof answer);
}

static bool serve_step(Served *s, const Command *c)
{
    Trainer *t = s->trainer;
    TrainerMetrics metrics;
    size_t bytes[ARRAYS], share = (size_t)t->share;
    t->steps = c->steps;
    share_touched(t, c->touched);
    array_bytes(t, bytes);
    for (int i = 0; i < ARRAYS; i++) {
        if (!c->has[i])
            continue;
        if (!s->arrays[i] && !(s->arrays[i] = memory_new(share, bytes[i])))
            return false;
        for (size_t b = 0; i == KEPT && b < bytes[i]; b++)
            ranks_receive(s->ranks, 0, (char *)s->arrays[i] + b * share, share);
        if (i != KEPT)
            ranks_receive(s->ranks, 0, s->arrays[i], share * bytes[i]);
    }
    TrainerBatch batch = {.images = s->arrays[IMAGES],
                          .teacher_images = c->has[TEACHER_IMAGES] ? s->arrays[TEACHER_IMAGES] : NULL,
                          .hidden = c->has[HIDDEN] ? s->arrays[HIDDEN] : NULL,
                          .codes = c->has[CODES] ? s->arrays[CODES] : NULL,
                          .labels = c->has[LABELS] ? s->arrays[LABELS] : NULL,
                          .soft = c->has[SOFT] ? s->arrays[SOFT] : NULL,
                          .second = c->has[SECOND] ? s->arrays[SECOND] : NULL,
                          .kept = c->has[KEPT] ? s->arrays[KEPT] : NULL,
                          .lr = c->lr,
                          .epoch = c->epoch,
                          .momentum = c->momentum};
    return trainer_compute(t, &batch, c->counts) && trainer_end(t, &metrics);
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
        if (c.kind == COMMAND_OPEN)
            serve_open(s, &c);
        else if (c.kind == COMMAND_STEP)
            ok = serve_step(s, &c);
    }
    if (s)
        close_served(s);
    memory_free(s);
    if (!ok)
        ranks_break(ranks);
    return ok || error_context("device %d of %d", ranks_rank(ranks), ranks_count(ranks));
}

/* ---- all of them: sums */

/* A few dozen runs of a large model, each of many numbers; a small one has fewer. */
enum { RUNS_MOST = 32, RUN_NUMBERS_LEAST = 4096 };

static int compare_runs(const void *a, const void *b)
{
    const GradientRun *x = a, *y = b;
    if (x->after != y->after)
        return x->after < y->after ? -1 : 1;
    return x->offset < y->offset ? 1 : -1;
}

/* On a GPU: the program in pieces, each of which completes a run or several. */
static bool cut_program(Trainer *t, Segment last)
{
    size_t ends[RUNS_MOST + 1], all = program_step_count(t->train.program, last);
    int count = 0;
    for (int i = 0; i < t->run_count; i++) {
        if (!count || ends[count - 1] < t->runs[i].after)
            ends[count++] = t->runs[i].after;
        t->runs[i].piece = count - 1;
    }
    if (!count || ends[count - 1] < all)
        ends[count++] = all;
    return program_cut(t->train.program, last, ends, count);
}

/* Backward gets to the end of the buffer first, so runs are cut from there. */
bool trainer_ranks_plan(Trainer *t)
{
    int64_t all = t->params.trained_count, least = (all + RUNS_MOST - 1) / RUNS_MOST, end = all;
    Segment last = t->share == t->options.micro_batch ? SEGMENT_ONLY : SEGMENT_LAST;
    if (!(t->runs = memory_new(RUNS_MOST, sizeof *t->runs)))
        return false;
    least = least < RUN_NUMBERS_LEAST ? RUN_NUMBERS_LEAST : least;
    for (size_t i = t->params.count; i-- > 0;) {
        const Param *p = &t->params.params[i];
        if (p->kind != PARAM_TRAINED || (p->offset > 0 && end - p->offset < least))
            continue;
        size_t after = program_written(t->train.program, last, "params.grad", p->offset, end - p->offset);
        t->runs[t->run_count++] = (GradientRun){.offset = p->offset, .count = end - p->offset, .after = after};
        end = p->offset;
    }
    qsort(t->runs, (size_t)t->run_count, sizeof *t->runs, compare_runs);
    return buffer_on_host(&t->options.device) || cut_program(t, last);
}

/* Numbers of the losses' places are summed in the device's memory, or in a copy. */
static bool sum_metrics(Trainer *t)
{
    const Device *device = &t->options.device;
    float numbers[PROGRAM_FETCH_MOST];
    size_t bytes = (size_t)trainer_metrics(t) * sizeof *numbers;
    if (!buffer_read(device, t->metrics, numbers, bytes))
        return false;
    /* The total and the norm among them are made anew in the update. */
    ranks_sum_begin(t->options.ranks, numbers, (size_t)trainer_metrics(t));
    ranks_sum_end(t->options.ranks);
    return buffer_write(device, t->metrics, numbers, bytes);
}

/* Each run of gradients is fetched and its sum begun when it is complete, while the GPU goes on with the rest. */
static bool sum_on_gpu(Trainer *t, Segment segment)
{
    RankGroup *ranks = t->options.ranks;
    Buffer *g = &t->buffers[GRADIENT];
    bool ok = program_run(t->train.program, segment);
    for (int i = 0; ok && i < t->run_count; i++) {
        const GradientRun *run = &t->runs[i];
        ok = program_read_piece(t->train.program, segment, run->piece, (const float *)g->data + run->offset,
                                g->host + run->offset, (size_t)run->count * sizeof *g->host);
        if (ok)
            ranks_sum_begin(ranks, g->host + run->offset, (size_t)run->count);
    }
    ranks_sum_end(ranks);
    return ok && buffer_write(&t->options.device, g->data, g->host, (size_t)t->params.trained_count * sizeof *g->host);
}

bool trainer_ranks_sum(Trainer *t, Segment segment)
{
    RankGroup *ranks = t->options.ranks;
    Buffer *g = &t->buffers[GRADIENT];
    size_t done = 0;
    if (!buffer_on_host(&t->options.device))
        return sum_on_gpu(t, segment) && sum_metrics(t);
    for (int i = 0; i < t->run_count; i++) {
        const GradientRun *run = &t->runs[i];
        if (run->after > done)
            program_run_nodes(t->train.program, segment, done, run->after);
        done = run->after > done ? run->after : done;
        ranks_sum_begin(ranks, g->host + run->offset, (size_t)run->count);
    }
    program_run_nodes(t->train.program, segment, done, program_step_count(t->train.program, segment));
    ranks_sum_end(ranks);
    return sum_metrics(t);
}
