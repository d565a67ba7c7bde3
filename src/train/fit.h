/* Whether training fits into the memory of a GPU, known from the plan before anything is allocated. */
#ifndef LACUNA_TRAIN_FIT_H
#define LACUNA_TRAIN_FIT_H

#include "recipe/recipe.h"
#include "train/trainer.h"

/* A run that begins makes its code book, if it has one, with memory that is given back before it trains. */
typedef enum { FIT_GOES_ON, FIT_BEGINS } FitRun;

/* Bytes of the device's memory for training with these options, with a program for validation where the recipe validates, or
 * what a code book is made with before, if that is more. -1 after error_set(). */
int64_t fit_bytes(const Recipe *recipe, const TrainerOptions *options, FitRun of);

/* Bytes of a GPU's memory that can be used now. False after error_set(). */
bool fit_room(const Device *device, int64_t *bytes);

/* The largest micro-batch that divides options->batch and fits into what is free on the GPU; *micro_batch 0: not even one
 * picture. False after error_set(). Only for cuda. */
bool fit_micro_batch(const Recipe *recipe, const TrainerOptions *options, FitRun of, int *micro_batch);

/* For a settled recipe that left its micro-batch open: on a GPU it becomes the largest that fits, or 1 when none does (which
 * fit_check() refuses); elsewhere it stays. False after error_set(). */
bool fit_settle(Recipe *recipe, const Device *device, bool plain, FitRun of);

/* Whether options->micro_batch fits; true on all devices but cuda. False after error_set(): what is planned, what is free, the
 * micro-batch that would fit. */
bool fit_check(const Recipe *recipe, const TrainerOptions *options, FitRun of);

#endif
