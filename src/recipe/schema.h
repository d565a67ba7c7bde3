/* The key table of recipes and what one row of it can do. Only for src/recipe; everyone else uses recipe.h. */
#ifndef LACUNA_RECIPE_SCHEMA_H
#define LACUNA_RECIPE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"
#include "recipe/recipe.h"

typedef enum {
    KEY_INT,        /* int */
    KEY_COUNT,      /* int; true and false mean 1 and 0 */
    KEY_LONG,       /* int64_t */
    KEY_SEED,       /* uint64_t, up to 2^63 - 1 */
    KEY_REAL,       /* double */
    KEY_REALS,      /* double[count] */
    KEY_VIEWS,      /* double[2], of two views; one number means both */
    KEY_BOOL,       /* bool */
    KEY_WORD,       /* an enumeration; `names` in the order of its enumerators */
    KEY_SIZE,       /* int[2] rows and columns; one number means both */
    KEY_STATISTICS, /* RecipeStatistics */
    KEY_TEXT,       /* char[RECIPE_PATH_BYTES] */
    KEY_NAMES,      /* optimizer.no_decay with its count */
    KEY_NUMBERS,    /* RecipeNumbers */
    KEY_STAGES,     /* RecipeStages: a list of mappings */
    KEY_HYBRID,     /* RecipeHybrid: a mapping with a list of mappings; of the run alone */
    KEY_OTHER,      /* nothing is stored; only the default is accepted */
    KEY_RESERVED    /* a name kept for later, with all keys below it; nothing is accepted */
} RecipeKeyType;

/* What this version does with a row. To carry out one more key or value, change this field of its row. */
enum {
    CARRIED_OUT = ~0u, /* every value */
    NOT_YET = 0u       /* only the default is accepted */
    /* else, for KEY_WORD: a bit per carried-out enumerator */
};

typedef struct {
    const char *key;
    RecipeKeyType type;
    size_t offset;       /* in Recipe; in RecipeDecoder for keys that begin with "decoders.K." */
    const char *initial; /* the default, as YAML */
    double low, high;    /* accepted numbers */
    const char *word;    /* a word in place of the number ("auto") */
    double word_value;   /* and what is stored for it */
    const char *const *names;
    unsigned now;
    int now_high; /* KEY_COUNT: the largest number carried out */
    int count;    /* KEY_REALS */
    const char *help;
} RecipeKey;

/* The table; rows of a group are neighbours, and so are those of target.* and loss.*. */
const RecipeKey *schema_rows(size_t *count);

/* The row of a key, or the reserved row it lies under; NULL when unknown. `decoders.K.target.X` and `decoders.K.loss.X` find
 * the rows of `target.X` and `loss.X`. */
const RecipeKey *schema_find(const char *key);

/* Whether keys begin with PATH and a dot. */
bool schema_is_group(const char *path);

bool schema_in_decoder(const RecipeKey *row);

/* The bit of a target.* or loss.* row in RecipeDecoder.own; 0 for other rows. */
uint64_t schema_own_bit(const RecipeKey *row);

/* Where the value lies: in decoder `d` for decoder keys, and, when d is not NULL, for target.* and loss.*; else in r. */
void *schema_field(const RecipeKey *row, Recipe *r, RecipeDecoder *d);
const void *schema_field_const(const RecipeKey *row, const Recipe *r, const RecipeDecoder *d);

/* Bytes of the value. */
size_t schema_field_bytes(const RecipeKey *row);

/* Appends what a row accepts, in words. */
void schema_describe(const RecipeKey *row, Text *out);

/* A value before it has a type: a scalar, or a flat list of scalars. */
typedef struct {
    const char *text;
    bool plain; /* not quoted: may be a number, true, or none */
} RecipeScalar;

typedef struct {
    bool list;
    const RecipeScalar *items; /* one when it is no list */
    size_t count;
} RecipeValue;

typedef enum { VALUE_GOOD, VALUE_WRONG, VALUE_NOT_YET } ValueVerdict;

/* Reads a value into the field. VALUE_WRONG: not of the row's type or out of its range. VALUE_NOT_YET: known, but this version
 * does not carry it out. Unless VALUE_GOOD the field is not to be trusted. KEY_OTHER compares with the default; KEY_RESERVED
 * is always VALUE_NOT_YET. */
ValueVerdict value_read(const RecipeKey *row, const RecipeValue *value, void *field);

/* Reads one key of a stage. False when there is no such key (*known), or the value is not accepted. */
bool value_read_stage(RecipeStage *stage, const char *key, const RecipeScalar *value, bool *known);

/* Reads one key of a row of target.hybrid's table; *alpha: it is the one number of a row that does not change. Likewise. */
bool value_read_mix(RecipeMix *mix, const char *key, const RecipeValue *value, bool *known, bool *alpha);

/* Sets the field to the row's default. */
void value_default(const RecipeKey *row, void *field);

/* Appends the field as YAML of one line. */
void value_write(const RecipeKey *row, const void *field, Text *out);

/* Appends the shortest decimal that reads back as the same number. */
void value_write_real(double x, Text *out);

/* Merges: what follows from the keys set so far (target and loss of decoders, lr and blr). Called after every source. */
void recipe_merge(Recipe *r);

/* A decoder with defaults, target and loss those of the recipe. */
void recipe_decoder_defaults(const Recipe *r, RecipeDecoder *d);

#endif
