/* How alike the weights of two models are (docs/spec/analysis.md 8), tensor by tensor of the same name and shape. */
#ifndef LACUNA_ANALYSIS_WEIGHTS_H
#define LACUNA_ANALYSIS_WEIGHTS_H

#include "graph/param.h"

typedef struct {
    const char *name; /* of the parameter; the set's own */
    int block;        /* from 1, 0: of no block */
    const char *kind; /* "qkv", "proj", "fc1", "fc2", "norm", "other" */
    double cosine;    /* <W, V> / (|W| |V|), NAN when one is zero */
    double relative;  /* |V - W| / |W| */
    double ratio;     /* |V| / |W| */
} WeightPair;

/* The kind of a parameter of that name, as above, and its block. */
const char *weights_kind(const char *name);
int weights_block(const char *name);

/* Parameter i of `first` beside that of the same name in `second`. False, without an error, when there is none of its shape, or
 * it is not trained. */
bool weights_compare(const ParamSet *first, const float *w, size_t i, const ParamSet *second, const float *v, WeightPair *pair);

#endif
