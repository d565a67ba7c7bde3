/* Gradients: nodes appended behind the forward ones, in reverse order. Whether a contribution overwrites or adds is known when
 * it is appended, so nothing is zeroed and hardly anything is added. */
#include <stdio.h>

#include "graph/tape_private.h"

static bool adds_parameter_gradients(const Tape *tape)
{
    return tape->segment == SEGMENT_MORE || tape->segment == SEGMENT_LAST;
}

Ref grad_of(const Tape *tape, Ref out)
{
    if (!ref_given(out))
        return REF_NONE;
    return tape_latest(tape, tape->values[out.slot].grad);
}

/* The slot of a parameter's gradient: the same place in the buffer that mirrors the weights, whose storage has the name of the
 * set. */
static Ref param_grad(Tape *tape, const Value *v)
{
    char name[128];
    snprintf(name, sizeof name, "%s.grad", tape->storages[v->storage].name);
    Ref whole = tape_params_whole(tape, tape->storages[v->storage].name, "grad");
    if (!ref_given(whole))
        return REF_NONE;
    return tape_storage_part(tape, name, v->offset, v->shape);
}

/* Whether gradients have reached other rows of a parameter that share some with these. What would be right then, to overwrite
 * or to add, differs from row to row. */
static bool reached_otherwise(const Tape *tape, const Value *v)
{
    for (size_t i = 0; i < tape->value_count; i++)
        if (tape->values[i].param >= 0 && ref_given(tape->values[i].grad) && values_overlap(&tape->values[i], v))
            return true;
    return false;
}

Ref grad_into(Tape *tape, Ref in, int bit, uint32_t *accumulate)
{
    if (tape->failed || !ref_needs_grad(tape, in))
        return REF_NONE;
    if (ref_given(tape->values[in.slot].grad)) {
        *accumulate |= 1u << bit;
        return tape_latest(tape, tape->values[in.slot].grad);
    }
    /* Copied: the array of values may move below. */
    Value v = tape->values[in.slot];
    Ref grad;
    if (v.param >= 0) {
        if (reached_otherwise(tape, &v))
            return tape_fail(tape, "gradients reach %s as a whole and in parts, or in parts that overlap",
                             tape->storages[v.storage].set->params[v.param].name);
        grad = param_grad(tape, &v);
        if (adds_parameter_gradients(tape))
            *accumulate |= 1u << bit;
    } else {
        grad = tape_temp(tape, v.dtype, v.shape, false);
    }
    tape->values[in.slot].grad = grad;
    return grad;
}

void grad_pass(Tape *tape, Ref in, Ref gradient, void (*add)(Tape *, Ref target, Ref term, uint32_t accumulate))
{
    if (tape->failed || !ref_needs_grad(tape, in) || !ref_given(gradient))
        return;
    Value *to = &tape->values[in.slot], *from = &tape->values[gradient.slot];
    bool alike = shape_rows(&from->shape) == shape_rows(&to->shape) &&
                 shape_columns(&from->shape) == shape_columns(&to->shape) && from->dtype == to->dtype;
    bool free_to_take = from->home == HOME_ARENA && !from->lent && !from->keep && to->param < 0 && alike;
    if (!ref_given(to->grad) && free_to_take) {
        from->lent = true;
        to->grad = gradient;
        return;
    }
    uint32_t accumulate = 0;
    Ref target = grad_into(tape, in, 0, &accumulate);
    add(tape, target, gradient, accumulate);
}

/* Zeros for what no gradient has reached of a parameter. */
static void fill_rest(Tape *tape, int32_t slot, void (*fill)(Tape *, Ref target, double value))
{
    const Ref whole = {slot, tape->values[slot].version};
    const Value v = tape->values[slot];
    int64_t rows = v.shape.n ? v.shape.d[0] : 1;
    for (int64_t at = 0; at < rows && !tape->failed;) {
        /* The first part that begins at `at` or later. */
        int64_t first = rows, end = rows;
        for (size_t i = 0; i < tape->value_count; i++) {
            const Value *part = &tape->values[i];
            if (part->param != v.param || part->storage != v.storage || !ref_given(part->grad))
                continue;
            int64_t row = (part->offset - v.offset) / (shape_count(&v.shape) / rows);
            if (row >= at && row < first) {
                first = row;
                end = row + part->shape.d[0];
            }
        }
        uint32_t ignored = 0;
        if (first > at)
            fill(tape, grad_into(tape, first - at == rows ? whole : param_rows(tape, whole, at, first - at), 0, &ignored), 0);
        at = end;
    }
}

void tape_gradient(Tape *tape, const Ref *losses, const double *weights, int count,
                   void (*fill)(Tape *, Ref target, double value))
{
    for (int i = 0; i < count && !tape->failed; i++) {
        if (!ref_needs_grad(tape, losses[i])) {
            tape_fail(tape, "the loss does not depend on any trained parameter");
            return;
        }
        Ref seed = tape_temp(tape, DTYPE_REAL, *ref_shape(tape, losses[i]), false);
        fill(tape, seed, weights[i]);
        if (!tape->failed)
            tape->values[losses[i].slot].grad = tape_latest(tape, seed);
    }
    size_t last = tape->node_count;
    for (size_t i = last; i-- > tape->segment_start && !tape->failed;) {
        /* Copied: the array of nodes moves while gradients are appended. */
        Node node = tape->nodes[i];
        bool reached = false, wanted = false;
        for (int k = 0; k < node.op->out_count; k++) {
            Ref grad = grad_of(tape, node.out[k]);
            reached |= ref_given(grad);
            /* Who lent it to this node's output is done with it: the node may hand it on once more. */
            if (ref_given(grad))
                tape->values[grad.slot].lent = false;
        }
        for (int k = 0; k < node.op->in_count; k++)
            wanted |= ref_needs_grad(tape, node.in[k]);
        if (!reached || !wanted)
            continue;
        if (!node.op->gradient) {
            tape_fail(tape, "%s has no gradient", node.op->name);
            return;
        }
        tape->scope_text = node.scope;
        node.op->gradient(tape, &node);
    }
    tape->scope_text = NULL;
    if (tape->failed || adds_parameter_gradients(tape))
        return;
    for (size_t u = 0; u < tape->use_count; u++)
        for (size_t i = 0; i < tape->uses[u].slot_count && !tape->failed; i++) {
            int32_t slot = tape->uses[u].slots[i];
            if (slot < 0 || !tape->values[slot].needs_grad || ref_given(tape->values[slot].grad))
                continue;
            fill_rest(tape, slot, fill);
        }
}
