#include "graph/tape.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "graph/tape_private.h"

Tape *tape_new(void)
{
    Tape *tape = memory_new(1, sizeof *tape);
    if (tape)
        tape->use = -1;
    return tape;
}

void tape_free(Tape *tape)
{
    if (!tape)
        return;
    for (size_t i = 0; i < tape->value_count; i++) {
        memory_free(tape->values[i].name);
        memory_free(tape->values[i].data);
    }
    for (size_t i = 0; i < tape->storage_count; i++)
        memory_free(tape->storages[i].name);
    for (size_t i = 0; i < tape->use_count; i++) {
        memory_free(tape->uses[i].name);
        memory_free(tape->uses[i].slots);
    }
    for (size_t i = 0; i < tape->keep_count; i++)
        memory_free(tape->keeps[i].name);
    for (size_t i = 0; i < tape->pattern_count; i++)
        memory_free(tape->patterns[i]);
    for (size_t i = 0; i < tape->owned_count; i++)
        memory_free(tape->owned[i]);
    memory_free(tape->values);
    memory_free(tape->nodes);
    memory_free(tape->storages);
    memory_free(tape->uses);
    memory_free(tape->keeps);
    memory_free(tape->patterns);
    memory_free(tape->owned);
    memory_free(tape);
}

bool tape_failed(const Tape *tape)
{
    return tape->failed;
}

Ref tape_fail(Tape *tape, const char *format, ...)
{
    if (tape->failed)
        return REF_NONE;
    tape->failed = true;
    if (format) {
        char message[512];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        error_set("%s%s%s", tape->scope, tape->scope[0] ? ": " : "", message);
    }
    return REF_NONE;
}

void tape_segment(Tape *tape, Segment segment)
{
    tape->segment = segment;
    tape->segment_start = tape->node_count;
    for (size_t i = 0; i < tape->value_count; i++)
        tape->values[i].grad = REF_NONE;
}

void tape_set_activation(Tape *tape, DType dtype)
{
    tape->activation = dtype;
}

DType tape_activation(const Tape *tape)
{
    return tape->activation;
}

size_t tape_node_count(const Tape *tape)
{
    return tape->node_count;
}

const Node *tape_node(const Tape *tape, size_t i)
{
    return &tape->nodes[i];
}

size_t tape_value_count(const Tape *tape)
{
    return tape->value_count;
}

const Value *tape_value(const Tape *tape, int32_t slot)
{
    return &tape->values[slot];
}

size_t tape_storage_count(const Tape *tape)
{
    return tape->storage_count;
}

const Storage *tape_storage_at(const Tape *tape, int i)
{
    return &tape->storages[i];
}

int64_t storage_count(const Storage *storage)
{
    if (!storage->set)
        return storage->count;
    return storage->trained ? storage->set->trained_count : storage->set->fixed_count;
}

/* ---- values */

static Ref add_value(Tape *tape, Value value, const char *name)
{
    if (tape->failed)
        return REF_NONE;
    if (!shape_fits(&value.shape))
        return tape_fail(tape, "%s has more numbers than can be counted", name ? name : "a value");
    if (!memory_grow((void **)&tape->values, tape->value_count, &tape->value_capacity, sizeof *tape->values))
        return tape_fail(tape, NULL);
    if (name && !(value.name = memory_string(name)))
        return tape_fail(tape, NULL);
    value.grad = REF_NONE;
    tape->values[tape->value_count] = value;
    return (Ref){(int32_t)tape->value_count++, value.version};
}

Ref tape_input(Tape *tape, const char *name, DType dtype, Shape shape)
{
    for (size_t i = 0; i < tape->value_count; i++) {
        const Value *v = &tape->values[i];
        if (v->home != HOME_INPUT || strcmp(v->name, name) != 0)
            continue;
        if (!shape_equal(&v->shape, &shape) || v->dtype != dtype)
            return tape_fail(tape, "input %s is asked for with two shapes or types", name);
        return (Ref){(int32_t)i, v->version};
    }
    bool needs_grad = tape->differentiate_inputs && dtype != DTYPE_I32;
    return add_value(tape, (Value){.shape = shape, .dtype = dtype, .home = HOME_INPUT, .needs_grad = needs_grad, .param = -1},
                     name);
}

void tape_differentiate_inputs(Tape *tape)
{
    tape->differentiate_inputs = true;
}

