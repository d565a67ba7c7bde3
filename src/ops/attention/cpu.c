/* Attention, one head of one group at a time, all of it in a thread's own memory: the map of a head is small (at most a few
 * hundred rows), so it is made whole, used, and forgotten. The backward pass makes it again from q, k and the log-sum of each
 * row. */
#include "ops/attention/slots.h"
#include "ops/attention/work.h"
#include "ops/pack.h"

CPU_DECLARE(attention);
CPU_DECLARE(attention_grad);

/* Heads that one task takes: all of a group when they are small, so that a task is worth its counter. */
static int64_t heads_of_task(const AttentionAttr *a)
{
    return a->queries * a->keys < 64 * 64 ? a->heads : 1;
}

static Rows head_rows(const Tensor *x, int64_t group, int64_t rows, int64_t column, int64_t d)
{
    bool bf16 = x->dtype == DTYPE_BF16;
    return (Rows){x->data ? number_at(x->data, bf16, group * rows * x->columns + column) : NULL, bf16, rows, d, x->columns};
}

/* All panels of x's transpose, or of x, into `to`; returns `to`. */
static const Unit *pack_all_across(const Rows *x, bool pairs, Unit *to)
{
    for (int64_t p = 0; p * NR < x->rows; p++)
        pack_across(x, p, pairs, to + p * unit_count(x->columns, pairs) * NR);
    return to;
}

static const Unit *pack_all_down(const Rows *x, bool pairs, Unit *to)
{
    for (int64_t p = 0; p * NR < x->columns; p++)
        pack_down(x, p, pairs, to + p * unit_count(x->rows, pairs) * NR);
    return to;
}

/* A left operand: unit (i, k) at a[i row + k along]. */
typedef struct {
    const Unit *a;
    int64_t row, along;
} Left;

/* x's rows as units: where they lie if they are units there, else written to `room`. */
static Left left_rows(const Rows *x, bool pairs, Unit *room)
{
    if (x->bf16 == pairs && !(pairs && (x->columns % 2 || x->stride % 2)))
        return (Left){x->data, unit_count(x->stride, pairs), 1};
    int64_t stride = attention_padded(x->columns), step = pairs ? 2 * LANES : LANES;
    for (int64_t r = 0; r < x->rows; r++)
        for (int64_t i = 0; i < x->columns; i += step)
            vec_store((float *)room + r * stride + i * LANES / step,
                      row_units(rows_at(x, r), x->bf16, pairs, i, x->columns - i));
    return (Left){room, stride, 1};
}

/* Block b of `count` nearly equal ones. */
static Span block_of(int64_t b, int64_t count, int64_t rows)
{
    return (Span){b * rows / count, (b + 1) * rows / count};
}

static void multiply_block(const Left *left, int64_t row, int rows, int64_t depth, bool pairs, const Unit *panel, bool wide,
                           float *c, int64_t ldc)
{
    Product product = {.depth = depth, .a = left->a + row * left->row, .b = panel, .c = c, .ldc = ldc, .pairs = pairs};
    if (left->along == 1) {
        product.lda = left->row;
        product_rows(&product, rows, wide);
    } else {
        product.lda = left->along;
        product_columns(&product, rows, wide);
    }
}

/* map (rows, `stride`) = left times packed panels of `columns` columns; the map's rows are padded. */
static void multiply_map(Left left, int64_t rows, int64_t depth, bool pairs, const Unit *panels, int64_t columns, float *map,
                         int64_t stride)
{
    int64_t blocks = pieces(rows, MR);
    for (int64_t p = 0; p * NR < columns; p++)
        for (int64_t b = 0; b < blocks; b++) {
            Span s = block_of(b, blocks, rows);
            multiply_block(&left, s.first, (int)(s.end - s.first), depth, pairs, panels + p * depth * NR,
                           columns - p * NR > LANES, map + s.first * stride + p * NR, stride);
        }
}

