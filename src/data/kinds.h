/* Private to src/data: what the kinds of sources fill in, and the helpers they share. */
#ifndef LACUNA_DATA_KINDS_H
#define LACUNA_DATA_KINDS_H

#include "base/text.h"
#include "data/source.h"

/* A kind's functions get the source whose `self` the kind made; what they do is said in source.h. */
typedef struct {
    void (*close)(void *self);
    void (*key)(const Source *source, size_t i, char *room, size_t size);
    int (*label)(const Source *source, size_t i);                           /* NULL: nothing is labelled */
    bool (*view)(const Source *source, size_t i, int channels, Image *out); /* NULL: none */
    bool (*picture)(const Source *source, size_t i, int channels, Image *out);
    /* A number that changes when one of the samples does, for stored statistics. NULL or false: store nothing. */
    bool (*fingerprint)(const Source *source, const uint64_t *samples, size_t count, uint64_t *hash);
    bool (*file)(const Source *source, size_t i, char **bytes, size_t *size); /* NULL: samples are not files */
} SourceKind;

struct Source {
    const SourceKind *kind;
    void *self;
    size_t count;
    int class_count;
    char **class_names;     /* owned, each and all */
    char *where;            /* owned */
    Text summary, left_out; /* the latter empty unless files were */
    size_t left_out_count;
    bool no_cache;
    void (*damaged)(void *context, const char *path, const char *why); /* of SourceOptions */
    void *damaged_context;
};

/* Each fills source->kind, self, count, class_* and summary; source->where is set. What is filled is freed by source_close(),
 * also after a failure. False after error_set(). */
bool folder_open(Source *source);
bool cifar_open(Source *source);
bool world_open(Source *source, const SourceOptions *options);
bool list_open(Source *source);
bool shards_open(Source *source);

/* The same from bytes in memory, which stand for the content of source->where and are taken over, also after a failure.
 * A zero byte stands behind `text` and `names` (which may be NULL). */
bool list_open_text(Source *source, char *text, size_t size);
bool cifar_open_bytes(Source *source, uint8_t *bytes, size_t size, char *names);

/* Whether a path is CIFAR's: a file, or a folder with one of its files. */
bool cifar_is_here(const char *path);

/* Whether a path is a list of pictures: a .csv file. */
bool list_is_here(const char *path);

/* Whether a path names tar shards by its suffix, compressed or not: a file, or a pattern of files. */
bool shards_are_here(const char *path);

/* Whether shards lie in a folder, compressed or not. */
bool shards_in_folder(const char *folder);

/* Pictures beyond this size are refused. */
enum { LARGEST_PICTURE_FILE = 1 << 30 };

/* Reads the file NAME, a path from FOLDER on; the bytes are owned by the caller. False after error_set(). */
bool picture_file_bytes(const char *folder, const char *name, char **bytes, size_t *size);

/* Reads and decodes it. False after error_set(). */
bool picture_file_read(const char *folder, const char *name, int channels, Image *out);

/* Takes a picture file's name, size and time of change into *hash. False, without an error, when it is not there. */
bool picture_file_hash(const char *folder, const char *name, uint64_t *hash);

/* FNV-1a over bytes, going on from `hash`; start with HASH_START. */
#define HASH_START 0xCBF29CE484222325u
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count);

/* A path below file_cache_folder(): FOLDER/KIND-HASH, the folder made. Fresh string; NULL (and no error text) without one. */
char *cache_path(const char *kind, uint64_t hash);

/* The file beside shards with the names of their classes, a line each. */
#define SHARD_CLASSES "classes.txt"

/* Makes room for class names. False after error_set(). */
bool source_classes(Source *source, int count);

/* Makes the class names "0", "1", .. False after error_set(). */
bool source_number_classes(Source *source, int count);

/* Makes the class names from the lines of `text` (a zero byte behind it; it is cut up), at least `least` of them; `path` names
 * it in errors. False after error_set(). */
bool source_classes_from_text(Source *source, const char *path, char *text, size_t size, int least);

/* More labels than this are a mistake, such as numbers of the pictures; each takes memory for a name. */
enum { MOST_CLASSES = 1 << 20 };

/* The number that `size` characters write in decimal; -1 when they hold anything else or MOST_CLASSES or more. */
int32_t class_number_read(const char *text, size_t size);

#endif
