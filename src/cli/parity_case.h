/* A golden case on its way through `lacuna parity`: what was read, what was computed, and how the two are compared. The format
 * is at the end of docs/spec/recipe.md. */
#ifndef LACUNA_CLI_PARITY_CASE_H
#define LACUNA_CLI_PARITY_CASE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"
#include "formats/safetensors.h"

/* A tensor that was computed; `values` has the product of the shape. */
typedef struct {
    char *name;
    int ndim;
    int64_t shape[SAFETENSORS_DIMS_MAX];
    float *values;
} ParityResult;

typedef struct {
    const char *path; /* of the .json, borrowed */
    char *name;       /* the file's name without folder and suffix */
    json_t *root;
    json_t *about; /* root.case, borrowed from root */
    SafeTensors *stored;
    ParityResult *results;
    size_t count, capacity;
    double loss_tolerance; /* above 0 (bf16): losses must hold to this, and all else is shown but not judged */
    double loss_least;     /* losses and norms need not hold to less: a GPU sums in an order of its own */
} ParityCase;

typedef struct {
    Device device;
    bool plain; /* without the exact savings */
    bool bf16;  /* activations and products in bf16; the cases' numbers are f64's, so only losses are judged */
} ParityOptions;

/* Reads CASE.json and CASE.safetensors beside it. False after error_set(); close in either case. */
bool parity_case_open(ParityCase *c, const char *path);
void parity_case_close(ParityCase *c);

/* case.kind; "" when there is none. */
const char *parity_case_kind(const ParityCase *c);

/* A whole number of a mapping within limits; a list of the given length. False (NULL) after error_set() naming `where`. */
bool parity_int(const json_t *mapping, const char *where, const char *key, int least, int most, int *value);
json_t *parity_list(const json_t *mapping, const char *where, const char *key);

/* Room for the result of that name, zeroed, owned by the case. NULL after error_set(), also when there is one already. */
float *parity_result(ParityCase *c, const char *name, int ndim, const int64_t *shape);

/* A stored tensor of exactly that shape as f32 into a fresh buffer (memory_free). NULL after error_set(). */
float *parity_input(const ParityCase *c, const char *name, int ndim, const int64_t *shape);

/* Compares every expect.*, grad.*, after.* of the case with the result of that name, and every result named table.* with the
 * weight.* of the rest of its name; prints a line for each: ok or FAIL, name, largest relative error, tolerance. What was not
 * computed fails. In bf16 only losses are judged. Returns the number of lines that fail; *lines receives how many there are. */
size_t parity_case_judge(const ParityCase *c, size_t *lines);

/* Writes FOLDER/NAME.safetensors: what was computed of the tensors to compare, under their names and types. */
bool parity_case_write(const ParityCase *c, const char *folder);

/* The kinds of cases. Each fills the results; false after error_set(). */
bool parity_pretrain(ParityCase *c, const ParityOptions *options); /* pretrain, classify, contrast */
bool parity_positions(ParityCase *c);
bool parity_schedule(ParityCase *c);
bool parity_resize(ParityCase *c);
bool parity_augment(ParityCase *c);
bool parity_attention(ParityCase *c);
bool parity_similarity(ParityCase *c);
bool parity_spectrum(ParityCase *c);
bool parity_analyse(ParityCase *c, const ParityOptions *options);

#endif
