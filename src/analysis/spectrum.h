/* Singular values of a picture's tokens (docs/spec/analysis.md 5). */
#ifndef LACUNA_ANALYSIS_SPECTRUM_H
#define LACUNA_ANALYSIS_SPECTRUM_H

#include <stdbool.h>

typedef struct Spectrum Spectrum;

/* For pictures of n tokens of that width. NULL after error_set(). */
Spectrum *spectrum_new(int n, int width);
void spectrum_free(Spectrum *s);

/* Singular values of the tokens (n, width), each divided by its own length, the largest first: the smaller of n and width are
 * returned, and spectrum_count() tells how many. Owned by the spectrum, good until the next call, which allocates nothing. */
const double *spectrum_values(Spectrum *s, const float *tokens);
int spectrum_count(const Spectrum *s);

/* The same of rows as they are: the singular values of a matrix. */
const double *spectrum_plain(Spectrum *s, const float *rows);

/* The same of features of n pictures, whose mean is taken off once they have length 1 (docs/spec/transfer.md B.7). */
const double *spectrum_centred(Spectrum *s, const float *rows);

/* shares[j]: the sum of the first j + 1 values over the sum of all; 1 once there are no more. */
void spectrum_shares(const double *values, int count, double *shares, int wanted);

/* exp of the entropy of values / their sum. */
double spectrum_effective_rank(const double *values, int count);

#endif
