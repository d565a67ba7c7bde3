#include "data/world_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/new_folder.h"
#include "image/draw.h"

static const WorldMoment STILL = {0, 1};

enum {
    AT_ONCE = 256, /* pictures whose annotations are held in memory */
    PATH_ROOM = 4096,
    DEEPEST = 65535 /* what 16 bits hold */
};

typedef struct {
    const WorldFiles *files;
    const char *folder;
    const char *split; /* "train", "val" */
    World world;
    int done, all;
    char *failure; /* why, from whichever thread it was first */
} Writer;

/* ---- files. None is flushed to the disk: new_folder_end() flushes all at once. */

static bool write_new(const char *path, const void *data, size_t size)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0)
        return error_set("%s cannot be made: %s", path, strerror(errno));
    bool ok = file_write_all(descriptor, path, data, size);
    if (close(descriptor) != 0 && ok)
        ok = error_set("%s cannot be written: %s", path, strerror(errno));
    return ok;
}

static bool write_png(const char *path, uint8_t *png, size_t size)
{
    bool ok = png ? write_new(path, png, size) : error_context("%s", path);
    memory_free(png);
    return ok;
}

static bool write_map(const char *path, const uint8_t *map, int height, int width)
{
    Image image = {.height = height, .width = width, .channels = 1, .data = (uint8_t *)map}; /* only read */
    size_t size = 0;
    uint8_t *png = image_encode_png(&image, &size);
    return write_png(path, png, size);
}

static bool write_depth(const char *path, const WorldTruth *truth)
{
    size_t pixels = (size_t)truth->height * (size_t)truth->width, size = 0;
    uint16_t *depth = memory_new(pixels, sizeof *depth);
    for (size_t i = 0; depth && i < pixels; i++) {
        double millimetres = (double)truth->depth[i] * WORLD_MILLIMETRES + 0.5;
        depth[i] = millimetres < DEEPEST ? (uint16_t)millimetres : DEEPEST;
    }
    uint8_t *png = depth ? image_encode_png16(depth, truth->height, truth->width, &size) : NULL;
    memory_free(depth);
    return write_png(path, png, size);
}

static void picture_path(const Writer *w, const char *kind, const char *class_name, int index, char *path)
{
    snprintf(path, PATH_ROOM, "%s/%s%s/%s/%06d.png", w->folder, kind, w->split, class_name, index);
}

static bool make_folder(const char *a, const char *b, const char *c, const char *d)
{
    char path[PATH_ROOM];
    if (snprintf(path, sizeof path, "%s/%s%s%s%s", a, b, c, *d ? "/" : "", d) >= PATH_ROOM - 64)
        return error_set("the name of the folder %s is too long", a);
    return file_make_folder(path);
}

/* ---- annotations */

static void add_box(Text *t, const ImageBox *box)
{
    text_add(t, "[%d, %d, %d, %d]", box->left, box->top, box->width, box->height);
}

/* COCO's run lengths: down the columns, zeros first. */
static void add_mask(Text *t, const WorldTruth *truth, int solid)
{
    text_add(t, "{\"size\": [%d, %d], \"counts\": [", truth->height, truth->width);
    int run = 0;
    bool inside = false, first = true;
    for (int x = 0; x < truth->width; x++)
        for (int y = 0; y < truth->height; y++) {
            bool here = truth->instances[(size_t)y * (size_t)truth->width + (size_t)x] == solid + 1;
            if (here != inside) {
                text_add(t, "%s%d", first ? "" : ", ", run);
                first = false;
                inside = here;
                run = 0;
            }
            run++;
        }
    text_add(t, "%s%d]}", first ? "" : ", ", run);
}

static void add_annotations(Text *t, int index, const WorldTruth *truth)
{
    for (int s = 0; s < truth->solid_count; s++) {
        const WorldSolid *solid = &truth->solids[s];
        int labelled = 0;
        if (!solid->area)
            continue;
        text_add(t, "%s{\"id\": %d, \"image_id\": %d, \"category_id\": %d, \"iscrowd\": 0, \"area\": %d, \"bbox\": ",
                 t->length ? ",\n" : "", WORLD_SOLIDS * index + s + 1, index, solid->label + 1, solid->area);
        add_box(t, &solid->box);
        text_add(t, ", \"segmentation\": ");
        add_mask(t, truth, s);
        text_add(t, ", \"keypoints\": [");
        for (int p = 0; p < solid->point_count; p++) {
            const WorldPoint *point = &solid->points[p];
            labelled += point->visible > 0;
            text_add(t, p ? ", " : "");
            if (point->visible)
                text_add(t, "%.2f, %.2f, %d", (double)point->x, (double)point->y, point->visible);
            else
                text_add(t, "0, 0, 0");
        }
        text_add(t, "], \"num_keypoints\": %d}", labelled);
    }
}

