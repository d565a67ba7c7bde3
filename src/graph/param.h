/* Parameter sets: all weights of a model in two buffers, `trained` and `fixed`; gradients and moments mirror the first.
 *
 * A set is a layout, not memory: it grows while model code is built on a tape for the first time and is looked up by name
 * afterwards, so that the training program, the evaluation program and a teacher of the same shape share it. */
#ifndef LACUNA_GRAPH_PARAM_H
#define LACUNA_GRAPH_PARAM_H

#include "device/kernel.h"

typedef enum { PARAM_TRAINED, PARAM_FIXED, PARAM_STATISTIC } ParamKind;

/* How a parameter starts; the draws themselves are made by nn/init. */
typedef enum {
    INIT_CONSTANT,   /* a */
    INIT_UNIFORM,    /* on [-a, a] */
    INIT_NORMAL,     /* mean 0, deviation a */
    INIT_CUT_NORMAL, /* normal of deviation a, redrawn until within [-a, a], then divided by b (0: by 1) */
    INIT_SINCOS      /* the table of a rows x b columns grid, with or without a class row */
} InitKind;

typedef struct {
    InitKind kind;
    double a, b;
} Init;

typedef struct {
    char *name; /* as in a checkpoint, e.g. blocks.3.attn.qkv.weight */
    Shape shape;
    ParamKind kind;
    Init init;
    int64_t offset; /* elements from the start of its buffer, a multiple of PARAM_ALIGN */
    int64_t count;
    bool decay; /* weight decay applies */
    int layer;  /* 0: embeddings, block i: i + 1, all else: depth + 1 */
} Param;

enum { PARAM_ALIGN = 16 };

typedef struct {
    Param *params;
    size_t count, capacity;
    int64_t trained_count, fixed_count; /* elements of the two buffers, padding (always zero) included */
} ParamSet;

/* Index of the parameter of that name, or -1. */
int param_find(const ParamSet *set, const char *name);

/* Appends one; its offset is set here. Returns its index, or -1 after error_set(). */
int param_add(ParamSet *set, const char *name, Shape shape, ParamKind kind, Init init, bool decay, int layer);

/* Numbers of trained parameters without padding. */
int64_t param_trained_numbers(const ParamSet *set);

void param_set_free(ParamSet *set);

#endif
