/* The three products on tiles of rows. Weights are packed first, by all threads; then each tile of rows is prepared (LayerNorm,
 * activation, scales) in a thread's own memory, multiplied panel by panel, and finished (bias, scales, residual) while it is in
 * the cache. */
#include "ops/linear/slots.h"
#include "ops/linear/work.h"
#include "ops/product.h"

CPU_DECLARE(linear);
CPU_DECLARE(linear_dw);
CPU_DECLARE(linear_dx);

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- packing weights */

/* Panel p of W^T: column j of the panel is row p NR + j of W. */
static void pack_transposed(const float *w, int64_t n, int64_t k, int64_t p, float *panel)
{
    enum { BLOCK = 64 };
    for (int64_t k0 = 0; k0 < k; k0 += BLOCK)
        for (int64_t j = 0; j < NR; j++) {
            int64_t end = least(k0 + BLOCK, k);
            const float *from = w + (p * NR + j) * k;
            if (p * NR + j < n)
                for (int64_t i = k0; i < end; i++)
                    panel[i * NR + j] = from[i];
            else
                for (int64_t i = k0; i < end; i++)
                    panel[i * NR + j] = 0;
        }
}

/* Panel p of W: columns p NR .. of each of its n rows. */
static void pack_straight(const float *w, int64_t n, int64_t k, int64_t p, float *panel)
{
    int64_t width = least(NR, k - p * NR);
    for (int64_t j = 0; j < n; j++) {
        const float *from = w + j * k + p * NR;
        float *to = panel + j * NR;
        if (width == NR) {
            vec_store(to, vec_load(from));
            vec_store(to + LANES, vec_load(from + LANES));
        } else {
            memset(to, 0, NR * sizeof *to);
            memcpy(to, from, (size_t)width * sizeof *to);
        }
    }
}

/* ---- preparing rows */

static Vec activate(Vec x, Prologue kind)
{
    return kind == PROLOGUE_GELU ? vec_gelu(x) : vec_quick_gelu(x);
}

static void row_statistics(const float *x, int64_t n, double eps, float *stats)
{
    Vec sum = {0}, square = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sum += vec_load(x + i);
    sum += vec_load_some(x + i, n - i);
    float mean = vec_sum(sum) / (float)n;
    for (i = 0; i + LANES <= n; i += LANES) {
        Vec e = vec_load(x + i) - mean;
        square += e * e;
    }
    float rest = 0;
    for (; i < n; i++)
        rest += (x[i] - mean) * (x[i] - mean);
    stats[0] = mean;
    stats[1] = 1.0f / sqrtf((vec_sum(square) + rest) / (float)n + (float)eps);
}

/* prologue(x) of n numbers of a row, times a factor, into `to`. gamma and beta begin where x does. */
static void prepare(const float *x, int64_t n, Prologue kind, const float *stats, const float *gamma, const float *beta,
                    float factor, float *to)
{
    int64_t i = 0;
    if (kind == PROLOGUE_LAYER_NORM) {
        float mean = stats[0], inverse = stats[1];
        for (; i + LANES <= n; i += LANES)
            vec_store(to + i, ((vec_load(x + i) - mean) * inverse * vec_load(gamma + i) + vec_load(beta + i)) * factor);
        for (; i < n; i++)
            to[i] = ((x[i] - mean) * inverse * gamma[i] + beta[i]) * factor;
    } else if (kind == PROLOGUE_NONE) {
        for (; i + LANES <= n; i += LANES)
            vec_store(to + i, vec_load(x + i) * factor);
        for (; i < n; i++)
            to[i] = x[i] * factor;
    } else {
        for (; i + LANES <= n; i += LANES)
            vec_store(to + i, activate(vec_load(x + i), kind) * factor);
        if (i < n)
            vec_store_some(to + i, activate(vec_load_some(x + i, n - i), kind) * factor, n - i);
    }
}

