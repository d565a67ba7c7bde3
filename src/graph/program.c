#include "graph/program.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "graph/lanes.h"
#include "graph/lower.h"
#include "graph/program_private.h"

/* ---- check */

static const char *value_name(const Tape *tape, const Node *node, int in)
{
    const Value *v = &tape->values[node->in[in].slot];
    if (v->name)
        return v->name;
    if (v->param >= 0 && v->home == HOME_STORAGE)
        return tape->storages[v->storage].set->params[v->param].name;
    return node->op->in_names ? node->op->in_names[in] : "its input";
}

/* Replays all writes: a value must be written before it is read, and not again before its last read. */
static bool check_versions(const Tape *tape, const Node *nodes, size_t count)
{
    Value *values = memory_new(tape->value_count, sizeof *values);
    if (!values)
        return false;
    memcpy(values, tape->values, tape->value_count * sizeof *values);
    for (size_t i = 0; i < tape->value_count; i++)
        values[i].version = 0;
    bool ok = true;
    for (size_t n = 0; ok && n < count; n++) {
        const Node *node = &nodes[n];
        for (int i = 0; ok && i < node->op->in_count; i++) {
            Ref r = node->in[i];
            if (!ref_given(r))
                continue;
            if (values[r.slot].version > r.version)
                ok = error_set("%s: %s reads %s after it was overwritten", node->scope, node->op->name,
                               value_name(tape, node, i));
            else if (values[r.slot].version < r.version || (r.version == 0 && values[r.slot].home == HOME_ARENA))
                ok = error_set("%s: %s reads %s before it is written", node->scope, node->op->name, value_name(tape, node, i));
        }
        for (int i = 0; ok && i < node->op->out_count; i++) {
            Ref r = node->out[i];
            if (!ref_given(r))
                continue;
            if (values[r.slot].version == 0 && values[r.slot].home == HOME_ARENA && (node->accumulate >> i & 1))
                ok = error_set("%s: %s adds to a value that was never written", node->scope, node->op->name);
            tape_write(values, tape->value_count, r.slot);
        }
    }
    memory_free(values);
    return ok;
}

/* ---- what is for nothing */

/* Takes out the nodes whose outputs nobody reads: blocks behind the last one that a loss depends on. */
static bool drop_unread(const Tape *tape, Node *nodes, size_t *count)
{
    bool *read = memory_new(tape->value_count, sizeof *read), *stays = memory_new(*count, sizeof *stays);
    bool ok = read && stays;
    for (size_t i = 0; ok && i < tape->value_count; i++)
        read[i] = tape->values[i].keep || tape->values[i].home == HOME_STORAGE;
    /* Once is enough unless a segment reads what a later one wrote. */
    for (bool more = true; ok && more;) {
        more = false;
        for (size_t n = *count; n-- > 0;) {
            bool wanted = false;
            for (int i = 0; i < CALL_OUT; i++)
                wanted |= ref_given(nodes[n].out[i]) && read[nodes[n].out[i].slot];
            if (!wanted || stays[n])
                continue;
            stays[n] = more = true;
            for (int i = 0; i < CALL_IN; i++)
                if (ref_given(nodes[n].in[i]))
                    read[nodes[n].in[i].slot] = true;
        }
    }
    size_t left = 0;
    for (size_t n = 0; ok && n < *count; n++)
        if (stays[n])
            nodes[left++] = nodes[n];
    if (ok)
        *count = left;
    memory_free(read);
    memory_free(stays);
    return ok;
}

/* ---- shapes */

static size_t element(const Program *p, const Value *v)
{
    return device_element(&p->device, v->dtype);
}

int64_t program_value_bytes(const Program *p, int slot)
{
    const Value *v = &p->tape->values[slot];
    return shape_count(&v->shape) * (int64_t)element(p, v);
}

