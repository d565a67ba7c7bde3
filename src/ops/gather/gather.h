/* Puts token sequences together: rows of x where the index says so, learned tokens elsewhere, plus rows of a position table. It
 * serves the class token, dropping and re-inserting masked patches, and choosing the rows that a loss looks at. */
#ifndef LACUNA_OPS_GATHER_H
#define LACUNA_OPS_GATHER_H

#include "graph/tape.h"

typedef struct {
    Ref x;       /* (..., D); may be left out when index names tokens only */
    Ref index;   /* I32 (rows): row of x, or -1 - k for row k of tokens. Left out: row r is row r of x */
    Ref inverse; /* I32 (rows of x): the row that reads it, or -1. Needed with index when x wants a gradient; each row of x is
                    read at most once */
    Ref tokens;  /* (K, D), K vectors that any number of rows read; may be left out */
    Ref table;   /* (P, D) added; may be left out */
    Ref place;   /* I32 (rows): row of table; left out: r modulo P */
    Shape shape; /* of the result: rows x D */
} GatherArgs;

/* The result has the type of x and tokens: both REAL, or both bf16, and then there is no table. */
Ref gather(Tape *tape, GatherArgs args);

#endif
