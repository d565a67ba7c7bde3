#include "ops/row.h"

CPU_DECLARE(hits);

/* 1 or 0. Rows are many and classes may be: a row is a tile's share, and its answer lies in the workspace. */
static float is_hit(const float *z, int64_t n, int32_t label)
{
    if (label < 0)
        return 0;
    for (int64_t i = 0; i < n; i++)
        if (!(z[i] < z[label] || (z[i] == z[label] && i >= label)))
            return 0;
    return 1;
}

void CPU(hits)(const Call *c, Worker *w)
{
    const int32_t *labels = c->in[1].data;
    int64_t n = c->in[0].columns, rows = c->in[0].rows, count = 0;
    float *hit = c->work;
    for (Span s; span_next(w, tile_rows(n), rows, &s);)
        for (int64_t row = s.first; row < s.end; row++)
            hit[row] = is_hit((const float *)c->in[0].data + row * n, n, labels[row]);
    worker_sync(w);
    if (w->thread > 0)
        return;
    for (int64_t row = 0; row < rows; row++)
        count += hit[row] != 0;
    *(float *)c->out[0].data = (float)((double)count * (double)*(const float *)c->in[2].data);
}
