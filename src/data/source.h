/* Where pictures come from: a folder, a list, tar shards, CIFAR's binary files, or the world that the program draws itself.
 *
 * A source is an ordered list of samples. The order, the keys and the labels depend on nothing but what is there: not on the
 * machine, the file system or the number of threads. Everything but opening and closing may be called from several threads. */
#ifndef LACUNA_DATA_SOURCE_H
#define LACUNA_DATA_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/image.h"

typedef struct Source Source;

/* All zero is fine. */
typedef struct {
    size_t world_count;            /* pictures of the built-in world; 0: 10000 */
    int world_height, world_width; /* their size in pixels; 0: 64 */
    uint64_t world_seed;
    bool world_held_out; /* the pictures that no seed trains on (data/world.h) */
    bool no_cache;       /* neither reads nor writes stored listings and statistics */
    /* Given: a damaged shard among others is told of here and left out; without it, it is an error. */
    void (*damaged)(void *context, const char *path, const char *why);
    void *context;
} SourceOptions;

/* Opens `where`, one of
 * - "world": the built-in world; the label is the shape;
 * - a folder with CIFAR's files (data_batch_1.bin .. 5, else train.bin; a folder that holds only test_batch.bin or test.bin
 *   gives that), or one .bin file (multiples of 3073 bytes: CIFAR-10; of 3074: CIFAR-100, labelled by the fine classes);
 * - a folder of .jpg, .jpeg, .jpe, .jfif, .png, .webp, .tif, .tiff files in any case and depth, sorted by relative path,
 * bytewise. When every picture lies in a subfolder, the first-level subfolders are the classes, sorted bytewise, labels from 0.
 * Entries whose name starts with a dot are left out, and so are run directories (folders below `where` that hold both
 * recipe.yaml and log.jsonl), whose sheets are not pictures to learn from; a symbolic link to a folder is followed unless it
 * leads back into a folder that is being read.
 * - a list: a .csv file with lines `path` or `path,label`, in the order of the file; a path may repeat. Paths go from the
 *   folder of the list on and are the keys as they are written. Fields with a comma or a quote stand in quotes, quotes inside
 *   doubled (RFC 4180, within one line). A first line `path` or `path,label`, a UTF-8 mark and empty lines are left out. All
 *   pictures have a label or none has: whole numbers are the classes' numbers, anything else names, sorted bytewise.
 * - tar shards: a .tar file, a pattern of them "shards-{000..099}.tar" (numbers filled up with zeros when one of the two
 *   is), or a folder that holds .tar files and no picture (in the order of their names). Samples are the members with such a
 *   suffix (any case; not those that start with a dot, lie in __..__, or belong to another picture as a.seg.png does to
 *   a.jpg), in the archive's order, with the key SHARD.tar#NAME; the label is the whole number in the member of the same
 *   stem (or the name up to its first dot) with the suffix .cls, which all pictures have or none; the classes' names are the
 * lines of a file classes.txt beside the shards, if there is one, from label 0 on. Shards are walked once, then a sample is one
 * read; where each lies is stored under file_cache_folder() with the shard's size and time of change. Compressed shards, links
 * and names that occur twice in one shard are refused. Members' names are never used as paths.
 *
 * `options` may be NULL. The source is owned by the caller. NULL after error_set(): nothing there, no picture in it, a file of
 * a wrong size, a malformed line of a list, a damaged archive. Pictures are not opened here: a broken one shows when it is
 * asked for. The listing of each folder is stored under file_cache_folder() with the folders' times of change, so that an
 * unchanged tree is not read again. */
Source *source_open(const char *where, const SourceOptions *options);
void source_close(Source *source);

size_t source_count(const Source *source);

/* The stable name of sample i: the relative path, "data_batch_1.bin#17", "a.tar#b.jpg", "world#5". Fresh string or, when `room`
 * is given, written into it (cut at `size` bytes, always terminated). Returns `room`. */
char *source_key(const Source *source, size_t i, char *room, size_t size);
enum { SOURCE_KEY_SIZE = 4096 }; /* bytes of room that hold every key */

