/* The built-in world as files, in the layouts and words that other programs read. */
#ifndef LACUNA_DATA_WORLD_FILES_H
#define LACUNA_DATA_WORLD_FILES_H

#include "data/world.h"

/* What to write. Pictures of `train` are those of the world, pictures of `val` those of its held-out world, clip i is
 * what moves in picture i of `train`. */
typedef struct {
    World world;
    int train, val, clips; /* how many */
    int frames;            /* of a clip */
    int threads;
    void (*step)(void *context, int done, int all); /* after pictures and clips were written; may be NULL */
    void *context;
} WorldFiles;

/* Writes below the folder `out`, which must not be there, or be empty:
 *
 *     SPLIT/CLASS/000000.png                  pictures, 8-bit RGB
 *     truth/instances/SPLIT/CLASS/000000.png  8-bit grey: 0 none, else 1 + the number of the solid
 *     truth/classes/SPLIT/CLASS/000000.png    8-bit grey: 0 none, else the category's id
 *     truth/depth/SPLIT/CLASS/000000.png      16-bit grey: millimetres along the viewing axis; 0 none
 *     truth/SPLIT.json                        COCO's images, categories and annotations: boxes, masks, key points
 *     clips/0000/000.png, clips/0000/tracks.json
 *
 * An annotation's id is 4 * image_id + the number of the solid (from 1). In tracks.json a solid has one box [x, y, width,
 * height] a frame (null: not in sight) and for each frame its points [x, y, visible], visible as COCO has it, the places also
 * where a point has left the picture. The same bytes for any number of threads. Everything is written to OUT.tmp, which is
 * flushed to the disk and renamed at the end: a folder that is there is whole, however the program ended. False after
 * error_set(); nothing is left behind then, unless all is written and only the end of new_folder_end() failed. */
bool world_files_write(const WorldFiles *files, const char *out);

#endif
