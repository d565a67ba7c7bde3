/* The recipe: every choice of a run in one structure, read from YAML (docs/recipe.md lists all keys).
 *
 * A Recipe is plain data without pointers: assign it to copy it, nothing is to be freed. Fields carry the names of their keys:
 * `encoder.mlp_ratio` is r->encoder.mlp_ratio. Which keys exist, their types, defaults, limits and whether this version carries
 * them out stands in one table, schema.c; parsing, checks, key=value, flags, help and docs/recipe.md are made from it. */
#ifndef LACUNA_RECIPE_RECIPE_H
#define LACUNA_RECIPE_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

enum {
    RECIPE_DECODERS_MAX = 32,
    RECIPE_CHANNELS_MAX = 64, /* of a picture, and so of image.mean and image.std */
    RECIPE_PATH_BYTES = 1024, /* of a path or other string, with its zero */
    RECIPE_NAMES_MAX = 32,    /* of optimizer.no_decay */
    RECIPE_NAME_BYTES = 128,  /* of one such name, with its zero */
    RECIPE_NUMBERS_MAX = 16,  /* of schedule.steps and probe.lrs */
    RECIPE_STAGES_MAX = 16,
    RECIPE_AUTO = -1, /* an int or double key that says `auto` */
    TAP_LAST = -1     /* decoders.K.tap: last */
};

typedef enum { STATISTICS_IMAGENET, STATISTICS_CLIP, STATISTICS_AUTO, STATISTICS_LIST } StatisticsKind;
typedef enum { INTERPOLATION_BICUBIC, INTERPOLATION_BILINEAR, INTERPOLATION_LANCZOS } RecipeInterpolation;
typedef enum { ENCODER_VIT, ENCODER_SWIN, ENCODER_SWIN_V2, ENCODER_REPLKNET } EncoderKind;
typedef enum {
    ENCODER_POSITION_SINCOS,
    ENCODER_POSITION_LEARNED,
    ENCODER_POSITION_RELATIVE,
    ENCODER_POSITION_RELATIVE_PER_BLOCK,
    ENCODER_POSITION_NONE
} EncoderPosition;
typedef enum { QKV_BIAS_TRUE, QKV_BIAS_FALSE, QKV_BIAS_NO_K } QkvBias;
typedef enum { ENCODER_ACTIVATION_GELU, ENCODER_ACTIVATION_QUICK_GELU } RecipeActivation;
typedef enum {
    POSITION_RESIZE_BICUBIC,
    POSITION_RESIZE_BICUBIC_ANTIALIAS,
    POSITION_RESIZE_SCALE_FACTOR,
    POSITION_RESIZE_SPLINE,
    POSITION_RESIZE_LINEAR
} PositionResize;
typedef enum {
    ENCODER_INIT_AUTO,
    ENCODER_INIT_XAVIER,
    ENCODER_INIT_BEIT,
    ENCODER_INIT_SWIN,
    ENCODER_INIT_MASKFEAT,
    ENCODER_INIT_MOCO
} EncoderInit;
typedef enum { ENCODER_INPUT_VISIBLE, ENCODER_INPUT_MASK_TOKEN } EncoderInput;
typedef enum { MASK_RANDOM, MASK_BLOCK, MASK_UNIT, MASK_GRID, MASK_TUBE } MaskKind;
typedef enum { DECODER_TRANSFORMER, DECODER_LINEAR, DECODER_PIXEL_SHUFFLE } DecoderKind;
typedef enum { TARGET_PIXELS, TARGET_HOG, TARGET_FEATURES, TARGET_TOKENS } TargetKind;
typedef enum { NORMALISE_NONE, NORMALISE_PATCH, NORMALISE_WINDOW, NORMALISE_TOKEN, NORMALISE_PATCH_CHANNEL } TargetNormalise;
typedef enum { LOSS_L2, LOSS_L1, LOSS_SMOOTH_L1, LOSS_COSINE, LOSS_CROSS_ENTROPY } LossKind;
typedef enum { LOSS_ON_MASKED, LOSS_ON_ALL } LossOn;
typedef enum { CONTRAST_OFF, CONTRAST_MOCOV3 } ContrastKind;
typedef enum { HEAD_MEAN, HEAD_CLASS_TOKEN, HEAD_ATTENTION } HeadPool;
typedef enum { HEAD_AFTER_POOL, HEAD_BEFORE_POOL } HeadNorm;
typedef enum { OPTIMIZER_ADAMW } OptimizerKind;
typedef enum { SCHEDULE_COSINE, SCHEDULE_MULTISTEP } ScheduleKind;
typedef enum { GUARD_STOP, GUARD_SKIP } GuardNonfinite;
typedef enum { PROBE_KNN, PROBE_LINEAR, PROBE_ATTENTIVE, PROBE_SEGMENTATION, PROBE_DEPTH } ProbeKind;
typedef enum { PROBE_BLOCKS_ALL, PROBE_BLOCKS_LAST } ProbeBlocks;
typedef enum { PROBE_FEATURES_CLASS_TOKEN, PROBE_FEATURES_MEAN, PROBE_FEATURES_CONCAT } ProbeFeatures;
typedef enum { RUN_DEVICE_AUTO, RUN_DEVICE_CPU, RUN_DEVICE_REF, RUN_DEVICE_CUDA } RunDevice;
typedef enum { RUN_PRECISION_AUTO, RUN_PRECISION_F32, RUN_PRECISION_BF16 } RunPrecision;

