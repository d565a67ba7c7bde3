/* The inside of a program on a GPU, for program_gpu.c and program_capture.c. */
#ifndef LACUNA_GRAPH_PROGRAM_GPU_H
#define LACUNA_GRAPH_PROGRAM_GPU_H

#include "device/cuda/cuda.h"
#include "graph/program_private.h"

/* One input, in order of their offsets. */
typedef struct {
    int slot;
    size_t offset, bytes; /* of the block of all inputs */
    bool written;         /* by the host since the last run */
    bool sent;            /* and on its way to the landing place since */
    void *taken;          /* event: its landing place may be written again */
} Input;

/* Nodes begin..end-1 of a segment, which are captured together. A segment is one piece unless it was cut. */
typedef struct {
    Segment segment;
    size_t begin, end;
    void *graph; /* NULL: launched one by one */
    void *done;  /* event behind it; NULL: nobody waits for it */
} Piece;

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
    Piece *pieces;                  /* those of a segment side by side, in order */
    int piece_count;
    void *copied; /* event: behind a copy of what a piece wrote; NULL until a segment is cut */
    void *sums;   /* stream of sums over GPUs; NULL likewise */
    void *summed; /* event: behind the last of them; NULL likewise */
    void *fetch_events[PROGRAM_FETCHES];
    void **looks;        /* copies for the host, by slot, then by storage */
    void *output;        /* of one node, for the host */
    size_t output_bytes; /* that it has room for */
    void **marks;        /* events around the nodes, one more than there are; NULL unless measured */
};

/* False after error_set(), unless error is 0. */
bool gpu_check(const ProgramGpu *g, int error, const char *what);

/* NULL is allowed. */
void gpu_free_event(const CudaRuntime *r, void *event);

/* ---- program_capture.c */

/* One piece a segment. False after error_set(). */
bool gpu_place_pieces(Program *p);

/* The first piece of a segment; *count: how many it has. */
Piece *gpu_pieces(const ProgramGpu *g, Segment segment, int *count);

void gpu_free_piece(const CudaRuntime *r, Piece *piece);

/* Put one node, or a piece and its event, into the stream. False after error_set(). */
bool gpu_launch(const Program *p, size_t node);
bool gpu_launch_piece(const Program *p, const Piece *piece);

#endif
