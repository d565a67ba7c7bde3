/* Tiles and workspace of the cpu kernels of linear: cut by shape and instruction set alone. */
#ifndef LACUNA_OPS_LINEAR_WORK_H
#define LACUNA_OPS_LINEAR_WORK_H

#include "graph/op.h"

enum {
    LINEAR_PANEL = 96,             /* packed weights are padded to this many columns, a multiple of every build's panel */
    LINEAR_ROWS_MOST = 168,        /* rows of a tile at most: a multiple of 6 and of 14, the row counts of the micro-kernels */
    LINEAR_ROWS_LEAST = 42,        /* and of the tiles at the end */
    LINEAR_TILE_UNITS = 96 * 1024, /* input of a tile that stays in a core's second-level cache */
    DW_CHUNK = 512,                /* units that dW sums over at a time, a multiple of DW_ROWS */
    DW_ROWS = 32                   /* rows of x or dy that a thread packs at a time */
};

size_t linear_workspace(const Call *call, const Device *device);
size_t linear_dw_workspace(const Call *call, const Device *device);
size_t linear_dx_workspace(const Call *call, const Device *device);

/* Units (32 bits: one f32 or two bf16, ops/unit.h) of n numbers. */
static inline int64_t linear_units(int64_t n, bool pairs)
{
    return pairs ? (n + 1) / 2 : n;
}

/* Units from one row of a prepared tile to the next: room for whole vectors, and never a multiple of a memory page, which would
 * put all rows into one set of the cache. */
static inline int64_t linear_stride(int64_t units)
{
    return (units + 15) / 16 * 16 + 16;
}

static inline int64_t linear_padded(int64_t n)
{
    return (n + LINEAR_PANEL - 1) / LINEAR_PANEL * LINEAR_PANEL;
}

/* ---- tiles of rows. Large ones first; the last quarter of the rows, at least, comes in small ones, so that threads finish
 * together. */

typedef struct {
    int64_t rows, large, large_count, count;
} LinearTiles;

/* `units`: of a row's input, or of input and output where both stay in the cache. */
static inline LinearTiles linear_tiles(int64_t rows, int64_t units)
{
    int64_t large = LINEAR_TILE_UNITS / units / LINEAR_ROWS_LEAST * LINEAR_ROWS_LEAST;
    large = large < LINEAR_ROWS_LEAST ? LINEAR_ROWS_LEAST : large > LINEAR_ROWS_MOST ? LINEAR_ROWS_MOST : large;
    int64_t large_count = rows * 3 / 4 / large, rest = rows - large_count * large;
    return (LinearTiles){rows, large, large_count, large_count + (rest + LINEAR_ROWS_LEAST - 1) / LINEAR_ROWS_LEAST};
}

static inline int64_t linear_tile_first(const LinearTiles *t, int64_t i)
{
    return i < t->large_count ? i * t->large : t->large_count * t->large + (i - t->large_count) * LINEAR_ROWS_LEAST;
}

/* Row behind the tile's last. */
static inline int64_t linear_tile_end(const LinearTiles *t, int64_t i)
{
    return i + 1 < t->count ? linear_tile_first(t, i + 1) : t->rows;
}

/* ---- dW: rows of x and dy are taken in equal chunks of at most DW_CHUNK units */

static inline int64_t dw_chunks(int64_t rows, bool pairs)
{
    return (linear_units(rows, pairs) + DW_CHUNK - 1) / DW_CHUNK;
}

/* Rows of each but the last. */
static inline int64_t dw_chunk_rows(int64_t rows, bool pairs)
{
    int64_t chunks = dw_chunks(rows, pairs);
    return ((rows + chunks - 1) / chunks + DW_ROWS - 1) / DW_ROWS * DW_ROWS;
}

/* Columns of dy with the gaps of its packed form: `height` of each 16 or 8 are used. */
static inline int64_t dw_left_width(int64_t n, int64_t height, int64_t lanes)
{
    return (n + height - 1) / height * ((height + lanes - 1) / lanes * lanes);
}

#endif