/* Mean or deviation of the pictures' channels on a 0..1 scale. `values` hold `count` numbers for STATISTICS_LIST only;
 * recipe_statistics() gives the numbers for the other kinds. */
typedef struct {
    StatisticsKind kind;
    int count;
    float values[RECIPE_CHANNELS_MAX];
} RecipeStatistics;

typedef struct {
    int count;
    char names[RECIPE_NAMES_MAX][RECIPE_NAME_BYTES];
} RecipeNames;

typedef struct {
    int count;
    double values[RECIPE_NUMBERS_MAX];
} RecipeNumbers;

/* Distillation in stages (docs/spec/pretraining.md 9.5). */
typedef struct {
    int epochs;
    int teacher_depth; /* blocks of this stage's teacher; RECIPE_AUTO: all */
    int reset;         /* AdamW's state starts afresh */
} RecipeStage;

typedef struct {
    int count;
    RecipeStage items[RECIPE_STAGES_MAX];
} RecipeStages;

/* A tap whose target is mixed: the picture's share goes from `from` to `to` between two epochs (docs/spec/pretraining.md 9.4).
 */
typedef struct {
    int tap;
    double from, to;
    double epochs[2]; /* both 0: it is `to` from the start */
} RecipeMix;

typedef struct {
    char from[RECIPE_PATH_BYTES]; /* the frozen model's checkpoint; "": targets are not mixed */
    int count;
    RecipeMix items[RECIPE_DECODERS_MAX];
} RecipeHybrid;

typedef struct {
    TargetKind kind;
    TargetNormalise normalise;
    char teacher[RECIPE_PATH_BYTES];
    RecipeStatistics mean, std;
    bool final_norm, class_token, projection;
    int image_size[2]; /* {0, 0}: as image.size */
    int codes;
    int bins, cell, gaussian;
    int window;
} RecipeTarget;

typedef struct {
    LossKind kind;
    double beta;
    LossOn on;
    double smoothing;
} RecipeLoss;

typedef struct {
    int tap; /* 1..depth, or TAP_LAST */
    DecoderKind kind;
    int width, depth, heads; /* 0 for kinds other than `transformer` */
    double drop_path;
    double weight;
    RecipeTarget target; /* the recipe's target, with the keys this decoder names replaced */
    RecipeLoss loss;     /* likewise */
    uint64_t own;        /* which target.* and loss.* keys this decoder names itself; only for src/recipe */
} RecipeDecoder;

