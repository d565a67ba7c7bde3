/* Private to src/data: which pictures lie below a folder, read from the disk or from what was stored about it. */
#ifndef LACUNA_DATA_LISTING_H
#define LACUNA_DATA_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* A folder that was read, with what tells that its entries are still the same. */
typedef struct {
    uint64_t name; /* offset in `text` of the path below the root, "" for the root */
    uint64_t device, inode;
    int64_t seconds, nanoseconds; /* of its last change */
} ListedFolder;

/* {0} at first. */
typedef struct {
    char *text;      /* all names, each with a zero byte behind it */
    uint64_t *names; /* offsets in `text` of the pictures' paths below the root, sorted bytewise */
    ListedFolder *folders;
    size_t text_size, text_capacity, count, name_capacity, folder_count, folder_capacity;
    uint64_t foreign, foreign_kinds; /* pictures of kinds that are not read, and a bit for each of their suffixes */
    bool stored;                     /* it came from the file, not from the folders */
} Listing;

/* Lists the pictures below `root` (an absolute path), run directories left out, with `stored` a file to take the listing from
 * when no folder has changed since, and to put it into otherwise; may be NULL. False after error_set() when a folder cannot be
 * read or memory is out. */
bool listing_make(Listing *listing, const char *root, const char *stored);

/* Takes the bytes of such a file: what was stored about `root`. False, perhaps without an error, when they are damaged, of
 * another root or layout. Whether the folders are still the same is not looked at. */
bool listing_parse(Listing *listing, const char *root, const char *data, size_t size);

/* Appends what became of pictures of kinds that are not read, "37 files are not read: .bmp, .gif; those that are pictures to
 * train on have to be converted, to PNG for instance"; nothing when there is none. */
void listing_tell_foreign(const Listing *listing, Text *t);

void listing_free(Listing *listing);

#endif
