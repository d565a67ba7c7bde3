#include "ops/ref.h"
#include "ops/window/attr.h"

REF_DECLARE(window_standardise);

/* (x - mean) / deviation of the pixels around (y, x) of a plane. */
static double standardised(const real *plane, int64_t height, int64_t width, int64_t half, int64_t y, int64_t x)
{
    double count = 0, mean = 0, square = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t v = y - half; v <= y + half; v++)
            for (int64_t u = x - half; u <= x + half; u++) {
                if (v < 0 || v >= height || u < 0 || u >= width)
                    continue;
                double number = plane[v * width + u];
                count += pass == 0;
                mean += pass == 0 ? number : 0;
                square += pass == 0 ? 0 : (number - mean) * (number - mean);
            }
        mean = pass == 0 ? mean / count : mean;
    }
    return ((double)plane[y * width + x] - mean) / sqrt(square / (count - 1) + 1e-6);
}

void REF(window_standardise)(const Call *c, Worker *w)
{
    (void)w;
    const WindowAttr *a = c->attr;
    const Shape *s = &c->in[0].shape;
    int64_t planes = s->d[0] * s->d[1], height = s->d[2], width = s->d[3];
    for (int64_t k = 0; k < planes; k++)
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++)
                ((real *)c->out[0].data)[(k * height + y) * width + x] =
                    (real)standardised((const real *)c->in[0].data + k * height * width, height, width, a->side / 2, y, x);
}
