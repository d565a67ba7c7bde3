/* What the files of `lacuna analyse` share. */
#ifndef LACUNA_ANALYSIS_ANALYSE_PARTS_H
#define LACUNA_ANALYSIS_ANALYSE_PARTS_H

#include "analysis/analyse.h"
#include "analysis/inside.h"
#include "analysis/matrices.h"
#include "analysis/numbers.h"
#include "analysis/similarity.h"

enum { LOOKED_MOST = 4, MODEL_NAME_BYTES = 96 };

typedef enum {
    TABLE_HEADS,
    TABLE_PAIRS,
    TABLE_LAYERS,
    TABLE_FREQUENCIES,
    TABLE_CKA,
    TABLE_WEIGHTS,
    TABLE_MATRICES,
    TABLES
} AnalysisTable;

/* What stands for a picture where layers are compared. Methods that train a class token alone say little by the patches of
 * their last block, and others little by a class token that nothing trains. */
typedef enum { TOKENS_MEAN, TOKENS_CLASS, TOKENS } AnalysisTokens;

typedef struct {
    const char *from;
    char name[MODEL_NAME_BYTES]; /* that pages and tables call it */
    Backbone *backbone;
    Source *source;
    Inside *inside;
    Loader *loader;
    LoaderBatch batch;
    Matrix *matrices; /* (matrix_count) of its blocks; of a lone model none */
    size_t matrix_count;
    int first[TOKENS];     /* number of its layer 0 in a similarity; -1: it is not in it */
    float *pooled[TOKENS]; /* (layers, cka_batch, width): of the minibatch that is being filled */
    /* Of the pictures that are shown: (LOOKED_MOST, ...) */
    float *images; /* (C, H, W) */
    float *rows;   /* (depth, heads, patches): attention of the class token, or of the patch in the middle */
    float *tokens; /* (patches, width) behind the final norm */
} Model;

typedef struct {
    const AnalyseOptions *options;
    Model models[ANALYSE_MODELS_MOST];
    int count;
    uint64_t *samples; /* (wanted) */
    size_t wanted, pictures;
    Text told; /* the unreadable pictures of this batch, each between line ends */
    bool *own; /* (batch) */
    uint64_t looked_samples[LOOKED_MOST];
    int looked;
    Similarity *similarity[TOKENS]; /* NULL where no model has such */
    LayerFeatures *layers[TOKENS];  /* (layer_count) */
    int layer_count[TOKENS], cka_batch, filled, batches;
    size_t cka_pictures; /* of all minibatches */
    NumbersTable tables[TABLES];
} Analysis;

/* The patch whose attention is shown where there is no class token. */
int analyse_middle(const HeadLayout *layout);

/* The unbiased CKA of layer l of model m and layer j of model k. NaN where there is none. */
double analyse_cka(const Analysis *a, AnalysisTokens tokens, int m, int l, int k, int j);

/* The sheets of a model, each with a caption; owned by the caller. False after error_set(). */
typedef enum { SHEET_ATTENTION, SHEET_LAYERS, SHEET_COMPONENTS, SHEET_RECONSTRUCTION, SHEETS } AnalysisSheet;
bool analyse_sheet(const Analysis *a, int model, AnalysisSheet sheet, Image *out); /* *out is empty where it has none */

/* The page's parts that compare layers, and weights. False after error_set(). */
bool analyse_add_similarity(const Analysis *a, Text *out);
bool analyse_add_weights(const Analysis *a, Text *out);

/* OUT/report.html and OUT/pictures/. False after error_set(). */
bool analyse_report(Analysis *a);

#endif
