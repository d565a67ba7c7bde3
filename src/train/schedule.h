/* The learning rate of a step (docs/spec/pretraining.md 15.5). */
#ifndef LACUNA_TRAIN_SCHEDULE_H
#define LACUNA_TRAIN_SCHEDULE_H

#include "recipe/recipe.h"

/* A warm-up, then a cosine or steps down, all lengths in epochs. */
typedef struct {
    double peak;                /* the rate at the end of the warm-up */
    double least;               /* approached at the end, never reached */
    double start;               /* at epoch 0 when there is a warm-up */
    double warmup;              /* may be a fraction; 0: starts at the peak */
    double epochs;              /* above `warmup` */
    const RecipeNumbers *steps; /* NULL: the cosine; else the rate is a tenth from each of these epochs on */
} Schedule;

/* Rate at a fractional epoch e in 0..epochs: start + (peak - start) e / W before the warm-up W ends, then least + (peak -
 * least) (1 + cos(pi (e - W) / (epochs - W))) / 2, in double; with `steps` peak / 10^(steps at or before e). */
double schedule_at(const Schedule *schedule, double epoch);

/* Rate of a step at epoch = step / steps per epoch, the step counted from 0; each of the recipe's stages has a warm-up and
 * cosine of its own. */
double schedule_rate(const Recipe *recipe, double epoch);

/* Momentum of the momentum encoder at a fractional epoch (docs/spec/pretraining.md 14): contrast.momentum at the start, 1 at
 * the end, half a cosine between. */
double schedule_momentum(const Recipe *recipe, double epoch);

/* As schedule_rate() of a run in stages of so many epochs, each with a warm-up and cosine of its own; without stages the same.
 * An epoch at or behind the end of all stages is an epoch of the recipe's whole length behind them. */
double schedule_rate_of(const Recipe *recipe, const double *stages, int count, double epoch);

#endif
