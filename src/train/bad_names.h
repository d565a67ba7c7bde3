/* The names in RUN/bad_files.csv: columns file, reason; RFC 4180 quotes. */
#ifndef LACUNA_TRAIN_BAD_NAMES_H
#define LACUNA_TRAIN_BAD_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* In the order of the file. {0} at first. */
typedef struct {
    char **names;
    size_t count, capacity;
} BadNames;

/* Appends the names of a file's zero-terminated text, its header left out. *whole receives how many bytes the header and the
 * complete records take: a record that a killed run tore is left out. False after error_set() when memory is out. */
bool bad_names_parse(BadNames *names, const char *text, size_t *whole);

bool bad_names_add(BadNames *names, const char *name);
bool bad_names_hold(const BadNames *names, const char *name);
void bad_names_free(BadNames *names);

#endif
