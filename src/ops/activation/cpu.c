#include "ops/activation/activation.h"
#include "ops/row.h"

CPU_DECLARE(activation);
CPU_DECLARE(activation_grad);

static inline Vec value(Vec x, Activation kind)
{
    return kind == ACTIVATION_GELU ? vec_gelu(x) : kind == ACTIVATION_QUICK_GELU ? vec_quick_gelu(x) : x;
}

static inline Vec slope(Vec x, Activation kind)
{
    return kind == ACTIVATION_GELU         ? vec_gelu_slope(x)
           : kind == ACTIVATION_QUICK_GELU ? vec_quick_gelu_slope(x)
                                           : vec_set(1.0f);
}

void CPU(activation)(const Call *c, Worker *w)
{
    Activation kind = ((const ActivationAttr *)c->attr)->kind;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    for (Span s; span_next(w, TILE_FLOATS, c->out[0].rows * c->out[0].columns, &s);)
        for (int64_t i = s.first; i < s.end; i += LANES)
            vec_write(y + i, value(vec_read(x + i, s.end - i), kind), s.end - i);
}

void CPU(activation_grad)(const Call *c, Worker *w)
{
    Activation kind = ((const ActivationAttr *)c->attr)->kind;
    const float *dy = c->in[0].data, *x = c->in[1].data;
    float *dx = c->out[0].data;
    bool add = call_accumulates(c, 0);
    for (Span s; span_next(w, TILE_FLOATS, c->out[0].rows * c->out[0].columns, &s);)
        for (int64_t i = s.first; i < s.end; i += LANES)
            vec_put(dx + i, vec_read(dy + i, s.end - i) * slope(vec_read(x + i, s.end - i), kind), s.end - i, add);
}
