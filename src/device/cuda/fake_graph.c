#define LACUNA_CUDA_RUNTIME_HERE
#include "device/cuda/fake_graph.h"

#include <stdlib.h>

#include "base/memory.h"

/* Work, or without `run` a wait. */
typedef struct {
    FakeWork work;
    size_t number; /* in order of the calls */
    int other;
    size_t place;
} Item;

typedef struct {
    const void *stream;
    Item *items;
    size_t count, capacity;
} Lane;

struct FakeGraph {
    Lane lanes[FAKE_LANES];
    int lane_count;
    size_t count; /* of all items */
};

void fake_work_release(const FakeWork *work)
{
    if (work->release)
        work->release(work->data);
}

FakeGraph *fake_graph_new(const void *origin)
{
    FakeGraph *g = calloc(1, sizeof *g);
    if (g)
        g->lanes[g->lane_count++].stream = origin;
    return g;
}

void fake_graph_free(FakeGraph *g)
{
    for (int lane = 0; lane < g->lane_count; lane++) {
        for (size_t i = 0; i < g->lanes[lane].count; i++)
            fake_work_release(&g->lanes[lane].items[i].work);
        memory_free(g->lanes[lane].items);
    }
    free(g);
}

int fake_graph_lane(const FakeGraph *g, const void *stream)
{
    for (int lane = 0; lane < g->lane_count; lane++)
        if (g->lanes[lane].stream == stream)
            return lane;
    return -1;
}

size_t fake_graph_place(const FakeGraph *g, int lane)
{
    return g->lanes[lane].count;
}

static bool add(FakeGraph *g, int lane, Item item)
{
    Lane *l = &g->lanes[lane];
    if (!memory_grow((void **)&l->items, l->count, &l->capacity, sizeof *l->items))
        return false;
    item.number = g->count++;
    l->items[l->count++] = item;
    return true;
}

bool fake_graph_put(FakeGraph *g, int lane, FakeWork work)
{
    if (add(g, lane, (Item){.work = work}))
        return true;
    fake_work_release(&work);
    return false;
}

bool fake_graph_follow(FakeGraph *g, const void *stream, int other, size_t place)
{
    int lane = fake_graph_lane(g, stream);
    if (lane < 0 && g->lane_count == FAKE_LANES)
        return false;
    if (lane < 0) {
        lane = g->lane_count++;
        g->lanes[lane].stream = stream;
    }
    return add(g, lane, (Item){.other = other, .place = place});
}

bool fake_graph_joined(const FakeGraph *g)
{
    for (int lane = 1; lane < g->lane_count; lane++) {
        bool joined = false;
        for (size_t i = 0; i < g->lanes[0].count; i++) {
            const Item *item = &g->lanes[0].items[i];
            joined = joined || (!item->work.run && item->other == lane && item->place == g->lanes[lane].count);
        }
        if (!joined)
            return false;
    }
    return true;
}

static bool can_go_on(const FakeGraph *g, int lane, const size_t *at)
{
    if (at[lane] == g->lanes[lane].count)
        return false;
    const Item *item = &g->lanes[lane].items[at[lane]];
    return item->work.run || at[item->other] >= item->place;
}

/* The lane whose turn it is. One can always go on: lanes wait for what had been put before they were told to. */
static int next_lane(const FakeGraph *g, FakeOrder order, const size_t *at, int last)
{
    int best = -1;
    for (int lane = 0; lane < g->lane_count; lane++) {
        if (!can_go_on(g, lane, at))
            continue;
        bool earlier = best >= 0 && g->lanes[lane].items[at[lane]].number < g->lanes[best].items[at[best]].number;
        if (best < 0 || order == FAKE_ASIDE_FIRST || (order == FAKE_AS_PUT && earlier) ||
            (order == FAKE_IN_TURN && best == last))
            best = lane;
    }
    return best;
}

/* Whether work of any lane that was put earlier has not run yet. */
static bool overtakes(const FakeGraph *g, const Item *item, const size_t *at)
{
    for (int lane = 0; lane < g->lane_count; lane++)
        for (size_t i = at[lane]; i < g->lanes[lane].count; i++)
            if (g->lanes[lane].items[i].work.run && g->lanes[lane].items[i].number < item->number)
                return true;
    return false;
}

int fake_graph_run(const FakeGraph *g, FakeOrder order, void (*run)(const FakeWork *work))
{
    size_t at[FAKE_LANES] = {0};
    int overtaking = 0, lane = 0;
    for (size_t done = 0; done < g->count; done++) {
        lane = next_lane(g, order, at, lane);
        const Item *item = &g->lanes[lane].items[at[lane]];
        if (item->work.run) {
            overtaking += overtakes(g, item, at);
            run(&item->work);
        }
        at[lane]++;
    }
    return overtaking;
}
