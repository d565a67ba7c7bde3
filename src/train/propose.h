/* A recipe for somebody's pictures, when none is named. */
#ifndef LACUNA_TRAIN_PROPOSE_H
#define LACUNA_TRAIN_PROPOSE_H

#include "recipe/recipe.h"

/* What a look at some of the pictures shows. */
typedef struct {
    size_t count;      /* pictures there are */
    size_t looked_at;  /* whose sizes were read: at even distances, at most PROPOSE_LOOKED_AT */
    size_t unreadable; /* of these */
    int short_side;    /* the median of the good ones, in pixels */
    int channels;      /* of all good ones; 3 when they differ */
} PictureSurvey;

enum { PROPOSE_LOOKED_AT = 500, PROPOSE_PICTURES_LEAST = 16, PROPOSE_SIDE_LEAST = 16 };

/* Looks at the pictures of a source (data/source.h). Files are asked for their headers alone. False after error_set(), also
 * when not one can be read. */
bool propose_look(const char *where, PictureSurvey *survey);

/* The recipe that fits so many pictures of that kind and a machine of so many processors, its name made of the source's, and
 * the reasons for it, a line each. It depends on these arguments alone. `smaller`: so many steps down from the encoder that it
 * would choose, for a machine with little memory. False after error_set() when there are too few pictures, or too small ones;
 * also when there is no encoder so small. */
bool propose_recipe(const PictureSurvey *survey, const char *where, int processors, int smaller, Recipe *recipe, Text *why);

#endif
