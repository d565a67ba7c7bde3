#include "ops/patches/attr.h"
#include "ops/row.h"

CPU_DECLARE(patches);

/* Patches have short lines: the usual lengths are spelt out as constants, which leaves no loop. */
static inline void copy_line(const float *from, int64_t p, float *to)
{
    if (p == 2)
        memcpy(to, from, 2 * sizeof *to);
    else if (p == 4)
        memcpy(to, from, 4 * sizeof *to);
    else
        row_copy(to, from, p);
}

static inline __attribute__((always_inline)) void interleave(const float *from, int64_t channels, int64_t plane, int64_t p,
                                                             float *restrict to)
{
    for (int64_t x = 0; x < p; x++)
        for (int64_t k = 0; k < channels; k++)
            to[x * channels + k] = from[k * plane + x];
}

static inline void interleave_line(const float *from, int64_t channels, int64_t plane, int64_t p, float *to)
{
    if (channels == 3 && p == 2)
        interleave(from, 3, plane, 2, to);
    else if (channels == 3 && p == 4)
        interleave(from, 3, plane, 4, to);
    else if (channels == 3)
        interleave(from, 3, plane, p, to);
    else
        interleave(from, channels, plane, p, to);
}

/* One patch; `plane` numbers from a channel to the next, `line` from a row of the picture to the next. */
static void channel_first(const float *from, int64_t channels, int64_t plane, int64_t line, int64_t p, float *to)
{
    for (int64_t k = 0; k < channels; k++)
        for (int64_t y = 0; y < p; y++, to += p)
            copy_line(from + k * plane + y * line, p, to);
}

static void channel_last(const float *from, int64_t channels, int64_t plane, int64_t line, int64_t p, float *to)
{
    for (int64_t y = 0; y < p; y++, to += p * channels)
        interleave_line(from + y * line, channels, plane, p, to);
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
