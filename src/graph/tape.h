/* The tape: a training step as a flat list of operations over slots. Model code calls op constructors, which append nodes here
 * and compute nothing. Gradients, clipping and the optimizer are appended as nodes too.
 *
 * Errors stick: the first one (a wrong shape, memory out) marks the tape as failed with error_text(), later calls do nothing
 * and return REF_NONE, and program_make() refuses a failed tape. So model code reads like its formulas. */
#ifndef LACUNA_GRAPH_TAPE_H
#define LACUNA_GRAPH_TAPE_H

#include "graph/op.h"
#include "graph/param.h"

/* Parts of a step that run apart. A step is ONLY, UPDATE, or FIRST, MORE..., LAST, UPDATE; without accumulation over ranks LAST
 * does what MORE does. EVALUATE is a program without gradients. */
typedef enum { SEGMENT_ONLY, SEGMENT_FIRST, SEGMENT_MORE, SEGMENT_LAST, SEGMENT_UPDATE, SEGMENT_EVALUATE, SEGMENTS } Segment;

typedef enum {
    HOME_ARENA,    /* planned memory, alive while it is used */
    HOME_INPUT,    /* planned memory, alive always, written by the host between runs */
    HOME_CONSTANT, /* given data, owned by the tape */
    HOME_STORAGE   /* part of a buffer that outlives the program: weights, gradients, moments, metrics */
} Home;

typedef struct {
    char *name; /* may be NULL */
    Shape shape;
    DType dtype;
    Home home;
    int storage;     /* HOME_STORAGE: which */
    int64_t offset;  /* and where in it, in elements */
    void *data;      /* HOME_CONSTANT: f64 for REAL, int32 for I32 */
    bool needs_grad; /* a gradient is wanted, or passes through */
    bool keep;       /* readable by the host after a run */
    int32_t version; /* how often it has been written */
    Ref grad;        /* its gradient in the segment being built */
    bool lent;       /* of a gradient: another value has taken this slot over as its own gradient */
    int param;       /* index in its set, or -1 */
} Value;

struct Node {
    const Op *op;
    Ref in[CALL_IN], out[CALL_OUT];
    uint32_t accumulate;
    const void *attr;
    Segment segment;
    const char *scope; /* where in the model, for messages */
};

/* A buffer outside the arena. */
typedef struct {
    char *name;
    int64_t count;       /* REAL elements; 0 for a parameter set's, whose size is storage_count() */
    const ParamSet *set; /* NULL, or: whose trained (or fixed) buffer this is or mirrors */
    bool trained;
} Storage;

/* ---- the tape itself */
Tape *tape_new(void);
void tape_free(Tape *tape);
bool tape_failed(const Tape *tape);

