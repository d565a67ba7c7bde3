/* Which values are alive when, and with that the plan of a program's memory. */
#include "base/memory.h"
#include "device/buffer.h"
#include "graph/lanes.h"
#include "graph/program_private.h"

typedef struct {
    int first, last;
    int root;    /* the slot whose memory it uses */
    bool always; /* alive from start to end */
    int segment; /* -1: none yet */
} Life;

static int root_of(Life *lives, int slot)
{
    while (lives[slot].root != slot)
        slot = lives[slot].root = lives[lives[slot].root].root;
    return slot;
}

static void touch(Life *life, int position, Segment segment)
{
    if (life->segment < 0) {
        life->segment = (int)segment;
        life->first = life->last = position;
    } else if (life->segment != (int)segment) {
        life->always = true; /* segments run in their own order and more than once */
    }
    if (position > life->last) /* what a node aside reads is needed beyond it */
        life->last = position;
}

static bool in_arena(const Program *p, const Value *v)
{
    return v->home != HOME_STORAGE && (v->home != HOME_INPUT || buffer_on_host(&p->device));
}

/* Lets an output take over the memory of an input that nobody reads later. */
static void merge_in_place(Program *p, Life *lives)
{
    const Tape *tape = p->tape;
    for (size_t n = 0; n < p->node_count; n++) {
        const Node *node = &p->nodes[n];
        for (int i = 0; i < node->op->out_count; i++) {
            int from = node->op->in_place[i] - 1;
            if (from < 0 || !ref_given(node->out[i]) || !ref_given(node->in[from]) || (node->accumulate >> i & 1))
                continue;
            int out = node->out[i].slot, in = root_of(lives, node->in[from].slot);
            const Value *a = &tape->values[node->in[from].slot], *b = &tape->values[out];
            bool first_write = lives[out].root == out && lives[out].first == (int)n;
            if (a->home != HOME_ARENA || b->home != HOME_ARENA || a->keep || b->keep || lives[in].always || lives[out].always ||
                a->dtype != b->dtype || !first_write || in == out || lives[in].last != (int)n ||
                program_value_bytes(p, in) < program_value_bytes(p, out))
                continue;
            bool read_elsewhere = false;
            for (int k = 0; k < node->op->in_count; k++)
                read_elsewhere |= k != from && ref_given(node->in[k]) && root_of(lives, node->in[k].slot) == in;
            if (read_elsewhere)
                continue;
            lives[out].root = in;
            lives[in].last = lives[out].last;
        }
    }
}

/* When each value is written first and read last. */
static void live(const Program *p, Life *lives)
{
    for (size_t n = 0; n < p->node_count; n++) {
        const Node *node = &p->nodes[n];
        bool aside = lanes_aside(p, n);
        for (int i = 0; i < node->op->in_count; i++) {
            if (!ref_given(node->in[i]))
                continue;
            touch(&lives[node->in[i].slot], (int)n, node->segment);
            if (aside)
                touch(&lives[node->in[i].slot], (int)lanes_keeps_until(p, n), node->segment);
        }
        for (int i = 0; i < node->op->out_count; i++)
            if (ref_given(node->out[i]))
                touch(&lives[node->out[i].slot], (int)n, node->segment);
    }
}

/* One workspace for all nodes of a lane, workspace_items[lane], -1 when none wants any: kernels write where the node before
 * them did, which the caches still hold. */
static void plan_workspaces(Program *p, int *workspace_items)
{
    size_t most[LANES] = {0};
    for (size_t n = 0; n < p->node_count; n++) {
        const Op *op = p->nodes[n].op;
        size_t bytes = op->workspace ? op->workspace(&p->calls[n], &p->device) : 0, *lane = &most[lanes_aside(p, n)];
        *lane = bytes > *lane ? bytes : *lane;
    }
    for (int lane = 0; lane < LANES; lane++) {
        workspace_items[lane] = most[lane] ? (int)p->item_count : -1;
        if (most[lane])
            p->items[p->item_count++] = (PlanItem){.bytes = (int64_t)most[lane], .first = 0, .last = (int)p->node_count};
    }
}

/* One item a root slot (item_of[slot] is a slot's), and the workspaces. */
bool program_plan_memory(Program *p, int *item_of, int *workspace_items)
{
    const Tape *tape = p->tape;
    size_t slots = tape->value_count;
    Life *lives = memory_new(slots, sizeof *lives);
    p->items = memory_new(slots + LANES, sizeof *p->items);
    if (!lives || !p->items) {
        memory_free(lives);
        return false;
    }
    for (size_t i = 0; i < slots; i++) {
        const Value *v = &tape->values[i];
        lives[i] =
            (Life){.root = (int)i, .segment = -1, .always = v->keep || v->home == HOME_INPUT || v->home == HOME_CONSTANT};
    }
    live(p, lives);
    merge_in_place(p, lives);
    int end = (int)p->node_count;
    for (size_t i = 0; i < slots; i++) {
        item_of[i] = -1;
        const Value *v = &tape->values[i];
        bool used = lives[i].segment >= 0 || v->home == HOME_INPUT;
        if (!in_arena(p, v) || !used || lives[i].root != (int)i)
            continue;
        item_of[i] = (int)p->item_count;
        p->items[p->item_count++] = (PlanItem){.bytes = program_value_bytes(p, (int)i),
                                               .first = lives[i].always ? 0 : lives[i].first,
                                               .last = lives[i].always ? end : lives[i].last};
    }
    for (size_t i = 0; i < slots; i++)
        if (in_arena(p, &tape->values[i]) && lives[i].root != (int)i)
            item_of[i] = item_of[root_of(lives, (int)i)];
    plan_workspaces(p, workspace_items);
    memory_free(lives);
    return plan_place(p->items, p->item_count, &p->arena_bytes);
}
