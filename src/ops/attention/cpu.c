/* Attention, one head of one group at a time, a block of its queries at a time: the block's rows of the map are made, used and
 * forgotten in a thread's nearest cache. The backward pass makes them again from q, k and the log-sum of each row, and keeps
 * the whole map of the head for the sums over queries. */
#include "ops/attention/slots.h"
#include "ops/attention/work.h"
#include "ops/pack.h"

CPU_DECLARE(attention);
CPU_DECLARE(attention_grad);

_Static_assert((int)MR <= (int)ATTENTION_BLOCK && (int)NR <= (int)ATTENTION_PANEL, "the workspace holds a block of any build");

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

/* Asks for rows ahead: they are too short for the processor to see where they go on. */
static void fetch_rows(const Rows *x, Span s)
{
    for (int64_t r = s.first; r < s.end; r++)
        for (const char *at = rows_at(x, r), *end = number_at(at, x->bf16, x->columns); at < end; at += 64)
            __builtin_prefetch(at);
}

/* All panels of x's transpose into `to`. */
static void pack_all_across(const Rows *x, bool pairs, Unit *to)
{
    for (int64_t p = 0; p * NR < x->rows; p++) {
        fetch_rows(x, (Span){least((p + 1) * NR, x->rows), least((p + 2) * NR, x->rows)});
        pack_across(x, p, pairs, to + p * unit_count(x->columns, pairs) * NR);
    }
}

/* All panels of x into `to`; returns `to`. */
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

/* Rows `s` of x. */
static Rows rows_part(const Rows *x, Span s)
{
    return (Rows){rows_at(x, s.first), x->bf16, s.end - s.first, x->columns, x->stride};
}

/* Block b of `count` nearly equal ones. */
static Span block_of(int64_t b, int64_t count, int64_t rows)
{
    return (Span){b * rows / count, (b + 1) * rows / count};
}

/* Blocks of at most MR queries, which begin at even ones: the backward pass takes them in pairs. */
static int64_t query_blocks(const AttentionAttr *a)
{
    return pieces(pieces(a->queries, 2), MR / 2);
}