static void add_head(Text *t, const Writer *w)
{
    text_add(t,
             "{\"info\": {\"description\": \"lacuna's built-in world\", \"seed\": %llu, \"depth_unit\": \"millimetre\"},\n"
             "\"categories\": [",
             (unsigned long long)w->world.seed);
    for (int c = 0; c < WORLD_CLASSES; c++) {
        text_add(t, "%s{\"id\": %d, \"name\": \"%s\", \"supercategory\": \"solid\", \"keypoints\": [", c ? ",\n" : "\n", c + 1,
                 world_class_name(c));
        for (int p = 0; p < world_class_points(c); p++)
            text_add(t, "%s\"point_%d\"", p ? ", " : "", p + 1);
        text_add(t, "], \"skeleton\": []}");
    }
    text_add(t, "],\n\"annotations\": [\n");
}

static void add_images(Text *t, const Writer *w, int count)
{
    text_add(t, "],\n\"images\": [\n");
    for (int i = 0; i < count; i++)
        text_add(t, "%s{\"id\": %d, \"file_name\": \"%s/%06d.png\", \"height\": %d, \"width\": %d}", i ? ",\n" : "", i,
                 world_class_name(world_label(&w->world, (uint64_t)i)), i, w->world.height, w->world.width);
    text_add(t, "]}\n");
}

/* ---- pictures */

static bool write_picture(const Writer *w, int index, Text *annotations)
{
    static const char *const kinds[] = {"truth/instances/", "truth/classes/", "truth/depth/"};
    const char *class_name = world_class_name(world_label(&w->world, (uint64_t)index));
    Image image = {0};
    WorldTruth truth = {0};
    size_t size = 0;
    char path[PATH_ROOM];
    bool ok =
        world_picture(&w->world, (uint64_t)index, STILL, 3, &image) && world_truth(&w->world, (uint64_t)index, STILL, &truth);
    if (ok) {
        picture_path(w, "", class_name, index, path);
        uint8_t *png = image_encode_png(&image, &size);
        ok = write_png(path, png, size);
    }
    for (int k = 0; ok && k < 3; k++) {
        picture_path(w, kinds[k], class_name, index, path);
        ok = k == 2 ? write_depth(path, &truth)
                    : write_map(path, k ? truth.classes : truth.instances, truth.height, truth.width);
    }
    if (ok)
        add_annotations(annotations, index, &truth);
    image_free(&image);
    world_truth_free(&truth);
    return ok && !annotations->failed;
}

static void add_track(Text *t, const WorldTruth *truths, int frames, int solid)
{
    text_add(t, "%s{\"class\": \"%s\", \"boxes\": [", solid ? ",\n" : "\n", world_class_name(truths->solids[solid].label));
    for (int f = 0; f < frames; f++) {
        text_add(t, f ? ", " : "");
        if (truths[f].solids[solid].area)
            add_box(t, &truths[f].solids[solid].box);
        else
            text_add(t, "null");
    }
    text_add(t, "],\n \"points\": [");
    for (int f = 0; f < frames; f++) {
        text_add(t, f ? ",\n  [" : "[");
        for (int p = 0; p < truths->solids[solid].point_count; p++) {
            const WorldPoint *point = &truths[f].solids[solid].points[p];
            text_add(t, "%s[%.2f, %.2f, %d]", p ? ", " : "", (double)point->x, (double)point->y, point->visible);
        }
        text_add(t, "]");
    }
    text_add(t, "]}");
}

static bool write_frame(const Writer *w, int clip, WorldMoment moment, WorldTruth *truth)
{
    char path[PATH_ROOM];
    Image image;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/clips/%04d/%03d.png", w->folder, clip, moment.frame);
    if (!world_truth(&w->world, (uint64_t)clip, moment, truth) || !world_picture(&w->world, (uint64_t)clip, moment, 3, &image))
        return false;
    uint8_t *png = image_encode_png(&image, &size);
    image_free(&image);
    return write_png(path, png, size);
}

