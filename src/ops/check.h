/* Checks that every op must pass: gradients against differences, fast kernels and lowered forms against the reference. Used by
 * tests. */
#ifndef LACUNA_OPS_CHECK_H
#define LACUNA_OPS_CHECK_H

#include "graph/tape.h"

/* Something to be differentiated: builds on the tape from tape_input() and constants, returns a value; REF_NONE past the last
 * index. As op->example. */
typedef Ref (*CheckBuild)(Tape *tape, int index);

/* Changes the finished tape (plants a bug); returns false when it found nothing to change. */
typedef bool (*CheckPlant)(Tape *tape, const void *what);

enum { CHECK_RUNS = 65 };

/* The numbers of one run, owned by the caller (check_free): the value, then the gradient of its loss for each REAL or BF16
 * input. A scalar is its own loss, anything else is compared in mean square with fixed random numbers. */
typedef struct {
    double *values;
    size_t count;
    size_t ends[CHECK_RUNS]; /* where the value's, then each gradient's numbers end */
    int runs;
} CheckResult;

typedef enum { CHECK_END, CHECK_DONE, CHECK_ERROR } CheckOutcome;

/* Builds example `index` with that type of activations (tape_set_activation()), runs it on the device with fixed random inputs.
 * CHECK_END: no such example. CHECK_ERROR: error_text(). */
CheckOutcome check_run(CheckBuild build, int index, DType activation, const Device *device, CheckResult *result);

/* Compares gradients with central differences in f64. *error: the largest |gradient - difference| over the largest |gradient|
 * of the same input. */
CheckOutcome check_gradient(CheckBuild build, int index, CheckPlant plant, const void *what, double *error);

/* Largest |a - b| over the root mean square of b, taken for the value and each gradient by itself; 1e30 when lengths differ. */
double check_difference(const CheckResult *a, const CheckResult *b);

/* Likewise the root mean square of a - b over that of b. */
double check_spread(const CheckResult *a, const CheckResult *b);

void check_free(CheckResult *result);

#endif
