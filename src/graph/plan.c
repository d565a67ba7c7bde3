#include "graph/plan.h"

#include <stdlib.h>

#include "base/memory.h"

enum { PLACE_ALIGN = 64 };

static int64_t padded(int64_t bytes)
{
    return (bytes + PLACE_ALIGN - 1) / PLACE_ALIGN * PLACE_ALIGN;
}

static bool together(const PlanItem *a, const PlanItem *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The order in which items are placed decides how well they fit; several are tried. */
static int by_bytes(const void *x, const void *y)
{
    const PlanItem *a = *(PlanItem *const *)x, *b = *(PlanItem *const *)y;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? 1 : -1;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return a < b ? -1 : 1;
}

static int by_span(const void *x, const void *y)
{
    const PlanItem *a = *(PlanItem *const *)x, *b = *(PlanItem *const *)y;
    int spans = (b->last - b->first) - (a->last - a->first);
    return spans ? spans : by_bytes(x, y);
}

static int by_start(const void *x, const void *y)
{
    const PlanItem *a = *(PlanItem *const *)x, *b = *(PlanItem *const *)y;
    return a->first != b->first ? (a->first < b->first ? -1 : 1) : by_bytes(x, y);
}

static int by_area(const void *x, const void *y)
{
    const PlanItem *a = *(PlanItem *const *)x, *b = *(PlanItem *const *)y;
    double s = (double)a->bytes * (a->last - a->first + 1), t = (double)b->bytes * (b->last - b->first + 1);
    return s != t ? (s < t ? 1 : -1) : by_bytes(x, y);
}

/* Puts the items, in the order given, each at the lowest gap it fits in. `placed` is kept sorted by offset. Returns the size of
 * the arena. */
static int64_t place_in_order(PlanItem **order, size_t count, PlanItem **placed)
{
    int64_t top = 0;
    for (size_t i = 0; i < count; i++) {
        PlanItem *item = order[i];
        int64_t need = padded(item->bytes), at = 0, best = -1, best_gap = INT64_MAX;
        for (size_t j = 0; j < i; j++) {
            const PlanItem *o = placed[j];
            if (!together(item, o))
                continue;
            int64_t gap = o->offset - at;
            if (gap >= need && gap < best_gap) {
                best = at;
                best_gap = gap;
            }
            int64_t end = o->offset + padded(o->bytes);
            if (end > at)
                at = end;
        }
        item->offset = best >= 0 ? best : at;
        if (item->offset + need > top)
            top = item->offset + need;
        size_t k = i;
        for (; k > 0 && placed[k - 1]->offset > item->offset; k--)
            placed[k] = placed[k - 1];
        placed[k] = item;
    }
    return top;
}

bool plan_place(PlanItem *items, size_t count, int64_t *bytes)
{
    static int (*const orders[])(const void *, const void *) = {by_bytes, by_area, by_span, by_start};
    enum { ORDERS = sizeof orders / sizeof *orders };
    PlanItem **order = memory_new(count, sizeof(void *)), **placed = memory_new(count, sizeof(void *));
    int64_t *best = memory_new(count, sizeof *best);
    bool ok = order && placed && best;
    int64_t least = INT64_MAX, floor = ok ? plan_floor(items, count) : 0;
    for (int k = 0; ok && k < ORDERS && least > floor; k++) {
        for (size_t i = 0; i < count; i++)
            order[i] = &items[i];
        qsort(order, count, sizeof(void *), orders[k]);
        int64_t size = place_in_order(order, count, placed);
        if (size >= least)
            continue;
        least = size;
        for (size_t i = 0; i < count; i++)
            best[i] = items[i].offset;
    }
    for (size_t i = 0; ok && i < count; i++)
        items[i].offset = best[i];
    *bytes = count ? least : 0;
    memory_free(order);
    memory_free(placed);
    memory_free(best);
    return ok;
}

int64_t plan_floor(const PlanItem *items, size_t count)
{
    int64_t most = 0;
    /* The sum can only grow where an item begins. */
    for (size_t i = 0; i < count; i++) {
        int64_t sum = 0;
        for (size_t j = 0; j < count; j++)
            if (items[j].first <= items[i].first && items[i].first <= items[j].last)
                sum += padded(items[j].bytes);
        if (sum > most)
            most = sum;
    }
    return most;
}

bool plan_is_sound(const PlanItem *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++)
            if (together(&items[i], &items[j]) && items[i].offset < items[j].offset + padded(items[j].bytes) &&
                items[j].offset < items[i].offset + padded(items[i].bytes))
                return false;
    return true;
}
