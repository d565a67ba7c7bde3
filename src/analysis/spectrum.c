#include "analysis/spectrum.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* Compiled with -ffp-contract=off, and sums have one order: the same bits with any width of the processor's vectors. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define ALL_WIDTHS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ALL_WIDTHS
#endif

enum { LANES = 8, BLOCK = 4 /* rows that are multiplied with one at once */ };

typedef double Lanes __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(double)), may_alias));

struct Spectrum {
    int n, width, count;
    size_t stride;
    double *unit;          /* (count, stride), and rows of zeros behind: tokens of length 1, or their columns */
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
    size_t depth = (size_t)(n < width ? width : n), rows = (count + BLOCK - 1) / BLOCK * BLOCK;
    *s = (Spectrum){.n = n, .width = width, .count = (int)count, .stride = (depth + LANES - 1) / LANES * LANES};
    if (!size_multiply(rows, s->stride, &tokens) || !(s->unit = memory_new(tokens, sizeof *s->unit)) ||
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

/* ---- sums of many products. In every function of ALL_WIDTHS what it calls is inlined. */

#define INLINE static inline __attribute__((always_inline))

INLINE double lanes_sum(const Lanes *x)
{
    const Lanes v = *x;
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* Row r of the symmetric matrix (its part up to the diagonal, n = r numbers in front of that) times v, and its column added to
 * p: p[k] += a[k] v[r]. */
INLINE double row_times(const double *a, const double *v, double vr, double *p, int n)
{
    Lanes sum = {0}, factor = vr - (Lanes){0};
    int k = 0;
    for (; k + LANES <= n; k += LANES) {
        Lanes x = *(const Lanes *)(a + k);
        sum += x * *(const Lanes *)(v + k);
        *(Lanes *)(p + k) += x * factor;
    }
    double rest = 0;
    for (; k < n; k++) {
        rest += a[k] * v[k];
        p[k] += a[k] * vr;
    }
    return lanes_sum(&sum) + rest;
}

/* a[k] -= pr v[k] + vr p[k]. */
INLINE void row_update(double *a, const double *v, const double *p, double pr, double vr, int n)
{
    Lanes x = pr - (Lanes){0}, y = vr - (Lanes){0};
    int k = 0;
    for (; k + LANES <= n; k += LANES)
        *(Lanes *)(a + k) -= x * *(const Lanes *)(v + k) + y * *(const Lanes *)(p + k);
    for (; k < n; k++)
        a[k] -= pr * v[k] + vr * p[k];
}

/* The lower part of rows times rows; their length, the stride, is a multiple of LANES. A block of rows stays in the nearest
 * cache while all others pass by. */
ALL_WIDTHS static void make_gram(const double *rows, size_t stride, int m, double *gram)
{
    for (int j = 0; j < m; j += BLOCK)
        for (int i = j; i < m; i++) {
            const double *x = rows + (size_t)i * stride, *y = rows + (size_t)j * stride;
            Lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}; /* an array would not be kept in registers */
            for (size_t c = 0; c < stride; c += LANES) {
                Lanes a = *(const Lanes *)(x + c);
                s0 += a * *(const Lanes *)(y + c);
                s1 += a * *(const Lanes *)(y + stride + c);
                s2 += a * *(const Lanes *)(y + 2 * stride + c);
                s3 += a * *(const Lanes *)(y + 3 * stride + c);
            }
            const double products[BLOCK] = {lanes_sum(&s0), lanes_sum(&s1), lanes_sum(&s2), lanes_sum(&s3)};
            for (int k = 0; k < BLOCK && j + k <= i; k++)
                gram[(size_t)i * (size_t)m + (size_t)(j + k)] = products[k];
        }
}

/* Householder's reduction of the symmetric matrix a (m, m), of which the part up to the diagonal is read, to its diagonal d and
 * what lies beside it, e[1..m-1]. a is used up. */
ALL_WIDTHS static void tridiagonal(double *a, int m, double *d, double *e, double *p)
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
            const double *row = a + (size_t)r * (size_t)m;
            p[r] = row_times(row, v, v[r], p, r) + row[r] * v[r];
        }
        for (int r = 0; r < i; r++) {
            p[r] *= 2 / square;
            together += p[r] * v[r];
        }
        for (int r = 0; r < i; r++)
            p[r] -= together / square * v[r];
        for (int r = 0; r < i; r++)
            row_update(a + (size_t)r * (size_t)m, v, p, p[r], v[r], r + 1);
    }
    d[0] = a[0];
    if (m > 1) {
        d[1] = a[(size_t)m + 1];
        e[1] = a[(size_t)m];
    }
}

