/* Files: read whole, written aside and renamed, folders made. Paths are plain C strings in the system's encoding. */
#ifndef LACUNA_BASE_FILE_H
#define LACUNA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The whole file with a zero byte behind it, owned by the caller (memory_free). NULL after error_set(), also when the file is
 * larger than `limit` bytes (0: no limit) or is not a regular file; error_is_machine() tells whether the file is at fault. */
char *file_read(const char *path, size_t limit, size_t *size);

/* Tells whether a file whose first bytes these are is worth reading; if not, false after error_set(). */
typedef bool (*FileLook)(const void *start, size_t size, const char *path);

enum { FILE_START = 64 << 10, FILE_LARGE = 1 << 20 };

/* file_read(), but of a file of more than FILE_LARGE bytes the first FILE_START are looked at before memory is taken for the
 * rest. */
char *file_read_if(const char *path, size_t limit, FileLook look, size_t *size);

/* Writes PATH.tmp, flushes it to disk, renames it to PATH: readers see the old file or the whole new one. */
bool file_write(const char *path, const void *data, size_t size);

/* write(2) until all is written, through one place where tests can make a write fail. */
bool file_write_all(int descriptor, const char *path, const void *data, size_t size);

/* fsync of a file or folder. */
bool file_sync(const char *path);

/* Makes a folder and those above it. */
bool file_make_folder(const char *path);

/* Removes a file, or a folder with all in it; links are removed, not followed. A missing path is no error. */
bool file_remove(const char *path);

bool file_exists(const char *path);
bool file_is_folder(const char *path);

/* A fresh string "A/B" (or B when A is "" or B is absolute). NULL when out of memory. */
char *file_join(const char *a, const char *b);

/* The part behind the last slash. */
const char *file_name(const char *path);

/* The folder for caches, XDG_CACHE_HOME/lacuna or ~/.cache/lacuna, made if missing; fresh string, NULL after error_set(). */
char *file_cache_folder(void);

/* For tests: the n-th write from now on fails with "no space left on device" (1: the next); 0 switches this off. */
void file_fail_at(uint64_t n);

#endif
