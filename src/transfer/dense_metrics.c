#include "transfer/dense_metrics.h"

#include <math.h>

enum { SUM_COUNT, SUM_D1, SUM_D2, SUM_D3, SUM_ABS, SUM_SQUARE_REL, SUM_SQUARE, SUM_LOG_SQUARE, SUM_LOG10, SUM_LOG };

static const double STEP = 1.25, SILOG = 0.5;

void mask_sums(const int32_t *predicted, const int32_t *labels, size_t count, double *sums)
{
    for (size_t i = 0; i < count; i++) {
        if (labels[i] < 0)
            continue;
        sums[3 * predicted[i] + 1]++;
        sums[3 * labels[i] + 2]++;
        if (predicted[i] == labels[i])
            sums[3 * labels[i]]++;
    }
}

MaskScore mask_score(const double *sums, int classes, double *iou)
{
    double ious = 0, accuracies = 0, found = 0, all = 0;
    int there = 0, labelled = 0;
    for (int c = 0; c < classes; c++) {
        double matches = sums[3 * c], either = sums[3 * c + 1] + sums[3 * c + 2] - matches;
        if (iou)
            iou[c] = either > 0 ? matches / either : NAN;
        if (either > 0) {
            ious += matches / either;
            there++;
        }
        if (sums[3 * c + 2] > 0) {
            accuracies += matches / sums[3 * c + 2];
            labelled++;
        }
        found += matches;
        all += sums[3 * c + 2];
    }
    return (MaskScore){.miou = there ? ious / there : 0,
                       .pixel_accuracy = all > 0 ? found / all : 0,
                       .class_accuracy = labelled ? accuracies / labelled : 0};
}

void depth_sums(const float *predicted, const float *truth, size_t count, double *sums)
{
    for (size_t i = 0; i < count; i++) {
        double p = (double)predicted[i], g = (double)truth[i];
        if (!(g > 0))
            continue;
        double ratio = fmax(p / g, g / p), error = log(p) - log(g);
        sums[SUM_COUNT]++;
        sums[SUM_D1] += ratio < STEP;
        sums[SUM_D2] += ratio < STEP * STEP;
        sums[SUM_D3] += ratio < STEP * STEP * STEP;
        sums[SUM_ABS] += fabs(p - g) / g;
        sums[SUM_SQUARE_REL] += (p - g) * (p - g) / g;
        sums[SUM_SQUARE] += (p - g) * (p - g);
        sums[SUM_LOG_SQUARE] += error * error;
        sums[SUM_LOG10] += fabs(error) / log(10);
        sums[SUM_LOG] += error;
    }
}

DepthScore depth_score(const double *sums)
{
    double n = sums[SUM_COUNT] > 0 ? sums[SUM_COUNT] : 1, mean = sums[SUM_LOG] / n;
    double apart = sums[SUM_LOG_SQUARE] / n - SILOG * mean * mean;
    return (DepthScore){.d1 = sums[SUM_D1] / n,
                        .d2 = sums[SUM_D2] / n,
                        .d3 = sums[SUM_D3] / n,
                        .abs_rel = sums[SUM_ABS] / n,
                        .sq_rel = sums[SUM_SQUARE_REL] / n,
                        .rmse = sqrt(sums[SUM_SQUARE] / n),
                        .rmse_log = sqrt(sums[SUM_LOG_SQUARE] / n),
                        .log10 = sums[SUM_LOG10] / n,
                        .silog = sqrt(apart < 0 ? 0 : apart) /* NaN stays */};
}
