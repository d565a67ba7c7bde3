#ifndef LACUNA_OPS_COSINE_WORK_H
#define LACUNA_OPS_COSINE_WORK_H

/* Rows of a partial sum; partial sums are added in order, so the cut is part of the result. */
enum { COSINE_TILE = 64 };

#define COSINE_LEAST 1e-12 /* of a norm */

#endif
