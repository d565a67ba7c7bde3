/* Tables of the numbers of an analysis, written as CSV and as JSON. */
#ifndef LACUNA_ANALYSIS_NUMBERS_H
#define LACUNA_ANALYSIS_NUMBERS_H

#include "base/text.h"

enum { NUMBERS_COLUMNS_MOST = 16, NUMBERS_TABLES_MOST = 8 };

typedef struct {
    const char *name;    /* of the table, and of its file NAME.csv */
    const char *columns; /* separated by commas */
    Text csv, json;      /* rows so far, without head and brackets */
} NumbersTable;

/* A row: words (NULL at the end), then numbers; what is not finite is an empty cell, in JSON null. */
void numbers_row(NumbersTable *table, const char *const *words, const double *numbers, int count);

/* FOLDER/NAME.csv. False after error_set(). */
bool numbers_write_csv(const NumbersTable *table, const char *folder);

/* "NAME": [{"COLUMN": value, ...}, ...]. */
void numbers_add_json(const NumbersTable *table, Text *out);

void numbers_free(NumbersTable *table);

#endif
