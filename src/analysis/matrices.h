/* Singular values of a model's weight matrices (docs/spec/analysis.md 8). The order of neurons does not change them, so they
 * compare runs that share no start, of which cosines between weights say nothing. */
#ifndef LACUNA_ANALYSIS_MATRICES_H
#define LACUNA_ANALYSIS_MATRICES_H

#include "graph/param.h"

typedef struct {
    const char *name;      /* of the parameter; the set's own */
    int block;             /* from 1 */
    const char *kind;      /* "qkv", "proj", "fc1", "fc2" */
    int full;              /* the smaller side: how many singular values there are */
    double norm;           /* Frobenius' */
    double share;          /* of the largest in the sum of all */
    double effective_rank; /* exp of the entropy of values / their sum: 1 .. full; NaN where weights are not finite */
} Matrix;

/* Measures the matrices of all blocks, in the order of the set, with so many threads, which changes no number. *out, of *count,
 * is owned by the caller. False after error_set() (memory). */
bool matrices_measure(const ParamSet *set, const float *weights, int threads, Matrix **out, size_t *count);

#endif
