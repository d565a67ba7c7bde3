/* Packing a source into tar shards as WebDataset lays them out. */
#ifndef LACUNA_DATA_PACK_H
#define LACUNA_DATA_PACK_H

#include "data/source.h"

typedef struct {
    const Source *source;
    const char *out;      /* the folder to make; it must not be there, or be empty */
    uint64_t shard_bytes; /* a shard ends before the picture that would make it larger */
    size_t shard_count;   /* most pictures of a shard; 0: any number */
    int short_side;       /* pictures whose shorter side is longer are brought to it and encoded again; 0: none is */
    int quality;          /* of JPEG, 1..100, for what is encoded again; 0: PNG */
    int threads;          /* at least 1 */
    void (*bad)(void *context, const char *key, const char *why); /* told of each picture that is left out, in order */
    void (*progress)(void *context, size_t done);                 /* samples looked at so far */
    void *context;
} PackOptions;

typedef struct {
    size_t pictures, bad, shards;
} PackResult;

/* Writes OUT/NAME-000000.tar .., NAME being the last part of `out`, and, where pictures have labels, OUT/classes.txt. Each
 * picture is decoded; those that cannot be are left out. A picture's file goes in as it is, unless it is encoded again (with
 * `short_side`, bicubic, its EXIF orientation kept, or where samples are not files: as PNG then). Members are named after the
 * keys: what would leave the folder is cut off, dots in the stem become "_", and where two stems are the same the sample's
 * number is put behind, so that WebDataset, which cuts names at their first dot, finds the same samples as source_open(). With
 * labels STEM.cls follows.
 *
 * The bytes depend on the source and these options, not on the number of threads. Everything is written to OUT.tmp, flushed,
 * and renamed at the end. False after error_set(): OUT is there, not one picture can be read, the disk is full, or an error of
 * the machine. Nothing is left behind then, unless all is written and only the end of new_folder_end() failed. */
bool source_pack(const PackOptions *options, PackResult *result);

#endif
