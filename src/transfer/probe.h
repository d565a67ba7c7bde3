/* Probes: how good a frozen encoder's features are, block by block, told by labelled pictures (docs/spec/transfer.md B). */
#ifndef LACUNA_TRANSFER_PROBE_H
#define LACUNA_TRANSFER_PROBE_H

#include "base/text.h"
#include "transfer/features.h"
#include "transfer/linear_probe.h"

enum { PROBE_NEIGHBOURS_MAX = 8, PROBE_PAIRS_SHOWN = 100 };

typedef struct ProbeResult ProbeResult;

typedef struct {
    ProbeKind kind; /* PROBE_KNN, PROBE_LINEAR or PROBE_ATTENTIVE */
    Device device;
    const char *train, *val; /* labelled pictures */
    const char *blocks;      /* as features_wants() */
    FeaturePool pool;        /* class_token, mean or concat; attentive takes all tokens */
    int batch;               /* pictures at a time through the encoder */
    bool bf16;               /* products of the encoder; tokens of the attentive probe are kept in bf16 in any case */
    int k[PROBE_NEIGHBOURS_MAX], k_count; /* knn: numbers of neighbours; those above the training pictures are left out */
    double temperature;
    double lrs[PROBE_LRS_MAX]; /* trained probes */
    int lr_count;
    bool choose_on_val; /* the best of several rates by the held-out pictures, not by training pictures that are set apart */
    double epochs, warmup_epochs;
    int train_batch;
    int seeds; /* runs of a trained probe, seeds 0.. */
    void (*progress)(void *context, const char *what);
    void (*bad)(void *context, const char *key, const char *reason);
    void (*block)(void *context, const ProbeResult *so_far); /* told of each block when it is done; may be NULL */
    void *context;
} ProbeOptions;

/* Trained probes that have a choice of learning rates set a tenth of the training pictures apart, of each class
 * (probe_steps.h), learn from the others with every rate and take the rate that is best on those set apart; with it they then
 * learn from all training pictures, which is what --lrs with that rate alone would do, and the held-out pictures are looked at
 * once. With choose_on_val every rate learns from all training pictures, and the one that is best on the held-out ones is
 * taken, as papers do it: a little high. */

/* One head, or one number of neighbours: shares of the pictures it was held against. */
typedef struct {
    double setting; /* k, or the learning rate for a batch of 256 */
    int seed;
    double top1, top5;
    double low, high; /* top1's 95 % interval (Wilson) */
} ProbeScore;

typedef struct {
    int block;
    bool norm;
    ProbeScore *scores; /* on the held-out pictures: all that were tried there */
    int count;
    ProbeScore *choice; /* all rates on the pictures set apart; of none where nothing was chosen by them */
    int choice_count;
    ProbeScore best;      /* of scores: of knn the first k, else the learning rate of best mean over the seeds */
    double spread;        /* standard deviation of best.top1 over the seeds */
    double top1_distinct; /* best.top1 without near-duplicates; NaN when nothing is left */
    double *by_class;     /* (classes) best.top1 of each; NaN for a class without pictures */
} ProbeBlock;

/* A held-out picture and the training picture that shows nearly the same. */
typedef struct {
    size_t val, train;
    float similarity;
} ProbePair;

struct ProbeResult {
    ProbeBlock *blocks;
    int block_count;
    uint64_t weights;      /* backbone_hash() of what was probed */
    int depth, full_depth; /* of the encoder: its blocks, and those it had before encoder.keep_blocks */
    char **classes;
    int class_count;
    size_t train_count, val_count; /* readable ones */
    size_t apart_count;            /* of the training ones, set apart to choose the learning rate by; or 0 */
    /* Near-duplicates: held-out pictures with a training picture whose thumbnail (8 x 8, mean taken off) has a cosine of at
     * least PROBE_ALIKE. */
    size_t pairs;
    ProbePair shown[PROBE_PAIRS_SHOWN];
    char *shown_names[PROBE_PAIRS_SHOWN][2]; /* val, train */
    int shown_count;
};

#define PROBE_ALIKE 0.99

/* Makes the features of both sets once, then probes each block (attentive: block by block). Classes are matched by their names.
 * The result is owned by the caller (probe_free), also after a failure. False after error_set(): no labels, a class of the
 * held-out pictures that the training pictures lack. */
bool probe_run(Backbone *backbone, const ProbeOptions *options, ProbeResult *result);
void probe_free(ProbeResult *result);

/* The 95 % interval of a share of `count` (Wilson's score). */
void probe_interval(double share, size_t count, double *low, double *high);

/* All of it as one JSON object; `from` is what was probed; `chosen_on` is "split" (training pictures set apart), "val" or,
 * where there was no learning rate to choose, null. Appended to *out. */
void probe_json(const ProbeResult *result, const ProbeOptions *options, const char *from, Text *out);

/* Quality against the number of blocks kept, as an SVG picture. Appended to *out. */
void probe_svg(const ProbeResult *result, const ProbeOptions *options, const char *from, Text *out);

/* The same of any shares with their intervals: of `count` blocks of an encoder with `depth` ones, whose states go through the
 * final norm or not. */
typedef struct {
    int block;
    double share, low, high;
} ProbePoint;
void probe_curve(const ProbePoint *points, int count, int depth, bool norm, const char *from, const char *what, Text *out);

const char *probe_kind_name(ProbeKind kind);

#endif
