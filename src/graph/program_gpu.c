/* Programs on a GPU: running them, inputs that travel ahead on a stream of their own, and copies for the host.
 *
 * An input is written to pinned memory of the host, copied from there to a landing place on the GPU while the stream of kernels
 * is still busy with what came before, and from there to where kernels read it, in that stream. So the host may fill the next
 * step's inputs as soon as the first copy is done. */
#include "graph/program_gpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"

enum { INPUT_ALIGN = 256 };

bool gpu_check(const ProgramGpu *g, int error, const char *what)
{
    return cuda_check(g->device, error, what);
}

void gpu_free_event(const CudaRuntime *r, void *event)
{
    if (event)
        r->event_free(event);
}

/* ---- opening */

static size_t padded(size_t bytes)
{
    return (bytes + INPUT_ALIGN - 1) / INPUT_ALIGN * INPUT_ALIGN;
}

int64_t program_gpu_bytes(const Program *p)
{
    size_t bytes = 0;
    for (size_t i = 0; i < p->tape->value_count; i++)
        if (p->tape->values[i].home == HOME_INPUT)
            bytes += padded((size_t)program_value_bytes(p, (int)i));
    return 2 * (int64_t)bytes;
}

static bool place_inputs(Program *p)
{
    ProgramGpu *g = p->gpu;
    const Tape *tape = p->tape;
    g->inputs = memory_new(tape->value_count, sizeof *g->inputs);
    if (!g->inputs)
        return false;
    for (size_t i = 0; i < tape->value_count; i++) {
        if (tape->values[i].home != HOME_INPUT)
            continue;
        Input *in = &g->inputs[g->input_count++];
        *in = (Input){.slot = (int)i, .offset = g->input_bytes, .bytes = (size_t)program_value_bytes(p, (int)i)};
        g->input_bytes += padded(in->bytes);
    }
    g->pinned = cuda_pinned_new(g->device, g->input_bytes);
    g->landing = g->pinned ? cuda_memory_new(g->device, g->input_bytes) : NULL;
    g->block = g->landing ? cuda_memory_new(g->device, g->input_bytes) : NULL;
    bool ok = g->block != NULL;
    for (size_t i = 0; ok && i < g->input_count; i++) {
        p->data[g->inputs[i].slot] = g->block + g->inputs[i].offset;
        ok = gpu_check(g, g->runtime->event_new(&g->inputs[i].taken, false), "making an event");
    }
    return ok;
}

bool program_gpu_open(Program *p)
{
    ProgramGpu *g = p->gpu = memory_new(1, sizeof *g);
    if (!g)
        return false;
    g->device = p->device.cuda;
    const CudaRuntime *r = g->runtime = cuda_device_runtime(g->device);
    g->looks = memory_new(p->tape->value_count + p->tape->storage_count, sizeof *g->looks);
    bool ok = g->looks && gpu_place_pieces(p) && place_inputs(p) &&
              gpu_check(g, r->stream_new(&g->uploads, CUDA_TURN_LAST), "opening a stream") &&
              gpu_check(g, r->event_new(&g->uploaded, false), "making an event");
    for (int i = 0; ok && i < PROGRAM_FETCHES; i++)
        ok = gpu_check(g, r->event_new(&g->fetch_events[i], false), "making an event") &&
             (p->fetched[i] = cuda_pinned_new(g->device, PROGRAM_FETCH_MOST * sizeof(float))) != NULL;
    return ok;
}

bool program_gpu_measure(Program *p)
{
    ProgramGpu *g = p->gpu;
    bool ok = g->marks || (g->marks = memory_new(p->node_count + 1, sizeof *g->marks));
    for (size_t i = 0; ok && i <= p->node_count; i++)
        ok = g->marks[i] || gpu_check(g, g->runtime->event_new(&g->marks[i], true), "making an event");
    return ok;
}

