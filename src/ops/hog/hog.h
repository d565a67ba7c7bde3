/* Histograms of oriented gradients as MaskFeat makes them (docs/spec/pretraining.md 11): the target `hog`. */
#ifndef LACUNA_OPS_HOG_H
#define LACUNA_OPS_HOG_H

#include "graph/tape.h"

enum { HOG_BINS_MOST = 360 };

typedef struct {
    Ref image;       /* (N, C, H, W), H and W at least 2 and multiples of `patch` */
    Ref index;       /* I32 (rows), each n L + l: the patches; left out: all N L */
    int patch, cell; /* sides in pixels; `cell` divides `patch` */
    int bins;        /* directions within half a turn, 1..HOG_BINS_MOST */
    int gaussian;    /* side of the tiled window that weighs gradients, deviation half of that (whole); 0: none. From 2 on */
} HogArgs;

/* Returns (N, L, C x bins x (patch / cell)^2), or (rows, ..) with an index; a row is ordered channel, bin, cell row, cell
 * column. Each cell's histogram has the length 1, or is zero. Carries no gradient. */
Ref hog(Tape *tape, HogArgs args);

#endif
