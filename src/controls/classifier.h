/* A classifier of whole pictures on the tape: encoder, pooling, a linear map to the classes, and cross-entropy with labels
 * (docs/spec/pretraining.md 13, docs/spec/transfer.md A.1 and A.5). */
#ifndef LACUNA_CONTROLS_CLASSIFIER_H
#define LACUNA_CONTROLS_CLASSIFIER_H

#include "graph/program.h"
#include "nn/encoder.h"
#include "recipe/recipe.h"

/* What a recipe comes to for a program of `batch` pictures. */
typedef struct {
    const Recipe *recipe; /* borrowed; head.classes is a number */
    VitConfig encoder;
    DropPath drop;
    int64_t batch;
    bool evaluate; /* no drop path; a batch need not be full */
    bool keep;     /* "logits" (batch, classes) can be read */
    bool soft;     /* probabilities in place of labels */
    const char *no_decay[RECIPE_NAMES_MAX];
} Classifier;

/* False after error_set(). */
bool classifier_open(Classifier *c, const Recipe *recipe, int64_t batch, bool evaluate, bool keep, bool soft);

/* Appends the forward pass to the tape's present segment, with the parameters in use. Returns the loss, a scalar: this part's
 * share of the mean over the whole batch. *hits: its share of the pictures whose label has the largest logit; REF_NONE with
 * `soft`. */
Ref classifier_forward(Tape *tape, const Classifier *c, Ref *hits);

/* Fills a program's inputs for its next run. images: `count` <= batch pictures (C, H, W); the rest of the batch repeats the
 * first one and does not count. labels (count), or with `soft` probabilities (count, classes). kept: NULL, or for branch b and
 * picture i kept[b * stride + i]. total: pictures of the whole optimizer step, over which the loss is averaged. */
void classifier_feed(Program *program, const Classifier *c, const float *images, const int32_t *labels, const float *soft,
                     int64_t count, const uint8_t *kept, int64_t stride, int64_t total);

/* Whether labels are classes of the head. False after error_set(). */
bool classifier_accepts(const Classifier *c, const int32_t *labels, int64_t count);

#endif
