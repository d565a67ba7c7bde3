/* How often the largest logit is the label's: accuracy (docs/spec/transfer.md C). It carries no gradient. */
#ifndef LACUNA_OPS_HITS_H
#define LACUNA_OPS_HITS_H

#include "graph/tape.h"

/* scale x the number of rows whose label has the largest of the logits (rows, C): a scalar. Of equal logits the lower class
 * counts; a row with one that is no number, or of label -1, does not hit. labels: I32 (rows). */
Ref hits(Tape *tape, Ref logits, Ref labels, Ref scale);

#endif
