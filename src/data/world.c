#include "data/world.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "data/world_parts.h"

/* What a ray meets first. */
enum { MET_SKY = -3, MET_GROUND, MET_WALL }; /* from 0: the solid */
typedef struct {
    int what;
    double depth; /* t of the ray */
    Vec3 normal;  /* in the body for a solid, of any length */
} Met;

#define FAR_AWAY 60.0 /* metres; what is farther is sky */

static const char *const class_names[WORLD_CLASSES] = {"sphere", "box",  "cylinder", "cone",       "pyramid", "torus",
                                                       "tube",   "bowl", "prism",    "octahedron", "cross",   "arch"};

bool world_check(const World *world)
{
    int large = world->height > world->width ? world->height : world->width;
    int small = world->height < world->width ? world->height : world->width;
    if (small < 1 || large > WORLD_SIDE || large / small > WORLD_PROPORTION)
        return error_set("the built-in world cannot be drawn %d x %d: sides go from 1 to %d, one at most %d times the other",
                         world->height, world->width, WORLD_SIDE, WORLD_PROPORTION);
    return true;
}

const char *world_class_name(int label)
{
    return class_names[label];
}

int world_class_points(int label)
{
    const Vec3 *points;
    return solid_points((SolidKind)label, &points);
}

int world_label(const World *world, uint64_t index)
{
    return (int)scene_label(world, index);
}

static double moment_time(WorldMoment moment)
{
    return moment.frames > 1 ? (double)moment.frame / (moment.frames - 1) : 0;
}

/* ---- rays. A ray is eye + t direction, direction . forward = 1: t is the depth. */

/* Through column x and row y of a picture, in pixels. */
static Vec3 ray_through(const Scene *s, const World *world, double x, double y)
{
    double side = world->height < world->width ? world->height : world->width, scale = s->opening / side;
    return vec3_along(vec3_along(s->forward, (2 * x - world->width) * scale, s->right), (world->height - 2 * y) * scale, s->up);
}

/* Whether a line comes within a solid's sphere; `from` the solid's middle to its origin. */
static bool comes_near(const Solid *solid, Vec3 from, Vec3 d, double length)
{
    double along = vec3_dot(from, d);
    return along * along >= (vec3_dot(from, from) - solid->radius * solid->radius) * length;
}

static Met ray_meets(const Scene *s, Vec3 d)
{
    Met met = {.what = MET_SKY, .depth = FAR_AWAY};
    double fall = d.y, toward = vec3_dot(s->wall.normal, d), length = vec3_dot(d, d), t;
    if (fall < 0 && (t = -s->eye.y / fall) < met.depth)
        met = (Met){MET_GROUND, t, {0, 0, 0}};
    if (toward < 0 && (t = (s->wall.height - vec3_dot(s->wall.normal, s->eye)) / toward) < met.depth)
        met = (Met){MET_WALL, t, {0, 0, 0}};
    for (int i = 0; i < s->solid_count; i++) {
        const Solid *solid = &s->solids[i];
        Vec3 normal;
        if (comes_near(solid, vec3_minus(s->eye, solid->centre), d, length) &&
            solid_hit(solid->kind, solid->eye, turn3(&solid->inside, d), 0, &t, &normal) && t < met.depth)
            met = (Met){i, t, normal};
    }
    return met;
}

static bool in_shadow(const Scene *s, Vec3 p)
{
    for (int i = 0; i < s->solid_count; i++) {
        const Solid *solid = &s->solids[i];
        Vec3 from = vec3_minus(p, solid->centre), normal;
        double t, along = vec3_dot(from, s->light), square = vec3_dot(from, from) - solid->radius * solid->radius;
        if ((square > 0 && along > 0) || along * along < square)
            continue;
        if (solid_hit(solid->kind, turn3(&solid->inside, from), turn3(&solid->inside, s->light), 1e-3, &t, &normal))
            return true;
    }
    return false;
}

