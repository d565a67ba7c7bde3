/* lacuna reconstruct: a sheet of what a run makes of masked pictures. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "image/augment.h"
#include "image/draw.h"
#include "image/prepare.h"
#include "train/checkpoint.h"
#include "train/pictures.h"
#include "train/reconstruct.h"
#include "train/weights.h"

enum { PICTURES_MOST = 1000 };

typedef struct {
    const char *from, *data, *out;
    OptionWords files; /* of --images */
    int count, threads;
    OptionSeed seed;
    const char *device;
    /* made on the way */
    Device opened;
    Recipe recipe;
    float *images;     /* (count, C, H, W) */
    uint64_t *samples; /* by which the masks are drawn */
} Job;

static size_t picture_floats(const Recipe *r)
{
    return (size_t)r->image.channels * (size_t)r->image.size[0] * (size_t)r->image.size[1];
}

static bool new_pictures(Job *job, int count)
{
    size_t floats;
    job->count = count;
    job->samples = memory_new((size_t)count, sizeof *job->samples);
    if (job->samples && size_multiply(picture_floats(&job->recipe), (size_t)count, &floats))
        job->images = memory_new(floats, sizeof *job->images);
    return job->images != NULL;
}

/* ---- pictures from files */

/* The centre of a picture with the shape of the recipe's. */
static ImageBox choose_centre(void *recipe, int height, int width)
{
    const Recipe *r = recipe;
    return crop_centre(height, width, r->image.size[0], r->image.size[1]);
}

static bool read_file(Job *job, const char *path, ResizeScratch *scratch, float *room, float *out)
{
    Recipe *r = &job->recipe;
    float mean[RECIPE_CHANNELS_MAX], std[RECIPE_CHANNELS_MAX];
    ImageRequest request = pictures_form(r);
    Image image;
    request.choose = choose_centre;
    request.context = r;
    if (!recipe_statistics(&r->image.mean, false, request.channels, mean) ||
        !recipe_statistics(&r->image.std, true, request.channels, std) || !image_read_part(path, &request, &image))
        return false;
    ResizeFilter filter = r->augment.interpolation == INTERPOLATION_BILINEAR  ? RESIZE_BILINEAR
                          : r->augment.interpolation == INTERPOLATION_LANCZOS ? RESIZE_LANCZOS
                                                                              : RESIZE_BICUBIC;
    bool ok = image_prepare(&image, (ImageBox){0, 0, image.height, image.width}, r->image.size[0], r->image.size[1], filter,
                            NULL, false, mean, std, scratch, room, out);
    image_free(&image);
    return ok;
}

static bool read_files(Job *job)
{
    ResizeScratch scratch = {0};
    float *room = memory_new(picture_floats(&job->recipe), sizeof *room);
    bool ok = room && new_pictures(job, job->files.count);
    for (int i = 0; ok && i < job->count; i++) {
        job->samples[i] = (uint64_t)i;
        ok = read_file(job, job->files.at[i], &scratch, room, job->images + (size_t)i * picture_floats(&job->recipe));
    }
    resize_scratch_free(&scratch);
    memory_free(room);
    return ok;
}

/* ---- pictures from a source */

/* `count` samples spread evenly over those held out, or over all. */
static bool choose_samples(Job *job, const Pictures *p)
{
    const SampleList *list = p->val.count ? &p->val : &p->train;
    if (!new_pictures(job, (size_t)job->count < list->count ? job->count : (int)list->count))
        return false;
    for (int i = 0; i < job->count; i++)
        job->samples[i] = list->samples[(size_t)i * list->count / (size_t)job->count];
    return true;
}

static bool load_samples(Job *job, const Pictures *p, const Recipe *r)
{
    LoaderOptions options = pictures_val_options(p, r, job->count);
    options.samples = job->samples;
    options.count = (size_t)job->count;
    options.ring = options.workers = 1;
    LoaderBatch batch = {0};
    Loader *loader = loader_open(&options);
    bool ok = loader && loader_next(loader, &batch);
    if (ok)
        memcpy(job->images, batch.images, batch.count * picture_floats(r) * sizeof *job->images);
    loader_close(loader);
    return ok;
}

/* From --data, else the run's held-out pictures, else those it was trained on. */
static bool read_source(Job *job)
{
    Recipe r = job->recipe;
    Pictures p = {0};
    bool known = true;
    if (job->data) {
        r.data.val[0] = 0;
        r.data.val_share = 0;
        if (!recipe_set_flag(&r, "data", job->data, &known))
            return false;
    }
    r.data.cache_mb = 0;
    bool ok = pictures_open(&r, &p) && choose_samples(job, &p) && load_samples(job, &p, &r);
    pictures_close(&p);
    return ok;
}