static Ref add_constant(Tape *tape, DType dtype, Shape shape, const void *data, size_t size)
{
    size_t count = (size_t)shape_count(&shape);
    void *copy = memory_new(count, size);
    if (!copy)
        return tape_fail(tape, NULL);
    memcpy(copy, data, count * size);
    Ref r = add_value(tape, (Value){.shape = shape, .dtype = dtype, .home = HOME_CONSTANT, .data = copy, .param = -1}, NULL);
    if (!ref_given(r))
        memory_free(copy);
    return r;
}

Ref tape_constant(Tape *tape, Shape shape, const double *data)
{
    return add_constant(tape, DTYPE_REAL, shape, data, sizeof *data);
}

Ref tape_constant_i32(Tape *tape, Shape shape, const int32_t *data)
{
    return add_constant(tape, DTYPE_I32, shape, data, sizeof *data);
}

Ref tape_constant_example(Tape *tape, Shape shape)
{
    size_t count = (size_t)shape_count(&shape);
    double *data = memory_new(count, sizeof *data);
    if (!data)
        return tape_fail(tape, NULL);
    Random random = random_stream(1, RANDOM_TEST, 0, 0, tape->value_count);
    for (size_t i = 0; i < count; i++)
        data[i] = random_normal(&random);
    Ref r = tape_constant(tape, shape, data);
    memory_free(data);
    return r;
}

Ref tape_temp(Tape *tape, DType dtype, Shape shape, bool needs_grad)
{
    return add_value(tape, (Value){.shape = shape, .dtype = dtype, .home = HOME_ARENA, .needs_grad = needs_grad, .param = -1},
                     NULL);
}

/* Index of the storage of that name, made when missing; -1 after an error. */
static int storage_index(Tape *tape, const char *name, int64_t count, const ParamSet *set, bool trained)
{
    for (size_t i = 0; i < tape->storage_count; i++) {
        Storage *s = &tape->storages[i];
        if (strcmp(s->name, name) != 0)
            continue;
        if (s->set != set || (!set && s->count != count)) {
            tape_fail(tape, "storage %s is asked for with two sizes", name);
            return -1;
        }
        return (int)i;
    }
    char *copy = memory_string(name);
    if (!copy || !memory_grow((void **)&tape->storages, tape->storage_count, &tape->storage_capacity, sizeof(Storage))) {
        memory_free(copy);
        tape_fail(tape, NULL);
        return -1;
    }
    tape->storages[tape->storage_count] = (Storage){.name = copy, .count = count, .set = set, .trained = trained};
    return (int)tape->storage_count++;
}

bool values_overlap(const Value *a, const Value *b)
{
    return a->home == HOME_STORAGE && b->home == HOME_STORAGE && a->storage == b->storage &&
           a->offset < b->offset + shape_count(&b->shape) && b->offset < a->offset + shape_count(&a->shape);
}

/* How often a part of a storage has been written before it got a slot of its own. */
static int32_t earlier_writes(const Tape *tape, const Value *v)
{
    int32_t writes = 0;
    for (size_t n = 0; n < tape->node_count; n++)
        for (int i = 0; i < tape->nodes[n].op->out_count; i++)
            if (ref_given(tape->nodes[n].out[i]))
                writes += values_overlap(v, &tape->values[tape->nodes[n].out[i].slot]);
    return writes;
}

/* A value at that place of a storage; the same place and shape is the same slot. */
static Ref storage_value(Tape *tape, int storage, int64_t offset, Shape shape, bool needs_grad, int index)
{
    if (storage < 0)
        return REF_NONE;
    for (size_t i = 0; i < tape->value_count; i++) {
        Value *v = &tape->values[i];
        if (v->home == HOME_STORAGE && v->storage == storage && v->offset == offset && shape_equal(&v->shape, &shape))
            return (Ref){(int32_t)i, v->version};
    }
    Value value = {
        .shape = shape, .home = HOME_STORAGE, .storage = storage, .offset = offset, .needs_grad = needs_grad, .param = index};
    value.version = earlier_writes(tape, &value);
    return add_value(tape, value, NULL);
}

Ref tape_storage(Tape *tape, const char *name, int64_t count)
{
    return storage_value(tape, storage_index(tape, name, count, NULL, false), 0, shape_1(count), false, -1);
}