/* Adds head h's bias to its logits, which are yet to be scaled. */
static void add_bias(const AttentionAttr *a, const Tensor *bias, int64_t h, float *map, int64_t stride)
{
    float unscale = (float)(1 / a->scale);
    const float *from = bias->data ? (const float *)bias->data + h * a->queries * a->keys : NULL;
    for (int64_t i = 0; from && i < a->queries; i++)
        for (int64_t j = 0; j < a->keys; j += LANES)
            vec_store(map + i * stride + j,
                      vec_load(map + i * stride + j) + vec_read(from + i * a->keys + j, a->keys - j) * unscale);
}

/* to (+)= left times panels; scale: NULL, or a factor for each row. */
static void multiply_out(Left left, int64_t depth, bool pairs, const Unit *panels, const float *scale, const Rows *to, bool add)
{
    _Alignas(64) float block[MR * NR];
    int64_t blocks = pieces(to->rows, MR);
    for (int64_t p = 0; p * NR < to->columns; p++) {
        int64_t width = least(NR, to->columns - p * NR);
        for (int64_t b = 0; b < blocks; b++) {
            Span s = block_of(b, blocks, to->rows);
            multiply_block(&left, s.first, (int)(s.end - s.first), depth, pairs, panels + p * depth * NR, width > LANES, block,
                           NR);
            for (int64_t r = s.first; r < s.end; r++) {
                void *row = number_at(rows_at(to, r), to->bf16, p * NR);
                const float *from = block + (r - s.first) * NR;
                float factor = scale ? scale[r] : 1;
                for (int64_t j = 0; j < width; j += LANES)
                    number_put(row, to->bf16, j, vec_load(from + j) * factor, width - j, add);
            }
        }
    }
}

/* Logits in place: e^(scale x - the largest) as units, zeros in the rest of the last vectors. Returns the log of the sum, and
 * in *inverse what the numbers are to be multiplied with. */
static float softmax_row(float *row, int64_t n, float scale, bool pairs, float *inverse)
{
    int64_t step = pairs ? 2 * LANES : LANES;
    Vec most = vec_set(-INFINITY), sum = {0};
    for (int64_t j = 0; j < n; j += LANES)
        most = vec_max(n - j >= LANES ? vec_load(row + j) : vec_pick(vec_first(n - j), vec_load(row + j), most), most);
    float shift = vec_largest(most) * scale;
    for (int64_t j = 0; j < n; j += step) {
        Vec e[2] = {{0}, {0}};
        for (int v = 0; v < (pairs ? 2 : 1) && j + v * LANES < n; v++) {
            int64_t left = n - j - v * LANES;
            e[v] = vec_exp(vec_load(row + j + v * LANES) * scale - shift);
            if (left < LANES)
                e[v] = (Vec)((VecI)e[v] & vec_first(left));
            sum += e[v];
        }
        vec_store(row + j * LANES / step, pairs ? unit_join(e[0], e[1]) : e[0]);
    }
    float total = vec_sum(sum);
    *inverse = 1.0f / total;
    return shift + logf(total);
}

/* The finished softmax of a head, from the units that are multiplied with the values. */
static void write_map(const AttentionAttr *a, const float *map, int64_t stride, bool pairs, const float *inverse, float *to)
{
    for (int64_t i = 0; i < a->queries; i++)
        for (int64_t j = 0; j < a->keys; j += LANES)
            vec_write(to + i * a->keys + j, number_read(map + i * stride, pairs, j, a->keys - j) * inverse[i], a->keys - j);
}