/* ---- products of one tile */

/* Sums of a tile's rows with one panel, block by block, each finished by `finish(context, first row, rows, block)`. */
typedef void (*Finish)(const void *context, int64_t row, int rows, int64_t column, int columns, const float *block);

static void multiply_tile(const float *a, int64_t lda, int64_t rows, int64_t depth, const float *panels, int64_t columns,
                          Finish finish, const void *context)
{
    float block[MR * NR];
    for (int64_t p = 0; p * NR < columns; p++) {
        int width = (int)least(NR, columns - p * NR);
        for (int64_t row = 0; row < rows; row += MR) {
            int count = (int)least(MR, rows - row);
            Product product = {
                .depth = depth, .a = a + row * lda, .lda = lda, .b = panels + p * depth * NR, .c = block, .ldc = NR};
            product_rows(&product, count, width > LANES);
            finish(context, row, count, p * NR, width, block);
        }
    }
}

/* ---- forward */

typedef struct {
    const float *bias, *column, *group, *residual;
    int64_t first_row, per_group, columns;
    float *y;
} ForwardEnd;

static void forward_end(const void *context, int64_t row, int rows, int64_t column, int columns, const float *block)
{
    const ForwardEnd *e = context;
    for (int i = 0; i < rows; i++) {
        int64_t at = e->first_row + row + i;
        float *y = e->y + at * e->columns + column;
        const float *from = block + i * NR, *residual = e->residual ? e->residual + at * e->columns + column : NULL;
        float factor = e->group ? e->group[at / e->per_group] : 1.0f;
        for (int j = 0; j < columns; j += LANES) {
            int64_t some = columns - j;
            Vec v = vec_load(from + j);
            if (some >= LANES) {
                if (e->bias)
                    v += vec_load(e->bias + column + j);
                if (e->column)
                    v *= vec_load(e->column + column + j);
                if (e->group)
                    v *= factor;
                if (residual)
                    v += vec_load(residual + j);
                vec_store(y + j, v);
            } else {
                if (e->bias)
                    v += vec_load_some(e->bias + column + j, some);
                if (e->column)
                    v *= vec_load_some(e->column + column + j, some);
                if (e->group)
                    v *= factor;
                if (residual)
                    v += vec_load_some(residual + j, some);
                vec_store_some(y + j, v, some);
            }
        }
    }
}

void CPU(linear)(const Call *c, Worker *worker)
{
    const LinearAttr *attr = c->attr;
    int64_t rows = c->in[LINEAR_X].rows, k = c->in[LINEAR_X].columns, n = c->out[LINEAR_Y].columns;
    int64_t tile_rows = linear_tile_rows(k), stride = linear_stride(k);
    float *packed = c->work, *own = packed + k * linear_padded(n) + worker->thread * tile_rows * stride;
    const float *x = c->in[LINEAR_X].data, *gamma = c->in[LINEAR_GAMMA].data, *beta = c->in[LINEAR_BETA].data;
    float *stats = c->out[LINEAR_STATS].data;
    for (int64_t p; (p = worker_next(worker)) * NR < n;)
        pack_transposed(c->in[LINEAR_W].data, n, k, p, packed + p * k * NR);
    worker_sync(worker);
    ForwardEnd end = {.bias = c->in[LINEAR_B].data,
                      .column = c->in[LINEAR_COLUMN_SCALE].data,
                      .group = c->in[LINEAR_ROW_SCALE].data,
                      .residual = c->in[LINEAR_RESIDUAL].data,
                      .per_group = c->in[LINEAR_ROW_SCALE].data ? rows / c->in[LINEAR_ROW_SCALE].columns : 1,
                      .columns = n,
                      .y = c->out[LINEAR_Y].data};
    bool prepared = attr->prologue != PROLOGUE_NONE || k % 512 == 0;
    for (int64_t t; (t = worker_next(worker)) * tile_rows < rows;) {
        int64_t first = t * tile_rows, count = least(tile_rows, rows - first);
        for (int64_t i = 0; i < count && prepared; i++) {
            const float *from = x + (first + i) * k;
            float *s = stats ? stats + 2 * (first + i) : NULL;
            if (attr->prologue == PROLOGUE_LAYER_NORM)
                row_statistics(from, k, attr->eps, s);
            prepare(from, k, attr->prologue, s, gamma, beta, 1, own + i * stride);
        }
        end.first_row = first;
        multiply_tile(prepared ? own : x + first * k, prepared ? stride : k, count, k, packed, n, forward_end, &end);
    }
}

