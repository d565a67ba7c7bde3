/* How alike the features of layers are: linear CKA (docs/spec/analysis.md 4). */
#ifndef LACUNA_ANALYSIS_SIMILARITY_H
#define LACUNA_ANALYSIS_SIMILARITY_H

#include <stdbool.h>

/* Features of one layer for the samples of a batch: (n, width), the same samples in each layer. */
typedef struct {
    const float *data;
    int width;
} LayerFeatures;

typedef struct Similarity Similarity;

/* Sums for `layers` layers and batches of at most `batch` samples, at least 4; so many threads add to them, which changes no
 * number. NULL after error_set(). */
Similarity *similarity_new(int layers, int batch, int threads);
void similarity_free(Similarity *s);

/* Adds the unbiased estimates of a batch of n samples, 4 <= n <= batch: one batch of all samples gives the unbiased CKA,
 * several the one over minibatches (numerator and denominators are added apart). Allocates nothing. */
void similarity_add(Similarity *s, const LayerFeatures *layers, int n);

/* HSIC summed over the batches so far, and CKA: NAN where a layer with itself has no similarity (too few samples, all alike).
 * It may lie outside 0..1. */
double similarity_hsic(const Similarity *s, int i, int j);
double similarity_cka(const Similarity *s, int i, int j);

/* Likewise of the biased estimates: near 1 for wide features and few samples in a batch, whatever they are. */
double similarity_biased_cka(const Similarity *s, int i, int j);

/* The biased estimate of n samples: near 1 for wide features and few samples, whatever they are. False after error_set(). */
bool similarity_biased(const LayerFeatures *x, const LayerFeatures *y, int n, double *cka);

#endif
