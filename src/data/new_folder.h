/* A folder that appears when all of it is written: until then it lies beside its place as OUT.tmp. */
#ifndef LACUNA_DATA_NEW_FOLDER_H
#define LACUNA_DATA_NEW_FOLDER_H

#include <stdbool.h>

/* Makes OUT.tmp and those above it, and takes away OUT if it is an empty folder. The name of what was made, owned by the caller
 * until new_folder_end(). NULL after error_set(): `out` is empty, or there and not an empty folder that can be taken away, or
 * OUT.tmp is there. */
char *new_folder_begin(const char *out);

/* Frees `folder`, a name from new_folder_begin(). If `written` it becomes OUT, and the new name is flushed to the disk (what
 * lies in the folder is the caller's to flush). If not, or if that fails, it is removed with all in it, and the error that
 * stood before still stands. Returns whether all went well. */
bool new_folder_end(char *folder, const char *out, bool written);

#endif
