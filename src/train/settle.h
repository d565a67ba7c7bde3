/* What a recipe leaves to the program: `auto` is replaced by numbers, which are then stored in the run. */
#ifndef LACUNA_TRAIN_SETTLE_H
#define LACUNA_TRAIN_SETTLE_H

#include "recipe/recipe.h"

/* Pictures of a program when neither run.micro_batch nor schedule.accumulate says so: the largest divisor of the batch whose
 * activations stay within a fixed budget, counted as tokens x width x depth of encoder and decoders. It depends on the recipe
 * alone, so that every machine cuts a batch alike. */
int settle_micro_batch(const Recipe *recipe);

/* Epochs between two probes when probe.every does not say so: as few as keep all probes together below a hundredth of the
 * arithmetic of training, at most twenty probes a run; 0 (never) when even one is more, and on a GPU, where its
 * cost is not known. It depends on the recipe and the number of steps alone. */
int settle_probe_every(const Recipe *recipe, int64_t total_steps);

/* Whether the backbone is probed behind that many epochs: every probe.every epochs, counted from the last one backwards. */
bool probe_is_due(const Recipe *recipe, int64_t epochs);

/* data.workers when the recipe does not say so, on so many processors. No result depends on it. */
int settle_workers(const Recipe *recipe, int processors);

/* Settles micro-batch, accumulation, saving, probing, threads, workers, device and precision of a checked recipe for a schedule
 * of so many steps. */
void settle_recipe(Recipe *recipe, int64_t total_steps);

/* The recipe with which a run goes on: `stored`, with those keys of `given` that change no result (run.max_steps, save_steps,
 * keep, threads, device, data.train, val, workers, cache_mb, max_bad). False after error_set() when another key of `given`
 * differs from the stored one; what `given` leaves open may differ. */
bool settle_resumed(const Recipe *given, const Recipe *stored, Recipe *out);

#endif
