/* The weights of a model under our names, whoever trained it: a run of this program, a checkpoint, or another project's file
 * (nn/foreign.h). The one door through which probes, embedding, teachers and new runs get theirs. */
#ifndef LACUNA_TRAIN_WEIGHTS_H
#define LACUNA_TRAIN_WEIGHTS_H

#include "base/text.h"
#include "nn/foreign.h"
#include "recipe/recipe.h"

typedef struct Weights Weights;

/* Opens what `path` means: a run (its newest checkpoint), a checkpoint's folder or its model.safetensors; behind a run or
 * checkpoint `#teacher`, the frozen network that its student learnt from; else whatever state_open() reads. *recipe becomes
 * that of the model: image.mean and image.std are lists or words, its name is "". What is worth knowing is appended to `note`
 * (may be NULL). NULL after error_set(). */
Weights *weights_open(const char *path, Recipe *recipe, Text *note);
void weights_close(Weights *weights);

/* Whether a path means the teacher of a run or a checkpoint. */
bool weights_of_teacher(const char *path);

/* What is to be opened: a file, or a folder of another project. Fresh string; NULL after error_set(). */
char *weights_file(const char *path, Text *note);

/* In the order of their names; owned by the weights. weights_find(): NULL without an error when there is none. */
size_t weights_count(const Weights *weights);
const Weight *weights_at(const Weights *weights, size_t i);
const Weight *weights_find(const Weights *weights, const char *name);

/* The file that was opened, for errors. */
const char *weights_path(const Weights *weights);

/* Of another project's file what was recognised and its container in words; NULL for one of this program. */
const Foreign *weights_foreign(const Weights *weights);
const char *weights_words(const Weights *weights);
const char *weights_others(const Weights *weights);

#endif
