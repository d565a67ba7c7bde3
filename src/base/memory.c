#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"

enum { LARGE_PAGE = 2 << 20 };

static atomic_uint_fast64_t allocations;
static atomic_uint_fast64_t fail_at; /* value of `allocations` that fails; 0: none */

bool size_multiply(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

static void refuse(size_t bytes)
{
    error_set("out of memory: %zu bytes were refused", bytes);
    error_blame_machine();
}

/* Counts an allocation; false when a test wants this one to fail. */
static bool allowed(size_t count, size_t size, size_t *bytes)
{
    uint64_t number = atomic_fetch_add(&allocations, 1) + 1;
    if (!size_multiply(count, size, bytes) || *bytes > SIZE_MAX - LARGE_PAGE) {
        error_set("a request for %zu x %zu bytes of memory is too large to be meant", count, size);
        return false;
    }
    if (number == atomic_load(&fail_at)) {
        refuse(*bytes);
        return false;
    }
    if (*bytes == 0)
        *bytes = 1;
    return true;
}

static void *or_error(void *block, size_t bytes)
{
    if (!block)
        refuse(bytes);
    return block;
}

void *memory_new(size_t count, size_t size)
{
    size_t bytes;
    return allowed(count, size, &bytes) ? or_error(calloc(1, bytes), bytes) : NULL;
}

void *memory_new_aligned(size_t count, size_t size)
{
    size_t bytes;
    if (!allowed(count, size, &bytes))
        return NULL;
    /* Large blocks ask for large pages: packed panels and rows lie on more small ones than the processor can look up at once.
     */
    size_t align = bytes >= 2 * LARGE_PAGE ? LARGE_PAGE : MEMORY_ALIGN;
    bytes = (bytes + align - 1) / align * align;
    void *block = or_error(aligned_alloc(align, bytes), bytes);
    if (block && align == LARGE_PAGE)
        madvise(block, bytes, MADV_HUGEPAGE); /* a wish: nothing is lost where it is not granted */
    return block;
}

void *memory_resize(void *block, size_t count, size_t size)
{
    size_t bytes;
    return allowed(count, size, &bytes) ? or_error(realloc(block, bytes), bytes) : NULL;
}

bool memory_grow(void **array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    size_t next = *capacity ? 2 * *capacity : 16;
    void *moved = memory_resize(*array, next, size);
    if (!moved)
        return false;
    *array = moved;
    *capacity = next;
    return true;
}

char *memory_string(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = memory_new(n, 1);
    return copy ? memcpy(copy, text, n) : NULL;
}

void memory_free(void *block)
{
    free(block);
}

uint64_t memory_count(void)
{
    return atomic_load(&allocations);
}

void memory_fail_at(uint64_t n)
{
    atomic_store(&fail_at, n ? atomic_load(&allocations) + n : 0);
}