Ref tape_storage_part(Tape *tape, const char *name, int64_t offset, Shape shape)
{
    for (size_t i = 0; i < tape->storage_count; i++)
        if (!strcmp(tape->storages[i].name, name)) {
            if (offset < 0 || offset + shape_count(&shape) > storage_count(&tape->storages[i]))
                return tape_fail(tape, "a part of storage %s lies outside it", name);
            return storage_value(tape, (int)i, offset, shape, false, -1);
        }
    return tape_fail(tape, "storage %s does not exist", name);
}

Ref tape_params_whole(Tape *tape, const char *name, const char *suffix)
{
    for (size_t i = 0; i < tape->use_count; i++) {
        const ParamUse *use = &tape->uses[i];
        if (strcmp(use->name, name) != 0)
            continue;
        char full[128];
        snprintf(full, sizeof full, "%s%s%s", name, suffix[0] ? "." : "", suffix);
        int storage = storage_index(tape, full, 0, use->set, true);
        return storage_value(tape, storage, 0, shape_1(use->set->trained_count), false, -1);
    }
    return tape_fail(tape, "no parameters of the name %s are in use", name);
}

Ref tape_latest(const Tape *tape, Ref r)
{
    return ref_given(r) ? (Ref){r.slot, tape->values[r.slot].version} : r;
}

static const Shape no_shape = {.n = 0};

const Shape *ref_shape(const Tape *tape, Ref r)
{
    return ref_given(r) ? &tape->values[r.slot].shape : &no_shape;
}

int64_t ref_rows(const Tape *tape, Ref r)
{
    return shape_rows(ref_shape(tape, r));
}

int64_t ref_columns(const Tape *tape, Ref r)
{
    return shape_columns(ref_shape(tape, r));
}

int64_t ref_count(const Tape *tape, Ref r)
{
    return shape_count(ref_shape(tape, r));
}

bool ref_needs_grad(const Tape *tape, Ref r)
{
    return ref_given(r) && tape->values[r.slot].needs_grad;
}

void tape_keep(Tape *tape, Ref r, const char *name)
{
    if (tape->failed || !ref_given(r))
        return;
    char *copy = memory_string(name);
    if (!copy || !memory_grow((void **)&tape->keeps, tape->keep_count, &tape->keep_capacity, sizeof *tape->keeps)) {
        memory_free(copy);
        tape_fail(tape, NULL);
        return;
    }
    tape->keeps[tape->keep_count++] = (Keep){copy, r.slot, tape->segment};
    tape->values[r.slot].keep = true;
}

void tape_keep_matching(Tape *tape, const char *pattern)
{
    char *copy = memory_string(pattern);
    if (!copy || !memory_grow((void **)&tape->patterns, tape->pattern_count, &tape->pattern_capacity, sizeof(char *))) {
        memory_free(copy);
        tape_fail(tape, NULL);
        return;
    }
    tape->patterns[tape->pattern_count++] = copy;
}

/* A * stands for any text; there is one at most. */
static bool pattern_matches(const char *pattern, const char *name)
{
    const char *star = strchr(pattern, '*');
    if (!star)
        return !strcmp(pattern, name);
    size_t before = (size_t)(star - pattern), behind = strlen(star + 1), n = strlen(name);
    return n >= before + behind && !strncmp(pattern, name, before) && !strcmp(star + 1, name + n - behind);
}

/* The name in the present scope, and whether it is to be kept. */
static bool name_matches(const Tape *tape, const char *name, char full[2 * SCOPE_MAX + 2])
{
    snprintf(full, 2 * SCOPE_MAX + 2, "%s%s%s", tape->scope, tape->scope[0] ? "." : "", name);
    for (size_t i = 0; i < tape->pattern_count; i++)
        if (pattern_matches(tape->patterns[i], full))
            return true;
    return false;
}

bool tape_keeps(const Tape *tape, const char *name)
{
    char full[2 * SCOPE_MAX + 2];
    return name_matches(tape, name, full);
}

Ref tape_name(Tape *tape, Ref r, const char *format, ...)
{
    if (tape->failed || !ref_given(r))
        return r;
    char name[SCOPE_MAX], full[2 * SCOPE_MAX + 2];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (name_matches(tape, name, full))
        tape_keep(tape, r, full);
    return r;
}

/* ---- scopes and parameters */

