/* The attentive probe on tokens that lie in memory (docs/spec/transfer.md B.6): a learned query looks at a picture's frozen
 * tokens, then a linear classifier; a head for each learning rate, trained in one pass (transfer/token_heads.h). */
#ifndef LACUNA_TRANSFER_ATTENTIVE_PROBE_H
#define LACUNA_TRANSFER_ATTENTIVE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"

/* Labelled tokens in bf16: (.., tokens, width), labels 0..classes-1; `count` of them, as in ProbeSet. */
typedef struct {
    const uint16_t *tokens;
    const int32_t *labels;
    size_t count;
    size_t stride; /* numbers from a picture's tokens to the next one's, no fewer than tokens x width */
    const uint32_t *rows;
} TokenSet;

typedef struct {
    Device device;
    TokenSet train, val;
    int64_t tokens, width; /* of a picture */
    int classes;
    const double *lrs; /* for a batch of 256, a head each; at most TOKEN_HEADS_MOST */
    int lr_count;
    double epochs, warmup_epochs;
    int batch; /* at most the training pictures; what fills no batch at an epoch's end is left out */
    uint64_t seed;
} AttentiveProbe;

/* As linear_probe(): ranks (lr_count, val.count), `classes` for a head that diverged. False after error_set(). */
bool attentive_probe(const AttentiveProbe *probe, int32_t *ranks);

#endif
