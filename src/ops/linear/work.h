/* Tiles and workspace of the cpu kernels of linear: cut by shape and instruction set alone. */
#ifndef LACUNA_OPS_LINEAR_WORK_H
#define LACUNA_OPS_LINEAR_WORK_H

#include "graph/op.h"
#include "ops/bf16.h"

enum {
    LINEAR_PANEL = 96,             /* packed weights are padded to this many columns, a multiple of every build's panel */
    LINEAR_TILES = 32,             /* tiles at least, where rows suffice */
    LINEAR_ROWS_STEP = 14,         /* rows of a tile: whole blocks of the wide micro-kernel, */
    LINEAR_ROWS_LEAST = 28,        /* at least */
    LINEAR_ROWS_MOST = 168,        /* and at most */
    LINEAR_TILE_UNITS = 96 * 1024, /* input of a tile that stays in a core's second-level cache */
    DW_CHUNK = 256,                /* units that dW sums over at a time */
    DW_STACK = 16,                 /* blocks of columns of dy that are packed at a time, */
    DW_STRIP = 1024                /* and columns of x at most */
};

size_t linear_workspace(const Call *call, const Device *device);
size_t linear_dw_workspace(const Call *call, const Device *device);
size_t linear_dx_workspace(const Call *call, const Device *device);

/* Units from one row of a prepared tile to the next: room for whole vectors, and never a multiple of a memory page, which would
 * put all rows into one set of the cache. */
static inline int64_t linear_stride(int64_t units)
{
    int64_t stride = (units + 15) / 16 * 16 + 16;
    return stride % 1024 ? stride : stride + 16;
}

static inline int64_t linear_padded(int64_t n)
{
    return (n + LINEAR_PANEL - 1) / LINEAR_PANEL * LINEAR_PANEL;
}

/* Rows of a tile of so many: few enough that a share can be cut evenly and that the input (of `units` a row, or its output
 * where that is larger) stays in the cache, but whole blocks of the micro-kernel. */
static inline int64_t linear_tile_rows(int64_t rows, int64_t units)
{
    int64_t most = LINEAR_TILE_UNITS / units, even = (rows + LINEAR_TILES - 1) / LINEAR_TILES;
    int64_t size = (even < most ? even : most) / LINEAR_ROWS_STEP * LINEAR_ROWS_STEP;
    return size < LINEAR_ROWS_LEAST ? LINEAR_ROWS_LEAST : size > LINEAR_ROWS_MOST ? LINEAR_ROWS_MOST : size;
}

static inline int64_t linear_tiles(int64_t rows, int64_t tile)
{
    return (rows + tile - 1) / tile;
}

/* ---- dW: each thread makes a part of it, all sums of some rows and columns. */

/* Rows of x and dy that are summed over at a time, all but the last the same and even. */
static inline int64_t dw_chunk_rows(int64_t rows, bool pairs)
{
    int64_t chunks = (unit_count(rows, pairs) + DW_CHUNK - 1) / DW_CHUNK;
    return ((rows + chunks - 1) / chunks + 1) / 2 * 2;
}

/* Units of the memory in which a thread packs its part of x and of dy. */
static inline int64_t dw_room(int64_t k, int64_t pitch)
{
    int64_t columns = linear_padded(k < DW_STRIP ? k : DW_STRIP);
    return pitch * (columns + DW_STACK * 16);
}

/* Rows of units from one packed panel to the next: one more than are used, since panels a power of two apart would lie in one
 * set of the cache. */
static inline int64_t dw_pitch(int64_t units)
{
    return units + 1;
}

#endif
