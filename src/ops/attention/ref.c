#include "ops/ref.h"
#include "ops/attention/slots.h"

REF_DECLARE(attention);
REF_DECLARE(attention_grad);

/* First number of group g's row t of one head. */
static int64_t place(const Tensor *x, int64_t group, int64_t t, int64_t tokens, int64_t column)
{
    return (group * tokens + t) * x->columns + column;
}

/* Of n numbers of a from i and of b from j. */
static double dot(const Tensor *a, int64_t i, const Tensor *b, int64_t j, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += ref_get(a, i + k) * ref_get(b, j + k);
    return sum;
}

static double bias_at(const AttentionAttr *a, const Tensor *bias, int64_t h, int64_t i, int64_t j)
{
    return bias->data ? ref_get(bias, (h * a->queries + i) * a->keys + j) : 0;
}

void REF(attention)(const Call *c, Worker *w)
{
    (void)w;
    const AttentionAttr *a = c->attr;
    const Tensor *q = &c->in[ATTENTION_Q], *kv = &c->in[ATTENTION_KV], *bias = &c->in[ATTENTION_BIAS],
                 *map = &c->out[ATTENTION_MAP];
    real *lse = c->out[ATTENTION_LSE].data;
    int64_t d = a->width / a->heads;
    for (int64_t g = 0; g < a->groups; g++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t i = 0; i < a->queries; i++) {
                int64_t qi = place(q, g, i, a->queries, a->q_column + h * d), to = (g * a->queries + i) * a->width + h * d;
                double largest = -INFINITY, sum = 0;
                for (int64_t j = 0; j < a->keys; j++) {
                    double s =
                        a->scale * dot(q, qi, kv, place(kv, g, j, a->keys, a->k_column + h * d), d) + bias_at(a, bias, h, i, j);
                    largest = s > largest ? s : largest;
                }
                for (int64_t j = 0; j < a->keys; j++)
                    sum += exp(a->scale * dot(q, qi, kv, place(kv, g, j, a->keys, a->k_column + h * d), d) +
                               bias_at(a, bias, h, i, j) - largest);
                double log_sum = largest + log(sum);
                for (int64_t x = 0; x < d; x++) {
                    double value = 0;
                    for (int64_t j = 0; j < a->keys; j++) {
                        double s = a->scale * dot(q, qi, kv, place(kv, g, j, a->keys, a->k_column + h * d), d) +
                                   bias_at(a, bias, h, i, j);
                        value += exp(s - log_sum) * ref_get(kv, place(kv, g, j, a->keys, a->v_column + h * d) + x);
                    }
                    ref_set(&c->out[ATTENTION_O], to + x, value, false);
                }
                for (int64_t j = 0; map->data && j < a->keys; j++) {
                    double s =
                        a->scale * dot(q, qi, kv, place(kv, g, j, a->keys, a->k_column + h * d), d) + bias_at(a, bias, h, i, j);
                    ref_set(map, ((g * a->heads + h) * a->queries + i) * a->keys + j, exp(s - log_sum), false);
                }
                lse[(g * a->heads + h) * a->queries + i] = (real)log_sum;
            }
}

/* P = softmax, dP_ij = do_i . v_j, dS_ij = P_ij (dP_ij - do_i . o_i); dq = scale dS k, dk = scale dS^T q, dv = P^T do. Here
 * P_ij, and dS_ij with its scale. */
static double map_at(const Call *c, int64_t g, int64_t h, int64_t i, int64_t j, double *ds)
{
    const AttentionAttr *a = c->attr;
    const Tensor *q = &c->in[ATTENTION_GRAD_Q], *kv = &c->in[ATTENTION_GRAD_KV], *dout = &c->in[ATTENTION_GRAD_DO],
                 *o = &c->in[ATTENTION_GRAD_O];
    const real *lse = c->in[ATTENTION_GRAD_LSE].data;
    int64_t d = a->width / a->heads, oi = (g * a->queries + i) * a->width + h * d;
    int64_t qi = place(q, g, i, a->queries, a->q_column + h * d), kj = place(kv, g, j, a->keys, a->k_column + h * d),
            vj = place(kv, g, j, a->keys, a->v_column + h * d);
    double p = exp(a->scale * dot(q, qi, kv, kj, d) + bias_at(a, &c->in[ATTENTION_GRAD_BIAS], h, i, j) -
                   lse[(g * a->heads + h) * a->queries + i]);
    *ds = a->scale * p * (dot(dout, oi, kv, vj, d) - dot(dout, oi, o, oi, d));
    return p;
}

