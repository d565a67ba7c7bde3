/* What this machine can do at most, measured: the yardstick for shares of the peak. Not an op: nothing of this is in the table.
 */
#ifndef LACUNA_OPS_PEAK_PEAK_H
#define LACUNA_OPS_PEAK_PEAK_H

#include "device/device.h"

/* A second, of all threads of the device together. */
typedef struct {
    double flops;      /* fused multiply-adds in f32, two operations each */
    double bf16_flops; /* dot products of bf16 pairs added in f32; 0: the processor or the chosen kernels have none */
    double bytes;      /* read and written of memory that no cache holds */
} Peak;

/* Takes about half a second. The best of a few tries each, since what disturbs only slows down. On `ref` the sums are plain C,
 * on `cuda` they are products and memory is copied. False after error_set(): memory is out. */
bool peak_measure(const Device *device, Peak *peak);

#endif
