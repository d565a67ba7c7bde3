/* A file's bytes in memory, without reading them all. */
#ifndef LACUNA_FORMATS_MAP_H
#define LACUNA_FORMATS_MAP_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    void *data; /* NULL of an empty file */
    size_t size;
} FileMap;

/* Maps a regular file for reading. Whoever shortens it meanwhile breaks the reader. False after error_set(). */
bool file_map(const char *path, FileMap *map);

/* An empty one is accepted. */
void file_unmap(FileMap *map);

#endif