static int falling(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* All eigenvalues of the tridiagonal matrix, the largest first, by QL steps with Wilkinson's shift. d and e are used up. */
static void eigenvalues(double *d, double *e, int m, double *out)
{
    enum { TURNS_MOST = 60 };
    for (int i = 1; i < m; i++)
        e[i - 1] = e[i];
    e[m - 1] = 0;
    for (int first = 0; first < m; first++)
        for (int turn = 0; turn < TURNS_MOST; turn++) {
            int last = first;
            while (last < m - 1 && fabs(e[last]) > DBL_EPSILON * (fabs(d[last]) + fabs(d[last + 1])))
                last++;
            if (last == first)
                break;
            double g = (d[first + 1] - d[first]) / (2 * e[first]), r = hypot(g, 1), s = 1, c = 1, back = 0;
            g = d[last] - d[first] + e[first] / (g + copysign(r, g));
            int i = last - 1;
            for (; i >= first; i--) {
                double f = s * e[i], b = c * e[i];
                r = sqrt(f * f + g * g);
                e[i + 1] = r;
                if (r == 0) { /* the matrix falls apart here */
                    d[i + 1] -= back;
                    e[last] = 0;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - back;
                r = (d[i] - g) * s + 2 * c * b;
                back = s * r;
                d[i + 1] = g + back;
                g = c * r - b;
            }
            if (i >= first)
                continue;
            d[first] -= back;
            e[first] = g;
            e[last] = 0;
        }
    memcpy(out, d, (size_t)m * sizeof *out);
    qsort(out, (size_t)m, sizeof *out, falling);
}

/* Tokens, of length 1 if so wished: rows of `unit` when these are fewer than columns, else its columns, since either has the
 * squares of the values. Rows of `unit` are padded with zeros to whole vectors, and their number to whole blocks. */
static void place(Spectrum *s, const float *tokens, bool units)
{
    bool rows = s->n <= s->width;
    for (int i = 0; i < s->n; i++) {
        const float *token = tokens + (size_t)i * (size_t)s->width;
        double length = 0;
        for (int k = 0; k < s->width; k++)
            length += (double)token[k] * token[k];
        double scale = !units ? 1 : length > 0 ? 1 / sqrt(length) : 0;
        for (int k = 0; k < s->width; k++)
            s->unit[rows ? (size_t)i * s->stride + (size_t)k : (size_t)k * s->stride + (size_t)i] = token[k] * scale;
    }
}

static const double *find_values(Spectrum *s)
{
    int m = s->count;
    make_gram(s->unit, s->stride, m, s->gram);
    for (int i = 0; i < m; i++)
        if (!isfinite(s->gram[(size_t)i * (size_t)m + (size_t)i])) {
            for (int k = 0; k < m; k++)
                s->work[k] = NAN;
            return s->work;
        }
    tridiagonal(s->gram, m, s->main, s->beside, s->work);
    eigenvalues(s->main, s->beside, m, s->work);
    for (int i = 0; i < m; i++)
        s->work[i] = sqrt(fmax(s->work[i], 0));
    return s->work;
}

const double *spectrum_values(Spectrum *s, const float *tokens)
{
    place(s, tokens, true);
    return find_values(s);
}

const double *spectrum_plain(Spectrum *s, const float *rows)
{
    place(s, rows, false);
    return find_values(s);
}

const double *spectrum_centred(Spectrum *s, const float *rows)
{
    place(s, rows, true);
    size_t along = s->n <= s->width ? s->stride : 1, across = s->n <= s->width ? 1 : s->stride;
    for (size_t k = 0; k < (size_t)s->width; k++) {
        double sum = 0;
        for (size_t i = 0; i < (size_t)s->n; i++)
            sum += s->unit[i * along + k * across];
        for (size_t i = 0; i < (size_t)s->n; i++)
            s->unit[i * along + k * across] -= sum / s->n;
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
        shares[i] = !isfinite(all) ? NAN : all > 0 ? sum / all : 0;
    }
}

double spectrum_effective_rank(const double *values, int count)
{
    double all = 0, entropy = 0;
    for (int i = 0; i < count; i++)
        all += values[i];
    if (!isfinite(all))
        return NAN;
    for (int i = 0; i < count && all > 0; i++)
        entropy -= values[i] > 0 ? values[i] / all * log(values[i] / all) : 0;
    return exp(entropy);
}
