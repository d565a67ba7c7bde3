/* Files of CLIP and DINO as teachers, under the names, shapes and in the containers of the real ones, but tiny: recipes that
 * are made for them train, and what they aim at is what docs/spec/pretraining.md 9.1 and 9.2 say, by a plain forward pass. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "formats/zip_case.h"
#include "nn/position.h"
#include "train/pretrain.h"
#include "train/stopped_run.h"
#include "train/teacher.h"

#define HOME "foreign_teacher_test.tmp"

enum {
    WIDTH = 192, /* from which both projects' numbers of heads are known */
    HEADS = 3,
    HEAD = WIDTH / HEADS,
    HIDDEN = 4 * WIDTH,
    BLOCKS = 2,
    OUT = 24, /* of CLIP's projection */
    TOKENS_MOST = 17,
    TENSORS_MOST = 64,
    NUMBERS_MOST = 1000000,
    SIDE = 16 /* of the student's pictures, in 4 x 4 patches */
};

/* ---- a network: all of its numbers in one storage, tensors one behind the other */

typedef struct {
    char name[80];
    int ndim;
    int64_t shape[4], at;
} Piece;

typedef struct {
    bool clip;
    int patch, grid; /* it was trained with so many patches each way */
    Piece tensors[TENSORS_MOST];
    int count;
    float numbers[NUMBERS_MOST];
    int64_t used;
} Network;

/* Multiples of 1 / 256 up to a half, which f16 holds, around `mean`. */
static void add(Network *n, const char *name, double mean, double size, int ndim, const int64_t *shape)
{
    Piece *t = &n->tensors[n->count++];
    int64_t count = 1;
    assert_true(n->count <= TENSORS_MOST);
    *t = (Piece){.ndim = ndim, .at = n->used};
    snprintf(t->name, sizeof t->name, "%s", name);
    for (int i = 0; i < ndim; i++)
        count *= t->shape[i] = shape[i];
    assert_true(n->used + count <= NUMBERS_MOST);
    Random random = random_stream(7, RANDOM_TEST, 0, 0, random_hash(name));
    for (int64_t i = 0; i < count; i++)
        n->numbers[n->used++] = (float)(mean + nearbyint(256 * fmax(-0.5, fmin(0.5, size * random_normal(&random)))) / 256);
}

