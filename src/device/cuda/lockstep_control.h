/* What a test sees of the lock-step (lockstep.h). */
#ifndef LACUNA_DEVICE_CUDA_LOCKSTEP_CONTROL_H
#define LACUNA_DEVICE_CUDA_LOCKSTEP_CONTROL_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { LOCKSTEP_FORWARD, LOCKSTEP_REVERSE, LOCKSTEP_SHUFFLED, LOCKSTEP_WARPS, LOCKSTEP_ORDERS } LockstepOrder;

/* In which order the threads between two barriers and the blocks of a grid run from now on. WARPS: each warp runs on, through
 * its exchanges, until all of it waits at a barrier or has ended, and only then the next one begins. */
void lockstep_set_order(LockstepOrder order);

/* Bugs that can be planted, to prove that a test would find them: in the n-th launch from now on (0: the next) the last
 * block, or the last warp of each block, ends at once; nobody waits at the n-th of the barriers that differ in their line.
 * PLANT_NONE: as it was, and counts begin anew. */
typedef enum { PLANT_NONE, PLANT_NO_LAST_BLOCK, PLANT_NO_LAST_WARP, PLANT_NO_BARRIER } LockstepPlant;
void lockstep_plant(LockstepPlant plant, int n);

/* Launches, and barriers of different lines, since the last lockstep_plant(). */
int lockstep_launches(void);
int lockstep_barriers(void);

/* Whether all launches since the last call went well. If not, error_text() says what the first one did wrong. */
bool lockstep_ok(void);

#ifdef __cplusplus
}
#endif

#endif