static void set_call_shapes(const Program *p, const Node *node, Call *call)
{
    for (int k = 0; k < CALL_IN + CALL_OUT; k++) {
        Ref r = k < CALL_IN ? node->in[k] : node->out[k - CALL_IN];
        Tensor *t = k < CALL_IN ? &call->in[k] : &call->out[k - CALL_IN];
        if (!ref_given(r))
            continue;
        const Value *v = &p->tape->values[r.slot];
        *t = (Tensor){.rows = shape_rows(&v->shape), .columns = shape_columns(&v->shape), .dtype = v->dtype, .shape = v->shape};
    }
    call->accumulate = node->accumulate;
    call->attr = node->attr;
}

/* ---- bind */

static void *find_binding(const Binding *bindings, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(bindings[i].name, name))
            return bindings[i].data;
    return NULL;
}

static bool bind_storages(Program *p, const Binding *bindings, int count)
{
    const Tape *tape = p->tape;
    size_t real = device_element(&p->device, DTYPE_REAL);
    p->storages = memory_new(tape->storage_count, sizeof *p->storages);
    p->own_storage = memory_new(tape->storage_count, sizeof *p->own_storage);
    if (!p->storages || !p->own_storage)
        return false;
    for (size_t i = 0; i < tape->storage_count; i++) {
        const Storage *s = &tape->storages[i];
        p->storages[i] = find_binding(bindings, count, s->name);
        if (p->storages[i])
            continue;
        p->storages[i] = buffer_new(&p->device, (size_t)storage_count(s), real);
        if (!p->storages[i])
            return false;
        p->own_storage[i] = true;
    }
    return true;
}

static bool fill_constant(const Program *p, const Value *v, void *to)
{
    size_t count = (size_t)shape_count(&v->shape);
    if (v->dtype == DTYPE_I32)
        return buffer_write(&p->device, to, v->data, count * sizeof(int32_t));
    if (p->device.f64)
        return buffer_write(&p->device, to, v->data, count * sizeof(double));
    float *numbers = memory_new(count, sizeof *numbers);
    if (!numbers)
        return false;
    for (size_t i = 0; i < count; i++)
        numbers[i] = (float)((const double *)v->data)[i];
    bool ok = buffer_write(&p->device, to, numbers, count * sizeof *numbers);
    memory_free(numbers);
    return ok;
}

static Kernel pick_kernel(const Program *p, const Op *op, bool *serial)
{
    *serial = false;
    if (p->device.kind == DEVICE_CPU)
        for (int level = (int)p->device.level; level > CPU_REF; level--)
            if (op->cpu[level])
                return op->cpu[level];
    *serial = true;
    return op->ref[p->device.f64];
}

static bool bind_nodes(Program *p, const int *item_of, const int *workspace_items)
{
    const Tape *tape = p->tape;
    for (size_t i = 0; i < tape->value_count; i++) {
        const Value *v = &tape->values[i];
        if (v->home == HOME_STORAGE)
            p->data[i] = (char *)p->storages[v->storage] + (size_t)v->offset * element(p, v);
        else if (item_of[i] >= 0)
            p->data[i] = p->arena + p->items[item_of[i]].offset;
        if (v->home == HOME_CONSTANT && p->data[i] && !fill_constant(p, v, p->data[i]))
            return false;
        if (v->home == HOME_INPUT && p->data[i] && buffer_on_host(&p->device))
            memset(p->data[i], 0, (size_t)program_value_bytes(p, (int)i));
    }
    for (size_t n = 0; n < p->node_count; n++) {
        const Node *node = &p->nodes[n];
        Call *call = &p->calls[n];
        for (int i = 0; i < CALL_IN; i++)
            if (ref_given(node->in[i]))
                call->in[i].data = p->data[node->in[i].slot];
        for (int i = 0; i < CALL_OUT; i++)
            if (ref_given(node->out[i]))
                call->out[i].data = p->data[node->out[i].slot];
        int workspace = workspace_items[lanes_aside(p, n)];
        if (workspace >= 0)
            call->work = p->arena + p->items[workspace].offset;
        Step *step = &p->steps[n];
        step->call = call;
        step->kernel = pick_kernel(p, node->op, &step->serial);
        if (p->device.kind == DEVICE_CUDA ? !node->op->cuda : !step->kernel)
            return error_set("%s: %s has no kernel for %s", node->scope, node->op->name, device_describe(&p->device));
    }
    return true;
}