void scope_push(Tape *tape, const char *format, ...)
{
    char name[SCOPE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    size_t n = strlen(tape->scope);
    if (tape->scope_depth == SCOPE_DEPTH || n + strlen(name) + 2 > sizeof tape->scope) {
        tape_fail(tape, "scopes are nested too deeply");
        return;
    }
    tape->scope_lengths[tape->scope_depth++] = n;
    snprintf(tape->scope + n, sizeof tape->scope - n, "%s%s", n ? "." : "", name);
    tape->scope_text = NULL;
}

void scope_pop(Tape *tape)
{
    if (tape->scope_depth == 0)
        return; /* only after a failed push */
    tape->scope[tape->scope_lengths[--tape->scope_depth]] = 0;
    tape->scope_text = NULL;
}

void tape_use_params(Tape *tape, ParamSet *set, const char *name, bool trainable)
{
    for (size_t i = 0; i < tape->use_count; i++)
        if (!strcmp(tape->uses[i].name, name)) {
            tape->use = (int)i;
            tape->trainable = trainable;
            return;
        }
    char *copy = memory_string(name);
    if (!copy || !memory_grow((void **)&tape->uses, tape->use_count, &tape->use_capacity, sizeof *tape->uses)) {
        memory_free(copy);
        tape_fail(tape, NULL);
        return;
    }
    tape->use = (int)tape->use_count;
    tape->trainable = trainable;
    tape->uses[tape->use_count++] = (ParamUse){.name = copy, .set = set};
}

ParamsInUse tape_params_in_use(const Tape *tape)
{
    return (ParamsInUse){tape->use, tape->trainable};
}

void tape_params_use_again(Tape *tape, ParamsInUse params)
{
    tape->use = params.use;
    tape->trainable = params.trainable;
}

void tape_layer(Tape *tape, int layer)
{
    tape->layer = layer;
}

void tape_decay_rule(Tape *tape, const char *const *no_decay, int count, bool decay_all)
{
    tape->no_decay = no_decay;
    tape->no_decay_count = count;
    tape->decay_all = decay_all;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* spec/pretraining.md 15.2 */
static bool decays(const Tape *tape, const char *name, const Shape *shape)
{
    if (tape->decay_all)
        return true;
    if (shape->n <= 1 || ends_with(name, ".bias"))
        return false;
    for (int i = 0; i < tape->no_decay_count; i++)
        if (!strcmp(name, tape->no_decay[i]))
            return false;
    return true;
}

/* Slot list of a use, long enough for `index`. */
static int32_t *use_slot(Tape *tape, ParamUse *use, int index)
{
    size_t wanted = (size_t)index + 1;
    if (use->slot_count < wanted) {
        size_t capacity = 2 * wanted + 32;
        int32_t *moved = memory_resize(use->slots, capacity, sizeof *moved);
        if (!moved) {
            tape_fail(tape, NULL);
            return NULL;
        }
        for (size_t i = use->slot_count; i < capacity; i++)
            moved[i] = -1;
        use->slots = moved;
        use->slot_count = capacity;
    }
    return &use->slots[index];
}

static Ref param_of_kind(Tape *tape, const char *name, Shape shape, Init init, ParamKind kind)
{
    if (tape->failed)
        return REF_NONE;
    if (tape->use < 0)
        return tape_fail(tape, "parameter %s is asked for before tape_use_params()", name);
    ParamUse *use = &tape->uses[tape->use];
    char full[2 * SCOPE_MAX + 2];
    snprintf(full, sizeof full, "%s%s%s", tape->scope, tape->scope[0] ? "." : "", name);
    int index = param_find(use->set, full);
    if (index < 0)
        index = param_add(use->set, full, shape, kind, init, kind == PARAM_TRAINED && decays(tape, full, &shape), tape->layer);
    if (index < 0)
        return tape_fail(tape, NULL);
    const Param *p = &use->set->params[index];
    if (!shape_equal(&p->shape, &shape))
        return tape_fail(tape, "parameter %s is asked for with two shapes", full);
    int32_t *slot = use_slot(tape, use, index);
    if (!slot)
        return REF_NONE;
    if (*slot < 0) {
        char storage[128];
        bool trained = p->kind == PARAM_TRAINED;
        snprintf(storage, sizeof storage, "%s%s", use->name, trained ? "" : ".fixed");
        Ref r = storage_value(tape, storage_index(tape, storage, 0, use->set, trained), p->offset, shape, false, index);
        if (!ref_given(r))
            return r;
        *slot = r.slot;
    }
    Value *v = &tape->values[*slot];
    v->needs_grad = tape->trainable && p->kind == PARAM_TRAINED;
    return (Ref){*slot, v->version};
}

Ref param(Tape *tape, const char *name, Shape shape, Init init)
{
    return param_of_kind(tape, name, shape, init, PARAM_TRAINED);
}

Ref param_fixed(Tape *tape, const char *name, Shape shape, Init init)
{
    return param_of_kind(tape, name, shape, init, PARAM_FIXED);
}

Ref param_rows(Tape *tape, Ref parameter, int64_t first, int64_t count)
{
    if (tape->failed || !ref_given(parameter))
        return REF_NONE;
    /* Copied: the array of values may move below. */
    Value whole = tape->values[parameter.slot];
    if (whole.param < 0 || whole.shape.n < 1)
        return tape_fail(tape, "rows are asked for of what is no parameter or has none");
    if (first < 0 || count < 1 || count > whole.shape.d[0] - first)
        return tape_fail(tape, "rows %lld to %lld are asked for of a parameter of %lld", (long long)first,
                         (long long)(first + count - 1), (long long)whole.shape.d[0]);
    int64_t row = shape_count(&whole.shape) / whole.shape.d[0];
    whole.shape.d[0] = count;
    Ref r = storage_value(tape, whole.storage, whole.offset + first * row, whole.shape, false, whole.param);
    if (ref_given(r))
        tape->values[r.slot].needs_grad = whole.needs_grad;
    return r;
}

/* ---- nodes */

static bool own(Tape *tape, void *block)
{
    if (block && memory_grow((void **)&tape->owned, tape->owned_count, &tape->owned_capacity, sizeof(void *))) {
        tape->owned[tape->owned_count++] = block;
        return true;
    }
    memory_free(block);
    tape_fail(tape, NULL);
    return false;
}

void *tape_attr(Tape *tape, const void *attr, size_t size)
{
    void *copy = memory_new(1, size);
    if (!own(tape, copy))
        return NULL;
    return memcpy(copy, attr, size);
}

const char *tape_scope_text(Tape *tape)
{
    if (!tape->scope_text) {
        char *copy = memory_string(tape->scope);
        if (!own(tape, copy))
            return "";
        tape->scope_text = copy;
    }
    return tape->scope_text;
}

void tape_write(Value *values, size_t count, int32_t slot)
{
    Value *v = &values[slot];
    v->version++;
    for (size_t i = 0; v->home == HOME_STORAGE && i < count; i++)
        if (&values[i] != v && values_overlap(v, &values[i]))
            values[i].version++;
}

static bool any_bf16(const Tape *tape, const Ref *refs, int count)
{
    for (int i = 0; i < count; i++)
        if (ref_given(refs[i]) && tape->values[refs[i].slot].dtype == DTYPE_BF16)
            return true;
    return false;
}

void tape_append(Tape *tape, const Op *op, const void *attr, const Ref *ins, Ref *outs, uint32_t accumulate)
{
    if (tape->failed)
        return;
    if (!memory_grow((void **)&tape->nodes, tape->node_count, &tape->node_capacity, sizeof *tape->nodes)) {
        tape_fail(tape, NULL);
        return;
    }
    Node node = {.op = op,
                 .accumulate = accumulate,
                 .attr = attr ? tape_attr(tape, attr, op->attr_size) : NULL,
                 .segment = tape->segment,
                 .scope = tape_scope_text(tape)};
    if (tape->failed)
        return;
    if (!op->takes_bf16 && (any_bf16(tape, ins, op->in_count) || any_bf16(tape, outs, op->out_count))) {
        tape_fail(tape, "%s does not take values in bf16", op->name);
        return;
    }
    for (int i = 0; i < CALL_IN; i++)
        node.in[i] = i < op->in_count ? ins[i] : REF_NONE;
    for (int i = 0; i < CALL_OUT; i++) {
        node.out[i] = REF_NONE;
        if (i >= op->out_count || !ref_given(outs[i]))
            continue;
        Value *v = &tape->values[outs[i].slot];
        if (v->home == HOME_INPUT || v->home == HOME_CONSTANT) {
            tape_fail(tape, "%s writes to an input or a constant", op->name);
            return;
        }
        if (v->keep && v->version > 0) {
            tape_fail(tape, "%s overwrites a value that is kept", op->name);
            return;
        }
        tape_write(tape->values, tape->value_count, outs[i].slot);
        outs[i].version = v->version;
        node.out[i] = outs[i];
    }
    tape->nodes[tape->node_count++] = node;
}

Node *tape_node_to_break(Tape *tape, size_t i)
{
    return &tape->nodes[i];
}
