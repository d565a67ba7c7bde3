/* Programs on a GPU: graphs, captured from two lanes where that is asked for, inputs that travel ahead on a stream of their
 * own, and copies for the host.
 *
 * An input is written to pinned memory of the host, copied from there to a landing place on the GPU while the stream of kernels
 * is still busy with what came before, and from there to where kernels read it, in that stream. So the host may fill the next
 * step's inputs as soon as the first copy is done. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "device/cuda/products.h"
#include "graph/lanes.h"
#include "graph/program_private.h"

enum { INPUT_ALIGN = 256 };

/* One input, in order of their offsets. */
typedef struct {
    int slot;
    size_t offset, bytes; /* of the block of all inputs */
    bool written;         /* by the host since the last run */
    bool sent;            /* and on its way to the landing place since */
    void *taken;          /* event: its landing place may be written again */
} Input;

struct ProgramGpu {
    const CudaRuntime *runtime;
    CudaDevice *device;
    Input *inputs;
    size_t input_count, input_bytes;
    char *pinned, *landing, *block; /* of the inputs: the host's, and the two on the GPU */
    void *uploads;                  /* stream */
    void *uploaded;                 /* event: `pinned` may be written again */
    int failed;                     /* what waiting for it said */
    bool uploading;                 /* `uploaded` has to be waited for before the host writes */
    void *graphs[SEGMENTS];         /* NULL: launched one by one */
    void *fetch_events[PROGRAM_FETCHES];
    void **looks;        /* copies for the host, by slot, then by storage */
    void *output;        /* of one node, for the host */
    size_t output_bytes; /* that it has room for */
    void **marks;        /* events around the nodes, one more than there are; NULL unless measured */
};

static bool check(const ProgramGpu *g, int error, const char *what)
{
    return cuda_check(g->device, error, what);
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
        ok = check(g, g->runtime->event_new(&g->inputs[i].taken, false), "making an event");
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
    bool ok = g->looks && place_inputs(p) && check(g, r->stream_new(&g->uploads, false), "opening a stream") &&
              check(g, r->event_new(&g->uploaded, false), "making an event");
    for (int i = 0; ok && i < PROGRAM_FETCHES; i++)
        ok = check(g, r->event_new(&g->fetch_events[i], false), "making an event") &&
             (p->fetched[i] = cuda_pinned_new(g->device, PROGRAM_FETCH_MOST * sizeof(float))) != NULL;
    return ok;
}

bool program_gpu_measure(Program *p)
{
    ProgramGpu *g = p->gpu;
    bool ok = g->marks || (g->marks = memory_new(p->node_count + 1, sizeof *g->marks));
    for (size_t i = 0; ok && i <= p->node_count; i++)
        ok = g->marks[i] || check(g, g->runtime->event_new(&g->marks[i], true), "making an event");
    return ok;
}

static void free_event(const CudaRuntime *r, void *event)
{
    if (event)
        r->event_free(event);
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
    for (int s = 0; s < SEGMENTS; s++)
        if (g->graphs[s])
            r->graph_free(g->graphs[s]);
    free_event(r, g->uploaded);
    for (int i = 0; i < PROGRAM_FETCHES; i++)
        free_event(r, g->fetch_events[i]);
    for (size_t i = 0; i < g->input_count; i++)
        free_event(r, g->inputs[i].taken);
    for (size_t i = 0; g->marks && i <= p->node_count; i++)
        free_event(r, g->marks[i]);
    if (g->uploads)
        r->stream_free(g->uploads);
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
    memory_free(g->inputs);
    memory_free(g);
    p->gpu = NULL;
}

/* ---- running */

static bool launch_into(const Program *p, size_t n, CudaStream *stream)
{
    return p->nodes[n].op->cuda(&p->calls[n], stream) || error_context("%s", p->nodes[n].scope);
}

static bool launch(const Program *p, size_t n)
{
    return launch_into(p, n, cuda_stream(p->gpu->device));
}

