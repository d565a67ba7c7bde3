/* For the table of `standardise`: on a GPU, standardised patches are cut and standardised in one pass over the pictures. */
#ifndef LACUNA_OPS_PATCHES_LOWER_H
#define LACUNA_OPS_PATCHES_LOWER_H

#include "graph/lower.h"

/* standardise of what `patches` made becomes patches_standardised; `patches` stays for who else reads it, and is dropped if
 * nobody does. */
bool patches_standardise_lower(Lowering *lowering, const Node *node);

#endif
