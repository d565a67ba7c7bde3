/* What a recipe leaves to the program: `auto` is replaced by numbers, which are then stored in the run. */
#ifndef LACUNA_TRAIN_SETTLE_H
#define LACUNA_TRAIN_SETTLE_H

#include "recipe/recipe.h"

/* Pictures of a program when neither run.micro_batch nor schedule.accumulate says so: the largest divisor of the batch whose
 * activations stay within a fixed budget, counted as tokens x width x depth of encoder and decoders. It depends on the recipe
 * alone, so that every machine cuts a batch alike. */
int settle_micro_batch(const Recipe *recipe);

/* Settles micro-batch, accumulation, saving, threads, workers, device and precision of a checked recipe for a schedule of so
 * many steps. */
void settle_recipe(Recipe *recipe, int64_t total_steps);

/* The recipe with which a run goes on: `stored`, with those keys of `given` that change no result (run.max_steps, save_steps,
 * keep, threads, device, data.train, val, workers, cache_mb, max_bad). False after error_set() when another key of `given`
 * differs from the stored one; what `given` leaves open may differ. */
bool settle_resumed(const Recipe *given, const Recipe *stored, Recipe *out);

#endif
