#include "report/world_sheet.h"

#include "base/error.h"
#include "base/memory.h"
#include "image/draw.h"
#include "report/sheet.h"

enum { PICTURE, POINTS, MASK, DEPTH_MAP, MIDDLE, LAST, COLUMNS };
static const char *const captions[COLUMNS] = {"picture", "boxes, points", "classes", "depth", "half-way", "end, ways"};
static const WorldMoment STILL = {0, 1};

/* As many colours as classes, bright and apart. */
static const uint8_t class_colours[WORLD_CLASSES][3] = {{230, 85, 75},   {80, 150, 235},  {245, 190, 65},  {100, 190, 100},
                                                        {175, 110, 215}, {70, 200, 195},  {240, 130, 50},  {225, 120, 180},
                                                        {150, 175, 60},  {120, 130, 230}, {200, 155, 115}, {165, 215, 245}};

static void draw_frame(Image *image, ImageBox box, const uint8_t *colour)
{
    int bottom = box.top + box.height - 1, right = box.left + box.width - 1;
    draw_rectangle(image, (ImageBox){box.top, box.left, 1, box.width}, colour);
    draw_rectangle(image, (ImageBox){bottom, box.left, 1, box.width}, colour);
    draw_rectangle(image, (ImageBox){box.top, box.left, box.height, 1}, colour);
    draw_rectangle(image, (ImageBox){box.top, right, box.height, 1}, colour);
}

/* The pixels around a point, `arm` to each side. */
static ImageBox box_around(const WorldPoint *point, int arm)
{
    return (ImageBox){(int)point->y - arm, (int)point->x - arm, 2 * arm + 1, 2 * arm + 1};
}

static void draw_points(Image *image, const WorldTruth *truth)
{
    enum { SMALL = 96 }; /* pictures in which points are drawn smaller */
    static const uint8_t dark[] = {20, 20, 24}, light[] = {255, 250, 210};
    int arm = truth->height < SMALL || truth->width < SMALL ? 0 : 1;
    for (int s = 0; s < truth->solid_count; s++) {
        const WorldSolid *solid = &truth->solids[s];
        if (solid->area)
            draw_frame(image, solid->box, class_colours[solid->label]);
        for (int p = 0; p < solid->point_count; p++) {
            if (solid->points[p].visible == 2)
                draw_rectangle(image, box_around(&solid->points[p], arm + 1), dark);
            if (solid->points[p].visible == 2)
                draw_rectangle(image, box_around(&solid->points[p], arm), light);
            else if (solid->points[p].visible == 1)
                draw_frame(image, box_around(&solid->points[p], arm), light);
        }
    }
}

static void paint_classes(Image *image, const WorldTruth *truth)
{
    static const uint8_t ground[] = {58, 60, 68};
    for (size_t i = 0; i < image_size(image); i++)
        image->data[i] = truth->classes[i / 3] ? class_colours[truth->classes[i / 3] - 1][i % 3] : ground[i % 3];
}

/* Near to far in equal steps of 1 / depth, from yellow over red to dark blue. */
static void paint_depth(Image *image, const WorldTruth *truth)
{
    static const uint8_t stops[][3] = {{14, 12, 48}, {96, 24, 110}, {205, 62, 84}, {250, 150, 60}, {250, 240, 160}};
    enum { PARTS = 4 };
    float nearest = 0, farthest = 1e9F; /* 1 / depth */
    size_t pixels = (size_t)truth->height * (size_t)truth->width;
    for (size_t i = 0; i < pixels; i++)
        if (truth->depth[i] > 0) {
            float inverse = 1 / truth->depth[i];
            nearest = inverse > nearest ? inverse : nearest;
            farthest = inverse < farthest ? inverse : farthest;
        }
    for (size_t i = 0; i < pixels; i++) {
        float share = truth->depth[i] > 0 && nearest > farthest ? (1 / truth->depth[i] - farthest) / (nearest - farthest) : 0;
        int stop = share >= 1 ? PARTS - 1 : (int)(share * PARTS);
        float part = share * PARTS - (float)stop;
        for (int c = 0; c < 3; c++)
            image->data[3 * i + (size_t)c] =
                (uint8_t)((float)stops[stop][c] + part * (float)(stops[stop + 1][c] - stops[stop][c]));
    }
}

/* Where the key points that are in sight at the end came along. */
static bool draw_ways(Image *image, const World *world, uint64_t index, int frames)
{
    WorldTruth end = {0};
    bool ok = world_truth(world, index, (WorldMoment){frames - 1, frames}, &end);
    for (int f = 0; ok && f < frames; f++) {
        WorldTruth truth;
        ok = world_truth(world, index, (WorldMoment){f, frames}, &truth);
        for (int s = 0; ok && s < truth.solid_count; s++)
            for (int p = 0; p < truth.solids[s].point_count; p++) {
                const WorldPoint *point = &truth.solids[s].points[p];
                bool last = f == frames - 1;
                if (end.solids[s].points[p].visible == 2 && point->visible)
                    draw_rectangle(image, box_around(point, last), class_colours[truth.solids[s].label]);
            }
        if (ok)
            world_truth_free(&truth);
    }
    world_truth_free(&end);
    return ok;
}

static bool make_row(const World *world, uint64_t index, int frames, Image *cells)
{
    WorldTruth truth = {0};
    bool ok = world_truth(world, index, STILL, &truth);
    for (int column = 0; ok && column < COLUMNS; column++) {
        int frame = column == MIDDLE ? frames / 2 : column == LAST ? frames - 1 : 0;
        ok = world_picture(world, index, (WorldMoment){frame, frames}, 3, &cells[column]);
    }
    if (ok) {
        draw_points(&cells[POINTS], &truth);
        paint_classes(&cells[MASK], &truth);
        paint_depth(&cells[DEPTH_MAP], &truth);
        ok = draw_ways(&cells[LAST], world, index, frames);
    }
    world_truth_free(&truth);
    return ok;
}

bool world_sheet(const World *world, int rows, int frames, Image *out)
{
    *out = (Image){0};
    if (rows < 1 || rows > WORLD_SHEET_ROWS_MOST)
        return error_set("a sheet of the world has 1 to %d rows, not %d", WORLD_SHEET_ROWS_MOST, rows);
    Image *cells = memory_new((size_t)rows * COLUMNS, sizeof *cells);
    bool ok = cells != NULL;
    for (int row = 0; ok && row < rows; row++)
        ok = make_row(world, (uint64_t)row, frames, cells + (size_t)row * COLUMNS);
    ok = ok && sheet_make(cells, rows, COLUMNS, captions, out);
    for (int i = 0; cells && i < rows * COLUMNS; i++)
        image_free(&cells[i]);
    memory_free(cells);
    return ok;
}
