#ifndef LACUNA_OPS_FILL_ATTR_H
#define LACUNA_OPS_FILL_ATTR_H

typedef struct {
    double value;
} FillAttr;

#endif
