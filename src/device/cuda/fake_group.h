/* Groups of processes that add up numbers, for the fake runtime: through memory that all of them
 * map. */
#ifndef LACUNA_DEVICE_CUDA_FAKE_GROUP_H
#define LACUNA_DEVICE_CUDA_FAKE_GROUP_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    struct FakeRoom *room; /* what all see; NULL: alone */
    int rank, count, met;  /* met: times that all have waited for each other */
} FakeGroup;

/* Writes a name, as text, of a group that rank 0, which calls this, and others are to join. False after error_set(). */
bool fake_group_name(char *name, size_t bytes);

/* Waits for all of the group. False after error_set(). */
bool fake_group_join(FakeGroup *group, const char *name, int rank, int count);
void fake_group_close(FakeGroup *group, bool together); /* together: waits for all of it */

/* Sums in place, in the order of ranks; waits for all of the group. */
void fake_group_sum(FakeGroup *group, float *data, size_t count);

#endif
