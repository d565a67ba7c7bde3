#include "ops/grad_norm/grad_norm.h"
#include "ops/row.h"

CPU_DECLARE(average);

void CPU(average)(const Call *c, Worker *w)
{
    const float *weights = c->in[0].data, *status = c->in[2].data;
    float *to = c->out[0].data, take = *(const float *)c->in[1].data;
    if (status[STATUS_FINITE] == 0)
        return;
    for (Span s; span_next(w, TILE_FLOATS, c->out[0].rows * c->out[0].columns, &s);)
        for (int64_t i = s.first; i < s.end; i += LANES) {
            Vec before = vec_read(to + i, s.end - i);
            vec_write(to + i, before + take * (vec_read(weights + i, s.end - i) - before), s.end - i);
        }
}
