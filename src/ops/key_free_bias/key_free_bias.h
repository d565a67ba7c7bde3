/* The bias of a qkv projection whose keys have none: [q_bias, 0, v_bias] (spec/pretraining.md 5.1, `qkv_bias: no_k`). */
#ifndef LACUNA_OPS_KEY_FREE_BIAS_H
#define LACUNA_OPS_KEY_FREE_BIAS_H

#include "graph/tape.h"

/* q, v: (D). Returns (3 D); without q the keys' and values' part, (2 D). */
Ref key_free_bias(Tape *tape, Ref q, Ref v);

#endif
