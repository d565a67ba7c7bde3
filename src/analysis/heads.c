#include "analysis/heads.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define FLOOR 1e-12f /* of what a logarithm is taken */

/* Rows are worked on in vectors that every processor has, so that numbers are the same on all. */
typedef float Four __attribute__((vector_size(16), may_alias));
typedef int32_t FourInt __attribute__((vector_size(16)));
typedef uint32_t FourBits __attribute__((vector_size(16)));

enum { LANES = 4 };

/* Of one head's row p: what goes to patches, its logarithm; sum p ln p of patches and of class tokens. */
typedef struct {
    double sum, log_sum, own, class_own;
} Row;

struct HeadStats {
    HeadLayout layout;
    int patches, tokens, vectors; /* vectors that hold a row of patches */
    long pictures;
    Four *distances;   /* (patches, vectors) */
    Four *rows, *logs; /* (heads, vectors): of one query */
    Row *heads;        /* (heads): of one query */
    double *products;  /* (heads, heads) of one query's rows */
    double *flat;      /* (heads, heads) of one picture's renormalised maps */
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
    s->vectors = (int)((patches + LANES - 1) / LANES);
    size_t vectors = (size_t)s->vectors;
    bool ok = (layout->heads > 0 && patches > 0) || error_set("attention maps of no head or no patch");
    ok = ok && size_multiply(patches, vectors, &square) && size_multiply(vectors, heads, &all) &&
         (s->distances = memory_new_aligned(square, sizeof *s->distances)) &&
         (s->rows = memory_new_aligned(all, sizeof *s->rows)) && (s->logs = memory_new_aligned(all, sizeof *s->logs)) &&
         (s->heads = memory_new(heads, sizeof *s->heads)) && (s->products = memory_new(heads * heads, sizeof *s->products)) &&
         (s->flat = memory_new(heads * heads, sizeof *s->flat)) &&
         (s->numbers = memory_new(2 * result_numbers(layout->heads), sizeof *s->numbers));
    if (!ok) {
        heads_free(s);
        return NULL;
    }
    memset(s->distances, 0, square * sizeof *s->distances);
    memset(s->rows, 0, all * sizeof *s->rows); /* what pads a row stays zero */
    double *at = s->numbers;
    s->sums = place(&at, layout->heads);
    s->means = place(&at, layout->heads);
    for (size_t q = 0; q < patches; q++)
        for (size_t k = 0; k < patches; k++) {
            int down = (int)q / layout->columns - (int)k / layout->columns,
                right = (int)q % layout->columns - (int)k % layout->columns;
            ((float *)(s->distances + q * vectors))[k] = (float)(layout->stride * sqrt((double)(down * down + right * right)));
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
    memory_free(s->heads);
    memory_free(s->products);
    memory_free(s->flat);
    memory_free(s->numbers);
    memory_free(s);
}

/* ---- one query: rows of all heads, padded to whole vectors */

static Four four(float x)
{
    return (Four){x, x, x, x};
}

static double four_sum(Four x)
{
    return ((double)x[0] + x[1]) + ((double)x[2] + x[3]);
}

/* ln x of positive normal numbers, to about an ulp: x = 2^e m with m around 1, and the series of atanh((m - 1) / (m + 1)). */
static Four four_log(Four x)
{
    const FourInt half = (FourInt)four(0.70710678f);
    FourInt shifted = (FourInt)x - half, exponent = shifted >> 23;
    Four m = (Four)((FourInt)x - (FourInt)((FourBits)exponent << 23)), s = (m - 1.0f) / (m + 1.0f), t = s * s;
    Four series = s * (2.0f + t * (0.66666667f + t * (0.4f + t * (0.28571429f + t * 0.22222222f))));
    Four e = __builtin_convertvector(exponent, Four);
    /* ln 2 in two parts, the first of which is exact times any exponent. */
    return e * 0.693145752f + (series + e * 1.42860677e-6f);
}

/* What the pairs of a query add up to, of two heads' rows of probabilities p and their logarithms. */
typedef struct {
    double product;           /* sum p_a p_b */
    double forward, backward; /* sum p_a (ln p_a - ln p_b), sum p_b (ln p_b - ln p_a) */
} Pair;

static Pair pair_of(const Four *pa, const Four *pb, const Four *la, const Four *lb, int vectors)
{
    Four product = {0}, forward = {0}, backward = {0};
    for (int i = 0; i < vectors; i++) {
        Four apart = la[i] - lb[i];
        product += pa[i] * pb[i];
        forward += pa[i] * apart;
        backward -= pb[i] * apart;
    }
    return (Pair){four_sum(product), four_sum(forward), four_sum(backward)};
}

/* The patches' part of a query's rows; zeros with logarithm 0 fill the last vectors. */
static void take_rows(HeadStats *s, const float *attention, int q)
{
    int first = s->layout.class_tokens, n = s->patches, t = s->tokens, padded = s->vectors * LANES;
    for (int h = 0; h < s->layout.heads; h++) {
        const float *row = attention + ((size_t)h * (size_t)t + (size_t)(first + q)) * (size_t)t;
        float *p = (float *)(s->rows + (size_t)h * (size_t)s->vectors),
              *l = (float *)(s->logs + (size_t)h * (size_t)s->vectors);
        const Four *reach = s->distances + (size_t)q * (size_t)s->vectors;
        Four sum = {0}, far = {0}, own = {0};
        double mass = 0;
        memcpy(p, row + first, (size_t)n * sizeof *p);
        for (int i = 0; i < s->vectors; i++) {
            Four x = s->rows[(size_t)h * (size_t)s->vectors + (size_t)i], least = four(FLOOR);
            FourInt small = x < least;
            s->logs[(size_t)h * (size_t)s->vectors + (size_t)i] =
                four_log((Four)(((FourInt)x & ~small) | ((FourInt)least & small)));
        }
        for (int k = n; k < padded; k++)
            l[k] = 0;
        for (int i = 0; i < s->vectors; i++) {
            Four x = s->rows[(size_t)h * (size_t)s->vectors + (size_t)i];
            sum += x;
            far += x * reach[i];
            own += x * s->logs[(size_t)h * (size_t)s->vectors + (size_t)i];
        }
        Row *r = &s->heads[h];
        *r = (Row){.sum = four_sum(sum), .log_sum = log(fmax(four_sum(sum), FLOOR)), .own = four_sum(own)};
        r->class_own = 0;
        for (int k = 0; k < first; k++) {
            mass += row[k];
            r->class_own += row[k] * log(fmax((double)row[k], FLOOR));
        }
        double share = 1.0 / n; /* of a query in its picture */
        s->sums.class_mass[h] += share * mass;
        s->sums.distance[h] += share * four_sum(far);
        s->sums.distance_renormalised[h] += share * four_sum(far) / r->sum;
        s->sums.entropy[h] -= share * (r->own / r->sum - r->log_sum);
        s->sums.entropy_keep[h] -= share * (r->own + r->class_own);
    }
}

/* sum over class tokens of p_a (ln p_a - ln p_b). */
static double class_divergence(const HeadStats *s, const float *attention, int q, int a, int b)
{
    int first = s->layout.class_tokens, t = s->tokens;
    const float *x = attention + ((size_t)a * (size_t)t + (size_t)(first + q)) * (size_t)t,
                *y = attention + ((size_t)b * (size_t)t + (size_t)(first + q)) * (size_t)t;
    double sum = 0;
    for (int k = 0; k < first; k++)
        sum += x[k] * (log(fmax((double)x[k], FLOOR)) - log(fmax((double)y[k], FLOOR)));
    return sum;
}

/* Renormalised rows are p / sum, so what is asked of them follows from sums over p. */
static void add_pairs(HeadStats *s, const float *attention, int q)
{
    int heads = s->layout.heads;
    double share = 1.0 / s->patches;
    for (int a = 0; a < heads; a++)
        for (int b = a; b < heads; b++) {
            size_t i = (size_t)a * (size_t)s->vectors, j = (size_t)b * (size_t)s->vectors;
            Pair pair = pair_of(s->rows + i, s->rows + j, s->logs + i, s->logs + j, s->vectors);
            Row *x = &s->heads[a], *y = &s->heads[b];
            int ab = a * heads + b, ba = b * heads + a;
            s->products[ab] = pair.product;
            s->flat[ab] += pair.product / (x->sum * y->sum);
            if (a == b)
                continue;
            s->sums.kl[ab] += share * (pair.forward / x->sum - (x->log_sum - y->log_sum));
            s->sums.kl[ba] += share * (pair.backward / y->sum - (y->log_sum - x->log_sum));
            s->sums.kl_keep[ab] += share * (pair.forward + class_divergence(s, attention, q, a, b));
            s->sums.kl_keep[ba] += share * (pair.backward + class_divergence(s, attention, q, b, a));
        }
    for (int a = 0; a < heads; a++)
        for (int b = a; b < heads; b++) {
            double cosine = share * s->products[a * heads + b] / sqrt(s->products[a * heads + a] * s->products[b * heads + b]);
            s->sums.cosine_rows[a * heads + b] += cosine;
            s->sums.cosine_rows[b * heads + a] += a != b ? cosine : 0;
        }
}

void heads_add(HeadStats *s, const float *attention)
{
    int heads = s->layout.heads;
    memset(s->flat, 0, (size_t)heads * (size_t)heads * sizeof *s->flat);
    for (int q = 0; q < s->patches; q++) {
        take_rows(s, attention, q);
        add_pairs(s, attention, q);
    }
    for (int a = 0; a < heads; a++)
        for (int b = a; b < heads; b++) {
            double cosine = s->flat[a * heads + b] / sqrt(s->flat[a * heads + a] * s->flat[b * heads + b]);
            s->sums.cosine_flat[a * heads + b] += cosine;
            s->sums.cosine_flat[b * heads + a] += a != b ? cosine : 0;
        }
    s->pictures++;
}

static double pair_mean(const double *square, int heads)
{
    double sum = 0;
    for (int a = 0; a < heads; a++)
        for (int b = 0; b < heads; b++)
            sum += a != b ? square[a * heads + b] : 0;
    return heads > 1 ? sum / (heads * (heads - 1)) : NAN;
}

HeadResult heads_result(HeadStats *s)
{
    int heads = s->layout.heads;
    HeadResult *r = &s->means;
    for (size_t i = 0; i < result_numbers(heads); i++)
        r->distance[i] = s->sums.distance[i] / (double)s->pictures; /* all numbers, one behind the other */
    for (int a = 0; a < heads; a++) {
        r->kl_head[a] = heads > 1 ? 0 : NAN;
        for (int b = 0; b < heads; b++)
            r->kl_head[a] += heads > 1 ? r->kl[a * heads + b] / (heads - 1) : 0;
    }
    r->kl_mean = pair_mean(r->kl, heads);
    r->diversity_rows = 1 - pair_mean(r->cosine_rows, heads);
    r->diversity_flat = 1 - pair_mean(r->cosine_flat, heads);
    return *r;
}
