/* One parallel region runs a whole list of kernels: threads meet at a barrier between two of them, and nothing is started or
 * allocated on the way. */
#ifndef LACUNA_DEVICE_PARALLEL_H
#define LACUNA_DEVICE_PARALLEL_H

#include "device/kernel.h"

typedef struct {
    Kernel kernel;
    const Call *call;
    bool serial; /* entered by thread 0 alone (the reference kernels) */
} Step;

/* Runs the steps in order with `threads` threads. seconds, when not NULL, has one element a step, to which the time that the
 * step took (barrier included) is added. */
void parallel_run(const Step *steps, int count, int threads, double *seconds);

#endif
