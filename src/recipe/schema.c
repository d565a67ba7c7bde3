/* The key table. Each key of the vocabulary stands here once; all else in this folder is made from it. */
#include "recipe/schema.h"

#include <string.h>

#define AT(field)         offsetof(Recipe, field)
#define IN_DECODER(field) offsetof(RecipeDecoder, field)
#define ONLY(enumerator)  (1u << (enumerator))
#define BIG               1e9

static const char *const interpolations[] = {"bicubic", "bilinear", "lanczos", NULL};
static const char *const encoder_kinds[] = {"vit", "swin", "swin_v2", "replknet", NULL};
static const char *const positions[] = {"sincos", "learned", "relative", "relative_per_block", "none", NULL};
static const char *const qkv_biases[] = {"true", "false", "no_k", NULL};
static const char *const activations[] = {"gelu", "quick_gelu", NULL};
static const char *const resizes[] = {"bicubic", "bicubic_antialias", "scale_factor", "spline", "linear", NULL};
static const char *const inits[] = {"auto", "xavier", "beit", "swin", "maskfeat", "moco", NULL};
static const char *const inputs[] = {"visible", "mask_token", NULL};
static const char *const masks[] = {"random", "block", "unit", "grid", "tube", NULL};
static const char *const decoder_kinds[] = {"transformer", "linear", "pixel_shuffle", NULL};
static const char *const targets[] = {"pixels", "hog", "features", "tokens", NULL};
static const char *const normalises[] = {"none", "patch", "window", "token", "patch_channel", NULL};
static const char *const losses[] = {"l2", "l1", "smooth_l1", "cosine", "cross_entropy", NULL};
static const char *const loss_places[] = {"masked", "all", NULL};
static const char *const pools[] = {"mean", "class_token", "attention", NULL};
static const char *const head_norms[] = {"after_pool", "before_pool", NULL};
static const char *const contrasts[] = {"off", "mocov3", NULL};
static const char *const optimizers[] = {"adamw", NULL};
static const char *const schedules[] = {"cosine", "multistep", NULL};
static const char *const guards[] = {"stop", "skip", NULL};
static const char *const probes[] = {"knn", "linear", "attentive", "segmentation", "depth", NULL};
static const char *const probe_blocks[] = {"all", "last", NULL};
static const char *const probe_features[] = {"class_token", "mean", "concat", NULL};
static const char *const devices[] = {"auto", "cpu", "ref", "cuda", NULL};
static const char *const precisions[] = {"auto", "f32", "bf16", NULL};

