/* A captured graph of the fake runtime: pieces of work in lanes, one for each stream that took part, and which of another lane
 * each lane waits for. It runs in the orders that a GPU might take and that differ most, so that a wait that is missing shows.
 */
#ifndef LACUNA_DEVICE_CUDA_FAKE_GRAPH_H
#define LACUNA_DEVICE_CUDA_FAKE_GRAPH_H

#include <stdbool.h>
#include <stddef.h>

#include "device/cuda/fake.h"

typedef struct {
    const char *name; /* a literal */
    size_t bytes;     /* for the log; 0: not told */
    void (*run)(void *);
    void (*release)(void *); /* NULL: nothing to release */
    void *data;
} FakeWork;

void fake_work_release(const FakeWork *work);

typedef struct FakeGraph FakeGraph;

/* Lanes that a graph can have. */
enum { FAKE_LANES = 2 };

/* Captured from this stream on, which is lane 0. NULL when memory is out. */
FakeGraph *fake_graph_new(const void *origin);
void fake_graph_free(FakeGraph *graph);

/* The lane of a stream, -1 when it takes no part. */
int fake_graph_lane(const FakeGraph *graph, const void *stream);

/* How much stands in a lane: what an event recorded there now stands for. */
size_t fake_graph_place(const FakeGraph *graph, int lane);

/* Owns the work from here on. False when memory is out. */
bool fake_graph_put(FakeGraph *graph, int lane, FakeWork work);

/* What comes next in the stream's lane, which it gets now if it had none, waits until the other lane has come to a place. False
 * when memory is out, or lanes are. */
bool fake_graph_follow(FakeGraph *graph, const void *stream, int other, size_t place);

/* Whether lane 0 waits for the end of every other, as it must before a capture ends. */
bool fake_graph_joined(const FakeGraph *graph);

/* Runs all work. Returns how many pieces ran before one of another lane that had been put earlier. */
int fake_graph_run(const FakeGraph *graph, FakeOrder order, void (*run)(const FakeWork *work));

#endif