void program_gpu_close(Program *p)
{
    ProgramGpu *g = p->gpu;
    if (!g)
        return;
    const CudaRuntime *r = g->runtime;
    /* Nothing may be taken away under what still runs. An error has been told before, or nobody wants to know any more. */
    r->stream_wait(cuda_stream(g->device)->handle);
    if (g->uploads)
        r->stream_wait(g->uploads);
    if (g->sums)
        r->stream_wait(g->sums);
    for (int i = 0; i < g->piece_count; i++)
        gpu_free_piece(r, &g->pieces[i]);
    gpu_free_event(r, g->copied);
    gpu_free_event(r, g->summed);
    gpu_free_event(r, g->uploaded);
    for (int i = 0; i < PROGRAM_FETCHES; i++)
        gpu_free_event(r, g->fetch_events[i]);
    for (size_t i = 0; i < g->input_count; i++)
        gpu_free_event(r, g->inputs[i].taken);
    for (size_t i = 0; g->marks && i <= p->node_count; i++)
        gpu_free_event(r, g->marks[i]);
    if (g->uploads)
        r->stream_free(g->uploads);
    if (g->sums)
        r->stream_free(g->sums);
    for (int i = 0; i < PROGRAM_FETCHES; i++)
        cuda_pinned_free(g->device, p->fetched[i]);
    cuda_pinned_free(g->device, g->pinned);
    cuda_memory_free(g->device, g->landing);
    cuda_memory_free(g->device, g->block);
    for (size_t i = 0; g->looks && i < p->tape->value_count + p->tape->storage_count; i++)
        memory_free(g->looks[i]);
    memory_free(g->looks);
    memory_free(g->output);
    memory_free(g->marks);
    memory_free(g->pieces);
    memory_free(g->inputs);
    memory_free(g);
    p->gpu = NULL;
}

/* ---- running */

/* An event behind each node, and one wait at the end: nodes follow each other as they do unmeasured. */
static bool launch_measured(Program *p, Segment segment, const Piece *pieces, int count)
{
    ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    void *stream = cuda_stream(g->device)->handle;
    size_t begin = p->begin[segment], end = p->end[segment];
    if (!gpu_check(g, r->event_record(g->marks[begin], stream), "measuring"))
        return false;
    for (size_t n = begin; n < end; n++)
        if (!gpu_launch(p, n) || !gpu_check(g, r->event_record(g->marks[n + 1], stream), "measuring"))
            return false;
    if (!gpu_check(g, r->event_wait(g->marks[end]), "measuring"))
        return false;
    for (int i = 0; i < count; i++)
        if (pieces[i].done && !gpu_check(g, r->event_record(pieces[i].done, stream), "measuring"))
            return false;
    for (size_t n = begin; n < end; n++) {
        double seconds = 0;
        if (!gpu_check(g, r->event_seconds(g->marks[n], g->marks[n + 1], &seconds), "measuring"))
            return false;
        p->seconds[n] += seconds;
    }
    return true;
}

/* ---- inputs */

/* From first on, the neighbours of which it is true; moves *first behind them. The bytes of none are 0. */
static size_t neighbours(const ProgramGpu *g, size_t *first, bool sent, size_t *from)
{
    size_t i = *first;
    *from = g->inputs[i].offset;
    while (i < g->input_count && g->inputs[i].written && g->inputs[i].sent == sent)
        i++;
    size_t bytes = i == *first ? 0 : g->inputs[i - 1].offset + g->inputs[i - 1].bytes - *from;
    *first = i == *first ? i + 1 : i;
    return bytes;
}

/* Starts to copy what was written to the landing place, neighbours at once. Uploads wait for the last use of these inputs
 * alone: what is uploaded late in a step, such as the rate, does not hold up the pictures of the next. */
