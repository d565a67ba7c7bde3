#include "ops/ref.h"
#include "ops/hog/attr.h"

REF_DECLARE(hog);

static const double TURN = 3.14159265358979323846; /* half of it */

/* Adds the gradient at (y, x) of one channel to its direction's bin; `step` from a bin to the next. Pixels are subtracted
 * before they are added up: at a mirrored edge the difference is exactly zero. */
static void add_pixel(const HogAttr *a, const real *plane, int64_t height, int64_t width, int64_t y, int64_t x, double weight,
                      real *bin, int64_t step)
{
    double across = 0, down = 0;
    for (int k = -1; k <= 1; k++) {
        int64_t row = hog_mirror(y + k, height), column = hog_mirror(x + k, width);
        double factor = k ? 1 : 2;
        across += factor * ((double)plane[row * width + hog_mirror(x - 1, width)] -
                            (double)plane[row * width + hog_mirror(x + 1, width)]);
        down += factor * ((double)plane[hog_mirror(y - 1, height) * width + column] -
                          (double)plane[hog_mirror(y + 1, height) * width + column]);
    }
    int64_t at = (int64_t)floor(atan2(across, down) / TURN * a->bins) % a->bins;
    bin[(at + a->bins) % a->bins * step] += (real)(weight * sqrt(across * across + down * down));
}

void REF(hog)(const Call *c, Worker *w)
{
    (void)w;
    const HogAttr *a = c->attr;
    const Shape *s = &c->in[0].shape;
    int64_t channels = s->d[1], height = s->d[2], width = s->d[3], p = a->patch, across = width / p,
            places = height / p * across, cells = p / a->cell, step = cells * cells, n = c->out[0].columns;
    const int32_t *index = c->in[1].data;
    double sum = a->gaussian ? hog_window_sum(a->gaussian) : 1;
    for (int64_t row = 0; row < c->out[0].rows; row++) {
        int64_t from = index ? index[row] : row, top = from % places / across * p, left = from % places % across * p;
        real *out = (real *)c->out[0].data + row * n;
        for (int64_t i = 0; i < n; i++)
            out[i] = 0;
        for (int64_t k = 0; k < channels; k++) {
            const real *plane = (const real *)c->in[0].data + (from / places * channels + k) * height * width;
            real *histograms = out + k * a->bins * step;
            for (int64_t y = 0; y < p; y++)
                for (int64_t x = 0; x < p; x++)
                    add_pixel(a, plane, height, width, top + y, left + x,
                              a->gaussian ? hog_window(a->gaussian, top + y, left + x) / sum : 1,
                              histograms + y / a->cell * cells + x / a->cell, step);
            for (int64_t cell = 0; cell < step; cell++) {
                double square = 0;
                for (int b = 0; b < a->bins; b++)
                    square += (double)histograms[b * step + cell] * histograms[b * step + cell];
                for (int b = 0; b < a->bins; b++)
                    histograms[b * step + cell] = (real)(histograms[b * step + cell] / fmax(sqrt(square), 1e-12));
            }
        }
    }
}
