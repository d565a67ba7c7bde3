#ifndef LACUNA_OPS_UNIT_ROWS_WORK_H
#define LACUNA_OPS_UNIT_ROWS_WORK_H

typedef struct {
    double length;
} UnitRowsAttr;

#define UNIT_ROWS_LEAST 1e-12 /* of a norm */

#endif