#define ADD(n, name, mean, size, ...) \
    add(n, name, mean, size, (int)(sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static const float *numbers_of(const Network *n, const char *format, ...)
{
    char name[80];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    for (int i = 0; i < n->count; i++)
        if (!strcmp(n->tensors[i].name, name))
            return n->numbers + n->tensors[i].at;
    fail_msg("there is no %s", name);
    return NULL;
}

static void add_norm(Network *n, const char *name)
{
    char full[80];
    snprintf(full, sizeof full, "%s.weight", name);
    ADD(n, full, 1, 0.2, WIDTH);
    snprintf(full, sizeof full, "%s.bias", name);
    ADD(n, full, 0, 0.2, WIDTH);
}

static void add_map(Network *n, const char *weight, const char *bias, int64_t rows, int64_t columns)
{
    ADD(n, weight, 0, 0.1, rows, columns);
    ADD(n, bias, 0, 0.1, rows);
}

/* The places of the parts of a block in CLIP's names and in timm's, which DINO has. */
static const struct {
    const char *clip, *timm;
    int64_t rows, columns; /* columns 0: a norm */
} parts[] = {
    {"ln_1", "norm1", 0, 0}, {"attn.in_proj_", "attn.qkv.", 3 * WIDTH, WIDTH}, {"attn.out_proj.", "attn.proj.", WIDTH, WIDTH},
    {"ln_2", "norm2", 0, 0}, {"mlp.c_fc.", "mlp.fc1.", HIDDEN, WIDTH},         {"mlp.c_proj.", "mlp.fc2.", WIDTH, HIDDEN}};
enum { NORM1, QKV, PROJ, NORM2, FC1, FC2, PARTS };

static void block_name(const Network *n, int block, int part, const char *end, char out[80])
{
    snprintf(out, 80, n->clip ? "transformer.resblocks.%d.%s%s" : "blocks.%d.%s%s", block,
             n->clip ? parts[part].clip : parts[part].timm, end);
}

static void make(Network *n, bool clip, int patch, int grid)
{
    char name[80], bias[80];
    memset(n, 0, sizeof *n);
    n->clip = clip;
    n->patch = patch;
    n->grid = grid;
    if (clip) {
        ADD(n, "class_embedding", 0, 0.2, WIDTH);
        ADD(n, "positional_embedding", 0, 0.2, 1 + grid * grid, WIDTH);
        ADD(n, "conv1.weight", 0, 0.1, WIDTH, 3, patch, patch);
        add_norm(n, "ln_pre");
    } else {
        ADD(n, "cls_token", 0, 0.2, 1, 1, WIDTH);
        ADD(n, "pos_embed", 0, 0.2, 1, 1 + grid * grid, WIDTH);
        ADD(n, "patch_embed.proj.weight", 0, 0.1, WIDTH, 3, patch, patch);
        ADD(n, "patch_embed.proj.bias", 0, 0.1, WIDTH);
    }
    for (int b = 0; b < BLOCKS; b++)
        for (int p = 0; p < PARTS; p++) {
            block_name(n, b, p, parts[p].columns ? "weight" : "", name);
            block_name(n, b, p, "bias", bias);
            if (parts[p].columns)
                add_map(n, name, bias, parts[p].rows, parts[p].columns);
            else
                add_norm(n, name);
        }
    add_norm(n, clip ? "ln_post" : "norm");
    if (clip)
        ADD(n, "proj", 0, 0.1, WIDTH, OUT);
}

/* ---- PyTorch's containers */

static void put_text(Text *t, const char *text)
{
    text_add_bytes(t, "X", 1);
    zip_put(t, strlen(text), 4);
    text_add_bytes(t, text, strlen(text));
}

static void put_number(Text *t, int64_t number)
{
    text_add_bytes(t, "J", 1);
    zip_put(t, (uint64_t)number, 4);
}

static void put_raw(Text *t, const char *text)
{
    text_add_bytes(t, text, strlen(text));
}

/* A view of the storage 0, as torch.save writes it. */
static void put_tensor(Text *t, const Network *n, const Piece *tensor, bool half)
{
    int64_t stride[4] = {1, 1, 1, 1};
    for (int i = tensor->ndim - 2; i >= 0; i--)
        stride[i] = stride[i + 1] * tensor->shape[i + 1];
    put_raw(t, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(t, "storage");
    put_raw(t, half ? "ctorch\nHalfStorage\n" : "ctorch\nFloatStorage\n");
    put_text(t, "0");
    put_text(t, "cpu");
    put_number(t, n->used);
    put_raw(t, "tQ");
    put_number(t, tensor->at);
    for (int k = 0; k < 2; k++) {
        put_raw(t, "(");
        for (int i = 0; i < tensor->ndim; i++)
            put_number(t, k ? stride[i] : tensor->shape[i]);
        put_raw(t, "t");
    }
    put_raw(t, "\x88"
               "ccollections\nOrderedDict\n)RtR");
}

/* Their names with a prefix, and what else such a file has. */
static void put_dict(Text *t, const Network *n, const char *prefix, bool half)
{
    put_raw(t, "}(");
    for (int i = 0; i < n->count; i++) {
        char name[120];
        snprintf(name, sizeof name, "%s%s", prefix, n->tensors[i].name);
        put_text(t, name);
        put_tensor(t, n, &n->tensors[i], half);
    }
    if (n->clip) { /* of the text's tower */
        put_text(t, "logit_scale");
        put_tensor(t, n, &(Piece){.ndim = 0, .at = 0}, half);
        put_text(t, "ln_final.weight");
        put_tensor(t, n, &(Piece){.ndim = 1, .shape = {8}, .at = 0}, half);
        put_text(t, "transformer.resblocks.0.ln_1.weight");
        put_tensor(t, n, &(Piece){.ndim = 1, .shape = {8}, .at = 0}, half);
    } else {
        put_text(t, "head.last_layer.weight_v");
        put_tensor(t, n, &(Piece){.ndim = 2, .shape = {8, 8}, .at = 0}, half);
    }
    put_raw(t, "u");
}

/* The module whose tensors' names begin with `prefix`, with its own modules inside. */
static void put_module(Text *t, const Network *n, const char *prefix, bool half)
{
    size_t length = strlen(prefix);
    put_raw(t, "c__torch__\nBag\n)\x81}(");
    for (int i = 0; i < n->count; i++) {
        const char *name = n->tensors[i].name, *dot = strchr(name + length, '.');
        char inner[120];
        if (strncmp(name, prefix, length) != 0)
            continue;
        snprintf(inner, sizeof inner, "%.*s", dot ? (int)(dot + 1 - name) : (int)strlen(name), name);
        if (!dot) {
            put_text(t, name + length);
            put_tensor(t, n, &n->tensors[i], half);
            continue;
        }
        bool seen = false;
        for (int k = 0; k < i; k++)
            seen = seen || !strncmp(n->tensors[k].name, inner, strlen(inner));
        if (seen)
            continue;
        char own[120];
        snprintf(own, sizeof own, "%.*s", (int)(dot - name - (ptrdiff_t)length), name + length);
        put_text(t, own);
        put_module(t, n, inner, half);
    }
    put_text(t, "training");
    put_raw(t, "\x88ub");
}

static uint16_t to_half(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x == 0)
        return 0;
    return (uint16_t)((bits >> 16 & 0x8000) | ((bits >> 23 & 255) - 112) << 10 | (bits >> 13 & 0x3ff));
}

typedef enum { STATE_DICT, DINO_CHECKPOINT, TORCH_SCRIPT } Container;

static void write_network(const Network *n, const char *path, Container container, bool half)
{
    static uint16_t halves[NUMBERS_MOST];
    Text pickle = {0}, zip = {0};
    for (int64_t i = 0; i < n->used; i++)
        halves[i] = to_half(n->numbers[i]);
    put_raw(&pickle, "\x80\x02");
    if (container == STATE_DICT) {
        put_dict(&pickle, n, n->clip ? "visual." : "", half);
    } else if (container == DINO_CHECKPOINT) {
        put_raw(&pickle, "}(");
        put_text(&pickle, "student");
        put_dict(&pickle, n, "module.backbone.", half);
        put_text(&pickle, "teacher");
        put_dict(&pickle, n, "backbone.", half);
        put_text(&pickle, "epoch");
        put_number(&pickle, 3);
        put_raw(&pickle, "u");
    } else {
        put_raw(&pickle, "c__torch__\nBag\n)\x81}(");
        put_text(&pickle, "visual");
        put_module(&pickle, n, "", half);
        put_text(&pickle, "logit_scale");
        put_tensor(&pickle, n, &(Piece){.ndim = 0, .at = 0}, half);
        put_raw(&pickle, "ub");
    }
    put_raw(&pickle, ".");
    ZipEntry entries[] = {
        {.name = "it/data.pkl", .data = pickle.data, .bytes = (uint32_t)pickle.length},
        {.name = "it/data/0",
         .data = half ? (const char *)halves : (const char *)n->numbers,
         .bytes = (uint32_t)(n->used * (half ? 2 : 4))},
        {.name = "it/constants.pkl", .data = "\x80\x02).", .bytes = 4},
    };
    zip_case(&zip, entries, container == TORCH_SCRIPT ? 3 : 2);
    assert_true(!zip.failed && file_write(path, zip.data, zip.length));
    text_free(&pickle);
    text_free(&zip);
}

/* ---- a plain forward pass, in double */

static void norm(const float *weight, const float *bias, double eps, double *x, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++, x += WIDTH) {
        double mean = 0, variance = 0;
        for (int k = 0; k < WIDTH; k++)
            mean += x[k] / WIDTH;
        for (int k = 0; k < WIDTH; k++)
            variance += (x[k] - mean) * (x[k] - mean) / WIDTH;
        for (int k = 0; k < WIDTH; k++)
            x[k] = (x[k] - mean) / sqrt(variance + eps) * (double)weight[k] + (double)bias[k];
    }
}

static void map(const float *weight, const float *bias, const double *x, int64_t rows, int out, int in, double *y)
{
    for (int64_t i = 0; i < rows; i++)
        for (int o = 0; o < out; o++) {
            double sum = (double)bias[o];
            for (int k = 0; k < in; k++)
                sum += (double)weight[o * in + k] * x[i * in + k];
            y[i * out + o] = sum;
        }
}

static void attend(const double *qkv, int64_t rows, double *out)
{
    double share[TOKENS_MOST];
    for (int64_t at = 0; at < rows * HEADS; at++) {
        int64_t i = at / HEADS, first = at % HEADS * HEAD; /* of its numbers in q, k and v */
        double most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < rows; j++) {
            share[j] = 0;
            for (int64_t k = first; k < first + HEAD; k++)
                share[j] += qkv[i * 3 * WIDTH + k] * qkv[j * 3 * WIDTH + WIDTH + k] / sqrt(HEAD);
            most = fmax(most, share[j]);
        }
        for (int64_t j = 0; j < rows; j++)
            sum += share[j] = exp(share[j] - most);
        for (int64_t k = first; k < first + HEAD; k++) {
            out[i * WIDTH + k] = 0;
            for (int64_t j = 0; j < rows; j++)
                out[i * WIDTH + k] += share[j] / sum * qkv[j * 3 * WIDTH + 2 * WIDTH + k];
        }
    }
}

