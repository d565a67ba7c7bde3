/* The built-in world: a lit, textured shape over textured ground, with smaller ones behind it. Integers only, so that every
 * machine and compiler draws the same bytes. A scene is drawn from (seed, index) in units of the picture's short side and looks
 * the same at any size. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/kinds.h"

enum { CIRCLE, SQUARE, TRIANGLE, RING, CROSS, SHAPES };
static const char *const shape_names[SHAPES] = {"circle", "square", "triangle", "ring", "cross"};

enum { UNIT = 4096, SMALL = 2 }; /* the short side's half; most small shapes */

typedef struct {
    uint64_t seed;
    int height, width;
} World;

typedef struct {
    int kind;
    int x, y, radius; /* UNIT */
    int cosine, sine; /* of the rotation, UNIT */
    int colour[3];
    int stripes; /* across the shape; 0: none */
} Shape;

typedef struct {
    Shape shapes[SMALL + 1]; /* the labelled one last, in front */
    int shape_count;
    int light_x, light_y; /* direction to the light, UNIT */
    int ground[2][3];     /* colours between which the ground varies */
    int cell;             /* side of a cell of the ground's texture, UNIT */
    uint32_t salt;
} Scene;

static int between(Random *r, int low, int high)
{
    return low + (int)random_below(r, (uint32_t)(high - low + 1));
}

/* A colour of a hue (0..1535), mixed with grey and darkened by amounts drawn from ranges within 0..255. Draws are statements of
 * their own here and below: the order in which a call's arguments are evaluated differs between compilers. */
static void colour_draw(Random *r, int hue, int least_grey, int most_grey, int least_bright, int most_bright, int colour[3])
{
    int grey = between(r, least_grey, most_grey);
    int bright = between(r, least_bright, most_bright);
    int part = hue % 256;
    int pure[6][3] = {{255, part, 0},       {255 - part, 255, 0}, {0, 255, part},
                      {0, 255 - part, 255}, {part, 0, 255},       {255, 0, 255 - part}};
    for (int c = 0; c < 3; c++) {
        int mixed = (pure[hue / 256][c] * (255 - grey) + 128 * grey) / 255;
        colour[c] = mixed * bright / 255;
    }
}

/* A direction without trigonometry: the tangent of the half angle is uniform, then a quarter turn at random. */
static void turn(Random *r, int *cosine, int *sine)
{
    int64_t t = between(r, -UNIT * 2 / 5, UNIT * 2 / 5), square = t * t, one = (int64_t)UNIT * UNIT;
    int c = (int)((one - square) * UNIT / (one + square)), s = (int)(2 * t * UNIT * UNIT / (one + square));
    int quarter = between(r, 0, 3);
    *cosine = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
    *sine = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
}

static int scene_label(Random *r)
{
    return between(r, 0, SHAPES - 1);
}

static Scene scene_draw(uint64_t seed, uint64_t index)
{
    Random r = random_stream(seed, RANDOM_WORLD, 0, 0, index);
    Scene s = {0};
    int label = scene_label(&r);
    int hue = between(&r, 0, 1535);
    colour_draw(&r, hue, 120, 220, 60, 150, s.ground[0]);
    hue = (hue + between(&r, 0, 300)) % 1536;
    colour_draw(&r, hue, 120, 220, 130, 240, s.ground[1]);
    s.cell = between(&r, UNIT / 8, UNIT / 2);
    s.salt = random_u32(&r);
    turn(&r, &s.light_x, &s.light_y);
    s.shape_count = between(&r, 0, SMALL) + 1;
    for (int i = 0; i < s.shape_count; i++) {
        Shape *shape = &s.shapes[i];
        bool front = i == s.shape_count - 1;
        shape->kind = front ? label : between(&r, 0, SHAPES - 1);
        shape->radius = front ? between(&r, UNIT * 9 / 20, UNIT * 3 / 4) : between(&r, UNIT / 8, UNIT / 4);
        int room = front ? UNIT - shape->radius : UNIT;
        shape->x = between(&r, -room, room);
        shape->y = between(&r, -room, room);
        turn(&r, &shape->cosine, &shape->sine);
        hue = between(&r, 0, 1535);
        colour_draw(&r, hue, 0, 90, 150, 255, shape->colour);
        shape->stripes = between(&r, 0, 2) ? 0 : between(&r, 2, 4);
    }
    return s;
}

