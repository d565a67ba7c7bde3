#include "analysis/similarity.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/parallel.h"

struct Similarity {
    int layers, batch, threads;
    double *grams;         /* (layers, batch, batch), zero diagonals */
    double *sums, *totals; /* (layers, batch) of the rows, (layers) of all */
    double *diagonals;     /* (layers, batch) of the grams */
    double *rows;          /* (layers, batch): the mean's products */
    double *hsic, *biased; /* (layers, layers) */
};

Similarity *similarity_new(int layers, int batch, int threads)
{
    size_t square, all, n = (size_t)batch, m = (size_t)layers;
    if (layers < 1 || batch < 4) {
        error_set("similarity of %d layers over batches of %d samples: at least 1 and 4 are needed", layers, batch);
        return NULL;
    }
    Similarity *s = memory_new(1, sizeof *s);
    if (!s)
        return NULL;
    *s = (Similarity){.layers = layers, .batch = batch, .threads = threads};
    if (!size_multiply(n, n, &square) || !size_multiply(square, m, &all)) {
        error_set("similarity of %d layers over batches of %d samples is more than memory can address", layers, batch);
        similarity_free(s);
        return NULL;
    }
    if (!(s->grams = memory_new(all, sizeof *s->grams)) || !(s->sums = memory_new(n * m, sizeof *s->sums)) ||
        !(s->totals = memory_new(m, sizeof *s->totals)) || !(s->rows = memory_new(n * m, sizeof *s->rows)) ||
        !(s->hsic = memory_new(m * m, sizeof *s->hsic)) || !(s->diagonals = memory_new(n * m, sizeof *s->diagonals)) ||
        !(s->biased = memory_new(m * m, sizeof *s->biased))) {
        similarity_free(s);
        return NULL;
    }
    return s;
}

void similarity_free(Similarity *s)
{
    if (!s)
        return;
    memory_free(s->grams);
    memory_free(s->sums);
    memory_free(s->totals);
    memory_free(s->rows);
    memory_free(s->hsic);
    memory_free(s->diagonals);
    memory_free(s->biased);
    memory_free(s);
}

static double product(const float *x, const float *y, int width)
{
    double sum = 0;
    for (int i = 0; i < width; i++)
        sum += (double)x[i] * y[i];
    return sum;
}

static bool all_alike(const LayerFeatures *f, int n)
{
    size_t width = (size_t)f->width;
    for (int i = 1; i < n; i++)
        if (memcmp(f->data, f->data + (size_t)i * width, width * sizeof *f->data) != 0)
            return false;
    return true;
}

/* Products of all pairs of samples, as if the features' mean had been taken off: HSIC does not change with it, and what is
 * summed is small. Of samples that are all alike nothing is left, not even what rounding would leave. */
