#include "ops/relative_bias/attr.h"
#include "ops/row.h"

CPU_DECLARE(relative_bias);
CPU_DECLARE(relative_bias_grad);

void CPU(relative_bias)(const Call *c, Worker *w)
{
    const float *table = c->in[0].data;
    int64_t heads = c->in[0].columns, tokens = c->out[0].columns;
    for (Span s; span_next(w, tile_rows(tokens), heads * tokens, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            float *to = (float *)c->out[0].data + row * tokens;
            for (int64_t j = 0; j < tokens; j++)
                to[j] = table[relative_bias_row(c->attr, row % tokens, j) * heads + row / tokens];
        }
}

/* A head at a time: each has a column of the table to itself. */
void CPU(relative_bias_grad)(const Call *c, Worker *w)
{
    float *dtable = c->out[0].data;
    int64_t heads = c->out[0].columns, tokens = c->in[0].columns;
    for (Span s; span_next(w, 1, heads, &s);) {
        const float *from = (const float *)c->in[0].data + s.first * tokens * tokens;
        if (!call_accumulates(c, 0))
            for (int64_t r = 0; r < c->out[0].rows; r++)
                dtable[r * heads + s.first] = 0;
        for (int64_t i = 0; i < tokens; i++)
            for (int64_t j = 0; j < tokens; j++)
                dtable[relative_bias_row(c->attr, i, j) * heads + s.first] += from[i * tokens + j];
    }
}
