/* What the attention heads of a run's backbone do: the part of a watch that needs the attention itself (docs/spec/analysis.md
 * 1, 2). */
#ifndef LACUNA_ANALYSIS_WATCH_HEADS_H
#define LACUNA_ANALYSIS_WATCH_HEADS_H

#include "train/pretrain.h"
#include "transfer/backbone.h"

enum { WATCH_HEADS_MOST = 256 }; /* pictures; more would take longer and say the same */

typedef struct WatchHeads WatchHeads;

/* The backbone is borrowed; of `samples` so many at even distances are copied. Owned by the caller. NULL after error_set(). */
WatchHeads *watch_heads_new(Backbone *backbone, const uint64_t *samples, size_t count);
void watch_heads_free(WatchHeads *watch);

/* Adds `attention_distance` of each block, in pixels, the mean of the heads (what class tokens get counts as distance 0), and
 * `head_kl`, the mean over pairs of heads (class tokens left out). middle: how the pictures are loaded; batch and samples are
 * set here. Each block is one thread's, so that the numbers do not depend on how many there are. The program that keeps the
 * attention, of a few pictures at a time, is there during the call. False after error_set(). */
bool watch_heads_look(WatchHeads *watch, const PretrainLook *look, const LoaderOptions *middle, const int *blocks,
                      int block_count, PretrainFindings *findings);

#endif
