/* Linear maps and norms with their parameters, named by the scope. */
#ifndef LACUNA_NN_LAYERS_H
#define LACUNA_NN_LAYERS_H

#include "graph/tape.h"
#include "nn/init.h"
#include "ops/linear/linear.h"

/* LayerNorm's parameters SCOPE.name.weight and .bias, width long; the weight starts at 1. */
typedef struct {
    Ref gamma, beta;
    double eps;
} Norm;

Norm norm_params(Tape *tape, const char *name, int64_t width, double eps, Init bias);

/* linear()'s arguments with everything left out. */
LinearArgs layer_none(void);

/* SCOPE.name.weight (out, in) and, with `bias`, SCOPE.name.bias (out). branch: as init_weight(). */
LinearArgs layer_map(Tape *tape, const char *name, int64_t out, int64_t in, bool bias, InitFamily family, int branch);

/* Outputs first .. first + count - 1 of a map whose weight and bias are parameters, as a map of its own. */
LinearArgs layer_outputs(Tape *tape, LinearArgs map, int64_t first, int64_t count);

/* The same map of LayerNorm(x). */
LinearArgs norm_before(LinearArgs map, Norm norm);

/* The map of x. */
Ref layer_apply(Tape *tape, LinearArgs map, Ref x);

#endif
