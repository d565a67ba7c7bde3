/* Dense probes: a linear head on a frozen encoder's patch tokens that tells each pixel's class or depth (docs/spec/transfer.md
 * B.5), on the built-in world, whose truth is known. A picture's tokens are standardised by BatchNorm, mapped, and enlarged to
 * its pixels; several learning rates are tried in one pass. */
#ifndef LACUNA_TRANSFER_DENSE_PROBE_H
#define LACUNA_TRANSFER_DENSE_PROBE_H

#include "base/text.h"
#include "transfer/dense_metrics.h"
#include "transfer/features.h"
#include "transfer/token_heads.h"

typedef struct DenseResult DenseResult;

typedef struct {
    ProbeKind kind; /* PROBE_SEGMENTATION or PROBE_DEPTH */
    Device device;
    int train, val;     /* pictures of the world, and of its held-out side */
    const char *blocks; /* as features_wants() */
    int batch;          /* pictures at a time through the encoder */
    bool bf16;          /* products of the encoder; its tokens are kept in bf16 in any case */
    double lrs[TOKEN_HEADS_MOST];
    int lr_count;
    bool choose_on_val; /* as ProbeOptions; else a tenth of the training pictures is set apart to choose the rate by */
    double epochs;
    int train_batch;
    int seeds;
    void (*progress)(void *context, const char *what);
    void (*block)(void *context, const DenseResult *so_far); /* told of each block when it is done; may be NULL */
    void *context;
} DenseOptions;

/* One head. */
typedef struct {
    double lr;
    int seed;
    MaskScore mask;   /* PROBE_SEGMENTATION */
    DepthScore depth; /* PROBE_DEPTH */
} DenseScore;

typedef struct {
    int block;
    bool norm;
    DenseScore *scores; /* on the held-out pictures: all that were tried there */
    int count;
    DenseScore *choice; /* all rates on the pictures set apart; of none where nothing was chosen by them */
    int choice_count;
    DenseScore best; /* of the learning rate whose mean of mIoU (or d1) over the seeds is best: each number's mean over them */
    double spread;   /* standard deviation of mIoU (or d1) over the seeds */
    double low,
        high;    /* 95 % of best's mIoU (or d1) over sets of as many pictures, drawn from the held-out ones with repetition */
    double *iou; /* (classes) mean over the seeds; NaN: not there. NULL of PROBE_DEPTH */
} DenseBlock;

struct DenseResult {
    DenseBlock *blocks;
    int block_count;
    uint64_t weights;      /* as in ProbeResult */
    int depth, full_depth; /* likewise */
    int classes;           /* the background, then the world's */
    size_t apart_count;    /* training pictures set apart to choose the learning rate by; or 0 */
};

/* The result is owned by the caller (dense_free()), also after a failure. False after error_set(): a recipe whose pictures the
 * world cannot be. */
bool dense_run(Backbone *backbone, const DenseOptions *options, DenseResult *result);
void dense_free(DenseResult *result);

/* "background", then the world's classes. */
const char *dense_class_name(int label);

/* What decides between heads: mIoU or d1. */
double dense_quality(const DenseOptions *options, const DenseScore *score);

/* All of it as one JSON object, as probe_json(). Appended to *out. */
void dense_json(const DenseResult *result, const DenseOptions *options, const char *from, Text *out);

/* mIoU or d1 against the number of blocks kept, as probe_svg(). Appended to *out. */
void dense_svg(const DenseResult *result, const DenseOptions *options, const char *from, Text *out);

#endif
