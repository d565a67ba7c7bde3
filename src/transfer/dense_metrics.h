/* How good masks and depths are (docs/spec/transfer.md B.5), from sums over pixels that add up: of a picture, of a set, of
 * pictures drawn from a set. All pixels of a set count alike. */
#ifndef LACUNA_TRANSFER_DENSE_METRICS_H
#define LACUNA_TRANSFER_DENSE_METRICS_H

#include <stddef.h>
#include <stdint.h>

/* Sums of masks, 3 a class: pixels of the class that were found, pixels predicted as it, pixels labelled as it. */
#define MASK_SUMS(classes) (3 * (size_t)(classes))

/* Adds `count` pixels; a label below 0 does not count. */
void mask_sums(const int32_t *predicted, const int32_t *labels, size_t count, double *sums);

typedef struct {
    double miou;           /* mean over classes that were labelled or predicted of matches / union */
    double pixel_accuracy; /* aAcc */
    double class_accuracy; /* mAcc, over classes that were labelled */
} MaskScore;

/* iou: (classes), NaN for a class that is neither labelled nor predicted; may be NULL. */
MaskScore mask_score(const double *sums, int classes, double *iou);

enum { DEPTH_SUMS = 10 };

/* Adds `count` pixels; those whose truth is not above 0 do not count. predicted > 0, both in metres. */
void depth_sums(const float *predicted, const float *truth, size_t count, double *sums);

typedef struct {
    double d1, d2, d3;      /* share of max(p/g, g/p) < 1.25, its square, its cube */
    double abs_rel, sq_rel; /* mean of |p - g| / g, (p - g)^2 / g */
    double rmse, rmse_log;  /* metres; of natural logarithms */
    double log10, silog;    /* mean |log10 p - log10 g|; sqrt(mean e^2 - 0.5 (mean e)^2), e = log p - log g */
} DepthScore;

DepthScore depth_score(const double *sums);

#endif
