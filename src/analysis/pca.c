#include "analysis/pca.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

enum { BASIS = 8, TURNS_MOST = 500 };

static double dot(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Makes the rows of `basis` orthogonal and of length 1; a row that lies in the others becomes zero. */
static void orthogonalise(double *basis, int rows, int width)
{
    for (int r = 0; r < rows; r++) {
        double *row = basis + (size_t)r * (size_t)width, before = sqrt(dot(row, row, width));
        for (int turn = 0; turn < 2; turn++) /* the second time for what rounding left */
            for (int q = 0; q < r; q++) {
                const double *other = basis + (size_t)q * (size_t)width;
                double share = dot(row, other, width);
                for (int i = 0; i < width; i++)
                    row[i] -= share * other[i];
            }
        double length = sqrt(dot(row, row, width));
        for (int i = 0; i < width; i++)
            row[i] = length > 1e-12 * before ? row[i] / length : 0;
    }
}

/* Orthogonal iteration: rows of `basis` turn towards the eigenvectors of the largest eigenvalues. */
static void iterate(const double *covariance, int width, int rows, double *basis, double *next, double *values)
{
    for (int turn = 0; turn < TURNS_MOST; turn++) {
        double moved = 0;
        for (int r = 0; r < rows; r++) {
            const double *row = basis + (size_t)r * (size_t)width;
            for (int i = 0; i < width; i++)
                next[(size_t)r * (size_t)width + (size_t)i] = dot(covariance + (size_t)i * (size_t)width, row, width);
            values[r] = dot(row, next + (size_t)r * (size_t)width, width);
        }
        orthogonalise(next, rows, width);
        for (int r = 0; r < rows && r < PCA_COLOURS; r++)
            moved = fmax(moved, 1 - fabs(dot(basis + (size_t)r * (size_t)width, next + (size_t)r * (size_t)width, width)));
        memcpy(basis, next, (size_t)rows * (size_t)width * sizeof *basis);
        if (moved < 1e-14)
            break;
    }
}

static bool find_axes(const float *tokens, int64_t n, int width, double *mean, Pca *pca)
{
    size_t square;
    int rows = width < BASIS ? width : BASIS;
    double values[BASIS] = {0}, *covariance = NULL, *basis = NULL, *next = NULL, *one = memory_new((size_t)width, sizeof *one);
    bool ok = one && size_multiply((size_t)width, (size_t)width, &square) &&
              (covariance = memory_new(square, sizeof *covariance)) &&
              (basis = memory_new((size_t)rows * (size_t)width, sizeof *basis)) &&
              (next = memory_new((size_t)rows * (size_t)width, sizeof *next));
    for (int64_t t = 0; ok && t < n; t++) {
        for (int i = 0; i < width; i++)
            one[i] = tokens[t * width + i] - mean[i];
        for (int i = 0; i < width; i++)
            for (int j = 0; j < width; j++)
                covariance[(size_t)i * (size_t)width + (size_t)j] += one[i] * one[j] / (double)n;
    }
    for (int r = 0; ok && r < rows; r++) /* any start that leans to no side */
        for (int i = 0; i < width; i++)
            basis[(size_t)r * (size_t)width + (size_t)i] = cos(1.3 * (r + 1) * (i + 1)) + (i % rows == r);
    if (ok) {
        orthogonalise(basis, rows, width);
        iterate(covariance, width, rows, basis, next, values);
    }
    for (int r = 0; ok && r < PCA_COLOURS && r < rows; r++) {
        const double *row = basis + (size_t)r * (size_t)width;
        int most = 0;
        for (int i = 1; i < width; i++)
            most = fabs(row[i]) > fabs(row[most]) ? i : most;
        for (int i = 0; i < width; i++)
            pca->axes[r * width + i] = (float)(row[most] < 0 ? -row[i] : row[i]);
        pca->eigenvalues[r] = values[r];
    }
    memory_free(covariance);
    memory_free(basis);
    memory_free(next);
    memory_free(one);
    return ok;
}

bool pca_colours(const float *tokens, int64_t n, int width, Pca *pca, uint8_t *colours)
{
    *pca = (Pca){0};
    double *mean = memory_new((size_t)width, sizeof *mean), *shown = memory_new((size_t)n, sizeof *shown);
    bool ok = mean && shown && (pca->axes = memory_new((size_t)width * PCA_COLOURS, sizeof *pca->axes));
    for (int64_t t = 0; ok && t < n; t++)
        for (int i = 0; i < width; i++)
            mean[i] += tokens[t * width + i] / (double)n;
    ok = ok && find_axes(tokens, n, width, mean, pca);
    for (int j = 0; ok && j < PCA_COLOURS; j++) {
        double low = INFINITY, high = -INFINITY;
        for (int64_t t = 0; t < n; t++) {
            shown[t] = 0;
            for (int i = 0; i < width; i++)
                shown[t] += (tokens[t * width + i] - mean[i]) * pca->axes[j * width + i];
            low = fmin(low, shown[t]);
            high = fmax(high, shown[t]);
        }
        for (int64_t t = 0; t < n; t++)
            colours[t * PCA_COLOURS + j] = (uint8_t)(high > low ? lround(255 * (shown[t] - low) / (high - low)) : 0);
    }
    memory_free(mean);
    memory_free(shown);
    return ok;
}

void pca_free(Pca *pca)
{
    memory_free(pca->axes);
    *pca = (Pca){0};
}
