#include "ops/row.h"
#include "ops/window/attr.h"

CPU_DECLARE(window_standardise);

/* Sums of x and x^2 slide over the plane, down the columns and then along each row, in double: in float their difference would
 * lose what it is about. */
typedef struct {
    double *sum, *square; /* of each column, over the rows of the window */
} Columns;

static void columns_add(const Columns *c, const float *row, int64_t width, double sign)
{
    for (int64_t x = 0; x < width; x++) {
        double number = row[x];
        c->sum[x] += sign * number;
        c->square[x] += sign * number * number;
    }
}

static void standardise_row(const Columns *c, const float *row, int64_t width, int64_t half, int64_t rows, float *out)
{
    double sum = 0, square = 0;
    for (int64_t x = 0; x < least(half, width); x++) {
        sum += c->sum[x];
        square += c->square[x];
    }
    for (int64_t x = 0; x < width; x++) {
        if (x + half < width) {
            sum += c->sum[x + half];
            square += c->square[x + half];
        }
        if (x - half - 1 >= 0) {
            sum -= c->sum[x - half - 1];
            square -= c->square[x - half - 1];
        }
        int64_t first = x > half ? x - half : 0, columns = least(x + half + 1, width) - first;
        double count = (double)(rows * columns), mean = sum / count;
        double variance = fmax(0, (square / count - mean * mean) * count / (count - 1));
        out[x] = (float)((row[x] - mean) / sqrt(variance + 1e-6));
    }
}

void CPU(window_standardise)(const Call *c, Worker *w)
{
    const WindowAttr *a = c->attr;
    const Shape *s = &c->in[0].shape;
    int64_t height = s->d[2], width = s->d[3], half = a->side / 2;
    Columns columns = {.sum = (double *)c->work + (int64_t)w->thread * 2 * width};
    columns.square = columns.sum + width;
    for (Span planes; span_next(w, 1, s->d[0] * s->d[1], &planes);) {
        const float *from = (const float *)c->in[0].data + planes.first * height * width;
        float *to = (float *)c->out[0].data + planes.first * height * width;
        memset(columns.sum, 0, (size_t)(2 * width) * sizeof *columns.sum);
        for (int64_t y = 0; y < least(half, height); y++)
            columns_add(&columns, from + y * width, width, 1);
        for (int64_t y = 0; y < height; y++) {
            if (y + half < height)
                columns_add(&columns, from + (y + half) * width, width, 1);
            if (y - half - 1 >= 0)
                columns_add(&columns, from + (y - half - 1) * width, width, -1);
            int64_t first = y > half ? y - half : 0, rows = least(y + half + 1, height) - first;
            standardise_row(&columns, from + y * width, width, half, rows, to + y * width);
        }
    }
}
