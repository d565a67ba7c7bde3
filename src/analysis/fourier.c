#include "analysis/fourier.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define FLOOR 1e-6 /* added to what a logarithm is taken of */

struct Fourier {
    int rows, columns, width, count;
    long pictures;
    double *waves; /* (count, rows + columns, 2): cosine and sine of each row's, then each column's angle */
    double *sums;  /* (count): mean over channels, summed over pictures */
    double *line;  /* (4, width): real and imaginary part of a row of tokens, then of the map */
};

Fourier *fourier_new(int rows, int columns, int width)
{
    if (rows < 1 || columns < 1 || width < 1) {
        error_set("frequencies of %d x %d tokens of width %d", rows, columns, width);
        return NULL;
    }
    Fourier *f = memory_new(1, sizeof *f);
    if (!f)
        return NULL;
    *f = (Fourier){.rows = rows, .columns = columns, .width = width, .count = (rows + 1) / 2};
    size_t along = (size_t)rows + (size_t)columns;
    if (!(f->waves = memory_new((size_t)f->count * along * 2, sizeof *f->waves)) ||
        !(f->sums = memory_new((size_t)f->count, sizeof *f->sums)) ||
        !(f->line = memory_new(4 * (size_t)width, sizeof *f->line))) {
        fourier_free(f);
        return NULL;
    }
    double *at = f->waves;
    for (int i = 0; i < f->count; i++)
        for (int k = 0; k < rows + columns; k++, at += 2) {
            int place = k < rows ? k : k - rows, side = k < rows ? rows : columns,
                cycles = k < rows ? i : (int)((int64_t)i * columns / rows);
            double angle = 2 * acos(-1.0) * (double)((int64_t)cycles * place % side) / side;
            at[0] = cos(angle);
            at[1] = -sin(angle);
        }
    return f;
}

void fourier_free(Fourier *f)
{
    if (!f)
        return;
    memory_free(f->waves);
    memory_free(f->sums);
    memory_free(f->line);
    memory_free(f);
}

int fourier_count(const Fourier *f)
{
    return f->count;
}

/* The map's number at one frequency for all channels, in the second half of `line`. */
static void transform(const Fourier *f, const double *waves, const float *tokens)
{
    int width = f->width;
    double *re = f->line, *im = re + width, *all_re = im + width, *all_im = all_re + width;
    memset(all_re, 0, 2 * (size_t)width * sizeof *all_re);
    for (int y = 0; y < f->rows; y++) {
        memset(re, 0, 2 * (size_t)width * sizeof *re);
        for (int x = 0; x < f->columns; x++) {
            const float *token = tokens + ((size_t)y * (size_t)f->columns + (size_t)x) * (size_t)width;
            const double *wave = waves + 2 * (f->rows + x);
            for (int c = 0; c < width; c++) {
                re[c] += wave[0] * token[c];
                im[c] += wave[1] * token[c];
            }
        }
        const double *wave = waves + 2 * y;
        for (int c = 0; c < width; c++) {
            all_re[c] += wave[0] * re[c] - wave[1] * im[c];
            all_im[c] += wave[0] * im[c] + wave[1] * re[c];
        }
    }
}

void fourier_add(Fourier *f, const float *tokens)
{
    const double *re = f->line + 2 * f->width, *im = re + f->width;
    for (int i = 0; i < f->count; i++) {
        double sum = 0;
        transform(f, f->waves + (size_t)i * 2 * (size_t)(f->rows + f->columns), tokens);
        for (int c = 0; c < f->width; c++)
            sum += log(sqrt(re[c] * re[c] + im[c] * im[c]) + FLOOR);
        f->sums[i] += sum / f->width;
    }
    f->pictures++;
}

double fourier_amplitude(const Fourier *f, int frequency)
{
    return f->pictures ? (f->sums[frequency] - f->sums[0]) / (double)f->pictures : NAN;
}