/* ---- surfaces */

static double lattice(uint32_t salt, int x, int y, int z)
{
    uint32_t h = salt ^ (uint32_t)x * 0x9E3779B1u ^ (uint32_t)y * 0x85EBCA77u ^ (uint32_t)z * 0xC2B2AE3Du;
    h = (h ^ h >> 15) * 0x2C1B3C6Du;
    h = (h ^ h >> 12) * 0x297A2D39u;
    return (double)((h ^ h >> 15) >> 8) * 0x1p-24;
}

/* Smooth noise 0..1: values at the corners of unit cells, mixed between them. */
static double clouds_plane(uint32_t salt, double x, double y, int z)
{
    int cx = whole(x), cy = whole(y);
    double fx = x - cx, fy = y - cy;
    fx = fx * fx * (3 - 2 * fx);
    fy = fy * fy * (3 - 2 * fy);
    double a = lattice(salt, cx, cy, z), b = lattice(salt, cx + 1, cy, z);
    double c = lattice(salt, cx, cy + 1, z), d = lattice(salt, cx + 1, cy + 1, z);
    double top = a + fx * (b - a), bottom = c + fx * (d - c);
    return top + fy * (bottom - top);
}

static double clouds(uint32_t salt, Vec3 p)
{
    int cz = whole(p.z);
    double fz = p.z - cz, near;
    if (fz == 0)
        return clouds_plane(salt, p.x, p.y, cz);
    fz = fz * fz * (3 - 2 * fz);
    near = clouds_plane(salt, p.x, p.y, cz);
    return near + fz * (clouds_plane(salt, p.x, p.y, cz + 1) - near);
}

/* How much of the second colour there is at a point; on a plane, p.z = 0 and no shift makes it other than that. */
static double pattern_at(const Surface *s, Vec3 p, bool flat)
{
    Vec3 q = vec3(p.x * s->cells + s->shift.x, p.y * s->cells + s->shift.y, flat ? 0 : p.z * s->cells + s->shift.z);
    switch (s->pattern) {
    case STRIPES:
        return whole(2 * vec3_dot(q, s->across)) & 1;
    case CHECKS:
        return (whole(q.x) + whole(q.y) + whole(q.z)) & 1;
    case SPOTS: {
        double x = q.x - whole(q.x) - 0.5, y = q.y - whole(q.y) - 0.5, z = flat ? 0 : q.z - whole(q.z) - 0.5;
        return x * x + y * y + z * z < 0.12;
    }
    case CLOUDS:
        return clouds(s->salt, q);
    default:
        return 0;
    }
}

static Vec3 mixed(Vec3 a, Vec3 b, double share)
{
    return vec3(a.x + share * (b.x - a.x), a.y + share * (b.y - a.y), a.z + share * (b.z - a.z));
}

/* Its colour at a point. Where the cells of the pattern are smaller than `blur`, the size of a pixel, they run together. */
static Vec3 surface_colour(const Surface *s, Vec3 p, bool flat, double blur)
{
    double sharp = between(0, 1.5 - blur * s->cells * 1.5, 1);
    if (sharp <= 0 || s->pattern == PLAIN)
        return s->pattern == PLAIN ? s->colours[0] : mixed(s->colours[0], s->colours[1], 0.5);
    return mixed(s->colours[0], s->colours[1], 0.5 + sharp * (pattern_at(s, p, flat) - 0.5));
}

static bool patch_has(const Patch *patch, double x, double y, Vec3 *inside)
{
    double dx = x - patch->x, dy = y - patch->y, square = patch->radius * patch->radius;
    if (dx * dx + dy * dy >= square)
        return false;
    double a = dx * patch->cosine + dy * patch->sine, b = dy * patch->cosine - dx * patch->sine, r = patch->radius;
    double size = a < 0 ? -a : a;
    *inside = vec3(a, b, 0);
    switch (patch->kind) {
    case PATCH_SQUARE:
        return size < 0.7 * r && b < 0.7 * r && b > -0.7 * r;
    case PATCH_RING:
        return dx * dx + dy * dy > 0.4 * square;
    case PATCH_TRIANGLE:
        return b > -0.5 * r && 0.866 * size + 0.5 * b < 0.5 * r;
    default:
        return true;
    }
}

