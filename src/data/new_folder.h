/* A folder that appears when all of it is written: until then it lies beside its place as OUT.tmp. */
#ifndef LACUNA_DATA_NEW_FOLDER_H
#define LACUNA_DATA_NEW_FOLDER_H

#include <stdbool.h>

/* Makes the folders above OUT and, if nobody else has, OUT.tmp; slashes at the end of `out` do not count. The name of what was
 * made, owned by the caller until new_folder_end(). NULL after error_set(): `out` has no name of its own (empty, "/", ".",
 * ".."), or is there and not an empty folder that can be replaced, or OUT.tmp is there. */
char *new_folder_begin(const char *out);

/* Frees `folder`, a name from new_folder_begin(). If `written`, all in it is flushed to the disk and it becomes OUT, in place
 * of an empty folder of that name; if that fails it stays as OUT.tmp. If not `written` it is removed with all in it, and the
 * error that stood before still stands. Returns whether OUT is there; otherwise the error is set. */
bool new_folder_end(char *folder, bool written);

#endif
