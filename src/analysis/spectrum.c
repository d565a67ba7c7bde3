#include "analysis/spectrum.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

struct Spectrum {
    int n, width, count;
    double *unit;          /* (n, width) tokens of length 1 */
    double *gram;          /* (count, count) */
    double *main, *beside; /* (count) the diagonals of its tridiagonal form */
    double *work;          /* (count) */
};

Spectrum *spectrum_new(int n, int width)
{
    size_t tokens, count = (size_t)(n < width ? n : width);
    if (n < 1 || width < 1) {
        error_set("a spectrum of %d tokens of width %d", n, width);
        return NULL;
    }
    Spectrum *s = memory_new(1, sizeof *s);
    if (!s)
        return NULL;
    *s = (Spectrum){.n = n, .width = width, .count = (int)count};
    if (!size_multiply((size_t)n, (size_t)width, &tokens) || !(s->unit = memory_new(tokens, sizeof *s->unit)) ||
        !(s->gram = memory_new(count * count, sizeof *s->gram)) || !(s->main = memory_new(count, sizeof *s->main)) ||
        !(s->beside = memory_new(count, sizeof *s->beside)) || !(s->work = memory_new(count, sizeof *s->work))) {
        spectrum_free(s);
        return NULL;
    }
    return s;
}

void spectrum_free(Spectrum *s)
{
    if (!s)
        return;
    memory_free(s->unit);
    memory_free(s->gram);
    memory_free(s->main);
    memory_free(s->beside);
    memory_free(s->work);
    memory_free(s);
}

int spectrum_count(const Spectrum *s)
{
    return s->count;
}

/* Householder's reduction of the symmetric matrix a (m, m) to its diagonal d and what lies beside it, e[1..m-1]. a is used up.
 */
static void tridiagonal(double *a, int m, double *d, double *e, double *p)
{
    for (int i = m - 1; i > 1; i--) {
        double *v = a + (size_t)i * (size_t)m, scale = 0, length = 0;
        for (int k = 0; k < i; k++)
            scale += fabs(v[k]);
        d[i] = v[i];
        e[i] = v[i - 1];
        if (scale == 0)
            continue;
        for (int k = 0; k < i; k++)
            length += (v[k] / scale) * (v[k] / scale);
        length = scale * sqrt(length);
        e[i] = v[i - 1] > 0 ? -length : length;
        v[i - 1] -= e[i]; /* v reflects the row onto its last number */
        double square = 0, together = 0;
        for (int k = 0; k < i; k++)
            square += v[k] * v[k];
        if (square == 0)
            continue;
        for (int r = 0; r < i; r++) {
            p[r] = 0;
            for (int k = 0; k < i; k++)
                p[r] += (k <= r ? a[(size_t)r * (size_t)m + (size_t)k] : a[(size_t)k * (size_t)m + (size_t)r]) * v[k];
            p[r] *= 2 / square;
            together += p[r] * v[r];
        }
        for (int r = 0; r < i; r++)
            p[r] -= together / square * v[r];
        for (int r = 0; r < i; r++)
            for (int k = 0; k <= r; k++)
                a[(size_t)r * (size_t)m + (size_t)k] -= p[r] * v[k] + v[r] * p[k];
    }
    d[0] = a[0];
    if (m > 1) {
        d[1] = a[(size_t)m + 1];
        e[1] = a[(size_t)m];
    }
}

/* How many eigenvalues of the tridiagonal matrix lie below x (Sturm). */
static int count_below(const double *d, const double *e, int m, double x)
{
    int below = 0;
    double q = 1;
    for (int i = 0; i < m; i++) {
        double off = i ? e[i] * e[i] / q : 0;
        q = d[i] - x - off;
        if (q == 0)
            q = -1e-300;
        below += q < 0;
    }
    return below;
}

/* All eigenvalues, the largest first, by bisection: each is found to the last bit that the matrix has, whatever the others are.
 */
static void eigenvalues(const double *d, const double *e, int m, double *out)
{
    double low = 0, high = 0;
    for (int i = 0; i < m; i++) {
        double around = (i ? fabs(e[i]) : 0) + (i + 1 < m ? fabs(e[i + 1]) : 0);
        low = fmin(low, d[i] - around);
        high = fmax(high, d[i] + around);
    }
    for (int i = 0; i < m; i++) {
        double a = low, b = i ? out[i - 1] : high;
        for (int turn = 0; turn < 80 && b - a > 1e-15 * (fabs(a) + fabs(b)); turn++) {
            double middle = (a + b) / 2;
            if (m - count_below(d, e, m, middle) > i)
                a = middle;
            else
                b = middle;
        }
        out[i] = (a + b) / 2;
    }
}

static void take_rows(Spectrum *s, const float *rows)
{
    for (int i = 0; i < s->n; i++) {
        const float *row = rows + (size_t)i * (size_t)s->width;
        double length = 0;
        for (int k = 0; k < s->width; k++)
            length += (double)row[k] * row[k];
        length = sqrt(length);
        for (int k = 0; k < s->width; k++)
            s->unit[(size_t)i * (size_t)s->width + (size_t)k] = length > 0 ? row[k] / length : 0;
    }
}

static const double *find_values(Spectrum *s)
{
    int m = s->count;
    /* Of rows when there are fewer of them, else of columns: either has the squares of the values. */
    bool rows = s->n <= s->width;
    size_t along = rows ? 1 : (size_t)s->width, across = rows ? (size_t)s->width : 1;
    int depth = rows ? s->width : s->n;
    for (int i = 0; i < m; i++)
        for (int j = 0; j <= i; j++) {
            const double *x = s->unit + (size_t)i * across, *y = s->unit + (size_t)j * across;
            double sum = 0;
            for (int k = 0; k < depth; k++)
                sum += x[(size_t)k * along] * y[(size_t)k * along];
            s->gram[(size_t)i * (size_t)m + (size_t)j] = s->gram[(size_t)j * (size_t)m + (size_t)i] = sum;
        }
    tridiagonal(s->gram, m, s->main, s->beside, s->work);
    eigenvalues(s->main, s->beside, m, s->work);
    for (int i = 0; i < m; i++)
        s->work[i] = sqrt(fmax(s->work[i], 0));
    return s->work;
}

const double *spectrum_values(Spectrum *s, const float *tokens)
{
    take_rows(s, tokens);
    return find_values(s);
}

const double *spectrum_centred(Spectrum *s, const float *rows)
{
    take_rows(s, rows);
    for (int k = 0; k < s->width; k++) {
        double sum = 0;
        for (int i = 0; i < s->n; i++)
            sum += s->unit[(size_t)i * (size_t)s->width + (size_t)k];
        for (int i = 0; i < s->n; i++)
            s->unit[(size_t)i * (size_t)s->width + (size_t)k] -= sum / s->n;
    }
    return find_values(s);
}

void spectrum_shares(const double *values, int count, double *shares, int wanted)
{
    double all = 0, sum = 0;
    for (int i = 0; i < count; i++)
        all += values[i];
    for (int i = 0; i < wanted; i++) {
        sum += i < count ? values[i] : 0;
        shares[i] = all > 0 ? sum / all : 0;
    }
}

double spectrum_effective_rank(const double *values, int count)
{
    double all = 0, entropy = 0;
    for (int i = 0; i < count; i++)
        all += values[i];
    for (int i = 0; i < count && all > 0; i++)
        entropy -= values[i] > 0 ? values[i] / all * log(values[i] / all) : 0;
    return exp(entropy);
}
