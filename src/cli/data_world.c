/* lacuna data world: the built-in world as files, or a sheet that shows it. */
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "cli/cli.h"
#include "data/world_files.h"
#include "image/draw.h"
#include "report/world_sheet.h"

typedef struct {
    const char *out, *sheet;
    int count, val, size, clips, frames, rows, threads;
    OptionSeed seed;
} WorldJob;

typedef struct {
    bool drawn;
    double last;
} Progress;

static void show_progress(void *context, int done, int all)
{
    enum { TIMES_A_SECOND = 5 };
    Progress *p = context;
    if (clock_seconds() - p->last < 1.0 / TIMES_A_SECOND)
        return;
    fprintf(stderr, "\r\033[K%d of %d pictures and clips", done, all);
    fflush(stderr);
    p->drawn = true;
    p->last = clock_seconds();
}

static bool write_files(const WorldJob *job, const World *world)
{
    Progress progress = {.last = clock_seconds()};
    WorldFiles files = {.world = *world,
                        .train = job->count,
                        .val = job->val,
                        .clips = job->clips,
                        .frames = job->frames,
                        .threads = job->threads ? job->threads : cpu_count(),
                        .step = isatty(STDERR_FILENO) ? show_progress : NULL,
                        .context = &progress};
    bool ok = world_files_write(&files, job->out);
    if (progress.drawn)
        fprintf(stderr, "\r\033[K");
    if (ok)
        printf("%s: %d pictures of %d x %d in train, %d in val, %d clips of %d frames\n", job->out, job->count, job->size,
               job->size, job->val, job->clips, job->frames);
    return ok;
}

static bool write_sheet(const WorldJob *job, const World *world)
{
    Image sheet;
    bool ok = world_sheet(world, job->rows, job->frames, &sheet) && image_write_png(job->sheet, &sheet);
    if (ok)
        printf("%s: %d pictures, %d x %d pixels\n", job->sheet, job->rows, sheet.width, sheet.height);
    image_free(&sheet);
    return ok;
}

static int run_world(void *options, const Arguments *arguments)
{
    const WorldJob *job = options;
    World world = {.seed = job->seed.value, .height = job->size, .width = job->size};
    if (!job->out && !job->sheet) {
        error_set("data world wants --out DIR, a folder for the pictures, or --sheet FILE.png");
        return cli_usage(arguments->verb);
    }
    if (job->sheet && !cli_names_png("sheet", job->sheet))
        return cli_usage(arguments->verb);
    bool ok = (!job->out || write_files(job, &world)) && (!job->sheet || write_sheet(job, &world));
    return ok ? EXIT_DONE : cli_failed();
}

#define AT(field) offsetof(WorldJob, field)

static const Option OPTIONS[] = {
    {"out", OPTION_PATH, AT(out), .value = "DIR",
     .help = "the folder to write to: one that is not there, or an empty one, which is replaced"},
    {"count", OPTION_INT, AT(count), .value = "N", .help = "pictures in DIR/train", .initial = "1000", .low = 1,
     .high = 1000000},
    {"val", OPTION_INT, AT(val), .value = "N", .help = "pictures in DIR/val, which no seed puts into a DIR/train",
     .initial = "100", .low = 0, .high = 1000000},
    {"clips", OPTION_INT, AT(clips), .value = "N", .help = "clips in DIR/clips", .initial = "0", .low = 0, .high = 10000},
    {"frames", OPTION_INT, AT(frames), .value = "N", .help = "frames of a clip; more of them are slower, not longer",
     .initial = "16", .low = 2, .high = 1000},
    {"size", OPTION_INT, AT(size), .value = "N", .help = "pixels of a side", .initial = "64", .low = 1, .high = WORLD_SIDE},
    {"seed", OPTION_SEED, AT(seed), .value = "N",
     .help = "draws others; with 0, the default, the pictures are those on which `world` in a recipe trains"},
    {"sheet", OPTION_PATH, AT(sheet), .value = "FILE.png", .help = "writes a sheet of the first pictures with their truths"},
    {"rows", OPTION_INT, AT(rows), .value = "N", .help = "pictures on the sheet", .initial = "6", .low = 1,
     .high = WORLD_SHEET_ROWS_MOST},
    {"threads", OPTION_INT, AT(threads), .value = "N",
     .help = "threads (default: as many as processors); the files do not depend on it", .low = 1, .high = 1024},
    {0}};

const Verb data_world_verb = {
    .name = "data world",
    .line = "write the pictures that the program draws, with masks, depth, boxes, key points and clips",
    .about =
        "Writes pictures of the built-in world: a large lit solid of one of twelve kinds, its class, among smaller ones on "
        "textured ground. The same pixels for the same seed and size on every machine.\n"
        "\n"
        "  train/CLASS/000000.png, val/CLASS/..    pictures, for --data\n"
        "  truth/train.json, truth/val.json        COCO's annotations: boxes, masks, key points\n"
        "  truth/instances/train/CLASS/000000.png  8 bits: 0, or 1 + the number of the solid in its picture\n"
        "  truth/classes/train/CLASS/000000.png    8 bits: 0, or the category's id in the annotations\n"
        "  truth/depth/train/CLASS/000000.png      16 bits: millimetres along the viewing axis; 0: none\n"
        "  clips/0000/000.png, tracks.json         frames; for each solid its box and the places of its points in each frame\n"
        "\n"
        "Key points are corners, or ends of axes of round solids, numbered from top to bottom of the first frame. Clip i is "
        "what moves in picture i of train. DIR appears when all of it is written.",
    .options = OPTIONS,
    .examples = "lacuna data world --out world --count 2000 --val 200 --clips 4\n"
                "lacuna data world --sheet world.png --size 112\n",
    .size = sizeof(WorldJob),
    .run = run_world};