bool program_gpu_upload(Program *p)
{
    ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    bool any = false;
    if (!gpu_check(g, g->failed, "uploading"))
        return false;
    for (size_t i = 0; i < g->input_count;) {
        size_t first = i, from, bytes = neighbours(g, &i, false, &from);
        if (!bytes)
            continue;
        for (size_t k = first; k < i; k++)
            if (!gpu_check(g, r->stream_follow(g->uploads, g->inputs[k].taken), "uploading"))
                return false;
        if (!gpu_check(g, r->copy(g->landing + from, g->pinned + from, bytes, g->uploads), "uploading"))
            return false;
        any = true;
    }
    if (any && !gpu_check(g, r->event_record(g->uploaded, g->uploads), "uploading"))
        return false;
    for (size_t i = 0; i < g->input_count; i++)
        g->inputs[i].sent = g->inputs[i].written;
    g->uploading = g->uploading || any;
    return true;
}

/* Brings what was written to where kernels read it. */
static bool take_inputs(Program *p)
{
    ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    void *stream = cuda_stream(g->device)->handle;
    bool follows = false;
    if (!program_gpu_upload(p))
        return false;
    for (size_t i = 0; i < g->input_count;) {
        size_t from, bytes = neighbours(g, &i, true, &from);
        if (!bytes)
            continue;
        if (!follows && !gpu_check(g, r->stream_follow(stream, g->uploaded), "uploading"))
            return false;
        follows = true;
        if (!gpu_check(g, r->copy(g->block + from, g->landing + from, bytes, stream), "uploading"))
            return false;
    }
    for (size_t i = 0; i < g->input_count; i++) {
        Input *in = &g->inputs[i];
        if (in->written && !gpu_check(g, r->event_record(in->taken, stream), "uploading"))
            return false;
        in->written = in->sent = false;
    }
    return true;
}

bool program_gpu_run(Program *p, Segment segment)
{
    int count;
    const Piece *pieces = gpu_pieces(p->gpu, segment, &count);
    if (!take_inputs(p))
        return false;
    if (p->seconds)
        return launch_measured(p, segment, pieces, count);
    for (int i = 0; i < count; i++)
        if (!gpu_launch_piece(p, &pieces[i]))
            return false;
    return true;
}

bool program_gpu_run_node(Program *p, size_t node)
{
    return take_inputs(p) && gpu_launch(p, node);
}

void *program_gpu_input(Program *p, int slot)
{
    ProgramGpu *g = p->gpu;
    if (g->uploading) {
        int error = g->runtime->event_wait(g->uploaded);
        g->failed = g->failed ? g->failed : error;
        g->uploading = false;
    }
    for (size_t i = 0; i < g->input_count; i++)
        if (g->inputs[i].slot == slot) {
            g->inputs[i].written = true;
            g->inputs[i].sent = false;
            return g->pinned + g->inputs[i].offset;
        }
    return NULL;
}

/* ---- reading */

void *program_gpu_look(Program *p, const void *data, size_t bytes, int place)
{
    ProgramGpu *g = p->gpu;
    if (!g->looks[place])
        g->looks[place] = memory_new(bytes, 1);
    return g->looks[place] && cuda_read(g->device, data, g->looks[place], bytes) ? g->looks[place] : NULL;
}

void *program_gpu_output(Program *p, const void *data, size_t bytes)
{
    ProgramGpu *g = p->gpu;
    if (bytes > g->output_bytes) {
        memory_free(g->output);
        g->output = memory_new(bytes, 1);
        g->output_bytes = g->output ? bytes : 0;
    }
    return g->output && cuda_read(g->device, data, g->output, bytes) ? g->output : NULL;
}

bool program_gpu_fetch(Program *p, const void *data, size_t bytes, int which)
{
    ProgramGpu *g = p->gpu;
    void *stream = cuda_stream(g->device)->handle;
    return gpu_check(g, g->runtime->copy(p->fetched[which], data, bytes, stream), "copying from the GPU") &&
           gpu_check(g, g->runtime->event_record(g->fetch_events[which], stream), "copying from the GPU");
}

bool program_gpu_fetch_wait(Program *p, int which)
{
    return gpu_check(p->gpu, p->gpu->runtime->event_wait(p->gpu->fetch_events[which]), "waiting for the GPU");
}
