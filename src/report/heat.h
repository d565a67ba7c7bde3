/* Heat maps as SVG, for pages: numbers from 0 to 1, the stronger the colour the larger. */
#ifndef LACUNA_REPORT_HEAT_H
#define LACUNA_REPORT_HEAT_H

#include "base/text.h"

typedef struct {
    const char *title;
    int rows, columns;
    const double *values; /* (rows, columns), row 0 at the bottom; not finite: blank. Colours end at 0 and 1, numbers do not */
    const char *row_name, *column_name;
    const char *note; /* a sentence below the picture, or NULL */
} Heat;

/* Appends a <figure>. */
void heat_draw(const Heat *heat, Text *out);

#endif