/* clang-format off */
static const RecipeKey rows[] = {
    {"image.size", KEY_SIZE, AT(image.size), "224", 1, 16384, .now = CARRIED_OUT,
     .help = "Rows and columns of the pictures that the encoder sees, in pixels."},
    {"image.channels", KEY_INT, AT(image.channels), "3", 1, RECIPE_CHANNELS_MAX, .now = CARRIED_OUT,
     .help = "Channels of a picture: 1 grey, 3 RGB (either is made of the other), else as many as the files must have."},
    {"image.mean", KEY_STATISTICS, AT(image.mean), "imagenet", -1e3, 1e3, .now = CARRIED_OUT,
     .help = "Mean of each channel on a 0..1 scale; `auto` measures the training pictures."},
    {"image.std", KEY_STATISTICS, AT(image.std), "imagenet", 1e-6, 1e3, .now = CARRIED_OUT,
     .help = "Standard deviation of each channel on a 0..1 scale."},
    {"image.exif", KEY_BOOL, AT(image.exif), "false", .now = CARRIED_OUT,
     .help = "Turn pictures upright as their EXIF or TIFF tag says, before they are cropped."},
    {"image.draft", KEY_BOOL, AT(image.draft), "false", .now = CARRIED_OUT,
     .help = "Decode JPEG pictures at 1/2, 1/4 or 1/8 where even the smallest crop keeps as many pixels as the result has."},

    {"augment.crop_scale", KEY_REALS, AT(augment.crop_scale), "[0.2, 1]", 1e-6, 1, .count = 2, .now = CARRIED_OUT,
     .help = "Smallest and largest share of the picture's area that a random crop covers."},
    {"augment.crop_ratio", KEY_REALS, AT(augment.crop_ratio), "[0.75, 1.3333333333333333]", 1e-3, 1e3, .count = 2,
     .now = CARRIED_OUT, .help = "Smallest and largest ratio of a crop's width to its height."},
    {"augment.flip", KEY_REAL, AT(augment.flip), "0.5", 0, 1, .now = CARRIED_OUT,
     .help = "Probability of a mirrored picture."},
    {"augment.interpolation", KEY_WORD, AT(augment.interpolation), "bicubic", .names = interpolations,
     .now = ONLY(INTERPOLATION_BICUBIC) | ONLY(INTERPOLATION_BILINEAR), .help = "Filter with which crops are resized."},
    {"augment.color_jitter", KEY_REALS, AT(augment.color_jitter), "[0, 0, 0, 0]", 0, 10, .count = 4, .now = CARRIED_OUT,
     .help = "Strength of random changes of brightness, contrast, saturation and hue."},
    {"augment.jitter_prob", KEY_REAL, AT(augment.jitter_prob), "1", 0, 1, .now = CARRIED_OUT,
     .help = "Probability that a picture's colours are changed."},
    {"augment.grey", KEY_VIEWS, AT(augment.grey), "0", 0, 1, .now = CARRIED_OUT, .help = "Probability of a grey picture; two numbers where the views of `contrast` differ."},
    {"augment.blur", KEY_VIEWS, AT(augment.blur), "0", 0, 1, .now = CARRIED_OUT, .help = "Probability of a blurred picture, likewise."},
    {"augment.solarise", KEY_VIEWS, AT(augment.solarise), "0", 0, 1, .now = CARRIED_OUT,
     .help = "Probability that bright pixels are inverted, likewise."},

    {"data.train", KEY_TEXT, AT(data.train), "world", .now = CARRIED_OUT,
     .help = "Training pictures: a folder, a list (.csv), tar shards, CIFAR files, or `world`, which the program draws."},
    {"data.val", KEY_TEXT, AT(data.val), "none", .word = "none", .now = CARRIED_OUT,
     .help = "Held-out pictures; with `none` a share of the training pictures is held out."},
    {"data.val_share", KEY_REAL, AT(data.val_share), "0.02", 0, 0.9, .now = CARRIED_OUT,
     .help = "Share of the training pictures that is held out when `data.val` is `none`."},
    {"data.val_every", KEY_INT, AT(data.val_every), "1", 0, BIG, .now = CARRIED_OUT,
     .help = "Epochs between two passes over the held-out pictures; 0 means never."},
    {"data.world_images", KEY_INT, AT(data.world_images), "20000", 1, BIG, .now = CARRIED_OUT,
     .help = "Pictures in an epoch of `world`."},
    {"data.workers", KEY_INT, AT(data.workers), "auto", 0, 1024, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "Threads that read and augment pictures; `auto`: at most 4; for GPUs all processors but one a GPU, at most 16 a GPU."},
    {"data.cache_mb", KEY_INT, AT(data.cache_mb), "1024", 0, BIG, .now = CARRIED_OUT,
     .help = "Megabytes of decoded pictures to keep in memory, so that a small set is decoded only once."},
    {"data.max_bad", KEY_REAL, AT(data.max_bad), "0.01", 0, 1, .now = CARRIED_OUT,
     .help = "Share of unreadable pictures above which a run stops."},

    {"encoder.kind", KEY_WORD, AT(encoder.kind), "vit", .names = encoder_kinds, .now = ONLY(ENCODER_VIT),
     .help = "Architecture of the backbone."},
    {"encoder.patch", KEY_INT, AT(encoder.patch), "16", 1, 4096, .now = CARRIED_OUT, .help = "Side of a patch in pixels."},
    {"encoder.width", KEY_INT, AT(encoder.width), "768", 1, 65536, .now = CARRIED_OUT, .help = "Numbers in a token."},
    {"encoder.depth", KEY_INT, AT(encoder.depth), "12", 1, 1024, .now = CARRIED_OUT, .help = "Number of blocks."},
    {"encoder.heads", KEY_INT, AT(encoder.heads), "12", 1, 1024, .now = CARRIED_OUT,
     .help = "Attention heads of a block; they share the width equally."},
    {"encoder.mlp_ratio", KEY_REAL, AT(encoder.mlp_ratio), "4", 1e-3, 64, .now = CARRIED_OUT,
     .help = "Hidden width of a block's MLP as a multiple of the width, in encoder and decoders."},
    {"encoder.norm_eps", KEY_REAL, AT(encoder.norm_eps), "1e-6", 0, 1, .now = CARRIED_OUT,
     .help = "Number added to the variance in every layer norm."},
    {"encoder.class_token", KEY_COUNT, AT(encoder.class_token), "1", 0, 1024, .now = CARRIED_OUT, .now_high = 1024,
     .help = "Number of class tokens in front of the patches."},
    {"encoder.position", KEY_WORD, AT(encoder.position), "sincos", .names = positions,
     .now = CARRIED_OUT,
     .help = "How tokens learn where they are: a fixed table of sines, a trained table, biases of the attention, or not at all."},
    {"encoder.qkv_bias", KEY_WORD, AT(encoder.qkv_bias), "true", .names = qkv_biases, .now = CARRIED_OUT,
     .help = "Bias of queries, keys and values; `no_k` leaves out that of the keys."},
    {"encoder.layer_scale", KEY_REAL, AT(encoder.layer_scale), "0", 0, 1e3, .now = CARRIED_OUT,
     .help = "Initial value of a trained factor on each branch; 0 leaves the factor out."},
    {"encoder.drop_path", KEY_REAL, AT(encoder.drop_path), "0", 0, 0.99, .now = CARRIED_OUT,
     .help = "Rate at which branches of the last block are dropped in training; it rises linearly from 0 at the first."},
    {"encoder.activation", KEY_WORD, AT(encoder.activation), "gelu", .names = activations, .now = CARRIED_OUT,
     .help = "Activation of the MLPs: the exact GELU, or x * sigmoid(1.702 x)."},
    {"encoder.norm_pre", KEY_BOOL, AT(encoder.norm_pre), "false", .now = CARRIED_OUT,
     .help = "A layer norm before the first block, as CLIP has it."},
    {"encoder.patch_bias", KEY_BOOL, AT(encoder.patch_bias), "true", .now = CARRIED_OUT,
     .help = "Bias of the patch embedding."},
    {"encoder.qk_norm", KEY_BOOL, AT(encoder.qk_norm), "false", .now = NOT_YET, .help = "Layer norms on queries and keys."},
    {"encoder.reg_tokens", KEY_INT, AT(encoder.reg_tokens), "0", 0, 1024, .now = NOT_YET, .help = "Number of register tokens."},
    {"encoder.final_norm", KEY_BOOL, AT(encoder.final_norm), "true", .now = CARRIED_OUT,
     .help = "A layer norm after the last block."},
    {"encoder.position_class", KEY_BOOL, AT(encoder.position_class), "true", .now = NOT_YET,
     .help = "Whether the position table has a row for the class token."},
    {"encoder.position_resize", KEY_WORD, AT(encoder.position_resize), "bicubic", .names = resizes,
     .now = ONLY(POSITION_RESIZE_BICUBIC), .help = "How a table is resized when the weights come from another grid."},
    {"encoder.init", KEY_WORD, AT(encoder.init), "auto", .names = inits,
     .now = ONLY(ENCODER_INIT_AUTO) | ONLY(ENCODER_INIT_XAVIER) | ONLY(ENCODER_INIT_BEIT) | ONLY(ENCODER_INIT_MASKFEAT) | ONLY(ENCODER_INIT_MOCO),
     .help = "Initial weights; `auto` is `xavier` with input `visible` and `beit` with `mask_token`. `moco` also fixes the patch embedding."},
    {"encoder.input", KEY_WORD, AT(encoder.input), "visible", .names = inputs, .now = CARRIED_OUT,
     .help = "Leave hidden patches out of the encoder, or put a trained token in their place."},
    {"encoder.keep_blocks", KEY_INT, AT(encoder.keep_blocks), "all", 1, 1024, "all", 0, .now = CARRIED_OUT,
     .help = "Use only that many of the first blocks: the last ones of `run.from` are left out, the final norm stays."},

    {"mask.kind", KEY_WORD, AT(mask.kind), "random", .names = masks,
     .now = ONLY(MASK_RANDOM) | ONLY(MASK_BLOCK) | ONLY(MASK_UNIT) | ONLY(MASK_GRID),
     .help = "How the hidden patches are chosen."},
    {"mask.ratio", KEY_REAL, AT(mask.ratio), "0.75", 0, 1, .now = CARRIED_OUT, .help = "Share of the patches that is hidden."},
    {"mask.unit", KEY_INT, AT(mask.unit), "32", 1, 16384, .now = CARRIED_OUT, .help = "Side of a unit of the mask in pixels."},
    {"mask.min_block", KEY_INT, AT(mask.min_block), "auto", 1, BIG, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "Fewest patches in a block of the mask; `auto` scales 16 with the grid."},

    {"decoders.K.tap", KEY_INT, IN_DECODER(tap), "last", 1, 1024, "last", TAP_LAST, .now = CARRIED_OUT,
     .help = "The block, counted from 1, whose output this decoder reads; `last` is behind the final norm."},
    {"decoders.K.kind", KEY_WORD, IN_DECODER(kind), "transformer", .names = decoder_kinds, .now = CARRIED_OUT,
     .help = "What turns tokens into predictions."},
    {"decoders.K.width", KEY_INT, IN_DECODER(width), "512", 1, 65536, .now = CARRIED_OUT,
     .help = "Numbers in a token of this decoder."},
    {"decoders.K.depth", KEY_INT, IN_DECODER(depth), "8", 1, 1024, .now = CARRIED_OUT, .help = "Blocks of this decoder."},
    {"decoders.K.heads", KEY_INT, IN_DECODER(heads), "16", 1, 1024, .now = CARRIED_OUT,
     .help = "Attention heads of a block of this decoder."},
    {"decoders.K.drop_path", KEY_REAL, IN_DECODER(drop_path), "0", 0, 0.99, .now = CARRIED_OUT,
     .help = "As `encoder.drop_path`, over this decoder's own blocks."},
    {"decoders.K.weight", KEY_REAL, IN_DECODER(weight), "1", 0, 1e6, .now = CARRIED_OUT,
     .help = "Factor of this decoder's loss in the total."},

    {"target.kind", KEY_WORD, AT(target.kind), "pixels", .names = targets, .now = CARRIED_OUT,
     .help = "What the decoders predict; `tokens` are the numbers of a code book's rows, with `loss.kind: cross_entropy`."},
    {"target.normalise", KEY_WORD, AT(target.normalise), "none", .names = normalises,
     .now = ONLY(NORMALISE_NONE) | ONLY(NORMALISE_PATCH) | ONLY(NORMALISE_WINDOW) | ONLY(NORMALISE_TOKEN),
     .help = "Whether a target is brought to mean 0 and variance 1, and over what. Patches of a code book that is made here always are, each."},
    {"target.teacher", KEY_TEXT, AT(target.teacher), "initial", .now = CARRIED_OUT,
     .help = "Where the teacher's weights come from: `initial` (the student's first ones), `random`, or a run, a checkpoint or another project's file; of `tokens` a code book of patches that is made here (`random`), or one of a file."},
    {"target.mean", KEY_STATISTICS, AT(target.mean), "auto", -1e3, 1e3, .now = CARRIED_OUT,
     .help = "As `image.mean`, for the pictures that the first teacher sees; `auto`: as its file says or, if it does not, as is usual for such files; of one that is made here the student's."},
    {"target.std", KEY_STATISTICS, AT(target.std), "auto", 1e-6, 1e3, .now = CARRIED_OUT, .help = "As `image.std`, likewise."},
    {"target.final_norm", KEY_BOOL, AT(target.final_norm), "false", .now = CARRIED_OUT,
     .help = "Match the teacher's tokens behind its final norm."},
    {"target.class_token", KEY_BOOL, AT(target.class_token), "false", .now = CARRIED_OUT,
     .help = "Match the teacher's class token too."},
    {"target.projection", KEY_BOOL, AT(target.projection), "false", .now = CARRIED_OUT,
     .help = "Match the teacher's tokens behind its projection."},
    {"target.image_size", KEY_SIZE, AT(target.image_size), "auto", 1, 16384, "auto", 0, .now = CARRIED_OUT,
     .help = "Rows and columns of the pictures that the first teacher sees, the same crops; `auto` is `image.size`. Its grid must be the encoder's."},
    {"target.codes", KEY_INT, AT(target.codes), "8192", 2, 1 << 20, .now = CARRIED_OUT, .help = "Rows of a code book that is made here, of the training pictures."},
    {"target.bins", KEY_INT, AT(target.bins), "9", 1, 360, .now = CARRIED_OUT, .help = "Directions of a HOG histogram."},
    {"target.cell", KEY_INT, AT(target.cell), "8", 1, 4096, .now = CARRIED_OUT, .help = "Side of a HOG cell in pixels."},
    {"target.gaussian", KEY_INT, AT(target.gaussian), "0", 0, 4096, .now = CARRIED_OUT,
     .help = "Width of the tiled window that weighs the gradients of HOG; 0 for none."},
    {"target.window", KEY_INT, AT(target.window), "47", 1, 16383, .now = CARRIED_OUT,
     .help = "Side of the window of `normalise: window` in pixels, an odd number."},
    {"loss.kind", KEY_WORD, AT(loss.kind), "l2", .names = losses,
     .now = CARRIED_OUT,
     .help = "Distance between prediction and target; `cosine` is 2 - 2 cos. `cross_entropy` is for codes, and with `decoders: []` for the pictures' labels, which a head learns."},
    {"loss.beta", KEY_REAL, AT(loss.beta), "2", 1e-9, 1e9, .now = CARRIED_OUT,
     .help = "Error at which `smooth_l1` turns from square to straight."},
    {"loss.on", KEY_WORD, AT(loss.on), "masked", .names = loss_places, .now = CARRIED_OUT,
     .help = "Which patches count: the hidden ones or all."},
    {"loss.smoothing", KEY_REAL, AT(loss.smoothing), "0", 0, 0.999, .now = CARRIED_OUT, .help = "Smoothing of class labels."},
    {"target.hybrid", KEY_HYBRID, AT(hybrid), "none", .now = CARRIED_OUT,
     .help = "Mixes the targets of taps with what a frozen model (`from`) makes of the masked picture; alpha is the picture's share."},

    {"head.classes", KEY_INT, AT(head.classes), "auto", 1, 1 << 24, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "Classes that a head tells apart; `auto` takes those of the pictures."},
    {"head.names", KEY_OTHER, 0, "auto", .now = NOT_YET, .help = "Names of the classes."},
    {"head.pool", KEY_WORD, AT(head.pool), "mean", .names = pools, .now = ONLY(HEAD_MEAN) | ONLY(HEAD_CLASS_TOKEN),
     .help = "What a head looks at: the mean of the patches, or the class token behind the final norm."},
    {"head.norm", KEY_WORD, AT(head.norm), "after_pool", .names = head_norms, .now = ONLY(HEAD_AFTER_POOL),
     .help = "Where the norm of a mean stands."},
    {"head.init_std", KEY_REAL, AT(head.init_std), "2e-5", 0, 10, .now = CARRIED_OUT, .help = "Deviation of a head's first weights."},

    {"contrast.kind", KEY_WORD, AT(contrast.kind), "off", .names = contrasts, .now = CARRIED_OUT,
     .help = "Contrastive pre-training with two views of each picture, as a control; it has `decoders: []`."},
    {"contrast.dim", KEY_INT, AT(contrast.dim), "256", 1, 65536, .now = CARRIED_OUT, .help = "Width of the projection."},
    {"contrast.hidden", KEY_INT, AT(contrast.hidden), "4096", 1, 65536, .now = CARRIED_OUT, .help = "Width of hidden layers."},
    {"contrast.temperature", KEY_REAL, AT(contrast.temperature), "0.2", 1e-6, 1e3, .now = CARRIED_OUT,
     .help = "Temperature of the similarities."},
    {"contrast.momentum", KEY_REAL, AT(contrast.momentum), "0.99", 0, 1, .now = CARRIED_OUT,
     .help = "Momentum of the averaged encoder at the start; it rises to 1."},
    {"contrast.group", KEY_INT, AT(contrast.group), "auto", 1, BIG, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "Pictures that are compared with each other, which are computed at once; `auto` is the batch."},

    {"stages", KEY_STAGES, AT(stages), "[]", .now = CARRIED_OUT,
     .help = "Stages of distillation, each with epochs, teacher_depth (blocks of its teacher; left out: all) and optimizer (keep or reset)."},

    {"optimizer.kind", KEY_WORD, AT(optimizer.kind), "adamw", .names = optimizers, .now = CARRIED_OUT, .help = "The optimizer."},
    {"optimizer.betas", KEY_REALS, AT(optimizer.betas), "[0.9, 0.95]", 0, 0.9999999, .count = 2, .now = CARRIED_OUT,
     .help = "Decay of the averages of gradients and of their squares."},
    {"optimizer.eps", KEY_REAL, AT(optimizer.eps), "1e-8", 1e-30, 1, .now = CARRIED_OUT,
     .help = "Number added to the root of the squares."},
    {"optimizer.weight_decay", KEY_REAL, AT(optimizer.weight_decay), "0.05", 0, 1e3, .now = CARRIED_OUT,
     .help = "Decay of the weights, times the learning rate of the step."},
    {"optimizer.clip", KEY_REAL, AT(optimizer.clip), "0", 0, 1e9, .now = CARRIED_OUT,
     .help = "Largest norm of the whole gradient; 0 means no limit."},
    {"optimizer.layer_decay", KEY_REAL, AT(optimizer.layer_decay), "1", 1e-3, 1, .now = CARRIED_OUT,
     .help = "Factor of the learning rate from each block to the one below."},
    {"optimizer.no_decay", KEY_NAMES, AT(optimizer.no_decay), "[]", .now = CARRIED_OUT,
     .help = "Weights without decay, beside vectors and those that end in .bias."},
    {"optimizer.decay_all", KEY_BOOL, AT(optimizer.decay_all), "false", .now = CARRIED_OUT,
     .help = "Let every weight decay, without exception."},

    {"schedule.batch_size", KEY_INT, AT(schedule.batch_size), "4096", 1, 1 << 24, .now = CARRIED_OUT,
     .help = "Pictures of a step, over all devices and micro-batches."},
    {"schedule.epochs", KEY_INT, AT(schedule.epochs), "800", 1, 1 << 24, .now = CARRIED_OUT,
     .help = "Passes over the training pictures."},
    {"schedule.warmup_epochs", KEY_REAL, AT(schedule.warmup_epochs), "40", 0, 1 << 24, .now = CARRIED_OUT,
     .help = "Epochs in which the learning rate rises to its height."},
    {"schedule.blr", KEY_REAL, AT(schedule.blr), "1.5e-4", 0, 1e6, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "Learning rate for 256 pictures; it is multiplied by batch_size / 256."},
    {"schedule.lr", KEY_REAL, AT(schedule.lr), "auto", 0, 1e6, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "The learning rate itself, in place of blr."},
    {"schedule.min_lr", KEY_REAL, AT(schedule.min_lr), "0", 0, 1e6, .now = CARRIED_OUT,
     .help = "Learning rate that the end of the run approaches."},
    {"schedule.warmup_lr", KEY_REAL, AT(schedule.warmup_lr), "0", 0, 1e6, .now = CARRIED_OUT,
     .help = "Learning rate at which the warm-up begins."},
    {"schedule.kind", KEY_WORD, AT(schedule.kind), "cosine", .names = schedules, .now = CARRIED_OUT,
     .help = "Shape of the learning rate after the warm-up."},
    {"schedule.steps", KEY_NUMBERS, AT(schedule.steps), "[]", 0, 1 << 24, .now = CARRIED_OUT, .help = "Epochs at which `multistep` lowers the learning rate."},
    {"schedule.accumulate", KEY_INT, AT(schedule.accumulate), "auto", 1, 1 << 24, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "Micro-batches of a step; `auto` follows from run.micro_batch."},

    {"ema.decay", KEY_REAL, AT(ema.decay), "0", 0, 1, .now = CARRIED_OUT, .help = "Decay of the averaged weights; 0 means none."},

    {"guard.nonfinite", KEY_WORD, AT(guard.nonfinite), "stop", .names = guards, .now = CARRIED_OUT,
     .help = "What to do when loss or gradient is not finite: `stop` says where it began and leaves a state that does it again, `skip` leaves the step out."},
    {"guard.spike", KEY_REAL, AT(guard.spike), "off", 0, 1e6, "off", 0, .now = CARRIED_OUT,
     .help = "Deviations above its running mean at which a loss sends the run back to its last checkpoint, to go on with other draws."},
    {"guard.limit", KEY_INT, AT(guard.limit), "8", 1, BIG, .now = CARRIED_OUT,
     .help = "Skipped steps in a row, or returns to one checkpoint, that stop the run."},

    {"probe.every", KEY_INT, AT(probe.every), "auto", 0, BIG, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "Epochs between two probes of the backbone while it trains; 0 means never, `auto` as often as costs a hundredth of the training, at most twenty times, and never on a GPU."},
    {"probe.images", KEY_INT, AT(probe.images), "1000", 8, 1000000, .now = CARRIED_OUT,
     .help = "Pictures of such a probe, held-out ones where there are enough."},
    {"probe.blocks", KEY_WORD, AT(probe.blocks), "all", .names = probe_blocks, .now = CARRIED_OUT,
     .help = "Blocks that it looks at: all, or the last alone."},
    {"probe.kind", KEY_WORD, AT(probe.kind), "knn", .names = probes, .now = ONLY(PROBE_KNN),
     .help = "How quality is measured while training; `lacuna probe` names its kind itself."},
    {"probe.features", KEY_WORD, AT(probe.features), "class_token", .names = probe_features, .now = CARRIED_OUT,
     .help = "Which tokens make a picture's features, of kNN and the linear probe."},
    {"probe.k", KEY_INT, AT(probe.k), "20", 1, BIG, .now = CARRIED_OUT, .help = "Neighbours of `knn`."},
    {"probe.temperature", KEY_REAL, AT(probe.temperature), "0.07", 1e-6, 1e3, .now = CARRIED_OUT,
     .help = "Temperature of the neighbours' votes."},
    {"probe.lrs", KEY_NUMBERS, AT(probe.lrs), "[]", 1e-12, 1e6, .now = CARRIED_OUT,
     .help = "Learning rates for a batch of 256 that `lacuna probe` tries; none: those of each kind."},

    {"run.save_steps", KEY_INT, AT(run.save_steps), "auto", 1, BIG, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "Steps between two checkpoints; `auto` saves ten times a run, and at least every ten epochs."},
    {"run.keep", KEY_INT, AT(run.keep), "2", 1, BIG, .now = CARRIED_OUT, .help = "Checkpoints to keep."},
    {"run.max_steps", KEY_LONG, AT(run.max_steps), "none", 1, 1e15, "none", 0, .now = CARRIED_OUT,
     .help = "Stop after that many steps, whatever the schedule says."},
    {"run.device", KEY_WORD, AT(run.device), "auto", .names = devices,
     .now = CARRIED_OUT, .help = "What computes; `auto` is the processor, `cuda` an NVIDIA GPU."},
    {"run.devices", KEY_INT, AT(run.devices), "1", 1, 1024, .now = CARRIED_OUT,
     .help = "How many devices of this machine share the batch, a process each: GPUs, or parts of the processor."},
    {"run.micro_batch", KEY_INT, AT(run.micro_batch), "auto", 1, 1 << 24, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "Pictures that are computed at once; `auto`: so many that activations stay small, on a GPU the most that fit."},
    {"run.threads", KEY_INT, AT(run.threads), "auto", 1, 4096, "auto", RECIPE_AUTO, .now = CARRIED_OUT,
     .help = "Threads that compute, of each device; `auto`: the processors, shared by `run.devices`."},
    {"run.precision", KEY_WORD, AT(run.precision), "auto", .names = precisions,
     .now = CARRIED_OUT, .help = "Type of the numbers in activations and products; `auto`: bf16 where the device multiplies it, else f32."},
    {"run.tf32", KEY_BOOL, AT(run.tf32), "false", .now = CARRIED_OUT, .help = "Let a GPU round the factors of f32 products."},
    {"run.autotune", KEY_BOOL, AT(run.autotune), "false", .now = CARRIED_OUT,
     .help = "Let a GPU time several algorithms for each kind of product once, and keep the fastest in the run's algorithms.json."},
    {"run.seed", KEY_SEED, AT(run.seed), "0", 0, 9.2e18, .now = CARRIED_OUT, .help = "Seed of all random draws."},
    {"run.from", KEY_TEXT, AT(run.from), "none", .word = "none", .now = CARRIED_OUT,
     .help = "A run, a checkpoint or another project's file whose weights the run starts with."},

    {"head.kind", KEY_RESERVED, .help = "Heads of dense tasks."},
    {"augment.auto", KEY_RESERVED, .help = "Learned policies of augmentation."},
    {"augment.repeats", KEY_RESERVED, .help = "Several augmented views of a picture in a batch."},
    {"augment.erase", KEY_RESERVED, .help = "Random erasing."},
    {"encoder.window", KEY_RESERVED, .help = "Side of an attention window."},
    {"encoder.pretrained_window", KEY_RESERVED, .help = "Window with which the weights were trained."},
    {"encoder.shift", KEY_RESERVED, .help = "Shift of every second block's windows."},
    {"encoder.pad_small", KEY_RESERVED, .help = "Padding of grids that windows do not divide."},
    {"encoder.end_norm_every", KEY_RESERVED, .help = "Additional norms in deep stages."},
    {"encoder.kernel", KEY_RESERVED, .help = "Size of large convolutions."},
    {"encoder.small_kernel", KEY_RESERVED, .help = "Size of the small convolution beside a large one."},
    {"encoder.dw_ratio", KEY_RESERVED, .help = "Width of depth-wise convolutions."},
    {"encoder.merged", KEY_RESERVED, .help = "Whether small convolutions are merged into large ones."},
    {"schedule.reference_batch", KEY_RESERVED, .help = "Batch that blr refers to."},
    {"schedule.cosine_from", KEY_RESERVED, .help = "Where the clock of the cosine starts."},
    {"optimizer.groups", KEY_RESERVED, .help = "Settings for groups of weights."},
    {"analysis", KEY_RESERVED, .help = "Settings of the analysis command."},
    {"mix", KEY_RESERVED, .help = "Mixing of pictures and labels."},
    {"evaluate", KEY_RESERVED, .help = "Evaluation of a classifier."},
    {"task", KEY_RESERVED, .help = "Dense tasks."},
    {"neck", KEY_RESERVED, .help = "What lies between backbone and head."},
    {"rpn", KEY_RESERVED, .help = "Proposals of detection."},
    {"roi", KEY_RESERVED, .help = "Regions of detection."},
    {"pose", KEY_RESERVED, .help = "Key points."},
    {"depth", KEY_RESERVED, .help = "Depth estimation."},
    {"track", KEY_RESERVED, .help = "Tracking."},
    {"video", KEY_RESERVED, .help = "Clips."},
    {"infer", KEY_RESERVED, .help = "Sliding inference."},
};
/* clang-format on */

