#include "nn/position.h"

#include <math.h>
#include <string.h>

void position_sincos(int rows, int columns, int width, bool class_row, float *out)
{
    if (class_row) {
        memset(out, 0, (size_t)width * sizeof *out);
        out += width;
    }
    int run = width / 4;
    for (int r = 0; r < rows; r++)
        for (int s = 0; s < columns; s++, out += width)
            for (int k = 0; k < run; k++) {
                double f = pow(10000, -(double)k / run);
                out[k] = (float)sin(s * f);
                out[run + k] = (float)cos(s * f);
                out[2 * run + k] = (float)sin(r * f);
                out[3 * run + k] = (float)cos(r * f);
            }
}

/* The four weights of the bicubic kernel with a = -0.75 for a point t in [0, 1) behind the second of its four neighbours. */
static void cubic_weights(double t, double weights[4])
{
    const double a = -0.75;
    for (int i = 0; i < 4; i++) {
        double x = fabs(t + 1 - i);
        weights[i] = x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    }
}

static int clamped(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

void position_resize(const float *table, int rows, int columns, int width, bool class_row, int to_rows, int to_columns,
                     float *out)
{
    if (class_row) {
        memcpy(out, table, (size_t)width * sizeof *out);
        out += width;
        table += width;
    }
    for (int r = 0; r < to_rows; r++) {
        double y = (r + 0.5) * rows / to_rows - 0.5, down[4], across[4];
        cubic_weights(y - floor(y), down);
        for (int s = 0; s < to_columns; s++, out += width) {
            double x = (s + 0.5) * columns / to_columns - 0.5;
            cubic_weights(x - floor(x), across);
            for (int k = 0; k < width; k++) {
                double sum = 0;
                for (int i = 0; i < 4; i++)
                    for (int j = 0; j < 4; j++) {
                        int from = clamped((int)floor(y) - 1 + i, rows) * columns + clamped((int)floor(x) - 1 + j, columns);
                        sum += down[i] * across[j] * table[(long)from * width + k];
                    }
                out[k] = (float)sum;
            }
        }
    }
}

void position_swap_halves(float *row, long places, int width)
{
    for (long i = 0; i < places; i++, row += width)
        for (int k = 0; k < width / 2; k++) {
            float kept = row[k];
            row[k] = row[width / 2 + k];
            row[width / 2 + k] = kept;
        }
}