/* A number for the names and labels of samples in their order, that changes when they are others. The same pictures have the
 * same number wherever the folder of all lies, also in a list, and in shards whatever these are called. 0, after error_set():
 * memory ran out. */
uint64_t source_names(const Source *source, const uint64_t *samples, size_t count);

/* The class of sample i, from 0; -1: not labelled. */
int source_label(const Source *source, size_t i);

/* 0: not labelled. */
int source_class_count(const Source *source);

/* Name of a class; CIFAR's come from batches.meta.txt or fine_label_names.txt beside the files; without names "0", "1", ..
 * Owned by the source. */
const char *source_class_name(const Source *source, int label);

/* The picture of sample i as bytes with `channels` (1 or 3) channels (spec 1.1), into *out as image_decode() would: the caller
 * frees it with image_free(). False after error_set() with the sentence to put into the list of bad files. */
bool source_picture(const Source *source, size_t i, int channels, Image *out);

/* Whether pictures of that many channels may be asked for; what files hold shows when they are. False after error_set(). */
bool source_has_channels(const Source *source, int channels);

/* As source_picture(), but as `request` wants it: kept at its depth, upright, reduced, and the chosen part (image.h). *out
 * holds at least that part, at *box of it. False after error_set(), also for pictures of another number of channels. */
bool source_part(const Source *source, size_t i, const ImageRequest *request, Image *out, ImageBox *box);

/* The picture of sample i where it already lies in memory in that form (CIFAR with 3 channels): *out borrows the source's bytes
 * and is never freed. False, without an error, for all others. */
bool source_view(const Source *source, size_t i, int channels, Image *out);

/* The file that sample i is, as it stands: fresh bytes that the caller frees with memory_free(). *bytes is NULL, without an
 * error, where samples are not files of their own. False after error_set(). */
bool source_file(const Source *source, size_t i, char **bytes, size_t *size);

/* One line for people, e.g. "50000 pictures in 10 classes (folder /data/train)". Owned by the source. */
const char *source_summary(const Source *source);

/* One line for people on files of a folder that are pictures by their suffixes, but of kinds that the program does not read:
 * "37 files are not read: .bmp, .gif; .." as listing.h has it; NULL when there is none. *count, which may be NULL, is their
 * number. Owned by the source. */
const char *source_left_out(const Source *source, size_t *count);

/* What `where` named, absolute where it is a path. Owned by the source. */
const char *source_where(const Source *source);

/* A list of sample indices, rising. */
typedef struct {
    uint64_t *samples;
    size_t count;
} SampleList;
void sample_list_free(SampleList *list);

/* Divides the samples into training and held-out ones. A sample is held out when a uniform number drawn from the hash of its
 * key is below `share`, so that a picture stays on its side when others come or go and for every seed of a run. With 0 < share
 * < 1 and two samples or more neither list is empty (the sample with the smallest, or largest, number is moved). Lists are
 * owned by the caller. False after error_set(). */
bool source_split(const Source *source, double share, SampleList *train, SampleList *held_out);

/* Spec 1.5, `auto`: mean and population standard deviation of every channel over all pixels of the given samples (NULL: all)
 * after decoding, on a scale of 0..1. The same bits for any number of threads (at least 1): sums are integers. Samples that
 * cannot be decoded are left out; an error of the machine (error_is_machine()) ends it. A channel that never varies gets a
 * deviation of 1. Stored under file_cache_folder() and taken from there while files' sizes and times stay. False after
 * error_set(), also when not one picture could be read. */
bool source_statistics(const Source *source, const uint64_t *samples, size_t count, int channels, int threads, float *mean,
                       float *std);

/* The same, and tells of every few seconds that it takes, on the calling thread. */
typedef struct {
    void (*tell)(void *context, size_t done, size_t all);
    void *context;
} SourceWatch;
bool source_statistics_watched(const Source *source, const uint64_t *samples, size_t count, int channels, int threads,
                               const SourceWatch *watch, float *mean, float *std);

#endif
