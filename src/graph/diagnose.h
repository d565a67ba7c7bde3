/* Running a program node by node to see where numbers stop being finite. */
#ifndef LACUNA_GRAPH_DIAGNOSE_H
#define LACUNA_GRAPH_DIAGNOSE_H

#include "graph/program.h"

typedef struct {
    ProgramNode node;
    double value; /* the first of its outputs' numbers that is not finite */
} ProgramFault;

/* Runs the segment's nodes up to the first one that writes a number that is not finite. True when there is one, described by
 * *fault; false when the whole segment ran and all was finite. */
bool program_find_fault(Program *program, Segment segment, ProgramFault *fault);

#endif
