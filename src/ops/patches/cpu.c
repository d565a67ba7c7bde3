#include "ops/patches/attr.h"
#include "ops/row.h"

CPU_DECLARE(patches);

/* One patch; `plane` numbers from a channel to the next, `line` from a row of the picture to the next. */
static void channel_first(const float *from, int64_t channels, int64_t plane, int64_t line, int64_t p, float *to)
{
    for (int64_t k = 0; k < channels; k++)
        for (int64_t y = 0; y < p; y++, to += p)
            row_copy(to, from + k * plane + y * line, p);
}

static void channel_last(const float *from, int64_t channels, int64_t plane, int64_t line, int64_t p, float *restrict to)
{
    for (int64_t y = 0; y < p; y++, to += p * channels) {
        const float *row = from + y * line;
        if (channels == 3) /* a constant, which the compiler can turn into shuffles */
            for (int64_t x = 0; x < p; x++) {
                to[3 * x] = row[x];
                to[3 * x + 1] = row[plane + x];
                to[3 * x + 2] = row[2 * plane + x];
            }
        else
            for (int64_t k = 0; k < channels; k++)
                for (int64_t x = 0; x < p; x++)
                    to[x * channels + k] = row[k * plane + x];
    }
}

void CPU(patches)(const Call *c, Worker *w)
{
    const PatchesAttr *attr = c->attr;
    const Shape *s = &c->in[0].shape;
    int64_t channels = s->d[1], height = s->d[2], width = s->d[3], p = attr->patch;
    int64_t across = width / p, places = height / p * across, n = c->out[0].columns;
    const float *image = c->in[0].data;
    const int32_t *index = c->in[1].data;
    for (Span rows; span_next(w, tile_rows(n), c->out[0].rows, &rows);)
        for (int64_t row = rows.first; row < rows.end; row++) {
            int64_t at = index ? index[row] : row, picture = at / places, place = at % places;
            const float *from = image + (picture * channels * height + place / across * p) * width + place % across * p;
            float *to = (float *)c->out[0].data + row * n;
            if (attr->order == PATCH_CHANNEL_FIRST)
                channel_first(from, channels, height * width, width, p, to);
            else
                channel_last(from, channels, height * width, width, p, to);
        }
}