void CPU(attention)(const Call *c, Worker *worker)
{
    const AttentionAttr *a = c->attr;
    const Tensor *q = &c->in[ATTENTION_Q], *kv = &c->in[ATTENTION_KV];
    bool pairs = HAS_PAIRS && q->dtype == DTYPE_BF16;
    int64_t d = a->width / a->heads, stride = attention_padded(a->keys), heads = heads_of_task(a);
    float *map = (float *)c->work + worker->thread * attention_floats(a->queries, a->keys, d);
    float *inverse = map + a->queries * stride;
    Unit *keys = inverse + attention_padded(a->queries), *values = keys + d * stride,
         *room = values + a->keys * attention_padded(d);
    float *lse = c->out[ATTENTION_LSE].data, *kept = c->out[ATTENTION_MAP].data;
    int64_t tasks = a->groups * a->heads / heads;
    for (int64_t t; (t = worker_next(worker, tasks)) < tasks;)
        for (int64_t u = t * heads; u < (t + 1) * heads; u++) {
            int64_t g = u / a->heads, column = u % a->heads * d;
            Rows query = head_rows(q, g, a->queries, a->q_column + column, d),
                 key = head_rows(kv, g, a->keys, a->k_column + column, d),
                 value = head_rows(kv, g, a->keys, a->v_column + column, d),
                 out = head_rows(&c->out[ATTENTION_O], g, a->queries, column, d);
            multiply_map(left_rows(&query, pairs, room), a->queries, unit_count(d, pairs), pairs,
                         pack_all_across(&key, pairs, keys), a->keys, map, stride);
            add_bias(a, &c->in[ATTENTION_BIAS], u % a->heads, map, stride);
            for (int64_t i = 0; i < a->queries; i++)
                lse[u * a->queries + i] = softmax_row(map + i * stride, a->keys, (float)a->scale, pairs, &inverse[i]);
            if (kept)
                write_map(a, map, stride, pairs, inverse, kept + u * a->queries * a->keys);
            multiply_out((Left){map, stride, 1}, unit_count(a->keys, pairs), pairs, pack_all_down(&value, pairs, values),
                         inverse, &out, false);
        }
}

/* ---- backward */

/* p and ds = scale p (dp - both), of LANES numbers of a row from its logits, its log-sum and both = do . o. */
static inline Vec grad_numbers(const float *logit, const float *dp, int64_t n, float scale, float log_sum, float both, Vec *p)
{
    *p = vec_exp(vec_load(logit) * scale - log_sum);
    Vec ds = (vec_load(dp) - both) * *p * scale;
    if (n >= LANES)
        return ds;
    *p = (Vec)((VecI)*p & vec_first(n));
    return (Vec)((VecI)ds & vec_first(n));
}

static void grad_row(float *map, float *dmap, int64_t n, float scale, float log_sum, float both)
{
    for (int64_t j = 0; j < n; j += LANES) {
        Vec p, ds = grad_numbers(map + j, dmap + j, n - j, scale, log_sum, both, &p);
        vec_store(map + j, p);
        vec_store(dmap + j, ds);
    }
}

/* Two rows at once, in place: `map`'s first row becomes the pairs of both rows' p, its second the pairs of their ds (left
 * operands that are summed down the rows), each row of `dmap` the units of its own ds (summed along). */
static void grad_row_pair(float *map, float *dmap, int64_t stride, int64_t n, float scale, const float *log_sum,
                          const float *both, bool second)
{
    for (int64_t j = 0; j < n; j += 2 * LANES) {
        Vec p[2][2] = {{{0}, {0}}, {{0}, {0}}}, ds[2][2] = {{{0}, {0}}, {{0}, {0}}};
        for (int r = 0; r < (second ? 2 : 1); r++)
            for (int v = 0; v < 2 && j + v * LANES < n; v++) {
                int64_t at = r * stride + j + v * LANES;
                ds[r][v] = grad_numbers(map + at, dmap + at, n - j - v * LANES, scale, log_sum[r], both[r], &p[r][v]);
            }
        for (int v = 0; v < 2; v++) {
            vec_store(map + j + v * LANES, unit_pair(p[0][v], p[1][v]));
            vec_store(map + stride + j + v * LANES, unit_pair(ds[0][v], ds[1][v]));
        }
        vec_store(dmap + j / 2, unit_join(ds[0][0], ds[0][1]));
        if (second)
            vec_store(dmap + stride + j / 2, unit_join(ds[1][0], ds[1][1]));
    }
}

