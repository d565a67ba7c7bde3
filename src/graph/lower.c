#include "graph/lower.h"

#include "base/error.h"
#include "base/memory.h"
#include "graph/tape_private.h"

Ref lower_temp(Lowering *lowering, DType dtype, Shape shape)
{
    Ref r = tape_temp(lowering->tape, dtype, shape, false);
    lowering->failed |= tape_failed(lowering->tape);
    return r;
}

static void append(Lowering *lowering, const Node *node)
{
    if (lowering->failed)
        return;
    if (!memory_grow((void **)&lowering->nodes, lowering->count, &lowering->capacity, sizeof *lowering->nodes)) {
        lowering->failed = true;
        return;
    }
    lowering->nodes[lowering->count++] = *node;
}

static bool is_output(const Node *node, Ref r)
{
    for (int i = 0; i < node->op->out_count; i++)
        if (ref_given(node->out[i]) && node->out[i].slot == r.slot)
            return true;
    return false;
}

/* An output as a node that is appended writes it, in *out as it is to be read. */
static Ref written(const Lowering *lowering, Ref *out)
{
    if (ref_given(*out) && !is_output(lowering->node, *out))
        out->version++;
    return *out;
}

void lower_append(Lowering *lowering, const Op *op, const void *attr, const Ref *ins, Ref *outs, uint32_t accumulate)
{
    Node node = {.op = op, .accumulate = accumulate, .segment = lowering->node->segment, .scope = lowering->node->scope};
    if (attr && !(node.attr = tape_attr(lowering->tape, attr, op->attr_size))) {
        lowering->failed = true;
        return;
    }
    for (int i = 0; i < CALL_IN; i++)
        node.in[i] = i < op->in_count ? ins[i] : REF_NONE;
    for (int i = 0; i < CALL_OUT; i++)
        node.out[i] = i < op->out_count ? written(lowering, &outs[i]) : REF_NONE;
    append(lowering, &node);
}

static bool has_inputs(const Node *node, const Ref *ins)
{
    for (int i = 0; i < node->op->in_count; i++)
        if (node->in[i].slot != ins[i].slot || (ref_given(ins[i]) && node->in[i].version != ins[i].version))
            return false;
    return true;
}

const Node *lower_find(const Lowering *lowering, const Op *op, const Ref *ins)
{
    for (size_t i = lowering->count; i-- > 0;) {
        const Node *node = &lowering->nodes[i];
        if (node->op == op && node->segment == lowering->node->segment && has_inputs(node, ins))
            return node;
    }
    return NULL;
}

const Node *lower_maker(const Lowering *lowering, Ref value)
{
    for (size_t i = lowering->count; i-- > 0;) {
        const Node *node = &lowering->nodes[i];
        for (int k = 0; k < node->op->out_count; k++)
            if (node->segment == lowering->node->segment && node->out[k].slot == value.slot &&
                node->out[k].version == value.version)
                return node;
    }
    return NULL;
}

bool refs_meet(const Tape *tape, Ref a, Ref b)
{
    if (!ref_given(a) || !ref_given(b))
        return false;
    return a.slot == b.slot || values_overlap(&tape->values[a.slot], &tape->values[b.slot]);
}

static bool touches(const Tape *tape, const Node *node, Ref r)
{
    for (int i = 0; i < node->op->in_count; i++)
        if (refs_meet(tape, node->in[i], r))
            return true;
    for (int i = 0; i < node->op->out_count; i++)
        if (refs_meet(tape, node->out[i], r))
            return true;
    return false;
}

bool lower_add_output(Lowering *lowering, const Node *node, int which, Ref *out, bool accumulate)
{
    size_t at = (size_t)(node - lowering->nodes);
    if (lowering->failed)
        return false;
    for (size_t i = at; i < lowering->count; i++)
        if (touches(lowering->tape, &lowering->nodes[i], *out))
            return false;
    lowering->nodes[at].out[which] = written(lowering, out);
    lowering->nodes[at].accumulate |= (uint32_t)accumulate << which;
    return true;
}

const Node *lower_neighbour(const Lowering *lowering, int step)
{
    size_t i = lowering->at + (size_t)step;
    return i < tape_node_count(lowering->tape) ? tape_node(lowering->tape, i) : NULL;
}

bool lower_tape(Lowering *lowering, Tape *tape, const Device *device)
{
    *lowering = (Lowering){.tape = tape, .device = device};
    for (size_t i = 0; i < tape_node_count(tape) && !lowering->failed; i++) {
        Node node = *tape_node(tape, i);
        lowering->at = i;
        lowering->node = &node;
        if (!node.op->lower || !node.op->lower(lowering, &node))
            append(lowering, &node);
    }
    if (!lowering->failed)
        return true;
    memory_free(lowering->nodes);
    lowering->nodes = NULL;
    return error_context("lowering for %s", device_describe(device));
}
