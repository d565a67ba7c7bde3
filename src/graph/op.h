/* What an op is. Ops themselves live in src/ops, one room each; the graph gets them through nodes and knows none by name. */
#ifndef LACUNA_GRAPH_OP_H
#define LACUNA_GRAPH_OP_H

#include "base/cpu.h"
#include "device/device.h"
#include "device/kernel.h"

typedef struct Tape Tape;
typedef struct Node Node;
typedef struct Lowering Lowering;

/* A value at one moment: its slot, and how often the slot had been written when it was named. slot < 0: left out. */
typedef struct {
    int32_t slot, version;
} Ref;

#define REF_NONE ((Ref){-1, 0})

static inline bool ref_given(Ref r)
{
    return r.slot >= 0;
}

/* Bytes and floating-point operations that a node cannot do without (for shares of the peak). */
typedef struct {
    double flops, bytes;
} Cost;

typedef struct Op {
    const char *name;
    int in_count, out_count;
    const char *const *in_names, *const *out_names; /* for messages */
    size_t attr_size;

    /* Appends the nodes that carry the gradient from a node's outputs to its inputs (graph/tape.h). NULL: nothing flows back.
     */
    void (*gradient)(Tape *tape, const Node *node);

    /* Splits a node that the device lacks a kernel for into others, ending in the same output slots: appends them with
     * lower_append() and returns true; returns false to keep the node as it is. NULL: never split. */
    bool (*lower)(Lowering *lowering, const Node *node);

    /* Bytes of workspace for a call with these shapes (data pointers unset). NULL: none. */
    size_t (*workspace)(const Call *call, const Device *device);

    Cost (*cost)(const Call *call);

    /* in_place[i] - 1 is the input whose memory output i may take over when that input is not read later; 0: none. */
    int8_t in_place[CALL_OUT];

    /* Its kernels take and give BF16 values; the tape refuses them to other ops. */
    bool takes_bf16;

    /* Its results are read late, as gradients of parameters are, and there is much to compute: where they go to storages, a GPU
     * may do it beside what follows. */
    bool aside;

    /* Couples the samples of a batch (batch norm, InfoNCE): refuses local accumulation, gathers over ranks. */
    bool couples_samples;

    Kernel ref[2];          /* f32, f64; the truth, run by one thread */
    Kernel cpu[CPU_LEVELS]; /* NULL: the reference serves */
    CudaKernel cuda;        /* NULL: a program for a GPU cannot have this op */

    /* Builds small examples on the tape from tape_input() and tape_constant() values, at sizes that do not divide, and returns
     * the value that is differentiated (any shape); REF_NONE once `index` is past the last. For the gradient check and the
     * kernels' tests. */
    Ref (*example)(Tape *tape, int index);
} Op;

#endif