static bool write_clip(const Writer *w, int clip)
{
    int frames = w->files->frames;
    char path[PATH_ROOM], name[16];
    Text t = {0};
    WorldTruth *truths = memory_new((size_t)frames, sizeof *truths);
    snprintf(name, sizeof name, "%04d", clip);
    bool ok = truths && make_folder(w->folder, "clips", "", name);
    for (int f = 0; ok && f < frames; f++)
        ok = write_frame(w, clip, (WorldMoment){f, frames}, &truths[f]);
    if (ok) {
        text_add(&t, "{\"class\": \"%s\", \"height\": %d, \"width\": %d, \"frames\": %d, \"solids\": [",
                 world_class_name(truths->solids[0].label), w->world.height, w->world.width, frames);
        for (int s = 0; s < truths->solid_count; s++)
            add_track(&t, truths, frames, s);
        text_add(&t, "]}\n");
        snprintf(path, sizeof path, "%s/clips/%04d/tracks.json", w->folder, clip);
        ok = !t.failed && write_new(path, t.data, t.length);
    }
    for (int f = 0; truths && f < frames; f++)
        world_truth_free(&truths[f]);
    memory_free(truths);
    text_free(&t);
    return ok;
}

/* ---- all of them */

/* Calls write(i) for first .. end - 1 in several threads. */
static bool each(Writer *w, int first, int end, Text *annotations)
{
#pragma omp parallel for num_threads(w->files->threads) schedule(dynamic)
    for (int i = first; i < end; i++) {
        char *failure;
#pragma omp atomic read
        failure = w->failure;
        if (failure)
            continue;
        if (!(annotations ? write_picture(w, i, &annotations[i - first]) : write_clip(w, i))) {
#pragma omp critical
            if (!w->failure)
                w->failure = memory_string(error_text());
        }
    }
    w->done += end - first;
    if (w->failure)
        return error_set("%s", w->failure);
    if (w->files->step)
        w->files->step(w->files->context, w->done, w->all);
    return true;
}

/* Writes a text and empties it. */
static bool append(int descriptor, const char *path, Text *t)
{
    bool ok = !t->failed && (!t->length || file_write_all(descriptor, path, t->data, t->length));
    text_free(t);
    *t = (Text){0};
    return ok;
}

static bool make_split_folders(const Writer *w)
{
    static const char *const kinds[] = {"", "truth/instances/", "truth/classes/", "truth/depth/"};
    for (int k = 0; k < 4; k++)
        for (int c = 0; c < WORLD_CLASSES; c++)
            if (!make_folder(w->folder, kinds[k], w->split, world_class_name(c)))
                return false;
    return true;
}

static bool write_split(Writer *w, const char *split, bool held_out, int count)
{
    char path[PATH_ROOM];
    Text texts[AT_ONCE] = {{0}}, t = {0};
    w->split = split;
    w->world.held_out = held_out;
    if (!count)
        return true;
    if (!make_split_folders(w))
        return false;
    snprintf(path, sizeof path, "%s/truth/%s.json", w->folder, split);
    int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0)
        return error_set("%s cannot be made: %s", path, strerror(errno));
    add_head(&t, w);
    bool ok = append(descriptor, path, &t), any = false;
    for (int first = 0; ok && first < count; first += AT_ONCE) {
        int end = first + AT_ONCE < count ? first + AT_ONCE : count;
        ok = each(w, first, end, texts);
        for (int i = 0; i < AT_ONCE; i++) {
            bool more = texts[i].length > 0; /* in a picture of few pixels nothing may be in sight */
            if (more && any)
                text_add(&t, ",\n");
            any = any || more;
            ok = append(descriptor, path, &t) && append(descriptor, path, &texts[i]) && ok;
        }
    }
    if (ok) {
        add_images(&t, w, count);
        ok = append(descriptor, path, &t);
    }
    if (close(descriptor) != 0 && ok)
        ok = error_set("%s cannot be written: %s", path, strerror(errno));
    return ok;
}

static bool write_all(Writer *w)
{
    const WorldFiles *files = w->files;
    bool ok = make_folder(w->folder, "truth", "", "") && write_split(w, "train", false, files->train) &&
              write_split(w, "val", true, files->val);
    w->world.held_out = false;
    for (int first = 0; ok && first < files->clips; first += AT_ONCE)
        ok = each(w, first, first + AT_ONCE < files->clips ? first + AT_ONCE : files->clips, NULL);
    memory_free(w->failure);
    return ok;
}

bool world_files_write(const WorldFiles *files, const char *out)
{
    char *folder = world_check(&files->world) ? new_folder_begin(out) : NULL;
    Writer w = {.files = files, .folder = folder, .world = files->world, .all = files->train + files->val + files->clips};
    return folder && new_folder_end(folder, write_all(&w));
}
