/* The pictures of a run: where a recipe says they are, divided into those trained on and those held out, and how batches of
 * them are loaded. */
#ifndef LACUNA_TRAIN_PICTURES_H
#define LACUNA_TRAIN_PICTURES_H

#include "data/loader.h"
#include "data/source.h"
#include "recipe/recipe.h"
#include "train/bad_names.h"

/* Most held-out pictures that a validation looks at; of more, so many at even distances are taken. */
enum { PICTURES_VALIDATED = 4096 };

typedef struct {
    Source *source;     /* data.train */
    Source *val_source; /* data.val; NULL: none is named, `val` lists pictures of `source` */
    SampleList train;   /* trained on */
    SampleList val;     /* held out and looked at; empty: no validation */
    size_t held_out;    /* all that are held out */
    PictureCache *cache, *val_cache;
    int *val_classes; /* of data.val's class i, among those trained on; NULL: the same */
} Pictures;

/* Opens data.train and data.val (or divides by data.val_share). False after error_set(); *p is then empty. */
bool pictures_open(const Recipe *recipe, Pictures *p);
void pictures_close(Pictures *p);

/* How the recipe wants pictures of their source: channels, image.exif, image.draft. */
ImageRequest pictures_form(const Recipe *recipe);

/* Replaces `auto` in image.mean and image.std by what the training pictures have (1.5), and anything else by its numbers.
 * `watch`, which may be NULL, is told of every few seconds that it takes. */
bool pictures_statistics(const Pictures *p, const SourceWatch *watch, Recipe *recipe);

/* For a recipe with a head: replaces `auto` in head.classes by the number of the training pictures' classes, and finds the
 * held-out pictures' classes among these by name. False after error_set(): unlabelled pictures, more classes than the head has,
 * a class that is not trained on. */
bool pictures_classes(Pictures *p, Recipe *recipe);

/* How the training pictures of a step are loaded: crops, flips, workers, seed; statistics must be lists. The caller sets
 * `first`, `steps` and `bad`. */
LoaderOptions pictures_train_options(const Pictures *p, const Recipe *recipe);

/* Which of the training pictures are among the names and still cannot be read, ascending, into a list that the caller frees.
 * False after error_set(). */
bool pictures_known_bad(const Pictures *p, const Recipe *recipe, const BadNames *names, SampleList *bad);

/* One pass over the held-out pictures in batches of `batch`. */
LoaderOptions pictures_val_options(const Pictures *p, const Recipe *recipe, int batch);

/* The masks of some samples: (count, L), 1 = hidden; all 0 for methods that hide nothing. For training from (seed, stage,
 * epoch, sample), for held-out pictures (`validate`) from (seed, sample) alone, so that all validations look at the same. */
void pictures_masks(const Recipe *recipe, bool validate, uint32_t stage, uint32_t epoch, const uint64_t *samples, size_t count,
                    uint8_t *hidden);

#endif
