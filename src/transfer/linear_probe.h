/* MAE's linear probe on features that lie in memory (docs/spec/transfer.md B.1): BatchNorm without affine, a linear map, LARS,
 * warm-up and cosine, plain cross-entropy. A sweep of learning rates is one pass: one product serves all heads, which share the
 * BatchNorm of their feature and have norms of their own (B.2). */
#ifndef LACUNA_TRANSFER_LINEAR_PROBE_H
#define LACUNA_TRANSFER_LINEAR_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"

enum { PROBE_LRS_MAX = 32 };

/* Labelled features: (.., width), labels 0..classes-1; `count` of them, those that `rows` names, or the first where it is NULL.
 */
typedef struct {
    const float *features;
    const int32_t *labels;
    size_t count;
    const uint32_t *rows;
} ProbeSet;

typedef struct {
    Device device;
    ProbeSet train, val;
    size_t width;
    int classes;
    const double *lrs; /* for a batch of 256, as B.1's 0.1; a head each */
    int lr_count;
    double epochs, warmup_epochs;
    int batch; /* at most the training pictures; what fills no batch at an epoch's end is left out */
    uint64_t seed;
} LinearProbe;

/* What a head says of the held-out pictures: ranks (lr_count, val.count): how many classes it places before the true one.
 * False after error_set(), also when no head stays finite. A head that diverged has ranks of `classes`. */
bool linear_probe(const LinearProbe *probe, int32_t *ranks);

#endif
