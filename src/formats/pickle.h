/* Python's pickles, read without running anything (docs/spec/transfer.md D.8).
 *
 * A pickle is a program for a small machine with a stack. Here that machine only builds a tree of values: what Python would
 * call (REDUCE, NEWOBJ, BUILD) becomes an inert record of the name and its arguments. Opcodes outside the subset that
 * torch.save and its like write, and names that only a hostile file has (os.system, builtins.eval ..), are refused with their
 * byte. The tree is bounded by a number of opcodes, and so are time and memory, whatever the file says.
 */
#ifndef LACUNA_FORMATS_PICKLE_H
#define LACUNA_FORMATS_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PICKLE_OPCODES_MAX = 1 << 19 };

typedef enum {
    PICKLE_NONE,
    PICKLE_BOOL,      /* integer: 0 or 1 */
    PICKLE_INT,       /* integer */
    PICKLE_LONG,      /* more than 64 bits: bytes, little endian */
    PICKLE_REAL,      /* real */
    PICKLE_TEXT,      /* bytes: text */
    PICKLE_TUPLE,     /* items */
    PICKLE_LIST,      /* items */
    PICKLE_SET,       /* items */
    PICKLE_DICT,      /* items: key, value, key, value .. */
    PICKLE_NAME,      /* name: a class or function of Python */
    PICKLE_RECORD,    /* record: what calling a name would have made */
    PICKLE_PERSISTENT /* items: one, the identifier of something that lies outside the pickle */
} PickleKind;

typedef struct PickleValue PickleValue;

typedef struct {
    const char *module, *name; /* not zero-terminated */
    uint32_t module_bytes, name_bytes;
} PickleName;

typedef struct {
    const PickleValue *callee, *arguments; /* what would have been called with what */
    PickleValue *added;                    /* what was appended or set in it: a list or a dict; or NULL */
    const PickleValue *state;              /* what BUILD gave it, or NULL */
} PickleRecord;

struct PickleValue {
    PickleKind kind;
    uint32_t count; /* bytes or items */
    union {
        int64_t integer;
        double real;
        const char *bytes; /* in the pickle, not zero-terminated */
        const PickleValue **items;
        const PickleName *name;
        PickleRecord *record;
    };
};

typedef struct Pickle Pickle;

/* Reads the pickle of at most `opcodes` opcodes (no more than PICKLE_OPCODES_MAX) that begins at byte `at` of `data`, which
 * must outlive the result; `origin` names it in errors. NULL after error_set(). */
Pickle *pickle_read(const void *data, size_t size, size_t at, int opcodes, const char *origin);
void pickle_free(Pickle *pickle);

/* The value, and the byte behind the pickle. Owned by the pickle. Values can contain each other: walks must be bounded. */
const PickleValue *pickle_root(const Pickle *pickle);
size_t pickle_end(const Pickle *pickle);

/* The identifiers of what lies outside, in the order of the pickle. */
size_t pickle_persistent_count(const Pickle *pickle);
const PickleValue *pickle_persistent_at(const Pickle *pickle, size_t i);

/* Whether a value is that text, or that name. NULL is neither. */
bool pickle_is_text(const PickleValue *value, const char *text);
bool pickle_is_name(const PickleValue *value, const char *module, const char *name);

/* What a dict, an ordered one, or a record with attributes (argparse.Namespace) holds under a key; NULL when there is none. Of
 * a key that occurs twice the last. */
const PickleValue *pickle_get(const PickleValue *value, const char *key);

/* The pairs behind a dict or a record of one: an ordered dict and its like have what was set in them, others their attributes.
 * NULL when the value is no mapping. */
const PickleValue *pickle_mapping(const PickleValue *value);

#endif