static bool launch_all(const Program *p, Segment segment)
{
    for (size_t n = p->begin[segment]; n < p->end[segment]; n++)
        if (!launch(p, n))
            return false;
    return true;
}

/* An event behind each node, and one wait at the end: nodes follow each other as they do unmeasured. */
static bool launch_measured(Program *p, Segment segment)
{
    ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    void *stream = cuda_stream(g->device)->handle;
    size_t begin = p->begin[segment], end = p->end[segment];
    if (!check(g, r->event_record(g->marks[begin], stream), "measuring"))
        return false;
    for (size_t n = begin; n < end; n++)
        if (!launch(p, n) || !check(g, r->event_record(g->marks[n + 1], stream), "measuring"))
            return false;
    if (!check(g, r->event_wait(g->marks[end]), "measuring"))
        return false;
    for (size_t n = begin; n < end; n++) {
        double seconds = 0;
        if (!check(g, r->event_seconds(g->marks[n], g->marks[n + 1], &seconds), "measuring"))
            return false;
        p->seconds[n] += seconds;
    }
    return true;
}

/* The second lane while a segment is captured; graphs keep the order that its events make, not the events. */
typedef struct {
    CudaStream stream;
    int64_t *waits; /* of lanes_waits() */
    void **done;    /* events behind the segment's nodes aside; NULL for others */
    void *begun;    /* event: what a node aside waits for */
} Aside;

static bool has_aside(const Program *p, Segment segment)
{
    for (size_t n = p->begin[segment]; n < p->end[segment]; n++)
        if (lanes_aside(p, n))
            return true;
    return false;
}

static bool open_aside(const Program *p, Segment segment, Aside *a)
{
    const ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    size_t begin = p->begin[segment], count = p->end[segment] - begin;
    *a = (Aside){.stream = *cuda_stream(g->device)};
    a->stream.handle = NULL;
    a->waits = memory_new(count + 1, sizeof *a->waits);
    a->done = memory_new(count, sizeof *a->done);
    bool ok = a->waits && a->done && check(g, r->stream_new(&a->stream.handle, false), "opening a stream") &&
              check(g, r->event_new(&a->begun, false), "making an event");
    for (size_t i = 0; ok && i < count; i++)
        ok = !lanes_aside(p, begin + i) || check(g, r->event_new(&a->done[i], false), "making an event");
    if (ok)
        lanes_waits(p, segment, a->waits);
    return ok;
}

static void close_aside(const Program *p, Segment segment, Aside *a)
{
    const CudaRuntime *r = p->gpu->runtime;
    for (size_t i = 0; a->done && i < p->end[segment] - p->begin[segment]; i++)
        free_event(r, a->done[i]);
    free_event(r, a->begun);
    if (a->stream.handle)
        r->stream_free(a->stream.handle);
    memory_free(a->waits);
    memory_free(a->done);
}

static bool launch_lanes(const Program *p, Segment segment, Aside *a)
{
    const ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    void *stream = cuda_stream(g->device)->handle;
    size_t begin = p->begin[segment], count = p->end[segment] - begin;
    for (size_t i = 0; i <= count; i++) {
        if (a->waits[i] >= 0 && !check(g, r->stream_follow(stream, a->done[a->waits[i] - (int64_t)begin]), "joining lanes"))
            return false;
        if (i == count)
            break;
        if (!a->done[i]) {
            if (!launch(p, begin + i))
                return false;
        } else if (!check(g, r->event_record(a->begun, stream), "splitting lanes") ||
                   !check(g, r->stream_follow(a->stream.handle, a->begun), "splitting lanes") ||
                   !launch_into(p, begin + i, &a->stream) ||
                   !check(g, r->event_record(a->done[i], a->stream.handle), "splitting lanes"))
            return false;
    }
    return true;
}

