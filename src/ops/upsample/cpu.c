#include "ops/row.h"
#include "ops/upsample/work.h"

CPU_DECLARE(upsample);
CPU_DECLARE(upsample_grad);

/* A tile is some lines of pixels. */
void CPU(upsample)(const Call *c, Worker *w)
{
    const UpsampleAttr *a = c->attr;
    int64_t n = c->out[0].columns, lines = c->out[0].rows / a->width;
    for (Span s; span_next(w, tile_rows(n * a->width), lines, &s);)
        for (int64_t line = s.first; line < s.end; line++) {
            UpsampleBetween v = upsample_between(line % a->height, a->rows, a->height);
            const float *x = (const float *)c->in[0].data + line / a->height * a->rows * a->columns * n;
            const float *above = x + v.first * a->columns * n, *below = x + v.second * a->columns * n;
            float *y = (float *)c->out[0].data + line * a->width * n;
            for (int64_t at = 0; at < a->width; at++, y += n) {
                UpsampleBetween h = upsample_between(at, a->columns, a->width);
                for (int64_t i = 0; i < n; i += LANES) {
                    Vec up = vec_read(above + h.first * n + i, n - i) * (1 - h.share) +
                             vec_read(above + h.second * n + i, n - i) * h.share;
                    Vec down = vec_read(below + h.first * n + i, n - i) * (1 - h.share) +
                               vec_read(below + h.second * n + i, n - i) * h.share;
                    vec_write(y + i, up * (1 - v.share) + down * v.share, n - i);
                }
            }
        }
}

/* Each token collects from the pixels that looked at it: no two write the same place. */
void CPU(upsample_grad)(const Call *c, Worker *w)
{
    const UpsampleAttr *a = c->attr;
    int64_t n = c->out[0].columns, tokens = a->rows * a->columns, pixels = a->height * a->width;
    bool add = call_accumulates(c, 0);
    for (Span s; span_next(w, tile_rows(n * (pixels / tokens + 1)), c->out[0].rows, &s);)
        for (int64_t token = s.first; token < s.end; token++) {
            int64_t row = token % tokens / a->columns, column = token % a->columns;
            int64_t top = upsample_begin(row, a->rows, a->height), bottom = upsample_end(row, a->rows, a->height);
            int64_t left = upsample_begin(column, a->columns, a->width), right = upsample_end(column, a->columns, a->width);
            const float *dy = (const float *)c->in[0].data + token / tokens * pixels * n;
            float *dx = (float *)c->out[0].data + token * n;
            for (int64_t i = 0; i < n; i += LANES) {
                Vec sum = {0};
                for (int64_t y = top; y < bottom; y++) {
                    float high = upsample_weight(y, row, a->rows, a->height);
                    for (int64_t x = left; high != 0 && x < right; x++)
                        sum += vec_read(dy + (y * a->width + x) * n + i, n - i) *
                               (high * upsample_weight(x, column, a->columns, a->width));
                }
                vec_put(dx + i, sum, n - i, add);
            }
        }
}