/* dbias = dS without its scale, summed over the groups. */
static void bias_gradient(const Call *c)
{
    const AttentionAttr *a = c->attr;
    const Tensor *dbias = &c->out[ATTENTION_GRAD_DBIAS];
    for (int64_t h = 0; dbias->data && h < a->heads; h++)
        for (int64_t i = 0; i < a->queries; i++)
            for (int64_t j = 0; j < a->keys; j++) {
                double sum = 0, ds;
                for (int64_t g = 0; g < a->groups; g++) {
                    map_at(c, g, h, i, j, &ds);
                    sum += ds / a->scale;
                }
                ref_set(dbias, (h * a->queries + i) * a->keys + j, sum, call_accumulates(c, ATTENTION_GRAD_DBIAS));
            }
}

void REF(attention_grad)(const Call *c, Worker *w)
{
    enum { SOME = 32 }; /* columns that are summed at once: the map's numbers are dear */
    (void)w;
    const AttentionAttr *a = c->attr;
    const Tensor *q = &c->in[ATTENTION_GRAD_Q], *kv = &c->in[ATTENTION_GRAD_KV], *dout = &c->in[ATTENTION_GRAD_DO];
    bool packed = q->data == kv->data;
    const Tensor *dq = &c->out[ATTENTION_GRAD_DQ], *dkv = packed ? dq : &c->out[ATTENTION_GRAD_DKV];
    bool add_q = call_accumulates(c, ATTENTION_GRAD_DQ), add_kv = packed ? add_q : call_accumulates(c, ATTENTION_GRAD_DKV);
    int64_t d = a->width / a->heads;
    for (int64_t g = 0; g < a->groups; g++)
        for (int64_t h = 0; h < a->heads; h++) {
            for (int64_t i = 0; dq->data && i < a->queries; i++)
                for (int64_t x = 0; x < d; x += SOME) {
                    double sum[SOME] = {0}, ds;
                    for (int64_t j = 0; j < a->keys; j++) {
                        map_at(c, g, h, i, j, &ds);
                        for (int64_t y = x; y < d && y < x + SOME; y++)
                            sum[y - x] += ds * ref_get(kv, place(kv, g, j, a->keys, a->k_column + h * d) + y);
                    }
                    for (int64_t y = x; y < d && y < x + SOME; y++)
                        ref_set(dq, place(q, g, i, a->queries, a->q_column + h * d) + y, sum[y - x], add_q);
                }
            for (int64_t j = 0; dkv->data && j < a->keys; j++)
                for (int64_t x = 0; x < d; x += SOME) {
                    double dk[SOME] = {0}, dv[SOME] = {0}, ds;
                    for (int64_t i = 0; i < a->queries; i++) {
                        double p = map_at(c, g, h, i, j, &ds);
                        for (int64_t y = x; y < d && y < x + SOME; y++) {
                            dk[y - x] += ds * ref_get(q, place(q, g, i, a->queries, a->q_column + h * d) + y);
                            dv[y - x] += p * ref_get(dout, (g * a->queries + i) * a->width + h * d + y);
                        }
                    }
                    for (int64_t y = x; y < d && y < x + SOME; y++) {
                        ref_set(dkv, place(kv, g, j, a->keys, a->k_column + h * d) + y, dk[y - x], add_kv);
                        ref_set(dkv, place(kv, g, j, a->keys, a->v_column + h * d) + y, dv[y - x], add_kv);
                    }
                }
        }
    bias_gradient(c);
}
