#ifndef LACUNA_OPS_WINDOW_ATTR_H
#define LACUNA_OPS_WINDOW_ATTR_H

typedef struct {
    int side;
} WindowAttr;

#endif