/* ---- */

static uint8_t *draw_masks(const Job *job)
{
    Recipe r = job->recipe;
    r.run.seed = job->seed.given ? job->seed.value : r.run.seed;
    uint8_t *hidden = memory_new((size_t)job->count, (size_t)recipe_patches(&r));
    if (hidden)
        pictures_masks(&r, true, 0, 0, job->samples, (size_t)job->count, hidden);
    return hidden;
}

/* What has no decoder would paint noise. */
static bool has_decoder(const char *from)
{
    Recipe *recipe = memory_new(1, sizeof *recipe);
    Weights *w = recipe ? weights_open(from, recipe, NULL) : NULL;
    bool has = w && (weights_find(w, "decoders.0.pred.weight") ||
                     error_set("%s holds an encoder alone, and nothing that paints; the full model of a pre-training is needed",
                               from));
    weights_close(w);
    memory_free(recipe);
    return has;
}

static bool draw(Job *job)
{
    Trainer *trainer = NULL;
    uint8_t *hidden = NULL;
    Image sheet = {0};
    Text note = {0};
    bool ok = false;
    if (!checkpoint_recipe(job->from, &job->recipe) || (job->recipe.decoder_count > 0 && !has_decoder(job->from)) ||
        !(job->files.count ? read_files(job) : read_source(job)) || !(trainer = reconstruct_open(&job->recipe, &job->opened)) ||
        !checkpoint_load_weights(job->from, &job->recipe, trainer, &note) || !(hidden = draw_masks(job)))
        goto done;
    if (note.length)
        cli_note(note.data, false);
    ok = reconstruct_sheet(trainer, &job->recipe, job->images, hidden, job->count, &sheet) && image_write_png(job->out, &sheet);
    if (ok)
        printf("%s: %d picture%s, %d x %d pixels\n", job->out, job->count, job->count == 1 ? "" : "s", sheet.width,
               sheet.height);
done:
    text_free(&note);
    image_free(&sheet);
    memory_free(hidden);
    trainer_close(trainer);
    return ok;
}

static int run_reconstruct(void *options, const Arguments *arguments)
{
    Job *job = options;
    bool ok = true;
    if (job->data && job->files.count)
        ok = error_set("--images and --data both name pictures: use one of them");
    else if (job->files.count > PICTURES_MOST)
        ok = error_set("--images takes at most %d files", PICTURES_MOST);
    ok = ok && cli_names_png("out", job->out);
    if (!ok || !device_open(job->device, job->threads, &job->opened))
        return cli_usage(arguments->verb);
    ok = draw(job);
    device_close(&job->opened);
    memory_free(job->images);
    memory_free(job->samples);
    return ok ? EXIT_DONE : cli_failed();
}

#define AT(field) offsetof(Job, field)

static const Option OPTIONS[] = {
    {"from", OPTION_PATH, AT(from), .value = "RUN",
     .help = "a run directory (its newest checkpoint), a checkpoint, or weights of another project",
     .wanted = "RUN, a run directory or a checkpoint"},
    {"out", OPTION_PATH, AT(out), .value = "SHEET.png", .help = "the PNG file to write",
     .wanted = "SHEET.png, the file to write"},
    {"images", OPTION_WORDS, AT(files), .value = "FILE ...", .help = "pictures; all words that follow up to the next flag"},
    {"data", OPTION_PATH, AT(data), .value = "DIR", .help = "pictures from a folder, a list, shards, CIFAR's files or `world`"},
    {"count", OPTION_INT, AT(count), .value = "N", .help = "pictures to take from --data or the run", .initial = "8", .low = 1,
     .high = PICTURES_MOST},
    {"seed", OPTION_SEED, AT(seed), .value = "N", .help = "draws other masks (default: the run's seed)"},
    {"device", OPTION_TEXT, AT(device), .value = "D", .help = "what computes: cpu, cuda or ref", .initial = "cpu"},
    {"threads", OPTION_INT, AT(threads), .value = "N", .help = "threads (default: as many as processors)", .low = 1,
     .high = 1024},
    {0}};

const Verb reconstruct_verb = {
    .name = "reconstruct",
    .line = "draw what a run makes of masked pictures",
    .about =
        "Writes a sheet with a row for each picture: the original, the masked picture, and the reconstruction of every decoder "
        "with the visible patches pasted back. Without --images and --data it takes the run's held-out pictures, else the ones "
        "it was trained on.",
    .options = OPTIONS,
    .examples = "lacuna reconstruct --from runs/deepmim --out sheet.png\n"
                "lacuna reconstruct --from runs/deepmim --images a.jpg b.png --seed 3 --out sheet.png\n",
    .size = sizeof(Job),
    .run = run_reconstruct};
