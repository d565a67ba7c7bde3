#include "ops/pool/attr.h"
#include "ops/row.h"

CPU_DECLARE(pool);
CPU_DECLARE(pool_grad);

void CPU(pool)(const Call *c, Worker *w)
{
    const PoolAttr *attr = c->attr;
    int64_t n = c->out[0].columns;
    float share = 1 / (float)attr->count;
    for (Span s; span_next(w, tile_rows(n * attr->count), c->out[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            const float *x = (const float *)c->in[0].data + (row * attr->tokens + attr->first) * n;
            float *y = (float *)c->out[0].data + row * n;
            for (int64_t i = 0; i < n; i += LANES) {
                Vec sum = {0};
                for (int64_t t = 0; t < attr->count; t++)
                    sum += vec_read(x + t * n + i, n - i);
                vec_write(y + i, sum * share, n - i);
            }
        }
}

void CPU(pool_grad)(const Call *c, Worker *w)
{
    const PoolAttr *attr = c->attr;
    int64_t n = c->out[0].columns;
    float share = 1 / (float)attr->count;
    bool add = call_accumulates(c, 0);
    for (Span s; span_next(w, tile_rows(n), c->out[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            int64_t token = row % attr->tokens;
            const float *dy = (const float *)c->in[0].data + row / attr->tokens * n;
            float *dx = (float *)c->out[0].data + row * n;
            if (token >= attr->first && token < attr->first + attr->count)
                for (int64_t i = 0; i < n; i += LANES)
                    vec_put(dx + i, vec_read(dy + i, n - i) * share, n - i, add);
            else if (!add)
                memset(dx, 0, (size_t)n * sizeof *dx);
        }
}
