/* The built-in world: pictures with the truth about them, drawn from (seed, held out or not, index) at any size.
 *
 * A scene is a few lit solids on textured ground in front of a wall, with flat shapes on both. Pose, scale, place, colour,
 * light, texture and the smaller solids are drawn without regard to the class, which is the kind of the main solid: the large
 * one that lies wholly in the picture. Everything is in metres and relative to the picture's short side, so that a scene looks
 * the same at any size.
 *
 * The same bytes on every machine and with every compiler: only operations that IEEE 754 rounds exactly, in a fixed order. The
 * functions may be called from several threads. */
#ifndef LACUNA_DATA_WORLD_H
#define LACUNA_DATA_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/image.h"

enum {
    WORLD_CLASSES = 12,
    WORLD_SOLIDS = 4,      /* of a picture at most */
    WORLD_POINTS = 8,      /* of a solid at most */
    WORLD_SIDE = 16384,    /* pixels of a side at most */
    WORLD_PROPORTION = 32, /* one side divided by the other at most */
    WORLD_MILLIMETRES = 1000
};

typedef struct {
    uint64_t seed;
    int height, width; /* pixels */
    bool held_out;     /* other pictures than those of any seed without it: to look at, never to train on */
} World;

/* A moment of a clip: frame 0 .. frames - 1, at least 1. Objects and camera do the same way in any number of frames; frame 0 is
 * the still picture. {0, 1} is the still picture. */
typedef struct {
    int frame, frames;
} WorldMoment;

/* A point that is fixed in its solid: a corner, or an end of an axis of a round one. */
typedef struct {
    float x, y;  /* in the picture; pixel (row, column) covers [column, column + 1] x [row, row + 1] */
    float depth; /* metres along the viewing axis; not positive behind the camera, x and y are then 0 */
    int visible; /* COCO's: 0 outside of the picture, 1 hidden by something, 2 in sight */
} WorldPoint;

typedef struct {
    int label;    /* its kind, 0 .. WORLD_CLASSES - 1 */
    int area;     /* pixels of it in sight */
    ImageBox box; /* the smallest that holds these pixels; empty with area 0 */
    int point_count;
    WorldPoint points[WORLD_POINTS]; /* the same order in all frames: from top to bottom of the still picture */
} WorldSolid;

/* What is true of a picture. Maps are row-major, height x width, taken at the pixels' middles. */
typedef struct {
    int height, width, solid_count;
    WorldSolid solids[WORLD_SOLIDS]; /* the main one first */
    uint8_t *instances;              /* 0: none, else 1 + the number of the solid */
    uint8_t *classes;                /* 0: none, else 1 + the label of the solid */
    float *depth;                    /* metres along the viewing axis; 0: nothing there, which only very wide pictures have */
} WorldTruth;

/* False after error_set() when pictures of this size cannot be drawn. The functions below want a size that can. */
bool world_check(const World *world);

/* Static, such as "torus". */
const char *world_class_name(int label);

/* How many points are fixed in solids of a class. */
int world_class_points(int label);

/* The class of a picture, without drawing it. */
int world_label(const World *world, uint64_t index);

/* Draws a picture with 1 (luma) or 3 channels into *out, which the caller frees with image_free(). False after error_set(). */
bool world_picture(const World *world, uint64_t index, WorldMoment moment, int channels, Image *out);

/* The truth about that picture into *out; its maps are freed with world_truth_free(). False after error_set(). */
bool world_truth(const World *world, uint64_t index, WorldMoment moment, WorldTruth *out);
void world_truth_free(WorldTruth *truth);

#endif
