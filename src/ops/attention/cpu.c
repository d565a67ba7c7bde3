/* Attention, one head of one group at a time, all of it in a thread's own memory: the map of a head is small (at most a few
 * hundred rows), so it is made whole, used, and forgotten. The backward pass makes it again from q, k and the log-sum of each
 * row. */
#include "ops/attention/slots.h"
#include "ops/attention/work.h"
#include "ops/product.h"

CPU_DECLARE(attention);
CPU_DECLARE(attention_grad);

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of one head inside a wider matrix. */
typedef struct {
    float *data;
    int64_t rows, stride;
} Part;

/* Heads that one task takes: all of a group when they are small, so that a task is worth its counter. */
static int64_t heads_of_task(const AttentionAttr *a)
{
    return a->queries * a->keys < 64 * 64 ? a->heads : 1;
}

/* Panels of the transpose: column j of the whole is row j of x, d numbers deep. */
static void pack_transposed(Part x, int64_t d, float *to)
{
    for (int64_t p = 0; p * NR < x.rows; p++) {
        float *panel = to + p * d * NR;
        for (int64_t j = 0; j < NR; j++) {
            const float *from = x.data + (p * NR + j) * x.stride;
            if (p * NR + j < x.rows)
                for (int64_t i = 0; i < d; i++)
                    panel[i * NR + j] = from[i];
            else
                for (int64_t i = 0; i < d; i++)
                    panel[i * NR + j] = 0;
        }
    }
}

/* Panels of x itself: its rows are the depth, its d columns the columns. */
static void pack_straight(Part x, int64_t d, float *to)
{
    for (int64_t p = 0; p * NR < d; p++) {
        int64_t width = least(NR, d - p * NR);
        float *panel = to + p * x.rows * NR;
        for (int64_t i = 0; i < x.rows; i++) {
            const float *from = x.data + i * x.stride + p * NR;
            if (width == NR) {
                vec_store(panel + i * NR, vec_load(from));
                vec_store(panel + i * NR + LANES, vec_load(from + LANES));
            } else {
                memset(panel + i * NR, 0, NR * sizeof *panel);
                memcpy(panel + i * NR, from, (size_t)width * sizeof *panel);
            }
        }
    }
}

/* map (x.rows, `stride`) = x times packed panels of `columns` columns; the map's rows are padded. */
static void multiply_map(Part x, int64_t d, const float *panels, int64_t columns, float *map, int64_t stride)
{
    for (int64_t p = 0; p * NR < columns; p++)
        for (int64_t i = 0; i < x.rows; i += MR) {
            Product product = {.depth = d,
                               .a = x.data + i * x.stride,
                               .lda = x.stride,
                               .b = panels + p * d * NR,
                               .c = map + i * stride + p * NR,
                               .ldc = stride};
            product_rows(&product, (int)least(MR, x.rows - i), columns - p * NR > LANES);
        }
}

/* to (+)= map x panels (`by_columns` false: to.rows rows of the map, depth `depth` columns) or the map's transpose x panels. */
static void multiply_by_map(const float *map, int64_t stride, bool by_columns, int64_t depth, const float *panels, int64_t d,
                            Part to, bool add)
{
    float block[MR * NR];
    for (int64_t p = 0; p * NR < d; p++) {
        int64_t width = least(NR, d - p * NR);
        for (int64_t i = 0; i < to.rows; i += MR) {
            int rows = (int)least(MR, to.rows - i);
            Product product = {.depth = depth, .lda = stride, .b = panels + p * depth * NR, .c = block, .ldc = NR};
            if (by_columns) {
                product.a = map + i;
                product_columns(&product, rows, width > LANES);
            } else {
                product.a = map + i * stride;
                product_rows(&product, rows, width > LANES);
            }
            for (int r = 0; r < rows; r++) {
                float *row = to.data + (i + r) * to.stride + p * NR;
                int64_t j = 0;
                for (; j + LANES <= width; j += LANES) {
                    Vec v = vec_load(block + r * NR + j);
                    vec_store(row + j, add ? v + vec_load(row + j) : v);
                }
                for (; j < width; j++)
                    row[j] = add ? row[j] + block[r * NR + j] : block[r * NR + j];
            }
        }
    }
}

/* Softmax of scale x row in place; returns the log of the sum. */
static float softmax_row(float *row, int64_t n, float scale)
{
    Vec most = vec_set(-INFINITY), sum = {0};
    int64_t whole = n / LANES * LANES;
    float largest = -INFINITY;
    for (int64_t j = 0; j < whole; j += LANES)
        most = vec_max(vec_load(row + j), most);
    if (whole)
        largest = vec_largest(most);
    for (int64_t j = whole; j < n; j++)
        largest = row[j] > largest ? row[j] : largest;
    float shift = largest * scale;
    for (int64_t j = 0; j < whole; j += LANES) {
        Vec e = vec_exp(vec_load(row + j) * scale - shift);
        vec_store(row + j, e);
        sum += e;
    }
    float total = vec_sum(sum);
    if (whole < n) {
        /* Numbers behind the row's end come out of the vector but are not counted. */
        Vec e = vec_exp(vec_load_some(row + whole, n - whole) * scale - shift);
        vec_store_some(row + whole, e, n - whole);
        for (int64_t j = whole; j < n; j++)
            total += row[j];
    }
    Vec inverse = vec_set(1.0f / total);
    for (int64_t j = 0; j < whole; j += LANES)
        vec_store(row + j, vec_load(row + j) * inverse);
    for (int64_t j = whole; j < n; j++)
        row[j] *= inverse[0];
    return shift + logf(total);
}

