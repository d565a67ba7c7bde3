/* The pieces of a program on a GPU: a segment is one, or is cut into several, and each is captured as a graph, from two lanes
 * where that is asked for (lanes.h). */
#include "base/error.h"
#include "base/memory.h"
#include "device/cuda/products.h"
#include "graph/lanes.h"
#include "graph/program_gpu.h"

bool gpu_place_pieces(Program *p)
{
    ProgramGpu *g = p->gpu;
    g->pieces = memory_new(SEGMENTS, sizeof *g->pieces);
    for (int s = 0; g->pieces && s < SEGMENTS; s++)
        if (p->begin[s] < p->end[s])
            g->pieces[g->piece_count++] = (Piece){.segment = (Segment)s, .begin = p->begin[s], .end = p->end[s]};
    return g->pieces != NULL;
}

void gpu_free_piece(const CudaRuntime *r, Piece *piece)
{
    if (piece->graph)
        r->graph_free(piece->graph);
    gpu_free_event(r, piece->done);
    piece->graph = piece->done = NULL;
}

/* ---- launching */

static bool launch_into(const Program *p, size_t n, CudaStream *stream)
{
    const char *scope = p->nodes[n].scope;
    return p->nodes[n].op->cuda(&p->calls[n], stream) || (scope[0] ? error_context("%s", scope) : false);
}

bool gpu_launch(const Program *p, size_t n)
{
    return launch_into(p, n, cuda_stream(p->gpu->device));
}

static bool launch_nodes(const Program *p, const Piece *piece)
{
    for (size_t n = piece->begin; n < piece->end; n++)
        if (!gpu_launch(p, n))
            return false;
    return true;
}

bool gpu_launch_piece(const Program *p, const Piece *piece)
{
    const ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    void *stream = cuda_stream(g->device)->handle;
    bool ok = piece->graph ? gpu_check(g, r->graph_launch(piece->graph, stream), "launching a graph") : launch_nodes(p, piece);
    return ok && (!piece->done || gpu_check(g, r->event_record(piece->done, stream), "launching a part of the step"));
}

/* ---- capturing */

/* The second lane while a piece is captured; graphs keep the order that its events make, not the events. */
typedef struct {
    CudaStream stream;
    int64_t *waits; /* of lanes_waits() */
    void **done;    /* events behind its nodes aside; NULL for others */
    void *begun;    /* event: what a node aside waits for */
} Aside;

static bool has_aside(const Program *p, const Piece *piece)
{
    for (size_t n = piece->begin; n < piece->end; n++)
        if (lanes_aside(p, n))
            return true;
    return false;
}

static bool open_aside(const Program *p, const Piece *piece, Aside *a)
{
    const ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    size_t begin = piece->begin, count = piece->end - begin;
    *a = (Aside){.stream = *cuda_stream(g->device)};
    a->stream.handle = NULL;
    a->waits = memory_new(count + 1, sizeof *a->waits);
    a->done = memory_new(count, sizeof *a->done);
    bool ok = a->waits && a->done && gpu_check(g, r->stream_new(&a->stream.handle, CUDA_TURN_LAST), "opening a stream") &&
              gpu_check(g, r->event_new(&a->begun, false), "making an event");
    for (size_t i = 0; ok && i < count; i++)
        ok = !lanes_aside(p, begin + i) || gpu_check(g, r->event_new(&a->done[i], false), "making an event");
    if (ok)
        lanes_waits(p, begin, piece->end, a->waits);
    return ok;
}

static void close_aside(const Program *p, const Piece *piece, Aside *a)
{
    const CudaRuntime *r = p->gpu->runtime;
    for (size_t i = 0; a->done && i < piece->end - piece->begin; i++)
        gpu_free_event(r, a->done[i]);
    gpu_free_event(r, a->begun);
    if (a->stream.handle)
        r->stream_free(a->stream.handle);
    memory_free(a->waits);
    memory_free(a->done);
}

static bool launch_lanes(const Program *p, const Piece *piece, Aside *a)
{
    const ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    void *stream = cuda_stream(g->device)->handle;
    size_t begin = piece->begin, count = piece->end - begin;
    for (size_t i = 0; i <= count; i++) {
        if (a->waits[i] >= 0 && !gpu_check(g, r->stream_follow(stream, a->done[a->waits[i] - (int64_t)begin]), "joining lanes"))
            return false;
        if (i == count)
            break;
        if (!a->done[i]) {
            if (!gpu_launch(p, begin + i))
                return false;
        } else if (!gpu_check(g, r->event_record(a->begun, stream), "splitting lanes") ||
                   !gpu_check(g, r->stream_follow(a->stream.handle, a->begun), "splitting lanes") ||
                   !launch_into(p, begin + i, &a->stream) ||
                   !gpu_check(g, r->event_record(a->done[i], a->stream.handle), "splitting lanes"))
            return false;
    }
    return true;
}

