#include "ops/ref.h"
#include "ops/patches/attr.h"

REF_DECLARE(patches);
REF_DECLARE(patches_standardised);
REF_DECLARE(standardise);

void REF(patches)(const Call *c, Worker *w)
{
    (void)w;
    const PatchesAttr *attr = c->attr;
    const Shape *s = &c->in[0].shape;
    int64_t channels = s->d[1], height = s->d[2], width = s->d[3], p = attr->patch;
    int64_t across = width / p, places = height / p * across;
    const real *image = c->in[0].data;
    const int32_t *index = c->in[1].data;
    real *out = c->out[0].data;
    for (int64_t row = 0; row < c->out[0].rows; row++) {
        int64_t from = index ? index[row] : row, n = from / places, l = from % places;
        for (int64_t k = 0; k < channels; k++)
            for (int64_t y = 0; y < p; y++)
                for (int64_t x = 0; x < p; x++) {
                    int64_t to = attr->order == PATCH_CHANNEL_FIRST ? (k * p + y) * p + x : (y * p + x) * channels + k;
                    out[row * c->out[0].columns + to] =
                        image[((n * channels + k) * height + l / across * p + y) * width + l % across * p + x];
                }
    }
}

void REF(patches_standardised)(const Call *c, Worker *w)
{
    REF(patches)(c, w);
    REF(standardise)(&(Call){.in = {c->out[0]}, .out = {c->out[0]}}, w);
}
