/* What the files of checkpoints share: checkpoint.c saves, checkpoint_find.c looks for whole ones, checkpoint_meta.c reads
 * meta.json, checkpoint_load.c and checkpoint_weights.c read. */
#ifndef LACUNA_TRAIN_CHECKPOINT_PARTS_H
#define LACUNA_TRAIN_CHECKPOINT_PARTS_H

#include "base/text.h"
#include "formats/safetensors.h"
#include "graph/param.h"
#include "train/checkpoint.h"

#define CHECKPOINT_MODEL   "model.safetensors"
#define CHECKPOINT_STATE   "state.safetensors"
#define CHECKPOINT_META    "meta.json"
#define CHECKPOINT_AVERAGE "average.safetensors"

/* How folders and links begin that are not finished, or about to go. */
#define CHECKPOINT_ASIDE ".tmp-"

/* How the last line of meta.json begins: CRC-32 of all before this. */
#define CHECKPOINT_META_CRC "  \"crc32\": "

/* The files whose checksums meta.json holds; the last one need not be there. */
enum { CHECKPOINT_FILES = 3, CHECKPOINT_FILES_ALWAYS = 2 };
extern const char *const checkpoint_files[CHECKPOINT_FILES];

typedef struct {
    int64_t bytes; /* -1: there is no such file */
    uint32_t crc;  /* CRC-32 as zlib has it */
} FileHash;

/* Reads the text of a meta.json, and from it the checksums of the other files; `path` names it in errors. False after
 * error_set(). */
bool checkpoint_meta_parse(const char *text, size_t size, const char *path, CheckpointMeta *meta);
bool checkpoint_meta_hashes(const char *text, size_t size, const char *path, FileHash hashes[CHECKPOINT_FILES]);

bool checkpoint_hash(const char *folder, const char *file, FileHash *hash);

/* The steps of all checkpoints in RUN/checkpoints, the newest first, owned by the caller; a folder that is not there has none.
 * With `sweep` what killed saves left behind is removed. False after error_set(). */
bool checkpoint_steps(const char *checkpoints, bool sweep, int64_t **steps, size_t *count);

/* "RUN/checkpoints/step-00012500", a fresh string. */
char *checkpoint_folder(const char *checkpoints, int64_t step);

/* All three files are there and sound as far as sizes go, with `contents` also as far as checksums go; else the error says why
 * not. */
bool checkpoint_is_complete(const char *folder, int64_t step, bool contents);

/* Opens a file of a checkpoint; NULL after error_set(). */
SafeTensors *checkpoint_part(const char *folder, const char *file);

bool checkpoint_same_shape(const SafeTensor *t, const Param *p);

/* "NAME ([2, 3] instead of [3, 3])" */
void checkpoint_add_shapes(Text *out, const SafeTensor *t, const Param *p);

#endif
