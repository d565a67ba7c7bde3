/* MoCo v3 on the tape (docs/spec/pretraining.md 14): two views of each picture go through an encoder with projector and
 * predictor, and through its running average without predictor; each query must find the key of its own picture's other view
 * among those of all pictures of the program. */
#ifndef LACUNA_CONTROLS_CONTRAST_H
#define LACUNA_CONTROLS_CONTRAST_H

#include "graph/program.h"
#include "nn/encoder.h"
#include "recipe/recipe.h"

/* What a recipe comes to for a program of `batch` pictures, which are compared with each other. */
typedef struct {
    const Recipe *recipe; /* borrowed */
    VitConfig encoder;
    ParamSet *averaged; /* of the momentum encoder, in storages "teacher" and "teacher.fixed"; borrowed. Its trained parameters
                           are the first of the set in use, in the same places */
    int64_t batch;
    const char *no_decay[RECIPE_NAMES_MAX];
} Contrast;

/* False after error_set(). */
bool contrast_open(Contrast *c, const Recipe *recipe, ParamSet *averaged, int64_t batch);

/* Appends the forward pass to the tape's present segment, with the parameters in use. Returns the loss, a scalar: this group's
 * share of the mean over the whole batch. *hits: its share of the queries that find their key. */
Ref contrast_forward(Tape *tape, const Contrast *c, Ref *hits);

/* Fills a program's inputs for its next run: `batch` pictures (C, H, W) in both views. total: pictures of the whole step. */
void contrast_feed(Program *program, const Contrast *c, const float *first, const float *second, int64_t total);

#endif
