/* What checkpoint.c and checkpoint_weights.c share. */
#ifndef LACUNA_TRAIN_CHECKPOINT_PARTS_H
#define LACUNA_TRAIN_CHECKPOINT_PARTS_H

#include "base/text.h"
#include "formats/safetensors.h"
#include "graph/param.h"
#include "train/checkpoint.h"

#define CHECKPOINT_MODEL "model.safetensors"
#define CHECKPOINT_STATE "state.safetensors"
#define CHECKPOINT_META  "meta.json"

/* Reads the text of a meta.json; `path` names it in errors. False after error_set(). */
bool checkpoint_meta_parse(const char *text, size_t size, const char *path, CheckpointMeta *meta);

bool checkpoint_same_shape(const SafeTensor *t, const Param *p);

/* "NAME ([2, 3] instead of [3, 3])" */
void checkpoint_add_shapes(Text *out, const SafeTensor *t, const Param *p);

#endif