static void norm_of_block(const Network *n, int block, int part, double eps, double *x, int64_t rows)
{
    char name[80];
    block_name(n, block, part, "", name);
    norm(numbers_of(n, "%s.weight", name), numbers_of(n, "%s.bias", name), eps, x, rows);
}

static void map_of_block(const Network *n, int block, int part, const double *x, int64_t rows, double *y)
{
    char weight[80], bias[80];
    block_name(n, block, part, "weight", weight);
    block_name(n, block, part, "bias", bias);
    map(numbers_of(n, "%s", weight), numbers_of(n, "%s", bias), x, rows, (int)parts[part].rows, (int)parts[part].columns, y);
}

/* The patches' tokens of a picture (3, grid patch, grid patch) behind the final norm and the projection: (grid^2, OUT or
 * WIDTH). */
static void expect_tokens(const Network *n, int grid, const float *image, double *out)
{
    static double x[TOKENS_MOST * WIDTH], y[TOKENS_MOST * WIDTH], wide[TOKENS_MOST * HIDDEN];
    static float table[TOKENS_MOST * WIDTH];
    int side = grid * n->patch;
    int64_t rows = 1 + grid * grid;
    double eps = n->clip ? 1e-5 : 1e-6;
    const float *token = numbers_of(n, n->clip ? "class_embedding" : "cls_token"),
                *kernel = numbers_of(n, n->clip ? "conv1.weight" : "patch_embed.proj.weight"),
                *bias = n->clip ? NULL : numbers_of(n, "patch_embed.proj.bias");
    position_resize(numbers_of(n, n->clip ? "positional_embedding" : "pos_embed"), n->grid, n->grid, WIDTH, true, grid, grid,
                    table);
    for (int64_t i = 0; i < rows; i++)
        for (int k = 0; k < WIDTH; k++) {
            double sum = i ? bias ? (double)bias[k] : 0 : (double)token[k];
            for (int64_t at = 0; i && at < 3 * n->patch * n->patch; at++) {
                int64_t c = at / (n->patch * n->patch), r = at / n->patch % n->patch + (i - 1) / grid * n->patch,
                        s = at % n->patch + (i - 1) % grid * n->patch;
                sum += (double)kernel[k * 3 * n->patch * n->patch + at] * (double)image[(c * side + r) * side + s];
            }
            x[i * WIDTH + k] = sum + (double)table[i * WIDTH + k];
        }
    if (n->clip)
        norm(numbers_of(n, "ln_pre.weight"), numbers_of(n, "ln_pre.bias"), eps, x, rows);
    for (int b = 0; b < BLOCKS; b++) {
        memcpy(y, x, sizeof y);
        norm_of_block(n, b, NORM1, eps, y, rows);
        map_of_block(n, b, QKV, y, rows, wide);
        attend(wide, rows, y);
        map_of_block(n, b, PROJ, y, rows, wide);
        for (int64_t i = 0; i < rows * WIDTH; i++)
            y[i] = x[i] += wide[i];
        norm_of_block(n, b, NORM2, eps, y, rows);
        map_of_block(n, b, FC1, y, rows, wide);
        for (int64_t i = 0; i < rows * HIDDEN; i++)
            wide[i] *= n->clip ? 1 / (1 + exp(-1.702 * wide[i])) : 0.5 * (1 + erf(wide[i] / sqrt(2)));
        map_of_block(n, b, FC2, wide, rows, y);
        for (int64_t i = 0; i < rows * WIDTH; i++)
            x[i] += y[i];
    }
    norm(numbers_of(n, n->clip ? "ln_post.weight" : "norm.weight"), numbers_of(n, n->clip ? "ln_post.bias" : "norm.bias"), eps,
         x, rows);
    for (int64_t i = 0; i < rows - 1; i++)
        for (int o = 0; o < (n->clip ? OUT : WIDTH); o++) {
            double sum = n->clip ? 0 : x[(i + 1) * WIDTH + o];
            for (int k = 0; n->clip && k < WIDTH; k++)
                sum += x[(i + 1) * WIDTH + k] * (double)numbers_of(n, "proj")[k * OUT + o];
            out[i * (n->clip ? OUT : WIDTH) + o] = sum;
        }
}

