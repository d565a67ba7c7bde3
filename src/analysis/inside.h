/* What happens inside one encoder (docs/spec/analysis.md 1 to 5, 10): its evaluation program keeps the attention of every block
 * and the tokens behind each, and what is measured of them is added up picture by picture, in their order. Layer 0 is the
 * tokens that enter the first block, layer l the state behind block l, before the final norm; nothing is hidden. Memory does
 * not grow with the pictures, and no number depends on batches or threads. */
#ifndef LACUNA_ANALYSIS_INSIDE_H
#define LACUNA_ANALYSIS_INSIDE_H

#include "analysis/heads.h"
#include "transfer/features.h"

enum { INSIDE_SHARES = 5 };

typedef struct Inside Inside;

/* For runs of at most `batch` pictures. The backbone is borrowed. Owned by the caller. NULL after error_set(). */
Inside *inside_open(Backbone *backbone, const Device *device, int batch);
void inside_close(Inside *inside);

/* Runs the program on count <= batch normalised pictures (C, H, W) and adds what it shows; where `own` (count) is not NULL,
 * only of pictures with own[i]. False after error_set(), on a GPU alone. */
bool inside_run(Inside *inside, const float *images, int count, const bool *own);

/* Of the last run, until the next one: the tokens of a layer, (batch, class tokens + patches, width), layer depth + 1 being the
 * last one behind the final norm, or as it is where there is none; a block's attention, (batch, heads, tokens, tokens). */
const float *inside_tokens(const Inside *inside, int layer);
const float *inside_map(const Inside *inside, int block);

/* The program, for its loader. */
const Features *inside_features(const Inside *inside);

int inside_depth(const Inside *inside);
int inside_width(const Inside *inside);
HeadLayout inside_layout(const Inside *inside);
long inside_pictures(const Inside *inside); /* so far */

/* Means over the pictures so far, of which there must be one. Blocks and layers as above. */
HeadResult inside_heads(Inside *inside, int block);
const double *inside_shares(const Inside *inside, int block); /* INSIDE_SHARES: of the largest singular values, of their sum */
double inside_rank(const Inside *inside, int block);          /* effective rank of the tokens */
int inside_frequencies(const Inside *inside);
double inside_amplitude(const Inside *inside, int layer, int frequency); /* as fourier_amplitude() */

/* Mean patch token of each layer of the last run's pictures: (count, width), those that were left out too. */
const float *inside_means(const Inside *inside, int layer);

/* Likewise their class tokens, the first where there are several; NULL without. */
const float *inside_class_tokens(const Inside *inside, int layer);

#endif
