/* How much high frequency a layer carries (docs/spec/analysis.md 10): its tokens as maps, one a channel. */
#ifndef LACUNA_ANALYSIS_FOURIER_H
#define LACUNA_ANALYSIS_FOURIER_H

typedef struct Fourier Fourier;

/* For pictures of rows x columns tokens of that width. NULL after error_set(). */
Fourier *fourier_new(int rows, int columns, int width);
void fourier_free(Fourier *fourier);

/* The tokens of one picture, (rows columns, width). Allocates nothing. */
void fourier_add(Fourier *fourier, const float *tokens);

/* Frequencies 0, 1, ... cycles per `rows` tokens along the diagonal: half of the rows, rounded up. */
int fourier_count(const Fourier *fourier);

/* Log amplitude of that frequency above that of frequency 0: of each channel and picture, then the mean over those so far. */
double fourier_amplitude(const Fourier *fourier, int frequency);

#endif
