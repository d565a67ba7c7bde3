/* What trained probes share: the pictures set apart to choose a learning rate by, the order of an epoch, the learning rate, the
 * place of the true class. */
#ifndef LACUNA_TRANSFER_PROBE_STEPS_H
#define LACUNA_TRANSFER_PROBE_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sets a tenth of `count` training pictures apart, always the same ones: of each class (labels 0 .. classes - 1; of all
 * pictures where `labels` is NULL) a tenth, rounded, but one at least where there are two. rows (count): the numbers of the
 * others, then those set apart, both ascending. *learn is how many the others are. False after error_set(): nothing could be
 * set apart. */
bool probe_set_apart(const int32_t *labels, int classes, size_t count, uint32_t *rows, size_t *learn);

/* The i-th of some pictures; `rows` NULL: of all. */
static inline size_t probe_row(const uint32_t *rows, size_t i)
{
    return rows ? rows[i] : i;
}

/* The learning rate of best mean over the seeds, the first of equal ones: quality (seeds, lrs) lies `apart` bytes from one to
 * the next. */
int probe_best_rate(const double *quality, size_t apart, int lrs, int seeds);

/* The numbers 0 .. count - 1 in the order of an epoch. */
void probe_shuffle(uint64_t seed, uint32_t epoch, uint32_t *order, size_t count);

/* Warm-up from 0 to 1, then half a cosine to 0 (docs/spec/transfer.md A.4-1), in epochs. */
double probe_rate(double epoch, double warmup_epochs, double epochs);

/* Classes that logits place before the label; of equal ones the lower class comes first. `classes` when one is not finite. */
int32_t probe_rank(const float *logits, int classes, int32_t label);

#endif
