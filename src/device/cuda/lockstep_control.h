/* What a test sees of the lock-step (lockstep.h). */
#ifndef LACUNA_DEVICE_CUDA_LOCKSTEP_CONTROL_H
#define LACUNA_DEVICE_CUDA_LOCKSTEP_CONTROL_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { LOCKSTEP_FORWARD, LOCKSTEP_REVERSE, LOCKSTEP_SHUFFLED, LOCKSTEP_ORDERS } LockstepOrder;

/* In which order the threads between two barriers and the blocks of a grid run from now on. */
void lockstep_set_order(LockstepOrder order);

/* Whether all launches since the last call went well. If not, error_text() says what the first one did wrong. */
bool lockstep_ok(void);

#ifdef __cplusplus
}
#endif

#endif