/* Block b; none behind the last. */
static Span query_block(const AttentionAttr *a, int64_t b)
{
    if (b >= query_blocks(a))
        return (Span){0};
    Span pairs = block_of(b, query_blocks(a), pieces(a->queries, 2));
    return (Span){2 * pairs.first, least(2 * pairs.end, a->queries)};
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

/* Rows `s` of left times packed panels of `columns` columns, as the rows of `map`, which are padded to `stride`. */
static void multiply_map(const Left *left, Span s, int64_t depth, bool pairs, const Unit *panels, int64_t columns, float *map,
                         int64_t stride)
{
    for (int64_t p = 0; p * NR < columns; p++)
        multiply_block(left, s.first, (int)(s.end - s.first), depth, pairs, panels + p * depth * NR, columns - p * NR > LANES,
                       map + p * NR, stride);
}

/* to (+)= left times panels; scale: NULL, or a factor for each row. */
static void multiply_out(const Left *left, int64_t depth, bool pairs, const Unit *panels, const float *scale, const Rows *to,
                         bool add)
{
    _Alignas(64) float block[MR * NR];
    int64_t blocks = pieces(to->rows, MR);
    for (int64_t p = 0; p * NR < to->columns; p++) {
        int64_t width = least(NR, to->columns - p * NR);
        for (int64_t b = 0; b < blocks; b++) {
            Span s = block_of(b, blocks, to->rows);
            multiply_block(left, s.first, (int)(s.end - s.first), depth, pairs, panels + p * depth * NR, width > LANES, block,
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

/* Products in place: e^(logit - the largest logit) as units, zeros in the rest of the last vectors, where a logit is
 * scale x + bias. Returns the log of the sum, and in *inverse what the numbers are to be multiplied with. */
static float softmax_row(float *row, int64_t n, float scale, const float *bias, bool pairs, float *inverse)
{
    int64_t step = pairs ? 2 * LANES : LANES;
    Vec most = vec_set(-INFINITY), sum = {0};
    for (int64_t j = 0; j < n; j += LANES) {
        Vec x = vec_load(row + j);
        if (bias) {
            x = x * scale + vec_read(bias + j, n - j);
            vec_store(row + j, x);
        }
        most = vec_max(n - j >= LANES ? x : vec_pick(vec_first(n - j), x, most), most);
    }
    float factor = bias ? 1 : scale, shift = vec_largest(most) * factor;
    for (int64_t j = 0; j < n; j += step) {
        Vec e[2] = {{0}, {0}};
        for (int v = 0; v < (pairs ? 2 : 1) && j + v * LANES < n; v++) {
            int64_t left = n - j - v * LANES;
            e[v] = vec_exp(vec_load(row + j + v * LANES) * factor - shift);
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

/* The finished softmax of some rows, from the units that are multiplied with the values. */
static void write_map(int64_t rows, int64_t keys, const float *map, int64_t stride, bool pairs, const float *inverse, float *to)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < keys; j += LANES)
            vec_write(to + i * keys + j, number_read(map + i * stride, pairs, j, keys - j) * inverse[i], keys - j);
}

/* Head h's bias (Tq, Tk), or NULL. */
static const float *bias_of(const AttentionAttr *a, const Tensor *bias, int64_t h)
{
    return bias->data ? (const float *)bias->data + h * a->queries * a->keys : NULL;
}

void CPU(attention)(const Call *c, Worker *worker)
{
    const AttentionAttr *a = c->attr;
    const Tensor *q = &c->in[ATTENTION_Q], *kv = &c->in[ATTENTION_KV];
    bool pairs = HAS_PAIRS && q->dtype == DTYPE_BF16;
    int64_t d = a->width / a->heads, stride = attention_padded(a->keys), heads = heads_of_task(a);
    float *map = (float *)c->work + worker->thread * attention_floats(a->queries, a->keys, d);
    Unit *keys = map + ATTENTION_BLOCK * stride, *values = keys + d * stride, *room = values + a->keys * attention_padded(d);
    float inverse[MR], *lse = c->out[ATTENTION_LSE].data, *kept = c->out[ATTENTION_MAP].data;
    int64_t tasks = a->groups * a->heads / heads;
    for (int64_t t; (t = worker_next(worker, tasks)) < tasks;)
        for (int64_t u = t * heads; u < (t + 1) * heads; u++) {
            int64_t g = u / a->heads, column = u % a->heads * d;
            Rows query = head_rows(q, g, a->queries, a->q_column + column, d),
                 key = head_rows(kv, g, a->keys, a->k_column + column, d),
                 value = head_rows(kv, g, a->keys, a->v_column + column, d),
                 out = head_rows(&c->out[ATTENTION_O], g, a->queries, column, d);
            const float *bias = bias_of(a, &c->in[ATTENTION_BIAS], u % a->heads);
            Left left = left_rows(&query, pairs, room), p = {map, stride, 1};
            pack_all_across(&key, pairs, keys);
            pack_all_down(&value, pairs, values);
            for (int64_t b = 0; b < query_blocks(a); b++) {
                Span s = query_block(a, b);
                Rows to = rows_part(&out, s);
                fetch_rows(&query, query_block(a, b + 1));
                multiply_map(&left, s, unit_count(d, pairs), pairs, keys, a->keys, map, stride);
                for (int64_t i = s.first; i < s.end; i++)
                    lse[u * a->queries + i] = softmax_row(map + (i - s.first) * stride, a->keys, (float)a->scale,
                                                          bias ? bias + i * a->keys : NULL, pairs, &inverse[i - s.first]);
                if (kept)
                    write_map(to.rows, a->keys, map, stride, pairs, inverse, kept + (u * a->queries + s.first) * a->keys);
                multiply_out(&p, unit_count(a->keys, pairs), pairs, values, inverse, &to, false);
            }
        }
}

/* ---- backward */

/* What the rows of a head's map have in common. bias, dbias: the head's (Tq, Tk), or NULL; add_dbias: to what dbias holds. */
typedef struct {
    int64_t keys, stride;
    float scale;
    const float *log_sum, *both, *bias; /* both: do . o of each query */
    float *dbias;
    bool add_dbias;
} MapRows;

/* p and ds = scale p (dp - both), of the n > 0 numbers that are left of row i from j on, at most LANES, from q . k and dp. */
static inline __attribute__((always_inline)) Vec grad_numbers(const MapRows *m, int64_t i, int64_t j, int64_t n,
                                                              const float *product, const float *dp, const bool biased, Vec *p)
{
    int64_t at = i * m->keys + j;
    Vec x = vec_load(product) * m->scale - m->log_sum[i];
    *p = vec_exp(biased ? x + vec_read(m->bias + at, n) : x);
    Vec ds = (vec_load(dp) - m->both[i]) * *p;
    if (biased && m->dbias)
        vec_put(m->dbias + at, ds, n, m->add_dbias);
    if (n >= LANES)
        return ds * m->scale;
    *p = (Vec)((VecI)*p & vec_first(n));
    return (Vec)((VecI)(ds * m->scale) & vec_first(n));
}

static void grad_row(const MapRows *rows, int64_t i, float *map, float *dmap)
{
    const MapRows m = *rows;
    for (int64_t j = 0; j < m.keys; j += LANES) {
        Vec p, ds = grad_numbers(&m, i, j, m.keys - j, map + j, dmap + j, m.bias, &p);
        vec_store(map + j, p);
        vec_store(dmap + j, ds);
    }
}

/* The n > 0 numbers that are left of `count` rows, from j on, at most 2 LANES of each. */
static inline __attribute__((always_inline)) void grad_pair_block(const MapRows *m, int64_t i, const int count, int64_t j,
                                                                  int64_t n, const bool biased, float *map, float *dmap)
{
    Vec p[2][2] = {{{0}, {0}}, {{0}, {0}}}, ds[2][2] = {{{0}, {0}}, {{0}, {0}}};
#pragma GCC unroll 2
    for (int r = 0; r < count; r++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++)
            if (n > v * LANES) {
                int64_t at = r * m->stride + j + v * LANES;
                ds[r][v] = grad_numbers(m, i + r, j + v * LANES, n - v * LANES, map + at, dmap + at, biased, &p[r][v]);
            }
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
        vec_store(map + j + v * LANES, unit_pair(p[0][v], p[1][v]));
        vec_store(map + m->stride + j + v * LANES, unit_pair(ds[0][v], ds[1][v]));
    }
#pragma GCC unroll 2
    for (int r = 0; r < count; r++)
        vec_store(dmap + r * m->stride + j / 2, unit_join(ds[r][0], ds[r][1]));
}

/* `count` rows at once, one or two, in place: `map`'s first row becomes the pairs of both rows' p, its second the pairs of
 * their ds (left operands that are summed down the rows), each row of `dmap` the units of its own ds (summed along). */
static inline __attribute__((always_inline)) void grad_rows(const MapRows *rows, int64_t i, const int count, const bool biased,
                                                            float *map, float *dmap)
{
    const MapRows m = *rows;
    int64_t j = 0;
    for (; j + 2 * LANES <= m.keys; j += 2 * LANES)
        grad_pair_block(&m, i, count, j, 2 * LANES, biased, map, dmap);
    if (j < m.keys)
        grad_pair_block(&m, i, count, j, m.keys - j, biased, map, dmap);
}

static void grad_row_pair(const MapRows *rows, int64_t i, bool second, float *map, float *dmap)
{
    if (!second)
        grad_rows(rows, i, 1, rows->bias, map, dmap);
    else if (rows->bias)
        grad_rows(rows, i, 2, true, map, dmap);
    else
        grad_rows(rows, i, 2, false, map, dmap);
}

static float dot(const Rows *x, const Rows *y, int64_t row)
{
    Vec sum = {0};
    for (int64_t i = 0; i < x->columns; i += LANES)
        sum +=
            number_read(rows_at(x, row), x->bf16, i, x->columns - i) * number_read(rows_at(y, row), y->bf16, i, x->columns - i);
    return vec_sum(sum);
}

/* A thread's memory, and what all heads have in common. */
typedef struct {
    const Call *call;
    bool packed, pairs; /* q and kv are one value; units are pairs of bf16 */
    int64_t d, stride, units, key_units, query_units;
    float *map, *dmap, *both;
    Unit *keys_across, *values_across, *keys, *queries, *douts, *query_room, *dout_room;
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
    b.query_room = b.douts + a->queries * wide;
    b.dout_room = b.query_room + a->queries * wide;
    return b;
}

/* Where a head's rows lie. */
typedef struct {
    Rows query, key, value, dout, out, dquery;
    Left query_units, dout_units;
} HeadRows;

/* Block i of the map: left operands for the sums over queries, and, where dq is wanted, the gradient of the block's queries. */
static void backward_block(const Backward *b, const MapRows *rows, const HeadRows *x, int64_t i, bool add_q)
{
    Span s = query_block(b->call->attr, i), next = query_block(b->call->attr, i + 1);
    int64_t stride = b->stride;
    /* Pairs of rows leave nothing in dmap that is needed beyond the block. */
    float *map = b->map + s.first * stride, *dmap = b->pairs ? b->dmap : b->dmap + s.first * stride;
    fetch_rows(&x->query, next);
    fetch_rows(&x->dout, next);
    fetch_rows(&x->out, next);
    multiply_map(&x->query_units, s, b->units, b->pairs, b->keys_across, rows->keys, map, stride);
    multiply_map(&x->dout_units, s, b->units, b->pairs, b->values_across, rows->keys, dmap, stride);
    for (int64_t r = s.first; r < s.end; r++)
        b->both[r] = dot(&x->dout, &x->out, r);
    for (int64_t r = s.first; r < s.end; r += b->pairs ? 2 : 1) {
        int64_t at = (r - s.first) * stride;
        if (b->pairs)
            grad_row_pair(rows, r, r + 1 < s.end, map + at, dmap + at);
        else
            grad_row(rows, r, map + at, dmap + at);
    }
    if (x->dquery.data) {
        Rows to = rows_part(&x->dquery, s);
        multiply_out(&(Left){dmap, stride, 1}, b->key_units, b->pairs, b->keys, NULL, &to, add_q);
    }
}

/* Of head h of group g. dbias: where the gradient of its bias is written, or added, or NULL. */
static void backward_head(const Backward *b, int64_t g, int64_t h, float *dbias, bool add_dbias)
{
    const Call *c = b->call;
    const AttentionAttr *a = c->attr;
    const Tensor *q = &c->in[ATTENTION_GRAD_Q], *kv = &c->in[ATTENTION_GRAD_KV];
    const Tensor *dq = &c->out[ATTENTION_GRAD_DQ], *dkv = b->packed ? dq : &c->out[ATTENTION_GRAD_DKV];
    bool add_q = call_accumulates(c, ATTENTION_GRAD_DQ), add_kv = b->packed ? add_q : call_accumulates(c, ATTENTION_GRAD_DKV);
    bool pairs = b->pairs;
    int64_t d = b->d, stride = b->stride, column = h * d;
    HeadRows x = {.query = head_rows(q, g, a->queries, a->q_column + column, d),
                  .key = head_rows(kv, g, a->keys, a->k_column + column, d),
                  .value = head_rows(kv, g, a->keys, a->v_column + column, d),
                  .dout = head_rows(&c->in[ATTENTION_GRAD_DO], g, a->queries, column, d),
                  .out = head_rows(&c->in[ATTENTION_GRAD_O], g, a->queries, column, d),
                  .dquery = head_rows(dq, g, a->queries, a->q_column + column, d)};
    x.query_units = left_rows(&x.query, pairs, b->query_room);
    x.dout_units = left_rows(&x.dout, pairs, b->dout_room);
    MapRows rows = {.keys = a->keys,
                    .stride = stride,
                    .scale = (float)a->scale,
                    .log_sum = (const float *)c->in[ATTENTION_GRAD_LSE].data + (g * a->heads + h) * a->queries,
                    .both = b->both,
                    .bias = bias_of(a, &c->in[ATTENTION_GRAD_BIAS], h),
                    .dbias = dbias,
                    .add_dbias = add_dbias};
    pack_all_across(&x.key, pairs, b->keys_across);
    pack_all_across(&x.value, pairs, b->values_across);
    if (dq->data)
        pack_all_down(&x.key, pairs, b->keys);
    for (int64_t i = 0; i < query_blocks(a); i++)
        backward_block(b, &rows, &x, i, add_q);
    if (dkv->data) {
        Left p = {b->map, 1, pairs ? 2 * stride : stride}, ds = {pairs ? b->map + stride : b->dmap, 1, p.along};
        Rows dk = head_rows(dkv, g, a->keys, a->k_column + column, d), dv = head_rows(dkv, g, a->keys, a->v_column + column, d);
        multiply_out(&ds, b->query_units, pairs, pack_all_down(&x.query, pairs, b->queries), NULL, &dk, add_kv);
        multiply_out(&p, b->query_units, pairs, pack_all_down(&x.dout, pairs, b->douts), NULL, &dv, add_kv);
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
