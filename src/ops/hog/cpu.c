#include "ops/hog/attr.h"
#include "ops/row.h"

CPU_DECLARE(hog);

enum { LINE = 64 }; /* pixels of a row that are worked on at once */

/* A line of `count` pixels of one channel, from column x on, and what it gives. */
typedef struct {
    const float *above, *middle, *below; /* rows of the picture */
    int64_t x, count, width;
    float across[LINE], down[LINE], length[LINE];
    int32_t bin[LINE];
} Line;

/* The edge between bins k - 1 and k has the direction (sin, cos) of k / bins of half a turn. */
typedef struct {
    float sine[HOG_BINS_MOST], cosine[HOG_BINS_MOST];
} Edges;

static void edge_pixel(Line *l, int64_t i)
{
    int64_t x = l->x + i, before = hog_mirror(x - 1, l->width), after = hog_mirror(x + 1, l->width);
    l->across[i] =
        l->above[before] - l->above[after] + 2 * (l->middle[before] - l->middle[after]) + (l->below[before] - l->below[after]);
    l->down[i] = l->above[before] - l->below[before] + 2 * (l->above[x] - l->below[x]) + (l->above[after] - l->below[after]);
}

static void line_gradients(Line *l)
{
    int64_t first = l->x == 0, end = l->x + l->count == l->width ? l->count - 1 : l->count;
    const float *a = l->above + l->x, *m = l->middle + l->x, *b = l->below + l->x;
    for (int64_t i = first; i < end; i++) {
        l->across[i] = a[i - 1] - a[i + 1] + 2 * (m[i - 1] - m[i + 1]) + (b[i - 1] - b[i + 1]);
        l->down[i] = a[i - 1] - b[i - 1] + 2 * (a[i] - b[i]) + (a[i + 1] - b[i + 1]);
    }
    if (first)
        edge_pixel(l, 0);
    if (end < l->count && end >= 0)
        edge_pixel(l, end);
}

/* The bin is how many edges a direction has passed, once it is turned into the half plane across >= 0: no angle is needed. */
static void line_bins(Line *l, const Edges *e, int bins)
{
    for (int64_t i = 0; i < l->count; i++) {
        float x = l->across[i], y = l->down[i];
        l->length[i] = sqrtf(x * x + y * y);
        bool turn = x < 0 || (x == 0 && y < 0);
        l->across[i] = turn ? -x : x;
        l->down[i] = turn ? -y : y;
        l->bin[i] = 0;
    }
    for (int k = 1; k < bins; k++)
        for (int64_t i = 0; i < l->count; i++)
            l->bin[i] += l->across[i] * e->cosine[k] - l->down[i] * e->sine[k] >= 0 && l->length[i] > 0;
}

/* One patch of one channel into its cells' histograms. */
static void patch_histograms(const HogAttr *a, const Edges *e, const float *plane, int64_t height, int64_t width, int64_t top,
                             int64_t left, double window_sum, float *out)
{
    int64_t p = a->patch, cells = p / a->cell, step = cells * cells;
    for (int64_t y = 0; y < p; y++)
        for (int64_t start = 0; start < p; start += LINE) {
            Line l = {.above = plane + hog_mirror(top + y - 1, height) * width,
                      .middle = plane + (top + y) * width,
                      .below = plane + hog_mirror(top + y + 1, height) * width,
                      .x = left + start,
                      .count = least(LINE, p - start),
                      .width = width};
            line_gradients(&l);
            line_bins(&l, e, a->bins);
            for (int64_t i = 0; i < l.count; i++) {
                float weight = a->gaussian ? (float)(hog_window(a->gaussian, top + y, l.x + i) / window_sum) : 1;
                out[l.bin[i] * step + y / a->cell * cells + (start + i) / a->cell] += weight * l.length[i];
            }
        }
    for (int64_t cell = 0; cell < step; cell++) {
        float square = 0;
        for (int b = 0; b < a->bins; b++)
            square += out[b * step + cell] * out[b * step + cell];
        float scale = 1 / fmaxf(sqrtf(square), 1e-12f);
        for (int b = 0; b < a->bins; b++)
            out[b * step + cell] *= scale;
    }
}

void CPU(hog)(const Call *c, Worker *w)
{
    const HogAttr *a = c->attr;
    const Shape *s = &c->in[0].shape;
    int64_t channels = s->d[1], height = s->d[2], width = s->d[3], p = a->patch, across = width / p,
            places = height / p * across, cells = p / a->cell, n = c->out[0].columns;
    const int32_t *index = c->in[1].data;
    double sum = a->gaussian ? hog_window_sum(a->gaussian) : 1;
    Edges edges;
    for (int k = 0; k < a->bins; k++) {
        edges.sine[k] = (float)sin(k * 3.14159265358979323846 / a->bins);
        edges.cosine[k] = (float)cos(k * 3.14159265358979323846 / a->bins);
    }
    for (Span rows; span_next(w, tile_rows(channels * p * p), c->out[0].rows, &rows);)
        for (int64_t row = rows.first; row < rows.end; row++) {
            int64_t from = index ? index[row] : row, top = from % places / across * p, left = from % places % across * p;
            float *out = (float *)c->out[0].data + row * n;
            memset(out, 0, (size_t)n * sizeof *out);
            for (int64_t k = 0; k < channels; k++)
                patch_histograms(a, &edges, (const float *)c->in[0].data + (from / places * channels + k) * height * width,
                                 height, width, top, left, sum, out + k * a->bins * cells * cells);
        }
}