/* Marks the tape as failed; the first message stays. Always returns REF_NONE. The scope is put in front. */
Ref tape_fail(Tape *tape, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Nodes appended from now on belong to this segment. Gradients of an earlier segment are forgotten. */
void tape_segment(Tape *tape, Segment segment);

/* The type of activations, DTYPE_REAL at first. DTYPE_BF16: products round their operands to bf16 (sums stay f32), and model
 * code stores its widest values so; losses, statistics, the residual stream and all that concerns parameters stay REAL.
 * Constructors and model code ask for it. */
void tape_set_activation(Tape *tape, DType dtype);
DType tape_activation(const Tape *tape);

size_t tape_node_count(const Tape *tape);
const Node *tape_node(const Tape *tape, size_t i);
size_t tape_value_count(const Tape *tape);
const Value *tape_value(const Tape *tape, int32_t slot);
size_t tape_storage_count(const Tape *tape);
const Storage *tape_storage_at(const Tape *tape, int i);

/* ---- values */
Ref tape_input(Tape *tape, const char *name, DType dtype, Shape shape); /* the same name twice gives the same slot */
Ref tape_constant(Tape *tape, Shape shape, const double *data);         /* data is copied */
Ref tape_constant_i32(Tape *tape, Shape shape, const int32_t *data);
/* A constant of repeatable random normal numbers, for op->example. */
Ref tape_constant_example(Tape *tape, Shape shape);
/* From now on REAL and BF16 inputs want a gradient (op examples, the gradient check). */
void tape_differentiate_inputs(Tape *tape);
Ref tape_temp(Tape *tape, DType dtype, Shape shape, bool needs_grad);

/* A REAL buffer outside the arena, `count` elements; found again by its name. Returns a value of the whole buffer. */
Ref tape_storage(Tape *tape, const char *name, int64_t count);
/* Elements offset.. of a storage as a value of that shape (a loss slot of `metrics`). */
Ref tape_storage_part(Tape *tape, const char *name, int64_t offset, Shape shape);

/* The latest version of a slot. */
Ref tape_latest(const Tape *tape, Ref r);
const Shape *ref_shape(const Tape *tape, Ref r);
int64_t ref_rows(const Tape *tape, Ref r);
int64_t ref_columns(const Tape *tape, Ref r);
int64_t ref_count(const Tape *tape, Ref r);
bool ref_needs_grad(const Tape *tape, Ref r); /* false for REF_NONE */

/* Makes a value readable after a run under this name; it is then never fused away, and writing it again
 * fails the tape. */
void tape_keep(Tape *tape, Ref r, const char *name);
/* As above for a value that model code named with tape_name(): pattern with one * or none ("blocks.*", "blocks.*.attn.map").
 * Call before building. */
void tape_keep_matching(Tape *tape, const char *pattern);
/* Whether a value of that name in the present scope will be kept: for what model code makes only then. */
bool tape_keeps(const Tape *tape, const char *name);
/* Names a value in the present scope ("blocks.3"); kept when it matches. */
Ref tape_name(Tape *tape, Ref r, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- scopes and parameters */
void scope_push(Tape *tape, const char *format, ...) __attribute__((format(printf, 2, 3)));
void scope_pop(Tape *tape);

/* Parameters asked for from now on come from this set; their weights lie in storage NAME (trained) and NAME.fixed, their
 * gradients in NAME.grad. trainable false: no gradients (a teacher, evaluation). */
void tape_use_params(Tape *tape, ParamSet *set, const char *name, bool trainable);
/* The set in use, to be taken up again after another one (a teacher in the middle of its student). */
typedef struct {
    int use;
    bool trainable;
} ParamsInUse;
ParamsInUse tape_params_in_use(const Tape *tape);
void tape_params_use_again(Tape *tape, ParamsInUse params);

/* Layer number (for layer-wise rates) given to parameters declared from now on. */
void tape_layer(Tape *tape, int layer);

/* The parameter SCOPE.name, declared at its first use. decay follows spec 15.2: not for 1-D ones, nor names ending in .bias,
 * nor those in tape_decay_rule(). */
Ref param(Tape *tape, const char *name, Shape shape, Init init);
Ref param_fixed(Tape *tape, const char *name, Shape shape, Init init);
/* Rows first .. first + count - 1 of a parameter (along its first axis) as a value of its own, without a copy; its gradient is
 * the same rows of the parameter's. Rows that no part reaches get zeros. The parts that gradients reach must not overlap, nor
 * may the whole parameter be reached in the same segment: the tape fails then. */
Ref param_rows(Tape *tape, Ref parameter, int64_t first, int64_t count);
/* Exact names exempt from weight decay; decay_all: no exemption at all. The list must outlive the tape. */
void tape_decay_rule(Tape *tape, const char *const *no_decay, int count, bool decay_all);

/* Elements of a storage, those that its parameter set has grown to included. */
int64_t storage_count(const Storage *storage);

/* The value of the whole trained buffer NAME of a parameter set, or of a mirror of it ("grad", "moment1", ...); SUFFIX "" for
 * the weights. Call when the set is complete. */
Ref tape_params_whole(Tape *tape, const char *name, const char *suffix);

/* ---- nodes (for op constructors) */

/* A zeroed copy of attr_size bytes owned by the tape. */
void *tape_attr(Tape *tape, const void *attr, size_t size);

/* Appends a node. ins and outs have op->in_count and op->out_count refs; outs are written: their versions are raised in place,
 * so that after the call outs[i] names the new contents. accumulate: bit i as in Call. */
void tape_append(Tape *tape, const Op *op, const void *attr, const Ref *ins, Ref *outs, uint32_t accumulate);

/* A node that may be changed before the program is made: only for planting bugs that the checks must find. */
Node *tape_node_to_break(Tape *tape, size_t i);

/* ---- gradients (for op->gradient) */

/* Appends the gradient of sum_i weights[i] * losses[i] (scalars) with respect to all that needs it, and zeros for trained
 * parameters of the set in use that nothing reaches. `fill` appends a node that writes a constant to the target (the graph
 * knows no op by name). */
void tape_gradient(Tape *tape, const Ref *losses, const double *weights, int count,
                   void (*fill)(Tape *, Ref target, double value));

/* The gradient that has arrived at a node's output, REF_NONE when none has. */
Ref grad_of(const Tape *tape, Ref out);

/* Where to write a contribution to the gradient of `in`: the slot, and in *accumulate bit `bit` set when it must be added.
 * REF_NONE when `in` is left out or wants none. */
Ref grad_into(Tape *tape, Ref in, int bit, uint32_t *accumulate);

/* Hands a gradient on unchanged (residual paths): `in` takes the slot of `gradient` over when it has none yet, else `add` is
 * appended. */
void grad_pass(Tape *tape, Ref in, Ref gradient, void (*add)(Tape *, Ref target, Ref term, uint32_t accumulate));

#endif
