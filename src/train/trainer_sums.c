/* Sums of a step over several processes: gradients, run by run as they are complete, and losses. On the processor a thread sums
 * beside the backward pass. GPUs sum by themselves where NCCL is; else the host fetches each run, sums it and brings it back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "train/trainer_parts.h"

/* ---- before the first step */

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
    t->pieces = count;
    return program_cut(t->train.program, last, ends, count);
}

/* Opens NCCL in t->sums, or says in t->why_host_sums why not: that is no error. */
static void open_sums(Trainer *t)
{
    if (t->options.device.host_sums) {
        snprintf(t->why_host_sums, sizeof t->why_host_sums, "LACUNA_NCCL is 0");
    } else if (!(t->sums = cuda_sums_open(t->options.device.cuda))) {
        snprintf(t->why_host_sums, sizeof t->why_host_sums, "%s", error_text());
        error_clear();
    }
}

/* Backward gets to the end of the buffer first, so runs are cut from there. */
bool trainer_sums_plan(Trainer *t)
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
    if (buffer_on_host(&t->options.device))
        return true;
    open_sums(t);
    return cut_program(t, last);
}

/* Through the host: its copy of the gradients is pinned, so that copying is left to the GPU. */
static bool pin_gradients(Trainer *t)
{
    Buffer *g = &t->buffers[GRADIENT];
    float *pinned = cuda_pinned_new(t->options.device.cuda, (size_t)t->params.trained_count * sizeof *pinned);
    if (!pinned)
        return false;
    memory_free(g->host);
    g->host = pinned;
    g->pinned = true;
    return true;
}

bool trainer_sums_join(Trainer *t, const CudaSumsName *group)
{
    RankGroup *ranks = t->options.ranks;
    if (group)
        return t->joined = cuda_sums_join(t->sums, group, ranks_rank(ranks), ranks_count(ranks));
    cuda_sums_close(t->sums, false);
    t->sums = NULL;
    return pin_gradients(t);
}

void trainer_sums_way(const Trainer *t, char *text, size_t size)
{
    enum { HUNDREDS_FROM = 10000 }; /* before 2.9 versions were numbered otherwise */
    const char *nvls = getenv("NCCL_NVLS_ENABLE"), *more = nvls && !strcmp(nvls, "0") ? "" : ", NVLS";
    int version = t->sums ? cuda_sums_version(t->sums) : 0;
    if (!t->sums)
        snprintf(text, size, "the host");
    else if (version < HUNDREDS_FROM)
        snprintf(text, size, "NCCL%s", more);
    else
        snprintf(text, size, "NCCL %d.%d.%d%s", version / 10000, version / 100 % 100, version % 100, more);
}

const char *trainer_host_sums(const Trainer *t)
{
    return t->why_host_sums[0] ? t->why_host_sums : NULL;
}

/* ---- in each step */

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
static bool sum_through_host(Trainer *t, Segment segment)
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
    for (int i = 0; ok && i < t->run_count; i++) {
        const GradientRun *run = &t->runs[i];
        ranks_sum_wait(ranks, t->run_count - 1 - i);
        ok = buffer_write(&t->options.device, (float *)g->data + run->offset, g->host + run->offset,
                          (size_t)run->count * sizeof *g->host);
    }
    ranks_sum_end(ranks);
    return ok;
}

/* Each run is summed where it lies when it is complete, while the GPU goes on; the host waits for nothing. */
static bool sum_among_gpus(Trainer *t, Segment segment)
{
    Program *program = t->train.program;
    bool ok = program_run(program, segment);
    for (int i = 0; ok && i < t->run_count; i++) {
        const GradientRun *run = &t->runs[i];
        ok = program_sum_piece(program, segment, run->piece, t->sums, (float *)t->buffers[GRADIENT].data + run->offset,
                               (size_t)run->count);
    }
    return ok && program_sum_piece(program, segment, t->pieces - 1, t->sums, t->metrics, (size_t)trainer_metrics(t)) &&
           program_sum_join(program);
}

bool trainer_sums_run(Trainer *t, Segment segment)
{
    RankGroup *ranks = t->options.ranks;
    Buffer *g = &t->buffers[GRADIENT];
    size_t done = 0;
    if (t->sums)
        return sum_among_gpus(t, segment);
    if (!buffer_on_host(&t->options.device))
        return sum_through_host(t, segment) && sum_metrics(t);
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