static Vec3 plane_colour(const Plane *plane, Vec3 p, double blur)
{
    double x = vec3_dot(plane->right, p), y = vec3_dot(plane->up, p);
    Vec3 inside;
    for (int i = plane->patch_count; i-- > 0;)
        if (patch_has(&plane->patches[i], x, y, &inside))
            return surface_colour(&plane->patches[i].surface, inside, true, blur);
    Vec3 at = vec3(x, y, 0);
    return mixed(surface_colour(&plane->surface, at, true, blur), surface_colour(&plane->fine, at, true, blur), 0.4);
}

static Vec3 lit(const Scene *s, Vec3 colour, double sky, double sun)
{
    return vec3(colour.x * (s->sky.x * sky + s->sun.x * sun), colour.y * (s->sky.y * sky + s->sun.y * sun),
                colour.z * (s->sky.z * sky + s->sun.z * sun));
}

/* The light that comes along a ray; `pixel`: the width of a pixel at depth 1. */
static Vec3 ray_light(const Scene *s, Vec3 d, double pixel)
{
    Met met = ray_meets(s, d);
    if (met.what == MET_SKY)
        return vec3(2 * s->sky.x, 2 * s->sky.y, 2 * s->sky.z);
    Vec3 p = vec3_along(s->eye, met.depth, d);
    if (met.what < 0) {
        const Plane *plane = met.what == MET_GROUND ? &s->ground : &s->wall;
        /* Seen at a slant a pixel covers more of the plane. */
        double slant = -vec3_dot(plane->normal, d) / sqrt(vec3_dot(d, d));
        Vec3 colour = plane_colour(plane, p, pixel * met.depth / (slant < 0.05 ? 0.05 : slant));
        double sun = vec3_dot(plane->normal, s->light);
        return lit(s, colour, 1, sun > 0 && !in_shadow(s, vec3_along(p, 1e-4, plane->normal)) ? sun : 0);
    }
    const Solid *solid = &s->solids[met.what];
    Vec3 normal = vec3_unit(turn3_back(&solid->inside, met.normal)),
         body = vec3_along(solid->eye, met.depth, turn3(&solid->inside, d));
    Vec3 colour = surface_colour(&solid->surface, body, false, pixel * met.depth / solid->radius);
    double sun = vec3_dot(normal, s->light), sky = 0.75 + 0.25 * normal.y, shine = 0;
    if (sun <= 0 || in_shadow(s, vec3_along(p, 1e-4, normal)))
        sun = 0;
    else if (solid->gloss > 0) {
        Vec3 view = vec3_unit(d);
        double mirror =
            2 * sun * vec3_dot(normal, view) - vec3_dot(s->light, view); /* cosine to the mirrored light, negative */
        if (mirror < 0) {
            mirror *= mirror; /* 2 */
            mirror *= mirror;
            mirror *= mirror;
            mirror *= mirror; /* 16 */
            shine = solid->gloss * mirror;
        }
    }
    return vec3_along(lit(s, colour, sky, sun), shine, s->sun);
}

/* ---- the picture */

typedef struct {
    const Scene *scene;
    const World *world;
    double pixel; /* its width at depth 1 */
} View;

/* Light to a byte: a gamma of 2. */
static uint8_t byte_of(double light)
{
    return light >= 1 ? 255 : (uint8_t)(int)(sqrt(light) * 255 + 0.5); // NOLINT(bugprone-incorrect-roundings): 0 <= light < 1
}

