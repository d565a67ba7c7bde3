#include "ops/ref.h"
#include "ops/attention/slots.h"

REF_DECLARE(attention);
REF_DECLARE(attention_grad);

/* First number of group g's row t of one head. */
static int64_t place(const Tensor *x, int64_t group, int64_t t, int64_t tokens, int64_t column)
{
    return (group * tokens + t) * x->columns + column;
}

static double dot(const real *a, const real *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

void REF(attention)(const Call *c, Worker *w)
{
    (void)w;
    const AttentionAttr *a = c->attr;
    const Tensor *tq = &c->in[ATTENTION_Q], *tkv = &c->in[ATTENTION_KV];
    const real *q = tq->data, *kv = tkv->data;
    real *o = c->out[ATTENTION_O].data, *lse = c->out[ATTENTION_LSE].data;
    int64_t d = a->width / a->heads;
    for (int64_t g = 0; g < a->groups; g++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t i = 0; i < a->queries; i++) {
                const real *query = q + place(tq, g, i, a->queries, a->q_column + h * d);
                real *to = o + (g * a->queries + i) * a->width + h * d;
                double largest = -INFINITY, sum = 0;
                for (int64_t j = 0; j < a->keys; j++) {
                    double s = a->scale * dot(query, kv + place(tkv, g, j, a->keys, a->k_column + h * d), d);
                    largest = s > largest ? s : largest;
                }
                for (int64_t j = 0; j < a->keys; j++)
                    sum += exp(a->scale * dot(query, kv + place(tkv, g, j, a->keys, a->k_column + h * d), d) - largest);
                double log_sum = largest + log(sum);
                for (int64_t x = 0; x < d; x++) {
                    double value = 0;
                    for (int64_t j = 0; j < a->keys; j++) {
                        double s = a->scale * dot(query, kv + place(tkv, g, j, a->keys, a->k_column + h * d), d);
                        value += exp(s - log_sum) * kv[place(tkv, g, j, a->keys, a->v_column + h * d) + x];
                    }
                    to[x] = (real)value;
                }
                lse[(g * a->heads + h) * a->queries + i] = (real)log_sum;
            }
}

/* P = softmax, dP_ij = do_i . v_j, dS_ij = P_ij (dP_ij - do_i . o_i); dq = scale dS k, dk = scale dS^T q, dv = P^T do. */
void REF(attention_grad)(const Call *c, Worker *w)
{
    (void)w;
    const AttentionAttr *a = c->attr;
    const Tensor *tq = &c->in[ATTENTION_GRAD_Q], *tkv = &c->in[ATTENTION_GRAD_KV];
    const real *dout = c->in[ATTENTION_GRAD_DO].data, *q = tq->data, *kv = tkv->data, *o = c->in[ATTENTION_GRAD_O].data,
               *lse = c->in[ATTENTION_GRAD_LSE].data;
    bool packed = c->in[ATTENTION_GRAD_Q].data == c->in[ATTENTION_GRAD_KV].data;
    real *dq = c->out[ATTENTION_GRAD_DQ].data, *dkv = packed ? dq : c->out[ATTENTION_GRAD_DKV].data;
    for (int out = 0; out < ATTENTION_GRAD_OUT; out++)
        for (int64_t i = 0; c->out[out].data && !call_accumulates(c, out) && i < c->out[out].rows * c->out[out].columns; i++)
            ((real *)c->out[out].data)[i] = 0;
    int64_t d = a->width / a->heads;
    for (int64_t g = 0; g < a->groups; g++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t i = 0; i < a->queries; i++) {
                int64_t qi = place(tq, g, i, a->queries, a->q_column + h * d), oi = (g * a->queries + i) * a->width + h * d;
                double log_sum = lse[(g * a->heads + h) * a->queries + i], both = dot(dout + oi, o + oi, d);
                for (int64_t j = 0; j < a->keys; j++) {
                    int64_t kj = place(tkv, g, j, a->keys, a->k_column + h * d),
                            vj = place(tkv, g, j, a->keys, a->v_column + h * d);
                    double p = exp(a->scale * dot(q + qi, kv + kj, d) - log_sum);
                    double ds = a->scale * p * (dot(dout + oi, kv + vj, d) - both);
                    for (int64_t x = 0; x < d; x++) {
                        if (dq)
                            dq[qi + x] = (real)(dq[qi + x] + ds * kv[kj + x]);
                        if (dkv) {
                            dkv[kj + x] = (real)(dkv[kj + x] + ds * q[qi + x]);
                            dkv[vj + x] = (real)(dkv[vj + x] + p * dout[oi + x]);
                        }
                    }
                }
            }
}