/* ---- dx */

typedef struct {
    const float *x; /* of the activation's slope, or NULL */
    Prologue prologue;
    int64_t first_row, columns;
    bool add;
    float *dx;
} BackwardEnd;

static Vec slope(Vec x, Prologue kind)
{
    return kind == PROLOGUE_GELU ? vec_gelu_slope(x) : vec_quick_gelu_slope(x);
}

static void backward_end(const void *context, int64_t row, int rows, int64_t column, int columns, const float *block)
{
    const BackwardEnd *e = context;
    for (int i = 0; i < rows; i++) {
        int64_t at = (e->first_row + row + i) * e->columns + column;
        const float *from = block + i * NR, *x = e->x ? e->x + at : NULL;
        float *dx = e->dx + at;
        for (int j = 0; j < columns; j += LANES) {
            int64_t some = columns - j;
            Vec v = vec_load(from + j);
            if (some >= LANES) {
                if (x)
                    v *= slope(vec_load(x + j), e->prologue);
                if (e->add)
                    v += vec_load(dx + j);
                vec_store(dx + j, v);
            } else {
                if (x)
                    v *= slope(vec_load_some(x + j, some), e->prologue);
                if (e->add)
                    v += vec_load_some(dx + j, some);
                vec_store_some(dx + j, v, some);
            }
        }
    }
}

typedef struct {
    float *to;
    int64_t stride;
} StoreEnd;

static void store_end(const void *context, int64_t row, int rows, int64_t column, int columns, const float *block)
{
    const StoreEnd *e = context;
    (void)columns; /* the rows of `to` are padded */
    for (int i = 0; i < rows; i++) {
        float *to = e->to + (row + i) * e->stride + column;
        vec_store(to, vec_load(block + i * NR));
        vec_store(to + LANES, vec_load(block + i * NR + LANES));
    }
}

/* One row of LayerNorm's gradient; with xhat = (x - mean) / deviation and g = dh gamma: dx = (g - mean(g) - xhat mean(g xhat))
 * / deviation. Adds to the tile's sums of dgamma and dbeta. */
static void norm_row(const float *dh, const float *x, const float *stats, const float *gamma, int64_t n, float *dx, bool add,
                     float *dgamma, float *dbeta)
{
    float mean = stats[0], inverse = stats[1], rest = 0, rest_product = 0;
    Vec sum = {0}, product = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        Vec d = vec_load(dh + i), hat = (vec_load(x + i) - mean) * inverse, g = d * vec_load(gamma + i);
        vec_store(dgamma + i, vec_load(dgamma + i) + d * hat);
        vec_store(dbeta + i, vec_load(dbeta + i) + d);
        sum += g;
        product += g * hat;
    }
    for (; i < n; i++) {
        float hat = (x[i] - mean) * inverse;
        dgamma[i] += dh[i] * hat;
        dbeta[i] += dh[i];
        rest += dh[i] * gamma[i];
        rest_product += dh[i] * gamma[i] * hat;
    }
    if (!dx)
        return;
    float first = (vec_sum(sum) + rest) / (float)n, second = (vec_sum(product) + rest_product) / (float)n;
    for (i = 0; i + LANES <= n; i += LANES) {
        Vec hat = (vec_load(x + i) - mean) * inverse;
        Vec v = inverse * (vec_load(dh + i) * vec_load(gamma + i) - first - hat * second);
        vec_store(dx + i, add ? v + vec_load(dx + i) : v);
    }
    for (; i < n; i++) {
        float v = inverse * (dh[i] * gamma[i] - first - (x[i] - mean) * inverse * second);
        dx[i] = add ? dx[i] + v : v;
    }
}

