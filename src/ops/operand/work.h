#ifndef LACUNA_OPS_OPERAND_WORK_H
#define LACUNA_OPS_OPERAND_WORK_H

/* Rows whose column sums make one partial sum; partial sums are added in order. */
enum { OPERAND_TILE = 64 };

#endif