/* ---- the tests */

static Network network;
static Recipe recipe;

static int begin(void **state)
{
    (void)state;
    char here[4096], *cache = getcwd(here, sizeof here) ? file_join(here, HOME "/cache") : NULL;
    if (!cache || setenv("XDG_CACHE_HOME", cache, 1) || !file_remove(HOME) || !file_make_folder(HOME))
        return 1;
    memory_free(cache);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

/* A recipe that is made for such a file, with a student of a moment. */
static void make_small(const char *name, const char *teacher, const char *size)
{
    static const char *const keys[] = {
        "image.size=16",        "encoder.patch=4",  "encoder.width=16",      "encoder.depth=12",  "encoder.heads=2",
        "data.world_images=16", "data.val_share=0", "schedule.batch_size=4", "schedule.epochs=2", "schedule.warmup_epochs=0.5",
        "run.max_steps=2",      "run.threads=1"};
    char text[256];
    if (!recipe_load(&recipe, name))
        fail_msg("%s", error_text());
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_true(recipe_set(&recipe, keys[i]));
    for (int k = 0; k < recipe.decoder_count && recipe.decoders[k].kind == DECODER_TRANSFORMER; k++)
        recipe.decoders[k].width = 16, recipe.decoders[k].depth = 1, recipe.decoders[k].heads = 2;
    if (recipe.mask.kind == MASK_BLOCK)
        assert_true(recipe_set(&recipe, "mask.min_block=2"));
    snprintf(text, sizeof text, "target.image_size=%s", size);
    assert_true(recipe_set(&recipe, text));
    snprintf(text, sizeof text, "target.teacher=%s", teacher);
    assert_true(recipe_set(&recipe, text));
    if (!recipe_check(&recipe))
        fail_msg("%s: %s", name, error_text());
}

static const struct {
    const char *recipe, *file;
    Container container;
    bool clip, half;
    int patch, grid;  /* of the file */
    const char *size; /* of the pictures that the teacher sees */
} cases[] = {
    {"deepmim-clip-vit-b16", "ViT-B-16.pt", TORCH_SCRIPT, true, true, 4, 4, "auto"},
    {"mae-clip-vit-b16", "clip.pth", STATE_DICT, true, false, 4, 3, "auto"}, /* trained at another size */
    {"dbot-clip-vit-b16", "ViT-B-16.pt", TORCH_SCRIPT, true, false, 4, 4, "auto"},
    {"dbot-clip-vit-l16", "ViT-L-14.pt", STATE_DICT, true, true, 2, 4, "8"}, /* other patches, the same grid */
    {"mae-dino-vit-b16", "dino_vitbase16_pretrain.pth", STATE_DICT, false, false, 4, 4, "auto"},
    {"deepmim-dino-vit-b16", "checkpoint.pth", DINO_CHECKPOINT, false, false, 4, 4, "auto"},
};
enum { CASES = sizeof cases / sizeof *cases };

static void prepare(int i, char path[256])
{
    snprintf(path, 256, HOME "/%s", cases[i].file);
    make(&network, cases[i].clip, cases[i].patch, cases[i].grid);
    write_network(&network, path, cases[i].container, cases[i].half);
    make_small(cases[i].recipe, path, cases[i].size);
}

static void their_recipes_train(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        char path[256], out[64];
        prepare(i, path);
        snprintf(out, sizeof out, HOME "/run-%d", i);
        run_until(&recipe, out, false, 0, PRETRAIN_DONE);
    }
}