typedef struct Recipe {
    char name[RECIPE_NAME_BYTES]; /* the file's name without folder and suffix, "" for plain defaults */
    struct {
        int size[2]; /* rows, columns */
        int channels;
        RecipeStatistics mean, std;
        bool exif, draft;
    } image;
    struct {
        double crop_scale[2], crop_ratio[2], flip;
        RecipeInterpolation interpolation;
        double color_jitter[4], jitter_prob, grey[2], blur[2], solarise[2]; /* probabilities of the first and second view */
    } augment;
    struct {
        char train[RECIPE_PATH_BYTES]; /* "world", or a path */
        char val[RECIPE_PATH_BYTES];   /* "": none */
        double val_share;
        int val_every; /* epochs; 0: never */
        int world_images;
        int workers; /* or RECIPE_AUTO */
        int cache_mb;
        double max_bad;
    } data;
    struct {
        EncoderKind kind;
        int patch, width, depth, heads;
        double mlp_ratio, norm_eps;
        int class_token; /* number of class tokens */
        EncoderPosition position;
        QkvBias qkv_bias;
        double layer_scale; /* initial value; 0: no layer scale */
        double drop_path;   /* rate at the last block */
        RecipeActivation activation;
        bool norm_pre, patch_bias, qk_norm;
        int reg_tokens;
        bool final_norm, position_class;
        PositionResize position_resize;
        EncoderInit init;
        EncoderInput input;
        int keep_blocks; /* 0: all */
    } encoder;
    struct {
        MaskKind kind;
        double ratio;
        int unit;      /* pixels */
        int min_block; /* patches, or RECIPE_AUTO */
    } mask;
    RecipeDecoder decoders[RECIPE_DECODERS_MAX];
    int decoder_count;
    RecipeTarget target;
    RecipeLoss loss;
    RecipeHybrid hybrid; /* target.hybrid */
    struct {
        int classes; /* or RECIPE_AUTO */
        HeadPool pool;
        HeadNorm norm;
        double init_std;
    } head;
    struct {
        ContrastKind kind;
        int dim, hidden;
        double temperature, momentum;
        int group; /* or RECIPE_AUTO */
    } contrast;
    RecipeStages stages;
    struct {
        OptimizerKind kind;
        double betas[2], eps, weight_decay;
        double clip; /* 0: off */
        double layer_decay;
        RecipeNames no_decay;
        bool decay_all;
    } optimizer;
    struct {
        int batch_size, epochs;
        double warmup_epochs;
        double blr, lr; /* one of them is RECIPE_AUTO, see recipe_lr() */
        double min_lr, warmup_lr;
        ScheduleKind kind;
        RecipeNumbers steps; /* epochs */
        int accumulate;      /* micro-batches of a step, or RECIPE_AUTO */
    } schedule;
    struct {
        double decay; /* 0: off */
    } ema;
    struct {
        GuardNonfinite nonfinite;
        double spike; /* deviations; 0: off */
        int limit;
    } guard;
    struct {
        int every; /* epochs, or RECIPE_AUTO; 0: never */
        int images;
        ProbeBlocks blocks;
        ProbeKind kind;
        ProbeFeatures features;
        int k;
        double temperature;
        RecipeNumbers lrs; /* for a batch of 256; none: those of each kind of probe */
    } probe;
    struct {
        int save_steps; /* or RECIPE_AUTO */
        int keep;
        int64_t max_steps; /* 0: none */
        RunDevice device;
        int devices;
        int micro_batch, threads; /* or RECIPE_AUTO */
        RunPrecision precision;
        bool tf32;
        bool autotune;
        uint64_t seed; /* at most 2^63 - 1 */
        char from[RECIPE_PATH_BYTES];
    } run;
} Recipe;

/* Every key at its default, one decoder. Cannot fail. */
void recipe_defaults(Recipe *r);

/* Defaults, then the recipe of that file or that name. What holds a slash or ends in .yaml, .yml or .json is a path; all else
 * is a name, looked up as NAME.yaml in the folders of recipe_each_name(). `base:` is followed. Keys that this version does not
 * carry out are refused. False after error_set() with file, line, key and what would be accepted; *r is then not to be used.
 * Consistency between keys is left to recipe_check(), since command-line keys still follow. */
bool recipe_load(Recipe *r, const char *name_or_path);

/* As recipe_load(), and appends the keys that the file itself sets, not its bases, to *keys, {0} at first, a line each as the
 * command line would name them. None of a file that recipe_write() wrote: it holds every key. */
bool recipe_load_keys(Recipe *r, const char *name_or_path, Text *keys);

/* As recipe_load() of a path, but a top-level mapping `case` is skipped: for golden cases. */
bool recipe_load_case(Recipe *r, const char *path);

/* As recipe_load() of text in memory; `origin` names it in errors. `base:` is looked up by name only. */
bool recipe_parse(Recipe *r, const char *text, size_t size, const char *origin);

/* `key.sub=value` of the command line, over what *r holds. The value is YAML (`augment.crop_scale=[0.5, 1]`), for keys that
 * hold a path the text as it stands. `decoders.1.tap=8` reaches into the list; an index one past its end appends a decoder with
 * defaults. False after error_set(); *r is unchanged then. */
bool recipe_set(Recipe *r, const char *assignment);

/* As recipe_set(), and appends the keys that it sets to *keys, a line each: of `target={cell: 4}` target.cell. */
bool recipe_set_keys(Recipe *r, const char *assignment, Text *keys);

/* The key that the flag --NAME stands for ("max-steps": "run.max_steps", "data": "data.train"); NULL when there is none. */
const char *recipe_flag_key(const char *name);

/* True when the key of the flag --NAME is a boolean: the flag may then stand without a value, meaning true. */
bool recipe_flag_is_switch(const char *name);

/* Sets the key behind --NAME. *known tells whether NAME is such a flag; when it is not, returns false without setting an error.
 */
bool recipe_set_flag(Recipe *r, const char *name, const char *value, bool *known);

/* Whether the keys fit each other: sizes divide, taps exist, patches are left over and hidden ... False after error_set() with
 * the names of the keys. To be called once all sources are read. */
bool recipe_check(const Recipe *r);

/* Whether every key for which `written` is true (NULL: each) and that is not at its default does something in a run. Asked of
 * what people write beside a recipe: what they change may leave other keys of it idle. False after error_set() with the names
 * of the key and of what it lacks. */
bool recipe_check_idle(const Recipe *r, bool (*written)(const void *context, const char *key), const void *context);

