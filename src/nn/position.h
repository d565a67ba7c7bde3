/* Position tables (spec/pretraining.md 3). */
#ifndef LACUNA_NN_POSITION_H
#define LACUNA_NN_POSITION_H

#include <stdbool.h>

/* 3.1: the fixed table of a grid, ([1 +] rows columns, width) into `out`; row of patch (r, s): [sin(s f), cos(s f), sin(r f),
 * cos(r f)], four runs of width / 4, f_k = 10000^(-k / (width / 4)); a class row is zero. width divisible by 4. */
void position_sincos(int rows, int columns, int width, bool class_row, float *out);

/* The halves of `places` rows change places: [sin(r f), .., cos(s f)], as MoCo v3 has them, and back (14). */
void position_swap_halves(float *rows, long places, int width);

/* 3.3: resizes a table ([1 +] rows columns, width) to another grid: bicubic with a = -0.75, half-pixel centres, edges repeated,
 * no antialias; a class row is kept. */
void position_resize(const float *table, int rows, int columns, int width, bool class_row, int to_rows, int to_columns,
                     float *out);

#endif
