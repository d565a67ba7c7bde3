#ifndef LACUNA_OPS_AFFINE_WORK_H
#define LACUNA_OPS_AFFINE_WORK_H

/* Rows whose dgamma and dbeta make one partial sum of two rows; partial sums are added in order. */
enum { AFFINE_TILE = 64 };

#endif
