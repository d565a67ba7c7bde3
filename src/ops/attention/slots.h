/* Slots and attributes of attention and its gradient, shared by their kernels. */
#ifndef LACUNA_OPS_ATTENTION_SLOTS_H
#define LACUNA_OPS_ATTENTION_SLOTS_H

#include "ops/attention/attention.h"

typedef struct {
    int64_t groups, queries, keys; /* G, Tq, Tk */
    int64_t q_column, k_column, v_column, width;
    int heads;
    double scale;
} AttentionAttr;

enum { ATTENTION_Q, ATTENTION_KV, ATTENTION_BIAS, ATTENTION_IN };
/* lse (G, heads, Tq): log of the softmax's denominator. map (G, heads, Tq, Tk), or left out. */
enum { ATTENTION_O, ATTENTION_LSE, ATTENTION_MAP, ATTENTION_OUT };

enum {
    ATTENTION_GRAD_DO,
    ATTENTION_GRAD_Q,
    ATTENTION_GRAD_KV,
    ATTENTION_GRAD_O,
    ATTENTION_GRAD_LSE,
    ATTENTION_GRAD_BIAS,
    ATTENTION_GRAD_IN
};
/* When q and kv are one value there is no dkv, and dq holds all three parts. */
enum { ATTENTION_GRAD_DQ, ATTENTION_GRAD_DKV, ATTENTION_GRAD_DBIAS, ATTENTION_GRAD_OUT };

#endif
