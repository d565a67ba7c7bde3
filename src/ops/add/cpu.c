#include "ops/row.h"

CPU_DECLARE(add);
CPU_DECLARE(add_to);

void CPU(add)(const Call *c, Worker *w)
{
    const float *a = c->in[0].data, *b = c->in[1].data;
    float *y = c->out[0].data;
    for (Span s; span_next(w, TILE_FLOATS, c->out[0].rows * c->out[0].columns, &s);)
        for (int64_t i = s.first; i < s.end; i += LANES)
            vec_write(y + i, vec_read(a + i, s.end - i) + vec_read(b + i, s.end - i), s.end - i);
}

void CPU(add_to)(const Call *c, Worker *w)
{
    const float *term = c->in[0].data;
    float *y = c->out[0].data;
    for (Span s; span_next(w, TILE_FLOATS, c->out[0].rows * c->out[0].columns, &s);)
        if (call_accumulates(c, 0))
            row_add(y + s.first, term + s.first, s.end - s.first);
        else
            row_copy(y + s.first, term + s.first, s.end - s.first);
}
