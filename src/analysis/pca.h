/* Principal components of tokens as colours (docs/spec/analysis.md 9.4). */
#ifndef LACUNA_ANALYSIS_PCA_H
#define LACUNA_ANALYSIS_PCA_H

#include <stdbool.h>
#include <stdint.h>

enum { PCA_COLOURS = 3 };

typedef struct {
    double eigenvalues[PCA_COLOURS]; /* of the covariance with divisor n, the largest first */
    float *axes;                     /* (PCA_COLOURS, width), unit length, the entry of largest magnitude positive */
} Pca;

/* tokens (n, width) -> colours (n, PCA_COLOURS): component j from its least to its largest value becomes 0..255; one that does
 * not vary is 0. pca_free() in either case. False after error_set(). */
bool pca_colours(const float *tokens, int64_t n, int width, Pca *pca, uint8_t *colours);
void pca_free(Pca *pca);

#endif