static Part part(const Tensor *x, int64_t group, int64_t rows, int64_t column)
{
    return (Part){x->data ? (float *)x->data + group * rows * x->columns + column : NULL, rows, x->columns};
}

void CPU(attention)(const Call *c, Worker *worker)
{
    const AttentionAttr *a = c->attr;
    const Tensor *q = &c->in[ATTENTION_Q], *kv = &c->in[ATTENTION_KV];
    int64_t d = a->width / a->heads, stride = attention_padded(a->keys), heads = heads_of_task(a);
    float *map = (float *)c->work + worker->thread * attention_floats(a->queries, a->keys, d);
    float *keys = map + a->queries * stride, *values = keys + d * stride;
    float *lse = c->out[ATTENTION_LSE].data;
    int64_t tasks = a->groups * a->heads / heads;
    for (int64_t t; (t = worker_next(worker)) < tasks;)
        for (int64_t u = t * heads; u < (t + 1) * heads; u++) {
            int64_t g = u / a->heads, column = u % a->heads * d;
            pack_transposed(part(kv, g, a->keys, a->k_column + column), d, keys);
            pack_straight(part(kv, g, a->keys, a->v_column + column), d, values);
            multiply_map(part(q, g, a->queries, a->q_column + column), d, keys, a->keys, map, stride);
            for (int64_t i = 0; i < a->queries; i++)
                lse[u * a->queries + i] = softmax_row(map + i * stride, a->keys, (float)a->scale);
            multiply_by_map(map, stride, false, a->keys, values, d, part(&c->out[ATTENTION_O], g, a->queries, column), false);
        }
}

/* From logits and dP in place: p = softmax, dp = scale p (dp - sum). */
static void grad_row(float *p, float *dp, int64_t n, float scale, float log_sum, float sum)
{
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        Vec e = vec_exp(vec_load(p + j) * scale - log_sum);
        vec_store(p + j, e);
        vec_store(dp + j, (vec_load(dp + j) - sum) * e * scale);
    }
    if (j < n) {
        Vec e = vec_exp(vec_load_some(p + j, n - j) * scale - log_sum);
        Vec d = (vec_load_some(dp + j, n - j) - sum) * e * scale;
        vec_store_some(p + j, e, n - j);
        vec_store_some(dp + j, d, n - j);
    }
}

static float dot(const float *x, const float *y, int64_t n)
{
    Vec sum = {0};
    float rest = 0;
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES)
        sum += vec_load(x + j) * vec_load(y + j);
    for (; j < n; j++)
        rest += x[j] * y[j];
    return vec_sum(sum) + rest;
}

void CPU(attention_grad)(const Call *c, Worker *worker)
{
    const AttentionAttr *a = c->attr;
    const Tensor *q = &c->in[ATTENTION_GRAD_Q], *kv = &c->in[ATTENTION_GRAD_KV];
    bool packed = q->data == kv->data;
    const Tensor *dq = &c->out[ATTENTION_GRAD_DQ], *dkv = packed ? dq : &c->out[ATTENTION_GRAD_DKV];
    bool add_q = call_accumulates(c, ATTENTION_GRAD_DQ), add_kv = packed ? add_q : call_accumulates(c, ATTENTION_GRAD_DKV);
    int64_t d = a->width / a->heads, stride = attention_padded(a->keys), wide = attention_padded(d), heads = heads_of_task(a);
    float *map = (float *)c->work + worker->thread * attention_grad_floats(a->queries, a->keys, d);
    float *dmap = map + a->queries * stride, *keys_across = dmap + a->queries * stride,
          *values_across = keys_across + d * stride, *keys = values_across + d * stride, *queries = keys + a->keys * wide,
          *douts = queries + a->queries * wide;
    const float *lse = c->in[ATTENTION_GRAD_LSE].data;
    int64_t tasks = a->groups * a->heads / heads;
    for (int64_t t; (t = worker_next(worker)) < tasks;)
        for (int64_t u = t * heads; u < (t + 1) * heads; u++) {
            int64_t g = u / a->heads, column = u % a->heads * d;
            Part query = part(q, g, a->queries, a->q_column + column), key = part(kv, g, a->keys, a->k_column + column);
            Part dout = part(&c->in[ATTENTION_GRAD_DO], g, a->queries, column);
            Part out = part(&c->in[ATTENTION_GRAD_O], g, a->queries, column);
            pack_transposed(key, d, keys_across);
            pack_transposed(part(kv, g, a->keys, a->v_column + column), d, values_across);
            multiply_map(query, d, keys_across, a->keys, map, stride);
            multiply_map(dout, d, values_across, a->keys, dmap, stride);
            for (int64_t i = 0; i < a->queries; i++)
                grad_row(map + i * stride, dmap + i * stride, a->keys, (float)a->scale, lse[u * a->queries + i],
                         dot(dout.data + i * dout.stride, out.data + i * out.stride, d));
            if (dq->data) {
                pack_straight(key, d, keys);
                multiply_by_map(dmap, stride, false, a->keys, keys, d, part(dq, g, a->queries, a->q_column + column), add_q);
            }
            if (dkv->data) {
                pack_straight(query, d, queries);
                pack_straight(dout, d, douts);
                multiply_by_map(dmap, stride, true, a->queries, queries, d, part(dkv, g, a->keys, a->k_column + column),
                                add_kv);
                multiply_by_map(map, stride, true, a->queries, douts, d, part(dkv, g, a->keys, a->v_column + column), add_kv);
            }
        }
}