/* Pictures come with the student's statistics, which CLIP's are not. */
static void targets_are_their_tokens(void **state)
{
    (void)state;
    static const double mean[] = {0.485, 0.456, 0.406}, std[] = {0.229, 0.224, 0.225},
                        clip_mean[] = {0.48145466, 0.4578275, 0.40821073}, clip_std[] = {0.26862954, 0.26130258, 0.27577711};
    static float images[3 * SIDE * SIDE], seen[3 * SIDE * SIDE], found[16 * WIDTH];
    static double expected[16 * WIDTH];
    static uint8_t hidden[16] = {0, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1};
    for (int i = 0; i < CASES; i++) {
        char path[256];
        MimTeacher teacher;
        TrainerMetrics metrics;
        TrainerOptions options = {
            .batch = 1, .micro_batch = 1, .evaluate_only = true, .keep_predictions = true, .teacher = &teacher};
        prepare(i, path);
        for (int k = 0; k < recipe.decoder_count; k++)
            recipe.decoders[k].loss.on = LOSS_ON_ALL;
        if (!teacher_of(&recipe, 0, &teacher) || !device_open("cpu", 1, &options.device))
            fail_msg("%s", error_text());
        int side = mim_teacher_rows(&teacher);
        Random random = random_stream(9, RANDOM_TEST, 0, 0, 0);
        for (int k = 0; k < 3 * side * side; k++) {
            int c = k / (side * side);
            images[k] = (float)random_normal(&random);
            seen[k] = images[k];
            if (cases[i].clip)
                seen[k] = (float)(((double)images[k] * std[c] + mean[c] - clip_mean[c]) / clip_std[c]);
        }
        Trainer *t = trainer_open(&recipe, &options);
        if (!t || !teacher_begin(&recipe, t, NULL) ||
            !trainer_evaluate(t, &(TrainerBatch){.images = images, .teacher_images = images, .hidden = hidden}, 1, &metrics))
            fail_msg("%s: %s", cases[i].recipe, error_text());
        int numbers = trainer_outputs(t, 0);
        assert_int_equal(numbers, cases[i].clip ? OUT : WIDTH);
        assert_int_equal(trainer_places(t, 0), 16);
        trainer_target(t, 0, found);
        expect_tokens(&network, 4, seen, expected);
        for (int k = 0; k < 16 * numbers; k++)
            if (fabs((double)found[k] - expected[k]) > 1e-4 * (1 + fabs(expected[k])))
                fail_msg("%s, place %d, number %d: %g is not %g", cases[i].recipe, k / numbers, k % numbers, (double)found[k],
                         expected[k]);
        trainer_close(t);
    }
}

