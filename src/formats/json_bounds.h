/* How much a JSON text asks of a reader that builds all of it, seen before anything is built. A library needs a hundred times
 * the bytes of `[[],[],..` in memory; whoever knows what a file may hold says so first. */
#ifndef LACUNA_FORMATS_JSON_BOUNDS_H
#define LACUNA_FORMATS_JSON_BOUNDS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    size_t signs;   /* most brackets that open, commas and colons outside strings: about two for each value */
    size_t strings; /* most characters in strings with their ends, all together; an escape is one */
    int depth;      /* most brackets that are open at once */
    int objects;    /* likewise where the last one opens an object */
} JsonBounds;

/* Whether the text stays within. It need not be sound JSON. `origin` names it. False after error_set(). */
bool json_within(const char *text, size_t length, const JsonBounds *bounds, const char *origin);

#endif