static uint32_t lattice(uint32_t salt, int x, int y)
{
    uint32_t h = salt ^ (uint32_t)x * 0x9E3779B1u ^ (uint32_t)y * 0x85EBCA77u;
    h = (h ^ h >> 15) * 0x2C1B3C6Du;
    h = (h ^ h >> 12) * 0x297A2D39u;
    return (h ^ h >> 15) >> 24;
}

/* Smooth noise 0..255: values at the corners of cells, mixed linearly between them. */
static int noise(uint32_t salt, int x, int y, int cell)
{
    int px = x + 64 * UNIT, py = y + 64 * UNIT; /* not negative for sides up to 64 times as long as the other */
    int cx = px / cell, cy = py / cell, fx = (px % cell) * 256 / cell, fy = (py % cell) * 256 / cell;
    int top = (int)lattice(salt, cx, cy) * (256 - fx) + (int)lattice(salt, cx + 1, cy) * fx;
    int bottom = (int)lattice(salt, cx, cy + 1) * (256 - fx) + (int)lattice(salt, cx + 1, cy + 1) * fx;
    return (int)(((int64_t)top * (256 - fy) + (int64_t)bottom * fy) >> 16);
}

/* Whether a point lies in a shape; u, v: the point in the shape's frame, its radius being UNIT. */
static bool shape_has(const Shape *shape, int x, int y, int *u, int *v)
{
    int64_t dx = x - shape->x, dy = y - shape->y;
    if (shape->radius <= 0 || dx > shape->radius || dx < -shape->radius || dy > shape->radius || dy < -shape->radius)
        return false;
    int a = (int)((dx * shape->cosine + dy * shape->sine) / shape->radius);
    int b = (int)((dy * shape->cosine - dx * shape->sine) / shape->radius);
    int aa = a < 0 ? -a : a, bb = b < 0 ? -b : b, square = (a * a + b * b) / UNIT;
    *u = a;
    *v = b;
    switch (shape->kind) {
    case CIRCLE:
        return square < UNIT;
    case SQUARE:
        return aa < UNIT * 7 / 10 && bb < UNIT * 7 / 10;
    case TRIANGLE: /* three half planes; 0.866 is the sine of 60 degrees */
        return b < UNIT / 2 && (aa * 866 - b * 500) / 1000 < UNIT / 2;
    case RING:
        return square < UNIT && square > UNIT * 36 / 100;
    default:
        return (aa < UNIT * 3 / 10 && bb < UNIT * 95 / 100) || (bb < UNIT * 3 / 10 && aa < UNIT * 95 / 100);
    }
}

/* Adds the colour at a point to sum[]. */
static void scene_add(const Scene *s, int x, int y, int sum[3])
{
    int u = 0, v = 0;
    for (int i = s->shape_count - 1; i >= 0; i--) {
        const Shape *shape = &s->shapes[i];
        if (!shape_has(shape, x, y, &u, &v))
            continue;
        /* As on a dome: bright on the side of the light, darker towards the rim. */
        int facing = ((x - shape->x) * s->light_x + (y - shape->y) * s->light_y) / shape->radius;
        int light = 205 + facing * 60 / UNIT - (u * u + v * v) / UNIT * 45 / UNIT;
        if (shape->stripes && (((u + UNIT * 2) * shape->stripes / UNIT) & 1))
            light = light * 5 / 8;
        light = light < 30 ? 30 : light > 255 ? 255 : light;
        for (int c = 0; c < 3; c++)
            sum[c] += shape->colour[c] * light / 255;
        return;
    }
    int mix = (noise(s->salt, x, y, s->cell) * 2 + noise(s->salt + 1, x, y, s->cell / 3)) / 3;
    int light = 255;
    for (int i = 0; i < s->shape_count; i++) {
        int reach = s->shapes[i].radius / 4; /* the shadow falls away from the light */
        if (shape_has(&s->shapes[i], x + s->light_x * reach / UNIT, y + s->light_y * reach / UNIT, &u, &v))
            light = 140;
    }
    for (int c = 0; c < 3; c++)
        sum[c] += (s->ground[0][c] * (255 - mix) + s->ground[1][c] * mix) / 255 * light / 255;
}