/* The host's arena is not cleared: it need not be there before it is used. */
static void *new_arena(const Program *p)
{
    if (buffer_on_host(&p->device))
        return memory_new_aligned((size_t)p->arena_bytes, 1);
    return buffer_new(&p->device, (size_t)p->arena_bytes, 1);
}

static void find_segments(Program *p)
{
    for (size_t n = 0; n < p->node_count; n++) {
        Segment s = p->nodes[n].segment;
        if (p->end[s] == 0)
            p->begin[s] = n;
        p->end[s] = n + 1;
    }
}

/* Memory, addresses and kernels for a planned program. */
static bool bind(Program *p, const Binding *bindings, int count, const int *item_of, const int *workspace_items)
{
    bool on_host = buffer_on_host(&p->device);
    for (int i = 0; on_host && i < PROGRAM_FETCHES; i++)
        if (!(p->fetched[i] = memory_new(PROGRAM_FETCH_MOST, sizeof(float))))
            return false;
    if (!bind_storages(p, bindings, count) || !(p->arena = new_arena(p)) || (!on_host && !program_gpu_open(p)) ||
        !bind_nodes(p, item_of, workspace_items) || (!on_host && !program_gpu_capture(p)))
        return false;
    if (on_host) /* Nothing to run yet, but the team's threads start here and not in the first step. */
        parallel_run(NULL, 0, p->device.threads, NULL);
    return true;
}

static Program *make(Tape *tape, const Device *device, const Binding *bindings, int count, bool plan_only)
{
    if (tape->failed)
        return NULL;
    Program *p = memory_new(1, sizeof *p);
    if (!p)
        return NULL;
    p->tape = tape;
    p->device = *device;
    Lowering lowering;
    int *item_of = NULL, workspace_items[LANES];
    bool ok = lower_tape(&lowering, tape, device);
    if (!ok)
        goto done;
    p->nodes = lowering.nodes;
    p->node_count = lowering.count;
    ok = check_versions(tape, p->nodes, p->node_count) && drop_unread(tape, p->nodes, &p->node_count);
    if (!ok)
        goto done;
    find_segments(p);
    p->calls = memory_new(p->node_count, sizeof *p->calls);
    p->steps = memory_new(p->node_count, sizeof *p->steps);
    p->data = memory_new(tape->value_count, sizeof *p->data);
    item_of = memory_new(tape->value_count, sizeof *item_of);
    ok = p->calls && p->steps && p->data && item_of;
    for (size_t n = 0; ok && n < p->node_count; n++)
        set_call_shapes(p, &p->nodes[n], &p->calls[n]);
    ok = ok && program_plan_memory(p, item_of, workspace_items) &&
         (plan_only || bind(p, bindings, count, item_of, workspace_items));
done:
    memory_free(item_of);
    if (ok)
        return p;
    program_free(p);
    return NULL;
}

Program *program_make(Tape *tape, const Device *device, const Binding *bindings, int count)
{
    return make(tape, device, bindings, count, false);
}

Program *program_plan(Tape *tape, const Device *device)
{
    return make(tape, device, NULL, 0, true);
}

void program_free(Program *p)
{
    if (!p)
        return;
    program_gpu_close(p);
    for (size_t i = 0; p->storages && p->own_storage && i < p->tape->storage_count; i++)
        if (p->own_storage[i])
            buffer_free(&p->device, p->storages[i]);
    for (int i = 0; i < PROGRAM_FETCHES; i++)
        if (buffer_on_host(&p->device))
            memory_free(p->fetched[i]);
    memory_free(p->storages);
    memory_free(p->own_storage);
    memory_free(p->nodes);
    memory_free(p->calls);
    memory_free(p->steps);
    memory_free(p->seconds);
    memory_free(p->items);
    buffer_free(&p->device, p->arena);
    memory_free(p->data);
    memory_free(p);
}

/* ---- run and look */