static void put(uint8_t *rgb, Vec3 light)
{
    rgb[0] = byte_of(light.x);
    rgb[1] = byte_of(light.y);
    rgb[2] = byte_of(light.z);
}

static int difference(const uint8_t *a, const uint8_t *b)
{
    return abs(a[0] - b[0]) + abs(a[1] - b[1]) + abs(a[2] - b[2]);
}

/* One ray a pixel, then four where neighbours differ. */
static bool paint(const View *view, uint8_t *rgb)
{
    enum { EDGE = 36, RAYS = 4 }; /* a turned square */
    static const double dx[RAYS] = {0.375, 0.875, 0.125, 0.625}, dy[RAYS] = {0.125, 0.375, 0.625, 0.875};
    size_t height = (size_t)view->world->height, width = (size_t)view->world->width, row = 3 * width;
    uint8_t *edge = memory_new(height * width, 1);
    if (!edge)
        return false;
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            put(rgb + y * row + 3 * x,
                ray_light(view->scene, ray_through(view->scene, view->world, (double)x + 0.5, (double)y + 0.5), view->pixel));
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++) {
            const uint8_t *here = rgb + y * row + 3 * x;
            if (x + 1 < width && difference(here, here + 3) > EDGE)
                edge[y * width + x] = edge[y * width + x + 1] = 1;
            if (y + 1 < height && difference(here, here + row) > EDGE)
                edge[y * width + x] = edge[(y + 1) * width + x] = 1;
        }
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++) {
            if (!edge[y * width + x])
                continue;
            Vec3 sum = {0, 0, 0};
            for (int i = 0; i < RAYS; i++) {
                Vec3 light = ray_light(view->scene, ray_through(view->scene, view->world, (double)x + dx[i], (double)y + dy[i]),
                                       view->pixel / 2);
                /* Cut first, or one glint would outshine the others. */
                sum = vec3_add(sum, vec3(between(0, light.x, 1), between(0, light.y, 1), between(0, light.z, 1)));
            }
            put(rgb + y * row + 3 * x, vec3(sum.x / RAYS, sum.y / RAYS, sum.z / RAYS));
        }
    memory_free(edge);
    return true;
}

bool world_picture(const World *world, uint64_t index, WorldMoment moment, int channels, Image *out)
{
    *out = (Image){0};
    if (!world_check(world))
        return false;
    Scene scene = scene_draw(world, index, moment_time(moment));
    int side = world->height < world->width ? world->height : world->width;
    View view = {&scene, world, 2 * scene.opening / side};
    Image colour;
    if (!image_new(&colour, world->height, world->width, 3))
        return false;
    bool ok = paint(&view, colour.data);
    if (ok && channels == 1 && (ok = image_new(out, world->height, world->width, 1)))
        for (size_t i = 0; i < image_size(out); i++)
            out->data[i] = image_luma(colour.data + 3 * i);
    if (ok && channels == 3) {
        *out = colour;
        return true;
    }
    image_free(&colour);
    return ok;
}

/* ---- the truth */

static void truth_maps(const Scene *s, const World *world, WorldTruth *out)
{
    for (int i = 0; i < s->solid_count; i++)
        out->solids[i].box = (ImageBox){world->height, world->width, 0, 0}; /* height and width: the ends, until all is seen */
    for (int y = 0; y < world->height; y++)
        for (int x = 0; x < world->width; x++) {
            size_t at = (size_t)y * (size_t)world->width + (size_t)x;
            Met met = ray_meets(s, ray_through(s, world, x + 0.5, y + 0.5));
            out->depth[at] = met.what == MET_SKY ? 0 : (float)met.depth;
            if (met.what < 0)
                continue;
            WorldSolid *solid = &out->solids[met.what];
            ImageBox *box = &solid->box;
            out->instances[at] = (uint8_t)(1 + met.what);
            out->classes[at] = (uint8_t)(1 + solid->label);
            solid->area++;
            box->top = y < box->top ? y : box->top;
            box->left = x < box->left ? x : box->left;
            box->height = y + 1 > box->height ? y + 1 : box->height;
            box->width = x + 1 > box->width ? x + 1 : box->width;
        }
    for (int i = 0; i < s->solid_count; i++) {
        ImageBox *box = &out->solids[i].box;
        if (out->solids[i].area)
            *box = (ImageBox){box->top, box->left, box->height - box->top, box->width - box->left};
        else
            *box = (ImageBox){0};
    }
}