enum { ROWS = sizeof rows / sizeof *rows };

static const char decoder_prefix[] = "decoders.K.";

const RecipeKey *schema_rows(size_t *count)
{
    *count = ROWS;
    return rows;
}

static bool lies_under(const char *key, const char *path)
{
    size_t n = strlen(path);
    return !strncmp(key, path, n) && key[n] == '.';
}

/* "decoders.K.target.kind" is described by the row of "target.kind". */
static const char *shared_name(const char *key)
{
    size_t n = sizeof decoder_prefix - 1;
    if (!strncmp(key, decoder_prefix, n) && (!strncmp(key + n, "target", 6) || !strncmp(key + n, "loss", 4)))
        return key + n;
    return key;
}

const RecipeKey *schema_find(const char *key)
{
    key = shared_name(key);
    for (size_t i = 0; i < ROWS; i++)
        if (!strcmp(rows[i].key, key) || (rows[i].type == KEY_RESERVED && lies_under(key, rows[i].key)))
            return &rows[i];
    return NULL;
}

bool schema_is_group(const char *path)
{
    path = shared_name(path);
    for (size_t i = 0; i < ROWS; i++)
        if (lies_under(rows[i].key, path))
            return true;
    return false;
}

bool schema_in_decoder(const RecipeKey *row)
{
    return !strncmp(row->key, decoder_prefix, sizeof decoder_prefix - 1);
}