/* Column i0.. of the tiles' partial sums, added in order, into one output. */
static void add_partials(const float *partial, int64_t tiles, int64_t step, int64_t n, float *to, bool add)
{
    for (int64_t i = 0; to && i < n; i++) {
        float sum = 0;
        for (int64_t t = 0; t < tiles; t++)
            sum += partial[t * step + i];
        to[i] = add ? to[i] + sum : sum;
    }
}

/* dy of a row with the scales of the forward epilogue. */
static void scale_row(const float *dy, int64_t n, const float *column, float factor, float *to)
{
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        Vec v = vec_load(dy + j) * factor;
        vec_store(to + j, column ? v * vec_load(column + j) : v);
    }
    for (; j < n; j++)
        to[j] = dy[j] * factor * (column ? column[j] : 1.0f);
}

void CPU(linear_dx)(const Call *c, Worker *worker)
{
    const LinearAttr *attr = c->attr;
    int64_t rows = c->in[DX_DY].rows, n = c->in[DX_DY].columns, k = c->in[DX_W].rows * c->in[DX_W].columns / n;
    int64_t tile_rows = linear_tile_rows(n > k ? n : k), stride = linear_stride(n), padded = linear_padded(k);
    int64_t tiles = linear_tiles(rows, tile_rows);
    float *packed = c->work, *own = packed + n * padded + worker->thread * tile_rows * (stride + padded);
    float *gradient = own + tile_rows * stride,
          *partial = packed + n * padded + worker->threads * tile_rows * (stride + padded);
    const float *dy = c->in[DX_DY].data, *x = c->in[DX_X].data, *stats = c->in[DX_STATS].data, *gamma = c->in[DX_GAMMA].data,
                *column = c->in[DX_COLUMN_SCALE].data, *group = c->in[DX_ROW_SCALE].data;
    int64_t per_group = group ? rows / c->in[DX_ROW_SCALE].columns : 1;
    bool norm = attr->prologue == PROLOGUE_LAYER_NORM, add = call_accumulates(c, DX_DX);
    float *dx = c->out[DX_DX].data;
    for (int64_t p; (p = worker_next(worker)) * NR < k;)
        pack_straight(c->in[DX_W].data, n, k, p, packed + p * n * NR);
    worker_sync(worker);
    BackwardEnd end = {.x = norm || attr->prologue == PROLOGUE_NONE ? NULL : x,
                       .prologue = attr->prologue,
                       .columns = k,
                       .add = add,
                       .dx = dx};
    bool prepared = column || group || n % 512 == 0;
    for (int64_t t; (t = worker_next(worker)) < tiles;) {
        int64_t first = t * tile_rows, count = least(tile_rows, rows - first);
        for (int64_t i = 0; i < count && prepared; i++)
            scale_row(dy + (first + i) * n, n, column, group ? group[(first + i) / per_group] : 1, own + i * stride);
        const float *a = prepared ? own : dy + first * n;
        int64_t lda = prepared ? stride : n;
        if (!norm) {
            end.first_row = first;
            multiply_tile(a, lda, count, n, packed, k, backward_end, &end);
            continue;
        }
        multiply_tile(a, lda, count, n, packed, k, store_end, &(StoreEnd){gradient, padded});
        float *dgamma = partial + t * 2 * k, *dbeta = dgamma + k;
        memset(dgamma, 0, (size_t)(2 * k) * sizeof *dgamma);
        for (int64_t i = 0; i < count; i++)
            norm_row(gradient + i * padded, x + (first + i) * k, stats + 2 * (first + i), gamma, k,
                     dx ? dx + (first + i) * k : NULL, add, dgamma, dbeta);
    }
    if (!norm)
        return;
    worker_sync(worker);
    for (int64_t out; (out = worker_next(worker)) < 2;)
        add_partials(partial + out * k, tiles, 2 * k, k, c->out[DX_DGAMMA + out].data,
                     call_accumulates(c, DX_DGAMMA + (int)out));
}

