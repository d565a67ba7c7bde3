/* A sheet that shows the built-in world and its truths. */
#ifndef LACUNA_REPORT_WORLD_SHEET_H
#define LACUNA_REPORT_WORLD_SHEET_H

#include "data/world.h"

enum { WORLD_SHEET_ROWS_MOST = 100 };

/* A row for each of the first `rows` samples: the picture; boxes and key points (hollow: hidden); the mask of classes; depth,
 * the nearest brightest; the middle and the last of `frames` frames of its clip, the last with the ways of the key points that
 * are in sight. *out receives a fresh RGB picture, owned by the caller. False after error_set(). */
bool world_sheet(const World *world, int rows, int frames, Image *out);

#endif
