/* Memory: sizes multiplied with overflow checks, failure reported through error_set(), one place where tests can make the
 * n-th allocation fail or count allocations. All memory of this program that does not belong to a library comes from here. */
#ifndef LACUNA_BASE_MEMORY_H
#define LACUNA_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MEMORY_ALIGN = 64 }; /* bytes; a cache line, and the widest vector in use */

/* count * size bytes, zeroed, owned by the caller, freed with memory_free(). NULL after error_set() when the product overflows
 * or memory is out. A zero-sized request returns a pointer that can be freed. */
void *memory_new(size_t count, size_t size);

/* As memory_new(), aligned to MEMORY_ALIGN and not zeroed. */
void *memory_new_aligned(size_t count, size_t size);

/* Grows or shrinks a block of memory_new() to count * size bytes; new bytes are not zeroed. On failure returns NULL and the old
 * block stays valid. */
void *memory_resize(void *block, size_t count, size_t size);

/* Makes room for one more element in a growing array of `count` elements: doubles *capacity when full. *array may move. */
bool memory_grow(void **array, size_t count, size_t *capacity, size_t size);

/* A copy of a string. NULL after error_set(). */
char *memory_string(const char *text);

void memory_free(void *block);

/* a * b into *product; false (without setting an error) on overflow. */
bool size_multiply(size_t a, size_t b, size_t *product);

/* For tests: how many allocations this process has made through this header. */
uint64_t memory_count(void);

/* For tests: the n-th allocation from now on fails (1: the next); 0 switches this off. */
void memory_fail_at(uint64_t n);

#endif