static void hear(void *context, const char *sentence)
{
    text_add(context, "%s\n", sentence);
}

/* What had to be assumed of a teacher's file, and what was left out of it, is said as the run begins. */
static void what_is_assumed_is_said(void **state)
{
    (void)state;
    static const char *const said[] = {"teacher: " HOME "/clip.pth: CLIP's vision tower", "quick_gelu is assumed",
                                       "Left out as unknown: visual.more.parts"};
    Text text = {0};
    make(&network, true, 4, 4);
    ADD(&network, "more.parts", 0, 0.1, 4);
    write_network(&network, HOME "/clip.pth", STATE_DICT, false);
    make_small("mae-clip-vit-b16", HOME "/clip.pth", "auto");
    PretrainOptions options = {.recipe = &recipe, .out = HOME "/assumed", .say = hear, .context = &text};
    if (pretrain_run(&options) != PRETRAIN_DONE)
        fail_msg("%s", error_text());
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (!strstr(text.data, said[i]))
            fail_msg("'%s' does not say '%s'", text.data, said[i]);
    text_free(&text);
}

/* What does not fit is told with the key that helps. */
static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const struct {
        bool clip;
        int patch;
        const char *key, *words[2];
    } wrong[] = {{true, 6, "target.image_size=auto", {"patches of 6 pixels", "target.image_size"}},
                 {true, 2, "target.image_size=auto", {"patches", "target.image_size"}},
                 {false, 4, "target.projection=true", {"target.projection", "teacher"}}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        make(&network, wrong[i].clip, wrong[i].patch, 4);
        write_network(&network, HOME "/wrong.pth", STATE_DICT, false);
        make_small(wrong[i].clip ? "mae-clip-vit-b16" : "mae-dino-vit-b16", HOME "/wrong.pth", "auto");
        assert_true(recipe_set(&recipe, wrong[i].key));
        PretrainOptions options = {.recipe = &recipe, .out = HOME "/refused"};
        assert_int_equal(pretrain_run(&options), PRETRAIN_FAILED);
        for (int k = 0; k < 2; k++)
            if (!strstr(error_text(), wrong[i].words[k]))
                fail_msg("'%s' does not say '%s'", error_text(), wrong[i].words[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(their_recipes_train), cmocka_unit_test(targets_are_their_tokens),
                                       cmocka_unit_test(what_is_assumed_is_said),
                                       cmocka_unit_test(what_does_not_fit_is_refused)};
    return cmocka_run_group_tests(tests, begin, end);
}
