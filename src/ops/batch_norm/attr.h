#ifndef LACUNA_OPS_BATCH_NORM_ATTR_H
#define LACUNA_OPS_BATCH_NORM_ATTR_H

typedef struct {
    double eps, momentum;
} BatchNormAttr;

/* Rows that are summed in f32 before they go into sums in double; columns of a task, so that threads share no line. */
enum { BATCH_NORM_ROWS = 64, BATCH_NORM_COLUMNS = 32 };

#endif
