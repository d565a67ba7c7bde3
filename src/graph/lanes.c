#include "graph/lanes.h"

/* Memory from..end-1. */
typedef struct {
    const char *from, *end;
} Range;

bool lanes_aside(const Program *p, size_t n)
{
    const Node *node = &p->nodes[n];
    if (!p->device.second_lane || p->device.one_by_one || !node->op->aside)
        return false;
    for (int i = 0; i < node->op->out_count; i++)
        if (ref_given(node->out[i]) && p->tape->values[node->out[i].slot].home != HOME_STORAGE)
            return false;
    return true;
}

size_t lanes_keeps_until(const Program *p, size_t n)
{
    size_t end = p->end[p->nodes[n].segment];
    for (size_t next = n + 1; next < end; next++)
        if (lanes_aside(p, next))
            return next;
    return end - 1;
}

static Range range_of(const Program *p, const Tensor *t)
{
    const char *from = t->data;
    return (Range){from, from ? from + t->rows * t->columns * (int64_t)device_element(&p->device, t->dtype) : NULL};
}

static bool overlap(Range a, Range b)
{
    return a.from && b.from && a.from < b.end && b.from < a.end;
}

/* Whether one of the two writes what the other reads or writes. */
static bool disturb(const Program *p, const Call *a, const Call *b)
{
    for (int i = 0; i < CALL_OUT; i++) {
        Range out_a = range_of(p, &a->out[i]), out_b = range_of(p, &b->out[i]);
        for (int k = 0; k < CALL_IN; k++)
            if (overlap(out_a, range_of(p, &b->in[k])) || overlap(out_b, range_of(p, &a->in[k])))
                return true;
        for (int k = 0; k < CALL_OUT; k++)
            if (overlap(out_a, range_of(p, &b->out[k])))
                return true;
    }
    return false;
}

void lanes_waits(const Program *p, size_t begin, size_t end, int64_t *waits)
{
    int64_t done = (int64_t)begin - 1, last = -1; /* all aside up to `done` have been waited for */
    for (size_t n = begin; n < end; n++) {
        waits[n - begin] = -1;
        if (lanes_aside(p, n)) {
            last = (int64_t)n;
            continue;
        }
        for (int64_t k = last; k > done; k--)
            if (lanes_aside(p, (size_t)k) && disturb(p, &p->calls[k], &p->calls[n])) {
                waits[n - begin] = done = k;
                break;
            }
    }
    waits[end - begin] = last > done ? last : -1;
}
