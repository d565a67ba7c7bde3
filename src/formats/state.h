/* The weights of another program's file by name, whatever the container: torch.save's two formats, TorchScript, safetensors, or
 * a folder with a config.json as Hugging Face and timm have it, also with weights in several files (docs/spec/transfer.md D.1).
 */
#ifndef LACUNA_FORMATS_STATE_H
#define LACUNA_FORMATS_STATE_H

#include "formats/torch_file.h"

typedef struct StateDict StateDict;

/* Opens a file or folder; "PATH#KEY" takes the tensors that stand under KEY (`base_encoder` and `momentum_encoder`, which begin
 * names of MoCo v3, are left to who looks at the names). Files stay mapped until state_close(). NULL after
 * error_set(). */
StateDict *state_open(const char *path);

/* As state_open() of a safetensors file that is open; it is taken over, also on failure. */
StateDict *state_of_safetensors(SafeTensors *file, const char *path);

/* As state_open() of a file's bytes in memory, which must outlive the result; `origin` names them in errors. */
StateDict *state_open_memory(const void *data, size_t size, const char *origin);

void state_close(StateDict *state);

/* Whether a folder holds weights as Hugging Face or timm store them. */
bool state_is_folder(const char *path);

/* A tensor of a safetensors file as such a view. */
StridedTensor state_strided(const SafeTensor *tensor);

/* Tensors in the order of their names, which differ. Owned by the state. */
size_t state_count(const StateDict *state);
const StridedTensor *state_at(const StateDict *state, size_t i);
const StridedTensor *state_find(const StateDict *state, const char *name);

/* The container in words, what KEY was given (or NULL), and names that stand beside the tensors without being one, or "". */
const char *state_words(const StateDict *state);
const char *state_key(const StateDict *state);
const char *state_others(const StateDict *state);

/* A number or text of config.json or preprocessor_config.json (`groups`: keys of objects in objects, "model_args.num_heads"),
 * else of the mapping `args` of a torch file. False or NULL when there is none; a boolean is 0 or 1. */
bool state_number(const StateDict *state, const char *key, double *number);
const char *state_text(const StateDict *state, const char *key);

/* The `count` numbers of a list there. False when there is none of that length. */
bool state_numbers(const StateDict *state, const char *key, int count, float *numbers);

#endif
