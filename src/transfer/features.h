/* What a frozen encoder makes of pictures: class token, mean of the patch tokens or all of them, of any blocks. The evaluation
 * program keeps just these values; every patch is visible. */
#ifndef LACUNA_TRANSFER_FEATURES_H
#define LACUNA_TRANSFER_FEATURES_H

#include "data/loader.h"
#include "graph/program.h"
#include "transfer/backbone.h"

/* CONCAT: class token, then mean. PATCHES: all patch tokens in image order; FEATURE_TOKENS: the class token before them. */
typedef enum { FEATURE_CLASS_TOKEN, FEATURE_MEAN, FEATURE_CONCAT, FEATURE_PATCHES, FEATURE_TOKENS } FeaturePool;

typedef struct {
    int block; /* 1..depth: the state behind that block, numbered as a decoder's tap; 0: the tokens that enter the first */
    bool norm; /* behind the encoder's final norm too */
    FeaturePool pool;
} FeatureWant;

typedef struct {
    Device device;
    int batch; /* pictures of a run */
    bool bf16; /* products in bf16 as in training; features are f32 in any case */
    const FeatureWant *wants;
    int count;
    bool maps; /* the attention of every block can be read too */
} FeaturesOptions;

typedef struct Features Features;

/* Builds the program. The backbone is borrowed, and its weights stay as they are meanwhile. Owned by the caller. NULL after
 * error_set(): a block that is not there, a class token of an encoder without one, a norm that it does not have, a device of
 * f64, memory out. */
Features *features_open(Backbone *backbone, const FeaturesOptions *options);
void features_close(Features *features);

/* Rows of a picture (1, or the number of tokens) and numbers of a row of want i. */
int64_t features_rows(const Features *features, int want);
int64_t features_width(const Features *features, int want);

/* images: count <= batch pictures (C, H, W), normalised. A picture's features depend on it alone. False after error_set(), on a
 * GPU alone. */
bool features_run(Features *features, const float *images, int count);

/* Want i of the first `count` pictures of the last run: (count, rows, width). False after error_set(), on a GPU alone. */
bool features_read(const Features *features, int want, int count, float *out);

/* Of the last run, until the next one: the tokens of a want with pool PATCHES or TOKENS, (batch, class tokens + patches,
 * width), class tokens first; the attention of a block from 1, behind the softmax: (batch, heads, tokens, tokens), rows of
 * queries; with options.maps. Where the program has them, or a copy that is made by one thread at a time: NULL after
 * error_set(), on a GPU alone. */
const float *features_tokens(const Features *features, int want);
const float *features_map(const Features *features, int block);

Program *features_program(Features *features);

/* Pictures of a source, evaluated as docs/spec/transfer.md A.10 says (bicubic, 256 for 224); an image.size that is no square
 * takes the middle of that shape instead. */
typedef struct {
    const Source *source;
    const uint64_t *samples; /* pictures to take, in this order; NULL: all. features_is_own() is for all */
    size_t count;            /* of `samples` */
    uint64_t first;          /* number of the batch to start with */
    int workers;             /* 0: a few */
    bool whole;              /* no margin is cut off: all of a picture of the recipe's shape, the middle of any other */
    double max_bad;
    void (*bad)(void *context, const char *key, const char *reason); /* as LoaderOptions; may be NULL */
    /* Called behind each run with the batch; samples[i] that is not the source's own number step * batch + i stands in for an
     * unreadable picture. False stops. */
    bool (*batch)(void *context, Features *features, const LoaderBatch *batch);
    void *context;
} FeaturesPass;

/* All pictures from `first` on, in order. False after error_set(), or when the callback returns false. */
bool features_pass(Features *features, const FeaturesPass *pass);

/* The loader of a pass, for whoever goes through the batches himself. Owned by the caller. NULL after error_set(). */
Loader *features_loader(const Features *features, const FeaturesPass *pass);

/* Whether place i of a batch holds the picture that belongs there. */
bool features_is_own(const Features *features, const LoaderBatch *batch, size_t i);

/* "class_token", "mean", "concat", "none". False, without an error, for another word. */
bool feature_pool_find(const char *word, FeaturePool *pool);
const char *feature_pool_name(FeaturePool pool);

/* The blocks that a word of the command line means, as wants: `last`, the last block behind the final norm where there is one;
 * a number, the state behind that block; `all`, those behind every block. norm: numbered blocks too go through the final norm,
 * where there is one. *wants is owned by the caller. False after error_set(). */
bool features_wants(const Recipe *recipe, const char *blocks, FeaturePool pool, bool norm, FeatureWant **wants, int *count);

/* The source that pictures of the command line come from; the world's pictures have the recipe's size, and `held_out` ones
 * are others than those of training. NULL after error_set(). */
Source *features_source(const char *where, const Recipe *recipe, bool held_out);

#endif
