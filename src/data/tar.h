/* Private to src/data: the members of a tar archive, and an index of the pictures in a shard that is stored for the next start.
 *
 * Archives come from strangers: every number is checked against the file before it is used, and names are text, never paths. */
#ifndef LACUNA_DATA_TAR_H
#define LACUNA_DATA_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TAR_NAME_SIZE = 3584 }; /* bytes of the longest accepted member name, with its zero byte; a key holds more */

/* A member as the walk meets it. */
typedef struct {
    const char *name; /* not empty; valid during the call */
    char type; /* '0' for files of every age, else the archive's letter: '1' hard link, '2' symbolic link, '5' folder .. */
    uint64_t header;       /* where its header stands in the archive */
    uint64_t offset, size; /* of its bytes, which lie within the archive */
} TarMember;

/* Called for each member; false, after error_set(), ends the walk. */
typedef bool (*TarVisit)(void *self, int descriptor, const TarMember *member);

/* Walks the archive behind an open descriptor (ustar, old V7, GNU's long names, pax paths and sizes) in its order. `path` is
 * used in errors. False after error_set() with offset and reason: not a tar archive, a compressed one, a wrong checksum, a
 * number that is none or too large, a member beyond the end, no mark of the end, something behind it. */
bool tar_walk(int descriptor, const char *path, TarVisit visit, void *self);

/* Advice for a compressed archive that is known by its name or, with `size` > 0, its first bytes: false after error_set(). */
bool tar_is_plain(const char *path, const void *bytes, size_t size);

typedef struct {
    uint64_t name; /* offset in the index's text */
    uint64_t offset, size;
    int64_t label; /* -1: none */
} TarPicture;

/* The pictures of one shard, in the archive's order. {0} at first. */
typedef struct {
    char *text; /* names, each with a zero byte behind it */
    TarPicture *pictures;
    size_t text_size, count;
    uint64_t size;                /* the archive's bytes */
    int64_t seconds, nanoseconds; /* its last change */
    bool stored;                  /* it came from the file, not from the archive */
} TarIndex;

/* Whether the first part of a member's name, `size` bytes, is __..__: WebDataset keeps notes about a shard, which are no
 * samples, in members named like this, alone or in a folder. */
bool tar_is_note(const char *part, size_t size);

/* Indexes the members with the suffix of a picture (image_suffix_format()) of the archive at `path`, but for names that start
 * with a dot, WebDataset's notes (tar_is_note()), and those that belong to another picture: K.x.png beside
 * K.jpg, where K, the name up to its first dot, is WebDataset's key. A label is the number in the member of the same name with
 * the suffix .cls, or of the key with it. `stored`: a file to take the index from when the archive's size and time are the
 * same, and to put it into otherwise; may be NULL. False after error_set(), also for a name that occurs twice, a picture that
 * is a link, a label that is no number.
 */
bool tar_index_make(TarIndex *index, const char *path, const char *stored);
void tar_index_free(TarIndex *index);

/* Takes the bytes of such a stored file into an index whose size and times are set. False, perhaps without an error, when they
 * are damaged, of another archive or layout. */
bool tar_index_parse(TarIndex *index, const char *path, const char *data, size_t size);

/* Reads bytes of a descriptor at an offset. False after error_set(), also when the file ends before. */
bool tar_read(int descriptor, const char *path, void *bytes, size_t size, uint64_t offset);

#endif