/* What a recipe trains. */
typedef enum {
    METHOD_MASKED,   /* decoders predict what is hidden from the encoder */
    METHOD_CLASSIFY, /* a head predicts the pictures' labels: no decoders, and loss.kind cross_entropy */
    METHOD_CONTRAST  /* two views of a picture are told from those of others: contrast.kind */
} RecipeMethod;
RecipeMethod recipe_method(const Recipe *r);

/* Whether two targets are the same in every key. */
bool recipe_target_equal(const RecipeTarget *a, const RecipeTarget *b);

/* How a target is normalised: as target.normalise says, but patches of a code book that is made here (tokens, with
 * target.teacher random) are each (docs/spec/pretraining.md 12). */
TargetNormalise recipe_normalise(const RecipeTarget *t);

/* Appends the whole recipe as YAML, every default written out, `lacuna: VERSION` first. Loading that gives the same recipe, and
 * writing it again the same bytes. */
void recipe_write(const Recipe *r, Text *out);

/* Appends "KEY: A -> B" for every key that differs between two recipes, a line each, names and runs of the file apart. Returns
 * the number of lines. */
int recipe_differences(const Recipe *a, const Recipe *b, Text *out);

/* Whether a teacher sees pictures of another size than the student: of the rows and columns of target.image_size. */
bool recipe_teacher_resizes(const Recipe *r);

/* The share of the picture in the target of decoder k at that epoch (a fraction too); 1 where target.hybrid has no row. */
double recipe_mix(const Recipe *r, int decoder, double epoch);
bool recipe_is_mixed(const Recipe *r, int decoder);

/* The learning rate at its height: lr, or blr x batch_size / 256 (docs/spec/pretraining.md, schedule). */
double recipe_lr(const Recipe *r);

/* Blocks of the network: encoder.depth, or as many as encoder.keep_blocks keeps of them (docs/spec/transfer.md A.12). */
int recipe_depth(const Recipe *r);

/* "12 blocks", or "6 of 12 blocks" with encoder.keep_blocks, into `room`. Returns `room`. */
enum { RECIPE_BLOCKS_SIZE = 40 };
const char *recipe_blocks(const Recipe *r, char room[RECIPE_BLOCKS_SIZE]);

/* Rows and columns of the grid of patches, and their number. */
void recipe_grid(const Recipe *r, int *rows, int *columns);
int recipe_patches(const Recipe *r);

/* Patches that stay visible (docs/spec/pretraining.md 4): all of them unless the method is METHOD_MASKED, then in double
 * arithmetic: floor(patches x (1 - mask.ratio)) with `random`; what the hidden units leave with `unit`; those of the grid; with
 * `block` the fewest, as masks of this kind may fall short. */
int recipe_visible(const Recipe *r);

/* Of `grid`: a patch stays whose row and column this number divides. Of `block`: mask.min_block as a number. */
int recipe_grid_step(const Recipe *r);
int recipe_least_block(const Recipe *r);

/* The numbers of image.mean (deviation: false) or image.std (true), `channels` of them, into `out`. False after error_set()
 * when they are `auto` (the program computes those) or their number does not fit. */
bool recipe_statistics(const RecipeStatistics *s, bool deviation, int channels, float *out);

/* Replaces `auto` or anything else by a list. count <= RECIPE_CHANNELS_MAX. */
void recipe_statistics_set(RecipeStatistics *s, int count, const float *values);

/* The word of the vocabulary for an enumerator: recipe_word("loss.kind", LOSS_L2) is "l2". "?" when there is none. */
const char *recipe_word(const char *key, int value);

/* One row of the key table, as help, completion and documents need it. */
typedef struct {
    const char *key;     /* decoder keys as "decoders.K.tap" */
    const char *values;  /* what is accepted, in words; valid during the call */
    const char *value;   /* in a word, for flags: N, X, PATH, or the carried-out words joined with |; likewise */
    bool is_text;        /* a path or another string */
    bool is_word;        /* one of some words */
    const char *initial; /* the default as YAML */
    const char *help;    /* one sentence */
    bool carried_out;    /* false: refused for anything but its default */
    bool reserved;       /* a name kept for later versions, refused whatever its value; no default */
} RecipeKeyInfo;

/* Calls `see` for every key in the order of the table. */
void recipe_each(void (*see)(void *context, const RecipeKeyInfo *info), void *context);

/* Calls `see` for every named recipe that can be found, sorted by name: in LACUNA_RECIPES (a folder), in the installed share
 * folder beside the program, in the source tree. A name found twice is reported once, the first of these wins. */
bool recipe_each_name(void (*see)(void *context, const char *name, const char *path), void *context);

/* Appends the page of the recipe reference (docs/recipe.md). */
void recipe_print_markdown(Text *out);

#endif