static bool capture(Program *p, Segment segment)
{
    ProgramGpu *g = p->gpu;
    void *stream = cuda_stream(g->device)->handle;
    Aside aside = {0};
    bool two = has_aside(p, segment), ok = !two || open_aside(p, segment, &aside);
    ok = ok && check(g, g->runtime->capture_begin(stream), "beginning a capture");
    if (ok) {
        ok = two ? launch_lanes(p, segment, &aside) : launch_all(p, segment);
        /* Ended in any case: a stream that is left in a capture is of no use. The first error is the one to tell. */
        int error = g->runtime->capture_end(stream, &g->graphs[segment]);
        ok = ok && check(g, error, "ending a capture");
    }
    if (two)
        close_aside(p, segment, &aside);
    return ok;
}

static bool capture_all(Program *p)
{
    for (int s = 0; s < SEGMENTS; s++)
        if (p->begin[s] < p->end[s] && !capture(p, (Segment)s))
            return false;
    return true;
}

/* Products that are new are timed between two captures; the second is left out when the first proposals were the fastest. */
bool program_gpu_capture(Program *p)
{
    ProgramGpu *g = p->gpu;
    CudaProducts *products = cuda_products(g->device);
    bool changed = false;
    if (p->device.one_by_one)
        return true;
    cuda_products_watch(products);
    bool ok = capture_all(p) && cuda_products_settle(products, &changed);
    for (int s = 0; ok && changed && s < SEGMENTS; s++)
        if (g->graphs[s]) {
            ok = check(g, g->runtime->graph_free(g->graphs[s]), "leaving a graph");
            g->graphs[s] = NULL;
        }
    ok = ok && (!changed || capture_all(p));
    cuda_products_drop(products);
    return ok || error_context("capturing a part of the step as a graph (LACUNA_CUDA_GRAPH=0 does without)%s",
                               p->device.second_lane ? "; with LACUNA_CUDA_LANES=1 there is one lane" : "");
}

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
    if (!check(g, g->failed, "uploading"))
        return false;
    for (size_t i = 0; i < g->input_count;) {
        size_t first = i, from, bytes = neighbours(g, &i, false, &from);
        if (!bytes)
            continue;
        for (size_t k = first; k < i; k++)
            if (!check(g, r->stream_follow(g->uploads, g->inputs[k].taken), "uploading"))
                return false;
        if (!check(g, r->copy(g->landing + from, g->pinned + from, bytes, g->uploads), "uploading"))
            return false;
        any = true;
    }
    if (any && !check(g, r->event_record(g->uploaded, g->uploads), "uploading"))
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
        if (!follows && !check(g, r->stream_follow(stream, g->uploaded), "uploading"))
            return false;
        follows = true;
        if (!check(g, r->copy(g->block + from, g->landing + from, bytes, stream), "uploading"))
            return false;
    }
    for (size_t i = 0; i < g->input_count; i++) {
        Input *in = &g->inputs[i];
        if (in->written && !check(g, r->event_record(in->taken, stream), "uploading"))
            return false;
        in->written = in->sent = false;
    }
    return true;
}

bool program_gpu_run(Program *p, Segment segment)
{
    ProgramGpu *g = p->gpu;
    if (!take_inputs(p))
        return false;
    if (p->seconds)
        return launch_measured(p, segment);
    if (!g->graphs[segment])
        return launch_all(p, segment);
    return check(g, g->runtime->graph_launch(g->graphs[segment], cuda_stream(g->device)->handle), "launching a graph");
}

bool program_gpu_run_node(Program *p, size_t node)
{
    return take_inputs(p) && launch(p, node);
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
    return check(g, g->runtime->copy(p->fetched[which], data, bytes, stream), "copying from the GPU") &&
           check(g, g->runtime->event_record(g->fetch_events[which], stream), "copying from the GPU");
}

bool program_gpu_fetch_wait(Program *p, int which)
{
    return check(p->gpu, p->gpu->runtime->event_wait(p->gpu->fetch_events[which]), "waiting for the GPU");
}
