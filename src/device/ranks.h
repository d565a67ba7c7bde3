/* Processes of one machine that train together, a device each: ranks 0 .. count - 1, started by mpirun. MPI is hidden here;
 * where lacuna was built without it, there is one process.
 *
 * A process that goes away ends all of them (mpirun sees to it), so what waits for another one returns or does not return, and
 * never fails. The ranks of a run call these functions in the same order, from one thread; NULL stands for a process alone. */
#ifndef LACUNA_DEVICE_RANKS_H
#define LACUNA_DEVICE_RANKS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/shared.h"

typedef struct RankGroup RankGroup;

/* Whether this program was built with MPI. */
bool ranks_are_built(void);

/* How many processes mpirun has started beside and with this one; 1 when it was not started by mpirun. */
int ranks_started(void);

/* Joins the others that mpirun has started. NULL after error_set(): built without MPI, memory or threads out. */
RankGroup *ranks_open(void);

/* Leaves, together with the others; after ranks_break() it ends them, and this process. */
void ranks_close(RankGroup *ranks);

/* This rank has failed in the midst of what the others do with it, so they would wait for ever: after error_set(). */
void ranks_break(RankGroup *ranks);

/* So many seconds behind ranks_break(), end(context, what error_text() was) is called on a thread of its own: a device that has
 * failed can hold up what cleans up. It may end the process, and if ranks_close() has done so before, does not come. */
void ranks_set_last_resort(RankGroup *ranks, int seconds, void (*end)(void *context, const char *why), void *context);

/* What a broken group's process ends with; 1 unless it is set. */
void ranks_set_exit_code(RankGroup *ranks, int code);
bool ranks_are_broken(const RankGroup *ranks);

int ranks_rank(const RankGroup *ranks);  /* 0 of NULL */
int ranks_count(const RankGroup *ranks); /* 1 of NULL */

/* Bytes from one rank to another, and from rank 0 to all. */
void ranks_send(RankGroup *ranks, int to, const void *data, size_t bytes);
void ranks_receive(RankGroup *ranks, int from, void *data, size_t bytes);
void ranks_broadcast(RankGroup *ranks, void *data, size_t bytes);

/* Memory of rank 0 that the others can read where it lies, so that it need not be sent: zeroed, aligned to a page, owned by the
 * caller. NULL: it cannot be had here, and no error is set. */
void *ranks_shared_new(RankGroup *ranks, size_t bytes);
void ranks_shared_free(RankGroup *ranks, void *at); /* of ranks_shared_new() or NULL */

/* A place in it, which may be sent as bytes. */
typedef struct {
    SharedName memory;
    uint64_t at;
} SharedPlace;

/* On rank 0: whether `at` lies in such memory, and where. */
bool ranks_shared_find(const RankGroup *ranks, const void *at, SharedPlace *place);

/* On another rank: the place, good until the next call names other memory or ranks_shared_leave(). NULL after error_set(). */
const void *ranks_shared_at(RankGroup *ranks, const SharedPlace *place);

/* On another rank: gives the memory up, if there is any. */
void ranks_shared_leave(RankGroup *ranks);

/* Sums `count` numbers over all ranks, each number in the order of the ranks: the same bits on every rank and every time.
 * ranks_sum_begin() returns at once, and a thread does the work beside what the caller computes; from then to ranks_sum_end(),
 * which waits for all sums that were begun, the numbers belong to that thread and nothing else is called. At most
 * RANKS_SUMS_MOST are under way. */
enum { RANKS_SUMS_MOST = 64 };
void ranks_sum_begin(RankGroup *ranks, float *data, size_t count);
void ranks_sum_end(RankGroup *ranks);

/* Likewise, until at most so many of those that were begun are left; they are done in their order. */
void ranks_sum_wait(RankGroup *ranks, int left);

#endif