static Vec3 point_place(const Solid *solid, Vec3 q)
{
    return vec3_add(solid->centre,
                    turn3(&solid->axes, vec3(q.x * solid->stretch.x, q.y * solid->stretch.y, q.z * solid->stretch.z)));
}

static WorldPoint point_seen(const Scene *s, const World *world, Vec3 p)
{
    enum { HIDDEN = 1, IN_SIGHT };
    const double slack = 0.001; /* a point lies on a surface, which is found up to rounding */
    int side = world->height < world->width ? world->height : world->width;
    Vec3 line = vec3_minus(p, s->eye);
    double depth = vec3_dot(line, s->forward);
    WorldPoint point = {.depth = (float)depth};
    if (depth <= 0)
        return point;
    double scale = side / (2 * s->opening * depth);
    double x = world->width / 2.0 + scale * vec3_dot(line, s->right), y = world->height / 2.0 - scale * vec3_dot(line, s->up);
    point.x = (float)x;
    point.y = (float)y;
    if (x < 0 || x >= world->width || y < 0 || y >= world->height)
        return point;
    Met met = ray_meets(s, vec3(line.x / depth, line.y / depth, line.z / depth));
    point.visible = met.depth < depth * (1 - slack) ? HIDDEN : IN_SIGHT;
    return point;
}

/* The order of the points: from top to bottom of the still picture, so that it does not hang on which of a box's equal corners
 * is which. */
static void order_points(const Scene *still, int solid, int *order)
{
    const Vec3 *points;
    int count = solid_points(still->solids[solid].kind, &points);
    double rows[WORLD_POINTS];
    for (int i = 0; i < count; i++) {
        Vec3 line = vec3_minus(point_place(&still->solids[solid], points[i]), still->eye);
        rows[i] = -vec3_dot(line, still->up) / vec3_dot(line, still->forward);
        int at = i;
        for (; at > 0 && rows[order[at - 1]] > rows[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

bool world_truth(const World *world, uint64_t index, WorldMoment moment, WorldTruth *out)
{
    *out = (WorldTruth){0};
    if (!world_check(world))
        return false;
    Scene still = scene_draw(world, index, 0), scene = scene_draw(world, index, moment_time(moment));
    size_t pixels = (size_t)world->height * (size_t)world->width;
    *out = (WorldTruth){.height = world->height,
                        .width = world->width,
                        .solid_count = scene.solid_count,
                        .instances = memory_new(pixels, 1),
                        .classes = memory_new(pixels, 1),
                        .depth = memory_new(pixels, sizeof *out->depth)};
    if (!out->instances || !out->classes || !out->depth) {
        world_truth_free(out);
        return false;
    }
    for (int i = 0; i < scene.solid_count; i++) {
        WorldSolid *solid = &out->solids[i];
        const Vec3 *points;
        int order[WORLD_POINTS] = {0};
        solid->label = (int)scene.solids[i].kind;
        solid->point_count = solid_points(scene.solids[i].kind, &points);
        order_points(&still, i, order);
        for (int p = 0; p < solid->point_count; p++)
            solid->points[p] = point_seen(&scene, world, point_place(&scene.solids[i], points[order[p]]));
    }
    truth_maps(&scene, world, out);
    return true;
}

void world_truth_free(WorldTruth *truth)
{
    memory_free(truth->instances);
    memory_free(truth->classes);
    memory_free(truth->depth);
    *truth = (WorldTruth){0};
}