bool program_run(Program *p, Segment segment)
{
    size_t begin = p->begin[segment], end = p->end[segment];
    if (begin >= end)
        return true;
    if (p->gpu)
        return program_gpu_run(p, segment);
    parallel_run(p->steps + begin, (int)(end - begin), p->device.threads, p->seconds ? p->seconds + begin : NULL);
    return true;
}

void program_run_nodes(Program *p, Segment segment, size_t first, size_t end)
{
    size_t at = p->begin[segment] + first;
    parallel_run(p->steps + at, (int)(end - first), p->device.threads, p->seconds ? p->seconds + at : NULL);
}

bool program_cut(Program *p, Segment segment, const size_t *ends, int count)
{
    return program_gpu_cut(p, segment, ends, count);
}

size_t program_piece_end(const Program *p, Segment segment, int piece)
{
    return program_gpu_piece_end(p, segment, piece);
}

bool program_read_piece(Program *p, Segment segment, int piece, const void *from, void *to, size_t bytes)
{
    return program_gpu_read_piece(p, segment, piece, from, to, bytes);
}

bool program_sum_piece(Program *p, Segment segment, int piece, CudaSums *sums, float *data, size_t count)
{
    return program_gpu_sum_piece(p, segment, piece, sums, data, count);
}

bool program_sum_join(Program *p)
{
    return program_gpu_sum_join(p);
}

static bool writes_to(const Program *p, const Node *node, int storage, int64_t offset, int64_t count)
{
    for (int i = 0; i < node->op->out_count; i++) {
        const Value *v = ref_given(node->out[i]) ? &p->tape->values[node->out[i].slot] : NULL;
        if (v && v->home == HOME_STORAGE && v->storage == storage && v->offset < offset + count &&
            offset < v->offset + shape_count(&v->shape))
            return true;
    }
    return false;
}

/* Index of a storage, or -1. */
static int find_storage(const Program *p, const char *name)
{
    for (size_t i = 0; i < p->tape->storage_count; i++)
        if (!strcmp(p->tape->storages[i].name, name))
            return (int)i;
    return -1;
}

size_t program_written(const Program *p, Segment segment, const char *storage, int64_t offset, int64_t count)
{
    int which = find_storage(p, storage);
    size_t n = p->end[segment];
    while (n > p->begin[segment] && !writes_to(p, &p->nodes[n - 1], which, offset, count))
        n--;
    return n - p->begin[segment];
}

static int find_input(const Program *p, const char *name)
{
    for (size_t i = 0; i < p->tape->value_count; i++)
        if (p->tape->values[i].home == HOME_INPUT && !strcmp(p->tape->values[i].name, name))
            return (int)i;
    return -1;
}

static int find_kept(const Program *p, Segment segment, const char *name)
{
    for (size_t i = 0; i < p->tape->keep_count; i++)
        if (p->tape->keeps[i].segment == segment && !strcmp(p->tape->keeps[i].name, name))
            return p->tape->keeps[i].slot;
    return -1;
}

void *program_input(Program *p, const char *name)
{
    int slot = find_input(p, name);
    if (slot < 0)
        return NULL;
    return p->gpu ? program_gpu_input(p, slot) : p->data[slot];
}

bool program_upload(Program *p)
{
    return !p->gpu || program_gpu_upload(p);
}

void *program_kept(Program *p, Segment segment, const char *name)
{
    int slot = find_kept(p, segment, name);
    if (slot < 0)
        return NULL;
    return p->gpu ? program_gpu_look(p, p->data[slot], (size_t)program_value_bytes(p, slot), slot) : p->data[slot];
}

static size_t storage_bytes(const Program *p, int i)
{
    return (size_t)storage_count(&p->tape->storages[i]) * device_element(&p->device, DTYPE_REAL);
}

void *program_storage(Program *p, const char *name)
{
    int i = find_storage(p, name);
    if (i < 0)
        return NULL;
    return p->gpu ? program_gpu_look(p, p->storages[i], storage_bytes(p, i), (int)p->tape->value_count + i) : p->storages[i];
}