static bool capture(const Program *p, Piece *piece)
{
    const ProgramGpu *g = p->gpu;
    void *stream = cuda_stream(g->device)->handle;
    Aside aside = {0};
    bool two = has_aside(p, piece), ok = !two || open_aside(p, piece, &aside);
    ok = ok && gpu_check(g, g->runtime->capture_begin(stream), "beginning a capture");
    if (ok) {
        ok = two ? launch_lanes(p, piece, &aside) : launch_nodes(p, piece);
        /* Ended in any case: a stream that is left in a capture is of no use. The first error is the one to tell. */
        int error = g->runtime->capture_end(stream, &piece->graph);
        ok = ok && gpu_check(g, error, "ending a capture");
    }
    if (two)
        close_aside(p, piece, &aside);
    return ok;
}

static bool no_graph(const Program *p)
{
    return error_context("capturing a part of the step as a graph (LACUNA_CUDA_GRAPH=0 does without)%s",
                         p->device.second_lane ? "; with LACUNA_CUDA_LANES=1 there is one lane" : "");
}

static bool capture_all(const Program *p)
{
    for (int i = 0; i < p->gpu->piece_count; i++)
        if (!capture(p, &p->gpu->pieces[i]))
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
    for (int i = 0; ok && changed && i < g->piece_count; i++) {
        ok = gpu_check(g, g->runtime->graph_free(g->pieces[i].graph), "leaving a graph");
        g->pieces[i].graph = NULL;
    }
    ok = ok && (!changed || capture_all(p));
    cuda_products_drop(products);
    return ok || no_graph(p);
}

/* ---- pieces */

Piece *gpu_pieces(const ProgramGpu *g, Segment segment, int *count)
{
    int first = 0, end;
    while (first < g->piece_count && g->pieces[first].segment != segment)
        first++;
    for (end = first; end < g->piece_count && g->pieces[end].segment == segment;)
        end++;
    *count = end - first;
    return g->pieces + first;
}

static bool finish_piece(const Program *p, Piece *piece)
{
    const ProgramGpu *g = p->gpu;
    bool bare = p->device.one_by_one || piece->begin == piece->end;
    return gpu_check(g, g->runtime->event_new(&piece->done, false), "making an event") &&
           (bare || capture(p, piece) || no_graph(p));
}

bool program_gpu_cut(Program *p, Segment segment, const size_t *ends, int count)
{
    ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    int before, others = 0;
    Piece *old = gpu_pieces(g, segment, &before), *pieces = memory_new((size_t)(g->piece_count + count), sizeof *pieces);
    if (!pieces || !cuda_wait(g->device)) {
        memory_free(pieces);
        return false;
    }
    for (int i = 0; i < before; i++)
        gpu_free_piece(r, &old[i]);
    for (int i = 0; i < g->piece_count; i++)
        if (g->pieces[i].segment != segment)
            pieces[others++] = g->pieces[i];
    memory_free(g->pieces);
    g->pieces = pieces;
    g->piece_count = others;
    bool ok = (g->copied || gpu_check(g, r->event_new(&g->copied, false), "making an event")) &&
              (g->summed || gpu_check(g, r->event_new(&g->summed, false), "making an event")) &&
              (g->sums || gpu_check(g, r->stream_new(&g->sums, CUDA_TURN_FIRST), "opening a stream"));
    for (int i = 0; ok && i < count; i++) {
        size_t begin = p->begin[segment] + (i ? ends[i - 1] : 0), end = p->begin[segment] + ends[i];
        Piece *piece = &g->pieces[g->piece_count++];
        *piece = (Piece){.segment = segment, .begin = begin, .end = end};
        ok = finish_piece(p, piece);
    }
    return ok;
}

size_t program_gpu_piece_end(const Program *p, Segment segment, int which)
{
    int count;
    return gpu_pieces(p->gpu, segment, &count)[which].end - p->begin[segment];
}

bool program_gpu_read_piece(Program *p, Segment segment, int which, const void *from, void *to, size_t bytes)
{
    ProgramGpu *g = p->gpu;
    const CudaRuntime *r = g->runtime;
    int count;
    const Piece *piece = gpu_pieces(g, segment, &count) + which;
    return gpu_check(g, r->stream_follow(g->uploads, piece->done), "copying from the GPU") &&
           gpu_check(g, r->copy(to, from, bytes, g->uploads), "copying from the GPU") &&
           gpu_check(g, r->event_record(g->copied, g->uploads), "copying from the GPU") &&
           gpu_check(g, r->event_wait(g->copied), "copying from the GPU");
}

/* Sums go before kernels that could begin too: they are few, and others wait for them. */
bool program_gpu_sum_piece(Program *p, Segment segment, int which, CudaSums *sums, float *data, size_t count)
{
    ProgramGpu *g = p->gpu;
    int pieces;
    const Piece *piece = gpu_pieces(g, segment, &pieces) + which;
    return gpu_check(g, g->runtime->stream_follow(g->sums, piece->done), "summing over GPUs") &&
           cuda_sums_put(sums, data, count, g->sums);
}

bool program_gpu_sum_join(Program *p)
{
    ProgramGpu *g = p->gpu;
    return gpu_check(g, g->runtime->event_record(g->summed, g->sums), "summing over GPUs") &&
           gpu_check(g, g->runtime->stream_follow(cuda_stream(g->device)->handle, g->summed), "summing over GPUs");
}
