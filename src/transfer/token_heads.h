/* Heads on a frozen encoder's tokens, trained by AdamW, one for each learning rate in a single pass (docs/spec/transfer.md
 * B.2): the attentive probe (B.6), and linear heads for masks and depth (B.5). Each head is a parameter set of its own, so that
 * one that diverges stops alone. */
#ifndef LACUNA_TRANSFER_TOKEN_HEADS_H
#define LACUNA_TRANSFER_TOKEN_HEADS_H

#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"
#include "graph/param.h"

enum { TOKEN_HEADS_MOST = 8 };

/* HEAD_CLASSES: logits (batch, outputs) of pictures, loss cross-entropy with "labels". HEAD_PIXELS: logits (batch, height x
 * width, outputs), the same loss, label -1 does not count. HEAD_DEPTH: (batch, height x width, 1), the logarithm of metres,
 * loss its squared error against "depth", also in logarithms, where "counts" is 1. */
typedef enum { HEAD_CLASSES, HEAD_PIXELS, HEAD_DEPTH } TokenHeadKind;

typedef struct {
    TokenHeadKind kind;
    Device device;
    int64_t tokens, width;                   /* of a picture; HEAD_PIXELS and HEAD_DEPTH: tokens = rows columns */
    int64_t rows, columns, height, px_width; /* the grid of patches and the picture in pixels; not of HEAD_CLASSES */
    int64_t outputs;                         /* classes; 1 of HEAD_DEPTH */
    const double *lrs;                       /* for a batch of 256, a head each */
    int count;
    double decay; /* weight decay of matrices */
    int64_t batch;
    uint64_t seed;
} TokenHeadsOptions;

typedef struct TokenHeads TokenHeads;

/* Owned by the caller. NULL after error_set(). */
TokenHeads *token_heads_open(const TokenHeadsOptions *options);
void token_heads_close(TokenHeads *heads);

/* What a step looks at, to be filled before it: features (batch, tokens, width); labels (batch) or (batch, height x width);
 * of HEAD_DEPTH targets and counts (batch, height x width) instead of labels. */
float *token_heads_features(TokenHeads *heads);
int32_t *token_heads_labels(TokenHeads *heads);
float *token_heads_targets(TokenHeads *heads);
float *token_heads_counts(TokenHeads *heads);

/* A step at `rate` times the learning rates; the loss is the mean over `counted` places. A head whose gradient is not finite
 * keeps its weights. False after error_set(), on a GPU alone. */
bool token_heads_step(TokenHeads *heads, double rate, double counted);

/* The loss of head k in the last step; NaN after error_set(), on a GPU alone. */
double token_heads_loss(TokenHeads *heads, int k);

/* Runs all heads on `features` of the evaluation, (batch, tokens, width), which is another room than that of training. False,
 * and of outputs NULL, after error_set(), on a GPU alone; outputs there are a copy, good until they are asked for again. */
float *token_heads_evaluate_features(TokenHeads *heads);
bool token_heads_evaluate(TokenHeads *heads);
const float *token_heads_outputs(TokenHeads *heads, int k);

/* Layout and weights of head k, in the device's memory. */
const ParamSet *token_heads_params(const TokenHeads *heads, int k);
float *token_heads_weights(TokenHeads *heads, int k);

/* Heads of the attentive probe's attention: width / 64, at least 1, fewer where these do not divide the width. */
int token_heads_attention(int64_t width);

#endif
