/* What a file of weights of another project holds, and what becomes of it here. */
#ifndef LACUNA_CLI_SHOW_WEIGHTS_H
#define LACUNA_CLI_SHOW_WEIGHTS_H

#include "train/weights.h"

/* Appends what was recognised, and of every tensor what it matched, or why it is left out; those of all blocks in one line. */
void show_weights(Text *out, const Weights *weights, const Recipe *recipe);

/* Appends what a file holds in which no network is recognised. */
void show_tensors(Text *out, const StateDict *state);

#endif
