/* Large tables of numbers, row by row: in memory while they are small, else in a file of the cache folder that is gone when the
 * program ends. */
#ifndef LACUNA_TRANSFER_TABLE_H
#define LACUNA_TRANSFER_TABLE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    float *data; /* (rows, columns) */
    size_t rows, columns;
    size_t mapped; /* bytes of the file, 0: in memory */
} Table;

/* Above so many bytes a table lies in a file. */
#define TABLE_MEMORY ((size_t)512 << 20)

/* A table of zeros; `limit` as TABLE_MEMORY. table_free() it. False after error_set(). */
bool table_make(Table *table, size_t rows, size_t columns, size_t limit);
void table_free(Table *table);

#endif
