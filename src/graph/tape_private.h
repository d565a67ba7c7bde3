/* The inside of a tape, for the files of src/graph only. */
#ifndef LACUNA_GRAPH_TAPE_PRIVATE_H
#define LACUNA_GRAPH_TAPE_PRIVATE_H

#include "graph/tape.h"

enum { SCOPE_MAX = 256, SCOPE_DEPTH = 16 };

typedef struct {
    char *name;
    int32_t slot;
    Segment segment;
} Keep;

/* A parameter set under a name: weights, fixed, grad, ... are storages NAME, NAME.fixed, NAME.grad. */
typedef struct {
    char *name;
    ParamSet *set;
    int32_t *slots; /* by parameter index; -1: not asked for on this tape yet */
    size_t slot_count;
} ParamUse;

struct Tape {
    Value *values;
    size_t value_count, value_capacity;
    Node *nodes;
    size_t node_count, node_capacity;
    Storage *storages;
    size_t storage_count, storage_capacity;
    ParamUse *uses;
    size_t use_count, use_capacity;
    Keep *keeps;
    size_t keep_count, keep_capacity;
    char **patterns;
    size_t pattern_count, pattern_capacity;
    void **owned; /* attributes and scope texts */
    size_t owned_count, owned_capacity;

    int use; /* index of the parameters in use, -1: none */
    bool trainable;
    bool differentiate_inputs;
    DType activation;
    int layer;
    const char *const *no_decay;
    int no_decay_count;
    bool decay_all;

    Segment segment;
    size_t segment_start; /* index of the segment's first node */
    char scope[SCOPE_MAX];
    size_t scope_lengths[SCOPE_DEPTH];
    int scope_depth;
    const char *scope_text; /* an owned copy of `scope`, NULL until needed */
    bool failed;
};

/* Whether two values share numbers of a storage. */
bool values_overlap(const Value *a, const Value *b);

/* Raises the version of a slot that is written, and of all others whose storage overlaps it. */
void tape_write(Value *values, size_t count, int32_t slot);

const char *tape_scope_text(Tape *tape);

#endif
