/* The fake runtime of tests, linked in the place of NVIDIA's. Streams run at once, in the order of the calls, captured graphs
 * in the order that is asked for; any call can be made to fail. Its GPU's memory is the host's, but cannot be touched except by
 * work that runs in a stream: whoever reads or writes it directly, which would fail on a GPU, fails here too. */
#ifndef LACUNA_DEVICE_CUDA_FAKE_H
#define LACUNA_DEVICE_CUDA_FAKE_H

#include "device/cuda/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Errors of the fake runtime. */
enum {
    FAKE_ERROR = 1,
    FAKE_OUT_OF_MEMORY,
    FAKE_LOST,
    FAKE_NO_DRIVER,
    FAKE_NO_DEVICE,
    FAKE_NOT_ALLOWED /* what a stream that is being captured cannot do */
};

/* Puts a piece of work into a stream (NULL: into none), as a launch of a kernel does in the lock-step build (`name` for the
 * log, a literal): run(data) is called now, or when the stream is being captured, in every launch of the graph; release(data)
 * when it is not needed any more (NULL: nothing to release). An error is kept for last_error(). */
void fake_enqueue(void *stream, const char *name, void (*run)(void *data), void (*release)(void *data), void *data);

/* Everything as at the start: one GPU of 64 GB, an empty log, nothing fails. Things that are open stay. */
void fake_reset(void);

/* GPUs there are; error: what asking for their number answers (0: no error). */
void fake_set_devices(int count, int error);
void fake_set_memory(int64_t bytes);

/* Algorithms that the fake library of products proposes, at most 8, and the seconds that each takes by the fake's clock; less
 * than 0: it is proposed, but fails when it is launched. At the start one, which takes no time. */
void fake_set_algorithms(int count, const double *seconds);

/* The version that the library says it is; at the start 1. */
void fake_set_library(uint64_t version);

/* The library of sums over GPUs: at the start it is missing. A group of one process takes the numbers of all others for zeros;
 * a group of several, each with the fake, adds up in the order of ranks. */
typedef enum { FAKE_SUMS_MISSING, FAKE_SUMS_ALONE, FAKE_SUMS_TOGETHER } FakeSums;
void fake_set_sums(FakeSums sums);

/* Which of several streams in a captured graph goes first where no event orders them: as they were put, the one from which it
 * was captured, the others, or each in turn. At the start FAKE_AS_PUT. */
typedef enum { FAKE_AS_PUT, FAKE_ASIDE_LAST, FAKE_ASIDE_FIRST, FAKE_IN_TURN } FakeOrder;
void fake_set_order(FakeOrder order);

/* The n-th call from now on (1: the next) fails with this error, and all behind it when it is FAKE_LOST; n 0: none does. */
void fake_fail_at(int n, int error);

/* Calls so far that can fail. */
int fake_calls(void);

/* Blocks of memory, streams, events, graphs and handles that were made and not given back. */
int fake_open_things(void);

/* The work that ran in streams since the last fake_log_clear(), a line each: "copy 64", "clear 64", "product" or a name. */
const char *fake_log(void);
void fake_log_clear(void);

/* Since the last fake_log_clear(): launches of graphs; pieces of work in them that ran before one of another stream that had
 * been put earlier; times that the host waited; and the most pieces of work (a graph is one)
 * that had been put into a stream behind an event when another stream was told to follow that event, so that it need not wait
 * for them. */
int fake_graph_launches(void);
int fake_overtaking(void);
int fake_waits(void);
int fake_slack(void);

/* Sums over GPUs, of all so far, for which no other stream waits yet; and graphs that were launched meanwhile, since the last
 * fake_log_clear(). */
int fake_unjoined(void);
int fake_rushed(void);

#ifdef __cplusplus
}
#endif

#endif
