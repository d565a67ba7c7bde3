/* What attention heads do (docs/spec/analysis.md 1 to 3): how far they look, how they differ from each other, how spread out
 * they are. Of each picture apart, then the mean over pictures; queries are patches. Sums over keys in f32, over queries and
 * pictures in double, in their order. */
#ifndef LACUNA_ANALYSIS_HEADS_H
#define LACUNA_ANALYSIS_HEADS_H

#include <stdbool.h>

/* Attention of one block: T = class_tokens + rows x columns, class tokens first. */
typedef struct {
    int heads, rows, columns, class_tokens;
    double stride; /* pixels of the network's input from a patch to the next */
} HeadLayout;

/* Means over the pictures so far. `renormalised` rows leave the class tokens out and are divided by their sums; `keep` has all
 * keys. (heads), or (heads, heads) row by row; kl_head, kl_mean and diversities are over pairs of different heads, NaN
 * with a single one. */
typedef struct {
    double *distance, *distance_renormalised; /* pixels; the first has distance 0 to class tokens */
    double *class_mass;                       /* what patches give to class tokens */
    double *entropy, *entropy_keep;           /* nats */
    double *kl, *kl_keep;                     /* KL(row's head || column's), nats */
    double *kl_head;                          /* each head against the others */
    double *cosine_rows, *cosine_flat;        /* of a query's row, of the whole map; renormalised */
    double kl_mean, diversity_rows, diversity_flat;
} HeadResult;

typedef struct HeadStats HeadStats;

/* NULL after error_set(). Freed with heads_free(). */
HeadStats *heads_new(const HeadLayout *layout);
void heads_free(HeadStats *stats);

/* The attention of one picture behind the softmax, (heads, T, T): rows of queries. Allocates nothing. */
void heads_add(HeadStats *stats, const float *attention);

/* Pointers stay the stats' own, and good until the next heads_add(). At least one picture must have been added. */
HeadResult heads_result(HeadStats *stats);

#endif
