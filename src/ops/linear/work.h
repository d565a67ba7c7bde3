/* Tiles and workspace of the cpu kernels of linear, the same for every instruction set: tiles are cut by shape alone. */
#ifndef LACUNA_OPS_LINEAR_WORK_H
#define LACUNA_OPS_LINEAR_WORK_H

#include "graph/op.h"

enum {
    LINEAR_PANEL = 96,      /* packed operands are padded to this many columns, a multiple of every build's panel */
    LINEAR_ROWS_MOST = 168, /* rows of a tile at most: a multiple of 6 and of 14, the row counts of the micro-kernels */
    LINEAR_ROWS_LEAST = 42,
    LINEAR_TILE_FLOATS = 96 * 1024, /* input of a tile that stays in a core's second-level cache */
    DW_COLUMNS = 96,                /* a task of dW: columns, */
    DW_ROWS = 192,                  /* rows of dW, */
    DW_CHUNK = 256,                 /* rows of x and dy taken at a time, */
    DW_LEFT = 16, /* and columns of dy copied for one block of rows of dW: a block's rows rounded up to a vector */
    DW_THREAD_FLOATS = DW_CHUNK * DW_COLUMNS + DW_ROWS * DW_COLUMNS + DW_ROWS + DW_CHUNK * DW_LEFT
};

size_t linear_workspace(const Call *call, const Device *device);
size_t linear_dw_workspace(const Call *call, const Device *device);
size_t linear_dx_workspace(const Call *call, const Device *device);

/* Floats from one row of a prepared tile to the next: never a multiple of a memory page, which would put all rows into one set
 * of the cache. */
static inline int64_t linear_stride(int64_t n)
{
    return (n + 15) / 16 * 16 + 16;
}

static inline int64_t linear_padded(int64_t n)
{
    return (n + LINEAR_PANEL - 1) / LINEAR_PANEL * LINEAR_PANEL;
}

/* Rows of a tile whose input and output rows have that many floats together. */
static inline int64_t linear_tile_rows(int64_t floats)
{
    int64_t rows = LINEAR_TILE_FLOATS / floats / 42 * 42;
    return rows < LINEAR_ROWS_LEAST ? LINEAR_ROWS_LEAST : rows > LINEAR_ROWS_MOST ? LINEAR_ROWS_MOST : rows;
}

static inline int64_t linear_tiles(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

#endif