static float dot(const Rows *x, const Rows *y, int64_t row)
{
    Vec sum = {0};
    for (int64_t i = 0; i < x->columns; i += LANES)
        sum +=
            number_read(rows_at(x, row), x->bf16, i, x->columns - i) * number_read(rows_at(y, row), y->bf16, i, x->columns - i);
    return vec_sum(sum);
}

/* to = or += the gradient of the bias in one group: p (dp - both). */
static void add_bias_gradient(const AttentionAttr *a, const float *map, const float *dmap, int64_t stride, const float *log_sum,
                              const float *both, bool add, float *to)
{
    for (int64_t i = 0; i < a->queries; i++)
        for (int64_t j = 0; j < a->keys; j += LANES) {
            Vec p = vec_exp(vec_load(map + i * stride + j) * (float)a->scale - log_sum[i]);
            vec_put(to + i * a->keys + j, p * (vec_load(dmap + i * stride + j) - both[i]), a->keys - j, add);
        }
}

/* A thread's memory, and what all heads have in common. */
typedef struct {
    const Call *call;
    bool packed, pairs; /* q and kv are one value; units are pairs of bf16 */
    int64_t d, stride, units, key_units, query_units;
    float *map, *dmap, *both;
    Unit *keys_across, *values_across, *keys, *queries, *douts, *room;
} Backward;

static Backward backward_of(const Call *c, const Worker *worker)
{
    const AttentionAttr *a = c->attr;
    const Tensor *q = &c->in[ATTENTION_GRAD_Q];
    bool pairs = HAS_PAIRS && q->dtype == DTYPE_BF16;
    int64_t d = a->width / a->heads, stride = attention_padded(a->keys), wide = attention_padded(d);
    Backward b = {.call = c,
                  .packed = q->data == c->in[ATTENTION_GRAD_KV].data,
                  .pairs = pairs,
                  .d = d,
                  .stride = stride,
                  .units = unit_count(d, pairs),
                  .key_units = unit_count(a->keys, pairs),
                  .query_units = unit_count(a->queries, pairs),
                  .map = (float *)c->work + worker->thread * attention_grad_floats(a->queries, a->keys, d)};
    b.dmap = b.map + (a->queries + 1) * stride;
    b.both = b.dmap + (a->queries + 1) * stride;
    b.keys_across = b.both + attention_padded(a->queries);
    b.values_across = b.keys_across + d * stride;
    b.keys = b.values_across + d * stride;
    b.queries = b.keys + a->keys * wide;
    b.douts = b.queries + a->queries * wide;
    b.room = b.douts + a->queries * wide;
    return b;
}

