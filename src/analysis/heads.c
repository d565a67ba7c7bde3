#include "analysis/heads.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define FLOOR 1e-12 /* of what a logarithm is taken */

struct HeadStats {
    HeadLayout layout;
    int patches, tokens;
    long pictures;
    double *distances;   /* (patches, patches) */
    double *rows, *logs; /* (heads, T): of one query */
    double *map;         /* (heads, patches, patches), renormalised: of one picture */
    HeadResult sums, means;
    double *numbers; /* all that sums and means point to */
};

/* Room for one result in *at. */
static HeadResult place(double **at, int heads)
{
    HeadResult r = {0};
    double **vectors[] = {&r.distance, &r.distance_renormalised, &r.class_mass, &r.entropy, &r.entropy_keep, &r.kl_head};
    double **squares[] = {&r.kl, &r.kl_keep, &r.cosine_rows, &r.cosine_flat};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++, *at += heads)
        *vectors[i] = *at;
    for (size_t i = 0; i < sizeof squares / sizeof *squares; i++, *at += (size_t)heads * (size_t)heads)
        *squares[i] = *at;
    return r;
}

static size_t result_numbers(int heads)
{
    return (size_t)heads * 6 + (size_t)heads * (size_t)heads * 4;
}

HeadStats *heads_new(const HeadLayout *layout)
{
    size_t heads = (size_t)layout->heads, patches = (size_t)layout->rows * (size_t)layout->columns, square, all;
    size_t tokens = patches + (size_t)layout->class_tokens;
    HeadStats *s = memory_new(1, sizeof *s);
    if (!s)
        return NULL;
    s->layout = *layout;
    s->patches = (int)patches;
    s->tokens = (int)tokens;
    bool ok = (layout->heads > 0 && patches > 0) || error_set("attention maps of no head or no patch");
    ok = ok && size_multiply(patches, patches, &square) && size_multiply(square, heads, &all) &&
         (s->distances = memory_new(square, sizeof *s->distances)) && (s->map = memory_new(all, sizeof *s->map)) &&
         (s->rows = memory_new(heads * tokens, sizeof *s->rows)) && (s->logs = memory_new(heads * tokens, sizeof *s->logs)) &&
         (s->numbers = memory_new(2 * result_numbers(layout->heads), sizeof *s->numbers));
    if (!ok) {
        heads_free(s);
        return NULL;
    }
    double *at = s->numbers;
    s->sums = place(&at, layout->heads);
    s->means = place(&at, layout->heads);
    for (size_t q = 0; q < patches; q++)
        for (size_t k = 0; k < patches; k++) {
            int down = (int)q / layout->columns - (int)k / layout->columns,
                right = (int)q % layout->columns - (int)k % layout->columns;
            s->distances[q * patches + k] = layout->stride * sqrt((double)(down * down + right * right));
        }
    return s;
}

void heads_free(HeadStats *s)
{
    if (!s)
        return;
    memory_free(s->distances);
    memory_free(s->rows);
    memory_free(s->logs);
    memory_free(s->map);
    memory_free(s->numbers);
    memory_free(s);
}

static double dot(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Adds factor x entropy of each head's row of n numbers, and of each pair the divergence. */
static void add_divergence(HeadStats *s, int n, double factor, double *entropy, double *kl)
{
    int heads = s->layout.heads;
    for (int h = 0; h < heads; h++)
        for (int k = 0; k < n; k++)
            s->logs[h * n + k] = log(fmax(s->rows[h * n + k], FLOOR));
    for (int a = 0; a < heads; a++) {
        double own = dot(s->rows + a * n, s->logs + a * n, n);
        entropy[a] -= factor * own;
        for (int b = 0; b < heads; b++)
            if (a != b)
                kl[a * heads + b] += factor * (own - dot(s->rows + a * n, s->logs + b * n, n));
    }
}

/* Adds factor x cosine of the vectors of n numbers that the heads have, `step` apart. */
static void add_cosine(const double *vectors, size_t step, int n, int heads, double factor, double *cosine)
{
    for (int a = 0; a < heads; a++)
        for (int b = 0; b < heads; b++) {
            const double *x = vectors + (size_t)a * step, *y = vectors + (size_t)b * step;
            cosine[a * heads + b] += factor * dot(x, y, n) / sqrt(dot(x, x, n) * dot(y, y, n));
        }
}

/* Query q of one picture. */
static void add_query(HeadStats *s, const float *attention, int q)
{
    int heads = s->layout.heads, first = s->layout.class_tokens, n = s->patches, t = s->tokens;
    double share = 1.0 / n; /* of a query in its picture */
    for (int h = 0; h < heads; h++) {
        const float *row = attention + ((size_t)h * (size_t)t + (size_t)(first + q)) * (size_t)t;
        double mass = 0, sum = 0, far = 0;
        for (int k = 0; k < t; k++)
            s->rows[h * t + k] = row[k];
        for (int k = 0; k < first; k++)
            mass += row[k];
        for (int k = 0; k < n; k++) {
            sum += row[first + k];
            far += row[first + k] * s->distances[q * n + k];
        }
        s->sums.class_mass[h] += share * mass;
        s->sums.distance[h] += share * far;
        s->sums.distance_renormalised[h] += share * far / sum;
        for (int k = 0; k < n; k++)
            s->map[((size_t)h * (size_t)n + (size_t)q) * (size_t)n + (size_t)k] = row[first + k] / sum;
    }
    add_divergence(s, t, share, s->sums.entropy_keep, s->sums.kl_keep);
    for (int h = 0; h < heads; h++)
        memcpy(s->rows + h * n, s->map + ((size_t)h * (size_t)n + (size_t)q) * (size_t)n, (size_t)n * sizeof *s->rows);
    add_divergence(s, n, share, s->sums.entropy, s->sums.kl);
    add_cosine(s->rows, (size_t)n, n, heads, share, s->sums.cosine_rows);
}

void heads_add(HeadStats *s, const float *attention)
{
    int n = s->patches;
    for (int q = 0; q < n; q++)
        add_query(s, attention, q);
    add_cosine(s->map, (size_t)n * (size_t)n, n * n, s->layout.heads, 1, s->sums.cosine_flat);
    s->pictures++;
}

static double pair_mean(const double *square, int heads)
{
    double sum = 0;
    for (int a = 0; a < heads; a++)
        for (int b = 0; b < heads; b++)
            sum += a != b ? square[a * heads + b] : 0;
    return heads > 1 ? sum / (heads * (heads - 1)) : 0;
}

HeadResult heads_result(HeadStats *s)
{
    int heads = s->layout.heads;
    HeadResult *r = &s->means;
    for (size_t i = 0; i < result_numbers(heads); i++)
        r->distance[i] = s->sums.distance[i] / (double)s->pictures; /* all numbers, one behind the other */
    for (int a = 0; a < heads; a++) {
        r->kl_head[a] = 0;
        for (int b = 0; b < heads; b++)
            r->kl_head[a] += heads > 1 ? r->kl[a * heads + b] / (heads - 1) : 0;
    }
    r->kl_mean = pair_mean(r->kl, heads);
    r->diversity_rows = heads > 1 ? 1 - pair_mean(r->cosine_rows, heads) : 0;
    r->diversity_flat = heads > 1 ? 1 - pair_mean(r->cosine_flat, heads) : 0;
    return *r;
}