/* ---- dW */

/* A task: rows row.. of dW, columns column.. of it, over all rows of x and dy. */
typedef struct {
    int64_t row, rows, column, columns;
    float *chunk, *sums, *dy_sums, *left; /* the thread's own */
} Slice;

/* Packs rows first.. of prologue(x), columns of the slice, as panels. */
static void pack_chunk(const Call *c, const Slice *s, int64_t first, int64_t count)
{
    const LinearAttr *attr = c->attr;
    int64_t k = c->in[DW_X].columns, rows = c->in[DW_X].rows;
    const float *x = c->in[DW_X].data, *stats = c->in[DW_STATS].data, *gamma = c->in[DW_GAMMA].data,
                *beta = c->in[DW_BETA].data, *group = c->in[DW_ROW_SCALE].data;
    int64_t per_group = group ? rows / c->in[DW_ROW_SCALE].columns : 1;
    for (int64_t j = 0; j < s->columns; j += NR) {
        int64_t width = least(NR, s->columns - j), at = s->column + j;
        float *panel = s->chunk + j * DW_CHUNK;
        for (int64_t r = 0; r < count; r++) {
            float *to = panel + r * NR;
            int64_t row = first + r;
            prepare(x + row * k + at, width, attr->prologue, stats ? stats + 2 * row : NULL, gamma ? gamma + at : NULL,
                    beta ? beta + at : NULL, group ? group[row / per_group] : 1, to);
            for (int64_t i = width; i < NR; i++)
                to[i] = 0;
        }
    }
}

/* dy_sums += the sums of dy's rows, columns of the slice's rows. */
static void sum_dy(const Call *c, const Slice *s, int64_t first, int64_t count)
{
    int64_t n = c->in[DW_DY].columns;
    const float *group = c->in[DW_ROW_SCALE].data;
    int64_t per_group = group ? c->in[DW_DY].rows / c->in[DW_ROW_SCALE].columns : 1;
    for (int64_t r = 0; r < count; r++) {
        const float *dy = (const float *)c->in[DW_DY].data + (first + r) * n + s->row;
        float factor = group ? group[(first + r) / per_group] : 1;
        int64_t j = 0;
        for (; j + LANES <= s->rows; j += LANES)
            vec_store(s->dy_sums + j, vec_load(s->dy_sums + j) + vec_load(dy + j) * factor);
        for (; j < s->rows; j++)
            s->dy_sums[j] += dy[j] * factor;
    }
}

/* Writes a finished slice; see ref.c for what G and g are. */
static void finish_slice(const Call *c, const Slice *s, float *partial)
{
    int64_t n = c->in[DW_DY].columns, k = c->in[DW_X].columns;
    const float *column = c->in[DW_COLUMN_SCALE].data, *w = c->in[DW_W].data, *b = c->in[DW_B].data;
    float *dw = c->out[DW_DW].data, *db = c->out[DW_DB].data;
    bool add = call_accumulates(c, DW_DW);
    for (int64_t i = 0; i < s->rows; i++) {
        int64_t j = s->row + i;
        const float *sums = s->sums + i * DW_COLUMNS;
        float scale = column ? column[j] : 1;
        if (dw) {
            float *to = dw + j * k + s->column;
            int64_t x = 0;
            for (; x + LANES <= s->columns; x += LANES) {
                Vec v = vec_load(sums + x) * scale;
                vec_store(to + x, add ? v + vec_load(to + x) : v);
            }
            for (; x < s->columns; x++)
                to[x] = add ? to[x] + sums[x] * scale : sums[x] * scale;
        }
        if (c->out[DW_DCOLUMN].data) {
            float sum = s->column == 0 && b ? b[j] * s->dy_sums[i] : 0;
            for (int64_t x = 0; x < s->columns; x++)
                sum += w[j * k + s->column + x] * sums[x];
            partial[s->column / DW_COLUMNS * n + j] = sum;
        }
        if (db && s->column == 0)
            db[j] = (call_accumulates(c, DW_DB) ? db[j] : 0) + scale * s->dy_sums[i];
    }
}

