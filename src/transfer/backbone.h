/* A model with weights: the one door through which probes, embedding and analysis get theirs. */
#ifndef LACUNA_TRANSFER_BACKBONE_H
#define LACUNA_TRANSFER_BACKBONE_H

#include "base/text.h"
#include "graph/param.h"
#include "recipe/recipe.h"

typedef struct {
    Recipe recipe; /* image.mean and image.std are lists */
    ParamSet params;
    float *weights, *fixed; /* buffers of the set's trained and fixed parameters */
} Backbone;

/* Opens the encoder that `from` means: a run (its newest checkpoint), a checkpoint's folder, or its model.safetensors. Decoders
 * are left out. What is worth knowing about the weights is appended to `note` (may be NULL). Owned by the caller. NULL after
 * error_set(). */
Backbone *backbone_open(const char *from, Text *note);

/* The encoder of a checked recipe with its first draw of weights. */
Backbone *backbone_new(const Recipe *recipe);

/* Takes the encoder's weights out of another set's trained buffer, by their names. False after error_set() when one is not
 * there. */
bool backbone_take(Backbone *backbone, const ParamSet *params, const float *weights);

/* The recipe of an encoder alone: nothing is hidden, and no teacher is wanted. */
void backbone_recipe(Recipe *recipe);

void backbone_close(Backbone *backbone);

/* A number that differs when a weight does. */
uint64_t backbone_hash(const Backbone *backbone);

#endif
