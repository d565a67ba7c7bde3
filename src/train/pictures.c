#include "train/pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "mim/mask.h"
#include "train/settle.h"

_Static_assert((int)RECIPE_CHANNELS_MAX <= (int)LOADER_CHANNELS, "every recipe's channels can be loaded");

static bool open_sources(const Recipe *r, Pictures *p)
{
    SourceOptions options = {
        .world_count = (size_t)r->data.world_images, .world_height = r->image.size[0], .world_width = r->image.size[1]};
    p->source = source_open(r->data.train, &options);
    if (!p->source || !source_has_channels(p->source, r->image.channels))
        return error_context("data.train");
    if (!r->data.val[0])
        return true;
    /* Held-out pictures of the world are others than those trained on, and fewer. */
    options.world_held_out = true;
    options.world_count = options.world_count / 10 + 1;
    p->val_source = source_open(r->data.val, &options);
    return (p->val_source && source_has_channels(p->val_source, r->image.channels)) || error_context("data.val");
}

static bool list_all(const Source *source, SampleList *list)
{
    list->count = source_count(source);
    list->samples = memory_new(list->count, sizeof *list->samples);
    for (size_t i = 0; list->samples && i < list->count; i++)
        list->samples[i] = i;
    return list->samples != NULL;
}

/* At even distances: the files of a folder are sorted by class. */
static void thin_out(SampleList *list, size_t most)
{
    if (list->count <= most)
        return;
    for (size_t i = 0; i < most; i++)
        list->samples[i] = list->samples[(size_t)((unsigned __int128)i * list->count / most)];
    list->count = most;
}

static ColourOptions colours_of(const Recipe *r)
{
    ColourOptions o = {.jitter_prob = r->augment.jitter_prob};
    memcpy(o.jitter, r->augment.color_jitter, sizeof o.jitter);
    memcpy(o.grey, r->augment.grey, sizeof o.grey);
    memcpy(o.blur, r->augment.blur, sizeof o.blur);
    memcpy(o.solarise, r->augment.solarise, sizeof o.solarise);
    return o;
}

/* With image.draft pictures keep so many pixels that the smallest crop has no fewer than the result. That is a matter of the
 * picture alone, so that it can be kept decoded. */
ImageRequest pictures_form(const Recipe *r)
{
    ColourOptions colours = colours_of(r);
    ImageRequest form = {.channels = r->image.channels, .deep = !colour_changes(&colours), .exif = r->image.exif};
    for (int side = 0; r->image.draft && side < 2; side++) {
        int own = r->image.size[side], its = recipe_teacher_resizes(r) ? r->target.image_size[side] : 0;
        form.draft[side] = (int)ceil((own > its ? own : its) / sqrt(r->augment.crop_scale[0]));
    }
    return form;
}

static LoaderOptions common_options(const Recipe *r)
{
    ImageRequest form = pictures_form(r);
    int workers = r->data.workers;
    if (workers == RECIPE_AUTO)
        workers = settle_workers(r, cpu_count());
    LoaderOptions o = {.seed = r->run.seed,
                       .height = r->image.size[0],
                       .width = r->image.size[1],
                       .channels = r->image.channels,
                       .filter = r->augment.interpolation == INTERPOLATION_BILINEAR  ? RESIZE_BILINEAR
                                 : r->augment.interpolation == INTERPOLATION_LANCZOS ? RESIZE_LANCZOS
                                                                                     : RESIZE_BICUBIC,
                       .exif = form.exif,
                       .shallow = !form.deep,
                       .draft = {form.draft[0], form.draft[1]},
                       .workers = workers,
                       .max_bad = r->data.max_bad};
    if (recipe_teacher_resizes(r))
        memcpy(o.other, r->target.image_size, sizeof o.other);
    recipe_statistics(&r->image.mean, false, r->image.channels, o.mean);
    recipe_statistics(&r->image.std, true, r->image.channels, o.std);
    return o;
}

bool pictures_open(const Recipe *r, Pictures *p)
{
    *p = (Pictures){0};
    bool ok = open_sources(r, p);
    if (ok && p->val_source)
        ok = list_all(p->source, &p->train) && list_all(p->val_source, &p->val);
    else if (ok)
        ok = source_split(p->source, r->data.val_share, &p->train, &p->val);
    size_t room = (size_t)r->data.cache_mb << 20, val_room = p->val_source ? room / 8 : 0;
    ImageRequest form = pictures_form(r);
    ok = ok && (p->cache = picture_cache_new(p->source, &form, room - val_room));
    if (ok && p->val_source)
        ok = (p->val_cache = picture_cache_new(p->val_source, &form, val_room)) != NULL;
    if (!ok) {
        pictures_close(p);
        return false;
    }
    p->held_out = p->val.count;
    thin_out(&p->val, PICTURES_VALIDATED);
    return true;
}

void pictures_close(Pictures *p)
{
    picture_cache_free(p->cache);
    picture_cache_free(p->val_cache);
    sample_list_free(&p->train);
    sample_list_free(&p->val);
    source_close(p->source);
    source_close(p->val_source);
    memory_free(p->val_classes);
    *p = (Pictures){0};
}