/* Copies `columns` <= MR columns of dy's rows side by side. Read where they lie, a few bytes every row, they would fall into
 * few sets of the cache and drive each other out. */
static void pack_left(const float *dy, int64_t n, int64_t count, int64_t columns, float *to)
{
    for (int64_t r = 0; r < count; r++)
        vec_store(to + r * DW_LEFT, columns == LANES ? vec_load(dy + r * n) : vec_load_some(dy + r * n, columns));
}

static void multiply_slice(const Call *c, const Slice *s)
{
    int64_t rows = c->in[DW_X].rows, n = c->in[DW_DY].columns;
    const float *dy = c->in[DW_DY].data;
    bool sums_dy = s->column == 0, copied = n % 512 == 0;
    if (sums_dy)
        memset(s->dy_sums, 0, (size_t)s->rows * sizeof *s->dy_sums);
    for (int64_t first = 0; first < rows; first += DW_CHUNK) {
        int64_t count = least(DW_CHUNK, rows - first);
        pack_chunk(c, s, first, count);
        for (int64_t i = 0; i < s->rows; i += MR) {
            int height = (int)least(MR, s->rows - i);
            const float *from = dy + first * n + s->row + i;
            if (copied)
                pack_left(from, n, count, height, s->left);
            for (int64_t j = 0; j < s->columns; j += NR) {
                Product product = {.depth = count,
                                   .a = copied ? s->left : from,
                                   .lda = copied ? DW_LEFT : n,
                                   .b = s->chunk + j * DW_CHUNK,
                                   .c = s->sums + i * DW_COLUMNS + j,
                                   .ldc = DW_COLUMNS,
                                   .add = first > 0};
                product_columns(&product, height, s->columns - j > LANES);
            }
        }
        if (sums_dy)
            sum_dy(c, s, first, count);
    }
}

void CPU(linear_dw)(const Call *c, Worker *worker)
{
    int64_t k = c->in[DW_X].columns, n = c->in[DW_DY].columns;
    int64_t across = linear_tiles(k, DW_COLUMNS), down = linear_tiles(n, DW_ROWS);
    float *own = (float *)c->work + worker->thread * DW_THREAD_FLOATS,
          *partial = (float *)c->work + worker->threads * DW_THREAD_FLOATS;
    for (int64_t t; (t = worker_next(worker)) < across * down;) {
        Slice s = {.row = t / across * DW_ROWS, .column = t % across * DW_COLUMNS, .chunk = own};
        s.rows = least(DW_ROWS, n - s.row);
        s.columns = least(DW_COLUMNS, k - s.column);
        s.sums = s.chunk + DW_CHUNK * DW_COLUMNS;
        s.dy_sums = s.sums + DW_ROWS * DW_COLUMNS;
        s.left = s.dy_sums + DW_ROWS;
        multiply_slice(c, &s);
        finish_slice(c, &s, partial);
    }
    if (!c->out[DW_DCOLUMN].data)
        return;
    worker_sync(worker);
    for (int64_t t; (t = worker_next(worker)) < 1;)
        add_partials(partial, across, n, n, c->out[DW_DCOLUMN].data, call_accumulates(c, DW_DCOLUMN));
}
