/* The targets under libFuzzer, which looks for inputs that reach new code: LACUNA_FUZZ=TARGET names one. */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

static const FuzzTarget *target;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    const char *name = getenv("LACUNA_FUZZ");
    target = name ? fuzz_target(name) : NULL;
    if (target)
        return 0;
    fprintf(stderr, "LACUNA_FUZZ names no target\n");
    exit(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    target->read(data, size);
    return 0;
}
