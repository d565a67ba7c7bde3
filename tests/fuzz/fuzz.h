/* The fuzz targets: every reader of bytes that strangers may have made. CONTRIBUTING.md says how they are run. */
#ifndef LACUNA_TESTS_FUZZ_H
#define LACUNA_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name;                               /* the corpus is tests/fuzz/corpus/NAME */
    void (*read)(const uint8_t *data, size_t size); /* aborts when something is wrong; `data` may be NULL when `size` is 0 */
    bool codec; /* a library does the reading: fuzzed by time, not by the number of inputs */
} FuzzTarget;

/* Ends with one without a name. */
extern const FuzzTarget FUZZ_TARGETS[];

/* NULL when there is none of that name. */
const FuzzTarget *fuzz_target(const char *name);

#endif