static void gram(const LayerFeatures *f, int n, double *row, double *k)
{
    double all = 0;
    if (all_alike(f, n)) {
        memset(k, 0, (size_t)n * (size_t)n * sizeof *k);
        return;
    }
    for (int i = 0; i < n; i++) {
        row[i] = 0;
        for (int j = 0; j < n; j++) {
            double value =
                j < i ? k[(size_t)j * (size_t)n + (size_t)i]
                      : product(f->data + (size_t)i * (size_t)f->width, f->data + (size_t)j * (size_t)f->width, f->width);
            k[(size_t)i * (size_t)n + (size_t)j] = value;
            row[i] += value / n;
        }
        all += row[i] / n;
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            k[(size_t)i * (size_t)n + (size_t)j] += all - row[i] - row[j];
}

/* Section 4.2, K and L with zero diagonals; and the biased one, to which the diagonals belong. */
static double hsic(const Similarity *s, int a, int b, int n, double *biased)
{
    size_t square = (size_t)s->batch * (size_t)s->batch, count = (size_t)n * (size_t)n;
    const double *k = s->grams + (size_t)a * square, *l = s->grams + (size_t)b * square;
    const double *u = s->sums + (size_t)a * (size_t)s->batch, *v = s->sums + (size_t)b * (size_t)s->batch;
    double trace = 0, middle = 0;
    for (size_t i = 0; i < count; i++)
        trace += k[i] * l[i];
    *biased = trace;
    for (int i = 0; i < n; i++) {
        middle += u[i] * v[i];
        *biased += s->diagonals[a * s->batch + i] * s->diagonals[b * s->batch + i];
    }
    double m = n;
    return (trace + s->totals[a] * s->totals[b] / ((m - 1) * (m - 2)) - 2 / (m - 2) * middle) / (m * (m - 3));
}

/* A batch on its way. */
typedef struct {
    Similarity *s;
    const LayerFeatures *layers;
    int n;
} Batch;

static void prepare_layer(const Batch *t, int a)
{
    Similarity *s = t->s;
    size_t n = (size_t)t->n, batch = (size_t)s->batch, layer = (size_t)a;
    double *k = s->grams + layer * batch * batch, *u = s->sums + layer * batch, *diagonal = s->diagonals + layer * batch;
    gram(&t->layers[a], t->n, s->rows + layer * batch, k);
    s->totals[a] = 0;
    for (size_t i = 0; i < n; i++) {
        diagonal[i] = k[i * n + i];
        k[i * n + i] = 0;
        u[i] = 0;
        for (size_t j = 0; j < n; j++)
            u[i] += k[i * n + j];
        s->totals[a] += u[i];
    }
}

static void prepare_layers(const Call *call, Worker *worker)
{
    const Batch *t = call->attr;
    for (int64_t a, count = t->s->layers; (a = worker_next(worker, count)) < count;)
        prepare_layer(t, (int)a);
}

static void add_pairs(const Call *call, Worker *worker)
{
    const Batch *t = call->attr;
    Similarity *s = t->s;
    int64_t layers = s->layers, count = layers * layers;
    for (int64_t i; (i = worker_next(worker, count)) < count;)
        if (i / layers <= i % layers) {
            double biased;
            s->hsic[i] += hsic(s, (int)(i / layers), (int)(i % layers), t->n, &biased);
            s->biased[i] += biased;
        }
}

void similarity_add(Similarity *s, const LayerFeatures *layers, int n)
{
    Batch batch = {s, layers, n};
    Call call = {.attr = &batch};
    parallel_run((Step[]){{.kernel = prepare_layers, .call = &call}, {.kernel = add_pairs, .call = &call}}, 2, s->threads,
                 NULL);
}

double similarity_hsic(const Similarity *s, int i, int j)
{
    return i < j ? s->hsic[i * s->layers + j] : s->hsic[j * s->layers + i];
}

/* Of two layers' sums: together, and each with itself. */
static double alignment(double xy, double xx, double yy)
{
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

double similarity_cka(const Similarity *s, int i, int j)
{
    return alignment(similarity_hsic(s, i, j), similarity_hsic(s, i, i), similarity_hsic(s, j, j));
}

double similarity_biased_cka(const Similarity *s, int i, int j)
{
    int low = i < j ? i : j, high = i < j ? j : i;
    return alignment(s->biased[low * s->layers + high], s->biased[i * s->layers + i], s->biased[j * s->layers + j]);
}

bool similarity_biased(const LayerFeatures *x, const LayerFeatures *y, int n, double *cka)
{
    size_t square;
    double *k = NULL, *l = NULL, *row = memory_new((size_t)n, sizeof *row), xy = 0, xx = 0, yy = 0;
    bool ok = row && size_multiply((size_t)n, (size_t)n, &square) && (k = memory_new(square, sizeof *k)) &&
              (l = memory_new(square, sizeof *l));
    if (ok) {
        gram(x, n, row, k);
        gram(y, n, row, l);
        for (size_t i = 0; i < square; i++) {
            xy += k[i] * l[i];
            xx += k[i] * k[i];
            yy += l[i] * l[i];
        }
        *cka = alignment(xy, xx, yy);
    }
    memory_free(row);
    memory_free(k);
    memory_free(l);
    return ok;
}
