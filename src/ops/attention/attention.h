/* Multi-head attention within groups of rows (spec/pretraining.md 5.1): o = softmax(scale q k^T + bias) v for each head, the
 * map stored only when it is asked for. */
#ifndef LACUNA_OPS_ATTENTION_H
#define LACUNA_OPS_ATTENTION_H

#include "graph/tape.h"

typedef struct {
    Ref q; /* REAL or BF16, as kv and the result; (G, Tq, ...): G groups of Tq queries; head j reads columns q_column + j d .. +
              d - 1 */
    Ref kv; /* (G, Tk, ...): may be the same value as q. Their columns hold q, k, v and nothing else */
    int64_t q_column, k_column, v_column; /* where q, k, v begin in a row, in columns */
    int64_t width;                        /* heads x d */
    int heads;
    double scale; /* 0: 1 / sqrt(d) */
    Ref index;    /* I32 rows of a group in another order (windows, shifts); reserved: must be left out */
    Ref bias;     /* REAL (heads, Tq, Tk) added to the logits of every group, or left out */
    Ref mask;     /* additive mask; reserved: must be left out */
    Ref *map;     /* NULL, or receives the softmax, REAL (G, heads, Tq, Tk), which hands no gradient on */
} AttentionArgs;

/* Returns (G, Tq, width). */
Ref attention(Tape *tape, AttentionArgs args);

/* The usual form: qkv (G, T, 3 D) with rows q | k | v, bias as above or REF_NONE. Returns (G, T, D). */
Ref self_attention(Tape *tape, Ref qkv, int heads, Ref bias);

/* The same with its map. */
Ref self_attention_map(Tape *tape, Ref qkv, int heads, Ref bias, Ref *map);

#endif