static void scene_paint(const Scene *s, Image *out)
{
    int height = out->height, width = out->width, side = height < width ? height : width;
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++) {
            int sum[3] = {0};
            for (int sub = 0; sub < 4; sub++) {
                /* Quarters of a pixel, seen from the middle of the picture. */
                int64_t x = 4 * (int64_t)column + 1 + 2 * (sub & 1) - 2 * (int64_t)width;
                int64_t y = 4 * (int64_t)row + 1 + 2 * (sub >> 1) - 2 * (int64_t)height;
                scene_add(s, (int)(x * UNIT / (2 * side)), (int)(y * UNIT / (2 * side)), sum);
            }
            int red = (sum[0] + 2) / 4, green = (sum[1] + 2) / 4, blue = (sum[2] + 2) / 4;
            uint8_t *pixel = out->data + ((size_t)row * (size_t)width + (size_t)column) * (size_t)out->channels;
            if (out->channels == 1) {
                pixel[0] = (uint8_t)((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16);
            } else {
                pixel[0] = (uint8_t)red;
                pixel[1] = (uint8_t)green;
                pixel[2] = (uint8_t)blue;
            }
        }
}

static void world_close(void *self)
{
    memory_free(self);
}

static void world_key(const Source *source, size_t i, char *room, size_t size)
{
    (void)source;
    snprintf(room, size, "world#%zu", i);
}

static int world_label(const Source *source, size_t i)
{
    const World *world = source->self;
    Random r = random_stream(world->seed, RANDOM_WORLD, 0, 0, i);
    return scene_label(&r);
}

static bool world_picture(const Source *source, size_t i, int channels, Image *out)
{
    const World *world = source->self;
    Scene scene = scene_draw(world->seed, i);
    if (!image_new(out, world->height, world->width, channels))
        return false;
    scene_paint(&scene, out);
    return true;
}

static bool world_fingerprint(const Source *source, const uint64_t *samples, size_t count, uint64_t *hash)
{
    const World *world = source->self;
    enum { VERSION = 1 }; /* raised when the pictures change */
    uint64_t what[] = {VERSION, world->seed, (uint64_t)world->height, (uint64_t)world->width};
    *hash = hash_bytes(HASH_START, what, sizeof what);
    *hash = hash_bytes(*hash, samples, count * sizeof *samples);
    return true;
}

static const SourceKind world_kind = {world_close, world_key, world_label, NULL, world_picture, world_fingerprint, NULL};

bool world_open(Source *source, const SourceOptions *options)
{
    World *world = memory_new(1, sizeof *world);
    if (!world)
        return false;
    source->self = world;
    source->kind = &world_kind;
    source->count = options->world_count ? options->world_count : 10000;
    world->seed = options->world_seed;
    world->height = options->world_height ? options->world_height : 64;
    world->width = options->world_width ? options->world_width : 64;
    int large = world->height > world->width ? world->height : world->width;
    int small = world->height < world->width ? world->height : world->width;
    if (small < 1 || large > 16384 || large / small > 32)
        return error_set("the built-in world cannot be drawn %d x %d: sides go from 1 to 16384, one at most 32 times the other",
                         world->height, world->width);
    if (!source_classes(source, SHAPES))
        return false;
    for (int c = 0; c < SHAPES; c++)
        if (!(source->class_names[c] = memory_string(shape_names[c])))
            return false;
    text_add(&source->summary, "%zu pictures of %d x %d in %d classes (the built-in world, seed %llu)", source->count,
             world->height, world->width, SHAPES, (unsigned long long)world->seed);
    return !source->summary.failed;
}
