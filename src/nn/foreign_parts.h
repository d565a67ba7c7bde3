/* What the files of foreign weights share: foreign_names.c has the names of each project, foreign.c puts weights together,
 * foreign_recipe.c tells the network from their shapes. */
#ifndef LACUNA_NN_FOREIGN_PARTS_H
#define LACUNA_NN_FOREIGN_PARTS_H

#include "base/text.h"
#include "nn/foreign.h"

/* Whose names they are. */
typedef enum { NAMES_TIMM, NAMES_HF_VIT, NAMES_CLIP, NAMES_HF_CLIP } ForeignNames;

/* How a tensor enters a weight of ours. */
typedef enum {
    PART_WHOLE,
    PART_TRANSPOSED,
    PART_Q,
    PART_K,
    PART_V,
    PART_IGNORED,
    PART_DROPPED,
    PART_REFUSED,
    PART_UNKNOWN
} ForeignPart;

/* Our name for one of theirs, without prefixes, appended to `out`; for a part that is left out or refused, why. */
ForeignPart foreign_rename(ForeignNames names, const char *theirs, Text *out);

struct Foreign {
    const StateDict *state;
    ForeignNames names;
    bool simmim, moco, dino, dbot, codes; /* dbot: the student of one; codes: with a head that predicts them */
    Weight *weights;
    size_t count, capacity;
    ForeignTensor *tensors; /* state_count() of them */
    Text kind, notes;
};

/* From weights to the recipe, in which every weight of the encoder has its place and shape; decoders that do not fit are
 * dropped. False after error_set(). */
bool foreign_describe(Foreign *foreign, Recipe *recipe);

/* Gives up weights whose names begin so; their tensors become dropped ones for that reason. */
void foreign_drop(Foreign *foreign, const char *prefix, const char *why);

/* The weight of that name, or NULL. */
Weight *foreign_weight(const Foreign *foreign, const char *name);

#endif
