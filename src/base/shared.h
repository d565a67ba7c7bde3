/* Memory of one process that others on the machine can read. */
#ifndef LACUNA_BASE_SHARED_H
#define LACUNA_BASE_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How other processes find it: may be sent to them as bytes. */
typedef struct {
    int64_t process, descriptor;
    uint64_t bytes, mark; /* mark: another one each time */
} SharedName;

/* Zeroed whole pages for at least one byte, to be given back with shared_free(). As with other memory of this size, pages are
 * taken when they are touched. NULL after error_set(). */
void *shared_new(size_t bytes, SharedName *name);
void shared_free(void *at, const SharedName *name);

/* The same memory in another process, for reading alone, to be given back with shared_close(); it stays when the process it
 * comes from gives it back. NULL after error_set(): gone, on another machine, not allowed. */
const void *shared_open(const SharedName *name);
void shared_close(const void *at, const SharedName *name);

#endif
