/* What a run's backbone has learnt so far, on a fixed set of pictures, without labels and by kNN with them
 * (docs/spec/transfer.md B.3, B.7, analysis.md 1, 2, 4): for pretrain_run()'s probe. */
#ifndef LACUNA_ANALYSIS_WATCH_H
#define LACUNA_ANALYSIS_WATCH_H

#include "train/pretrain.h"

typedef struct Watch Watch;

/* Empty; what it needs it makes with the first look, and programs with each, so that between two they take no memory of the
 * device. Owned by the caller. NULL after error_set(). */
Watch *watch_new(void);
void watch_free(Watch *watch);

/* As PretrainOptions.probe, with the watch as the context. Adds of each block, as probe.blocks has it (of more than 64 blocks
 * some at even distances):
 *
 * - `knn` (labelled pictures): share of pictures whose class the vote of their probe.k neighbours among the others says, by
 *   features as probe.features has them, behind the final norm;
 * - `crop_agreement`, `neighbour_overlap`: of two crops of each picture, drawn once;
 * - `effective_rank`: of the pictures' features;
 * - `cka_last` (not of the last block itself): how alike they are to the last block's, unbiased over minibatches of 256 at
 * most;
 * - `attention_distance`, `head_kl`: as watch_heads_look(), of 256 of the pictures at most.
 *
 * The pictures are the first probe.images held-out ones at even distances, or training pictures where fewer than 100 are held
 * out. Those that cannot be read are left out, and so is what fills no batch. */
bool watch_look(void *watch, const PretrainLook *look, PretrainFindings *findings);

/* The parts, for tests. features, first, second: (count, width) of length 1. */
bool watch_agreement(const Device *device, const float *first, const float *second, size_t count, size_t width,
                     double *agreement);
bool watch_overlap(const Device *device, const float *first, const float *second, size_t count, size_t width, double *overlap);
bool watch_knn(const Device *device, const float *features, const int32_t *labels, int classes, size_t count, size_t width,
               int k, double temperature, double *top1);

#endif
