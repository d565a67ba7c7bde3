/* Nearest neighbours by dot product, all against all, and the weighted vote of docs/spec/transfer.md B.3. */
#ifndef LACUNA_TRANSFER_NEIGHBOURS_H
#define LACUNA_TRANSFER_NEIGHBOURS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"

typedef struct {
    int32_t key;
    float similarity;
} Neighbour;

/* For each query (queries, width) the k keys (keys, width) of largest dot product into out (queries, k), the largest first, of
 * equal ones the lower number. 1 <= k <= keys. Works through the keys in blocks: memory does not grow with their number. The
 * same bits for any number of threads. False after error_set(). */
bool neighbours_find(const Device *device, const float *keys, size_t key_count, const float *queries, size_t query_count,
                     size_t width, int k, Neighbour *out);

/* Rows to length 1; a row of zeros stays. */
void rows_normalise(float *rows, size_t count, size_t width);

/* votes[c] = sum over the first k neighbours of class c of exp(similarity / temperature), scaled so that the nearest counts 1
 * (the order is that of B.3). */
void knn_votes(const Neighbour *near, int k, double temperature, const int32_t *labels, int classes, double *votes);

/* How many classes come before `label` by descending votes; of equal ones the lower class comes first. */
int votes_rank(const double *votes, int classes, int label);

#endif