bool pictures_classes(Pictures *p, Recipe *r)
{
    int count = source_class_count(p->source), val_count = p->val_source ? source_class_count(p->val_source) : 0;
    if (recipe_method(r) != METHOD_CLASSIFY)
        return true;
    if (count == 0)
        return error_set("data.train: loss.kind cross_entropy learns labels, but %s has none", source_where(p->source));
    if (r->head.classes == RECIPE_AUTO)
        r->head.classes = count;
    if (count > r->head.classes)
        return error_set("head.classes %d: %s has %d classes", r->head.classes, source_where(p->source), count);
    if (!p->val_source)
        return true;
    if (val_count == 0)
        return error_set("data.val: loss.kind cross_entropy learns labels, but %s has none", source_where(p->val_source));
    if (!(p->val_classes = memory_new((size_t)val_count, sizeof *p->val_classes)))
        return false;
    for (int c = 0; c < val_count; c++) {
        int own = 0;
        while (own < count && strcmp(source_class_name(p->source, own), source_class_name(p->val_source, c)) != 0)
            own++;
        if (own == count)
            return error_set("the class %.100s of %s is not among those of %s", source_class_name(p->val_source, c),
                             source_where(p->val_source), source_where(p->source));
        p->val_classes[c] = own;
    }
    return true;
}

bool pictures_statistics(const Pictures *p, const SourceWatch *watch, Recipe *r)
{
    float mean[RECIPE_CHANNELS_MAX], std[RECIPE_CHANNELS_MAX];
    int channels = r->image.channels;
    if (r->image.mean.kind == STATISTICS_AUTO || r->image.std.kind == STATISTICS_AUTO) {
        if (!source_statistics_watched(p->source, p->train.samples, p->train.count, channels, cpu_count(), watch, mean, std))
            return error_context("measuring image.mean and image.std");
    }
    if (r->image.mean.kind != STATISTICS_AUTO && !recipe_statistics(&r->image.mean, false, channels, mean))
        return error_context("image.mean");
    if (r->image.std.kind != STATISTICS_AUTO && !recipe_statistics(&r->image.std, true, channels, std))
        return error_context("image.std");
    recipe_statistics_set(&r->image.mean, channels, mean);
    recipe_statistics_set(&r->image.std, channels, std);
    return true;
}

LoaderOptions pictures_train_options(const Pictures *p, const Recipe *r)
{
    LoaderOptions o = common_options(r);
    o.source = p->source;
    o.samples = p->train.samples;
    o.count = p->train.count;
    o.cache = p->cache;
    o.train = true;
    o.batch = (size_t)r->schedule.batch_size;
    memcpy(o.crop_scale, r->augment.crop_scale, sizeof o.crop_scale);
    memcpy(o.crop_ratio, r->augment.crop_ratio, sizeof o.crop_ratio);
    o.flip = r->augment.flip;
    o.colours = colours_of(r);
    o.views = recipe_method(r) == METHOD_CONTRAST ? 2 : 1;
    return o;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Asked for as the loader asks. */
static bool still_bad(const Pictures *p, uint64_t sample, const ImageRequest *form, bool *bad)
{
    Image image = {0};
    ImageBox box;
    *bad = !source_part(p->source, sample, form, &image, &box);
    image_free(&image);
    return !*bad || !error_is_machine();
}

bool pictures_known_bad(const Pictures *p, const Recipe *r, const BadNames *names, SampleList *list)
{
    *list = (SampleList){0};
    if (!names->count)
        return true;
    size_t capacity = 0;
    ImageRequest form = pictures_form(r);
    char **sorted = memory_new(names->count, sizeof *sorted), *key = memory_new(SOURCE_KEY_SIZE, 1);
    bool ok = sorted && key;
    if (ok) {
        memcpy(sorted, names->names, names->count * sizeof *sorted);
        qsort(sorted, names->count, sizeof *sorted, compare_names);
    }
    for (size_t i = 0; ok && i < p->train.count; i++) {
        bool bad = false;
        source_key(p->source, p->train.samples[i], key, SOURCE_KEY_SIZE);
        if (!bsearch(&key, sorted, names->count, sizeof *sorted, compare_names))
            continue;
        ok = still_bad(p, p->train.samples[i], &form, &bad);
        if (ok && bad && (ok = memory_grow((void **)&list->samples, list->count, &capacity, sizeof *list->samples)))
            list->samples[list->count++] = p->train.samples[i];
    }
    memory_free(sorted);
    memory_free(key);
    if (!ok)
        sample_list_free(list);
    return ok;
}

LoaderOptions pictures_val_options(const Pictures *p, const Recipe *r, int batch)
{
    LoaderOptions o = common_options(r);
    o.source = p->val_source ? p->val_source : p->source;
    o.samples = p->val.samples;
    o.count = p->val.count;
    o.cache = p->val_source ? p->val_cache : p->cache;
    o.batch = (size_t)batch;
    return o;
}

void pictures_masks(const Recipe *r, bool validate, uint32_t stage, uint32_t epoch, const uint64_t *samples, size_t count,
                    uint8_t *hidden)
{
    size_t places = (size_t)recipe_patches(r);
    if (recipe_method(r) != METHOD_MASKED) {
        memset(hidden, 0, count * places);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        Random random = validate ? random_stream(r->run.seed, RANDOM_VALIDATE, 0, 0, samples[i])
                                 : random_stream(r->run.seed, RANDOM_MASK, stage, epoch, samples[i]);
        mask_draw(r, &random, hidden + i * places);
    }
}
