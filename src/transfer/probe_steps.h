/* What trained probes share: the order of an epoch, the learning rate, the place of the true class. */
#ifndef LACUNA_TRANSFER_PROBE_STEPS_H
#define LACUNA_TRANSFER_PROBE_STEPS_H

#include <stddef.h>
#include <stdint.h>

/* The numbers 0 .. count - 1 in the order of an epoch. */
void probe_shuffle(uint64_t seed, uint32_t epoch, uint32_t *order, size_t count);

/* Warm-up from 0 to 1, then half a cosine to 0 (docs/spec/transfer.md A.4-1), in epochs. */
double probe_rate(double epoch, double warmup_epochs, double epochs);

/* Classes that logits place before the label; of equal ones the lower class comes first. `classes` when one is not finite. */
int32_t probe_rank(const float *logits, int classes, int32_t label);

#endif