uint64_t schema_own_bit(const RecipeKey *row)
{
    if (row->type == KEY_OTHER || row->type == KEY_HYBRID || (!lies_under(row->key, "target") && !lies_under(row->key, "loss")))
        return 0;
    size_t first = 0;
    while (!lies_under(rows[first].key, "target"))
        first++;
    return (uint64_t)1 << ((size_t)(row - rows) - first);
}

const void *schema_field_const(const RecipeKey *row, const Recipe *r, const RecipeDecoder *d)
{
    if (schema_in_decoder(row))
        return (const char *)d + row->offset;
    if (row->type == KEY_HYBRID)
        return (const char *)r + row->offset;
    if (d && lies_under(row->key, "target"))
        return (const char *)&d->target + (row->offset - offsetof(Recipe, target));
    if (d && lies_under(row->key, "loss"))
        return (const char *)&d->loss + (row->offset - offsetof(Recipe, loss));
    return (const char *)r + row->offset;
}

void *schema_field(const RecipeKey *row, Recipe *r, RecipeDecoder *d)
{
    return (void *)schema_field_const(row, r, d);
}

size_t schema_field_bytes(const RecipeKey *row)
{
    switch (row->type) {
    case KEY_INT:
    case KEY_COUNT:
    case KEY_WORD:
        return sizeof(int);
    case KEY_LONG:
    case KEY_SEED:
        return sizeof(int64_t);
    case KEY_REAL:
        return sizeof(double);
    case KEY_REALS:
        return sizeof(double) * (size_t)row->count;
    case KEY_VIEWS:
        return 2 * sizeof(double);
    case KEY_BOOL:
        return sizeof(bool);
    case KEY_SIZE:
        return 2 * sizeof(int);
    case KEY_STATISTICS:
        return sizeof(RecipeStatistics);
    case KEY_TEXT:
        return RECIPE_PATH_BYTES;
    case KEY_NAMES:
        return sizeof(RecipeNames);
    case KEY_NUMBERS:
        return sizeof(RecipeNumbers);
    case KEY_STAGES:
        return sizeof(RecipeStages);
    case KEY_HYBRID:
        return sizeof(RecipeHybrid);
    case KEY_OTHER:
    case KEY_RESERVED:
        break;
    }
    return 0;
}