bool program_fetch(Program *p, const char *name, int place)
{
    int i = find_storage(p, name);
    if (i < 0 || storage_count(&p->tape->storages[i]) > PROGRAM_FETCH_MOST)
        return error_set("there is no storage %s that could be fetched", name);
    if (p->gpu)
        return program_gpu_fetch(p, p->storages[i], storage_bytes(p, i), place);
    program_read_real(p, p->storages[i], p->fetched[place], (size_t)storage_count(&p->tape->storages[i]));
    return true;
}

const float *program_fetched(Program *p, int place)
{
    return !p->gpu || program_gpu_fetch_wait(p, place) ? p->fetched[place] : NULL;
}

const Shape *program_shape(const Program *p, Segment segment, const char *name)
{
    int slot = find_input(p, name);
    if (slot < 0)
        slot = find_kept(p, segment, name);
    return slot < 0 ? NULL : &p->tape->values[slot].shape;
}

void program_write_real(const Program *p, void *to, const float *from, size_t count)
{
    if (!p->device.f64)
        memcpy(to, from, count * sizeof *from);
    else
        for (size_t i = 0; i < count; i++)
            ((double *)to)[i] = from[i];
}

void program_read_real(const Program *p, const void *from, float *to, size_t count)
{
    if (!p->device.f64)
        memcpy(to, from, count * sizeof *to);
    else
        for (size_t i = 0; i < count; i++)
            to[i] = (float)((const double *)from)[i];
}

const Device *program_device(const Program *p)
{
    return &p->device;
}

int64_t program_arena_bytes(const Program *p)
{
    return p->arena_bytes;
}

int64_t program_bytes(const Program *p)
{
    return p->arena_bytes + (buffer_on_host(&p->device) ? 0 : program_gpu_bytes(p));
}

int64_t program_floor_bytes(const Program *p)
{
    return plan_floor(p->items, p->item_count);
}

bool program_plan_is_sound(const Program *p)
{
    return plan_is_sound(p->items, p->item_count);
}

size_t program_step_count(const Program *p, Segment segment)
{
    return p->end[segment] - p->begin[segment];
}

Cost program_cost(const Program *p, Segment segment)
{
    Cost sum = {0};
    for (size_t n = p->begin[segment]; n < p->end[segment]; n++) {
        Cost c = program_node(p, n).cost;
        sum.flops += c.flops;
        sum.bytes += c.bytes;
    }
    return sum;
}

bool program_measure(Program *p)
{
    if (p->gpu && !program_gpu_measure(p))
        return false;
    if (!p->seconds)
        p->seconds = memory_new(p->node_count, sizeof *p->seconds);
    else
        memset(p->seconds, 0, p->node_count * sizeof *p->seconds);
    return p->seconds != NULL;
}

double program_op_seconds(const Program *p, const char *op)
{
    double sum = 0;
    for (size_t n = 0; p->seconds && n < p->node_count; n++)
        if (!strcmp(p->nodes[n].op->name, op))
            sum += p->seconds[n];
    return sum;
}

size_t program_node_count(const Program *p)
{
    return p->node_count;
}

ProgramNode program_node(const Program *p, size_t i)
{
    const Node *node = &p->nodes[i];
    return (ProgramNode){.op = node->op->name,
                         .scope = node->scope,
                         .segment = node->segment,
                         .call = &p->calls[i],
                         .seconds = p->seconds ? p->seconds[i] : 0,
                         .cost = node->op->cost ? node->op->cost(&p->calls[i]) : (Cost){0}};
}

bool program_run_node(Program *p, size_t i)
{
    if (p->gpu)
        return program_gpu_run_node(p, i);
    parallel_run(p->steps + i, 1, p->device.threads, NULL);
    return true;
}

const void *program_node_output(Program *p, size_t i, int k)
{
    const Tensor *t = &p->calls[i].out[k];
    if (!p->gpu || !t->data)
        return t->data;
    int slot = p->nodes[i].out[k].slot;
    return program_gpu_output(p, t->data, (size_t)program_value_bytes(p, slot));
}