/* Of head h of group g. bias: where its gradient is added, or NULL. */
static void backward_head(const Backward *b, int64_t g, int64_t h, float *bias, bool add_bias_to)
{
    const Call *c = b->call;
    const AttentionAttr *a = c->attr;
    const Tensor *q = &c->in[ATTENTION_GRAD_Q], *kv = &c->in[ATTENTION_GRAD_KV];
    const Tensor *dq = &c->out[ATTENTION_GRAD_DQ], *dkv = b->packed ? dq : &c->out[ATTENTION_GRAD_DKV];
    bool add_q = call_accumulates(c, ATTENTION_GRAD_DQ), add_kv = b->packed ? add_q : call_accumulates(c, ATTENTION_GRAD_DKV);
    bool pairs = b->pairs;
    int64_t d = b->d, stride = b->stride, column = h * d;
    float *map = b->map, *dmap = b->dmap, *both = b->both;
    Rows query = head_rows(q, g, a->queries, a->q_column + column, d), key = head_rows(kv, g, a->keys, a->k_column + column, d),
         value = head_rows(kv, g, a->keys, a->v_column + column, d),
         dout = head_rows(&c->in[ATTENTION_GRAD_DO], g, a->queries, column, d),
         out = head_rows(&c->in[ATTENTION_GRAD_O], g, a->queries, column, d);
    multiply_map(left_rows(&query, pairs, b->room), a->queries, b->units, pairs, pack_all_across(&key, pairs, b->keys_across),
                 a->keys, map, stride);
    add_bias(a, &c->in[ATTENTION_GRAD_BIAS], h, map, stride);
    multiply_map(left_rows(&dout, pairs, b->room), a->queries, b->units, pairs,
                 pack_all_across(&value, pairs, b->values_across), a->keys, dmap, stride);
    for (int64_t i = 0; i < a->queries; i++)
        both[i] = dot(&dout, &out, i);
    const float *log_sum = (const float *)c->in[ATTENTION_GRAD_LSE].data + (g * a->heads + h) * a->queries;
    if (bias)
        add_bias_gradient(a, map, dmap, stride, log_sum, both, add_bias_to, bias);
    for (int64_t i = 0; i < a->queries; i += pairs ? 2 : 1)
        if (pairs)
            grad_row_pair(map + i * stride, dmap + i * stride, stride, a->keys, (float)a->scale, log_sum + i, both + i,
                          i + 1 < a->queries);
        else
            grad_row(map + i * stride, dmap + i * stride, a->keys, (float)a->scale, log_sum[i], both[i]);
    if (dq->data) {
        Rows to = head_rows(dq, g, a->queries, a->q_column + column, d);
        multiply_out((Left){dmap, stride, 1}, b->key_units, pairs, pack_all_down(&key, pairs, b->keys), NULL, &to, add_q);
    }
    if (dkv->data) {
        Left p = {map, 1, pairs ? 2 * stride : stride}, ds = {pairs ? map + stride : dmap, 1, p.along};
        Rows dk = head_rows(dkv, g, a->keys, a->k_column + column, d), dv = head_rows(dkv, g, a->keys, a->v_column + column, d);
        multiply_out(ds, b->query_units, pairs, pack_all_down(&query, pairs, b->queries), NULL, &dk, add_kv);
        multiply_out(p, b->query_units, pairs, pack_all_down(&dout, pairs, b->douts), NULL, &dv, add_kv);
    }
}

/* With the gradient of a bias: each task has a head and a part of the groups, one after the other. */
static void backward_with_bias(const Backward *b, Worker *worker, const Tensor *dbias)
{
    const AttentionAttr *a = b->call->attr;
    int64_t parts = attention_bias_parts(a->groups), tasks = parts * a->heads, size = a->queries * a->keys,
            all = a->heads * size;
    float *sums = (float *)b->call->work + worker->threads * attention_grad_floats(a->queries, a->keys, b->d);
    for (int64_t t; (t = worker_next(worker, tasks)) < tasks;) {
        int64_t h = t % a->heads;
        Span s = block_of(t / a->heads, parts, a->groups);
        for (int64_t g = s.first; g < s.end; g++)
            backward_head(b, g, h, sums + t / a->heads * all + h * size, g > s.first);
    }
    worker_sync(worker);
    for (Span s; span_next(worker, TILE_FLOATS, all, &s);)
        partials_add(sums, parts, all, s, dbias->data, call_accumulates(b->call, ATTENTION_GRAD_DBIAS));
}

void CPU(attention_grad)(const Call *c, Worker *worker)
{
    const AttentionAttr *a = c->attr;
    Backward b = backward_of(c, worker);
    if (c->out[ATTENTION_GRAD_DBIAS].data) {
        backward_with_bias(&b, worker, &c->out[ATTENTION_GRAD_DBIAS]);
        return;
    }
    int64_t heads = heads_of_task(a), tasks = a->groups * a->heads / heads;
    for (int64_t t; (t = worker_next(worker, tasks)) < tasks;)
        for (int64_t u = t * heads; u < (t + 1) * heads; u++)
            backward_head(&b, u / a->heads, u % a->heads, NULL, false);
}
