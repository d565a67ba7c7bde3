/* What a scene is made of. Each draw is a statement of its own, since the order in which a call's arguments are evaluated
 * differs between compilers. */
#include "data/world_parts.h"

enum { TRIES = 8, CLEARANCES = 5 }; /* to place a smaller solid; moments at which it must have room */

/* A solid's way over the ground. */
typedef struct {
    double x, z, x_way, z_way;
    double spin; /* the tangent of half the angle about the vertical at the end */
} Path;

/* What the scene hangs on at its beginning. */
typedef struct {
    Scene *scene;
    double time, distance; /* from camera to main solid */
    Path paths[WORLD_SOLIDS];
    double approach, orbit; /* of the camera: by what part nearer at the end; tangent of half the angle around the main solid */
} Draft;

static double draw(Random *r, double low, double high)
{
    return low + (high - low) * ((double)random_u32(r) * 0x1p-32);
}

/* A colour of light: hue 0..6. */
static Vec3 colour_of(double hue, double saturation, double value)
{
    static const Vec3 pure[7] = {{1, 0, 0}, {1, 1, 0}, {0, 1, 0}, {0, 1, 1}, {0, 0, 1}, {1, 0, 1}, {1, 0, 0}};
    int at = hue >= 5 ? 5 : whole(hue);
    double part = hue - at, grey = value * (1 - saturation), rest = value * saturation;
    Vec3 a = pure[at], b = pure[at + 1];
    return vec3(grey + rest * (a.x + part * (b.x - a.x)), grey + rest * (a.y + part * (b.y - a.y)),
                grey + rest * (a.z + part * (b.z - a.z)));
}

static Vec3 colour_draw(Random *r, double saturation_least, double saturation_most, double dark, double bright)
{
    double hue = draw(r, 0, 6);
    double saturation = draw(r, saturation_least, saturation_most);
    double value = draw(r, dark, bright);
    return colour_of(hue, saturation, value);
}

/* Cosine and sine of an angle by the tangent of its half. */
static void angle_of(double tangent, double *cosine, double *sine)
{
    double scale = 1 / (1 + tangent * tangent);
    *cosine = (1 - tangent * tangent) * scale;
    *sine = 2 * tangent * scale;
}

static Vec3 turned(Vec3 v, double cosine, double sine)
{
    return vec3(cosine * v.x + sine * v.z, v.y, cosine * v.z - sine * v.x);
}

/* A rotation, all equally likely: a quaternion from the unit ball. */
static Turn3 rotation_draw(Random *r)
{
    double w, x, y, z, square;
    do {
        w = draw(r, -1, 1);
        x = draw(r, -1, 1);
        y = draw(r, -1, 1);
        z = draw(r, -1, 1);
        square = w * w + x * x + y * y + z * z;
    } while (square > 1 || square < 0.01);
    double s = 2 / square;
    return (Turn3){{1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)},
                   {s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)},
                   {s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)}};
}

static Surface surface_draw(Random *r, Vec3 first, double saturation, double least_cells, double most_cells)
{
    Surface s = {.colours = {first}};
    s.pattern = (Pattern)random_below(r, PATTERNS);
    Vec3 other = colour_draw(r, 0, saturation, 0.05, 0.85);
    double share = draw(r, 0.35, 0.9);
    s.colours[1] = vec3(first.x + share * (other.x - first.x), first.y + share * (other.y - first.y),
                        first.z + share * (other.z - first.z));
    s.cells = draw(r, least_cells, most_cells);
    double x = draw(r, -1, 1);
    double y = draw(r, -1, 1);
    double z = draw(r, -1, 1);
    s.across = vec3_unit(vec3(x, y, z < 0 ? z - 0.2 : z + 0.2));
    s.shift.x = draw(r, 0, 1);
    s.shift.y = draw(r, 0, 1);
    s.shift.z = draw(r, 0, 1);
    s.salt = random_u32(r);
    return s;
}

/* How the body's axes are stretched, before its size is set: round bodies stay round, others may be long or flat. */
static Vec3 stretch_draw(Random *r, SolidKind kind)
{
    double a = draw(r, 0.75, 1.25);
    double b = draw(r, 0.75, 1.25);
    double c = draw(r, 0.75, 1.25);
    switch (kind) {
    case SPHERE:
        return vec3(1, 0.7 + 0.3 * b, 0.7 + 0.3 * c);
    case CYLINDER:
    case TUBE:
        return vec3(1, 1, b);
    case CONE:
    case PYRAMID:
    case PRISM:
        return vec3(1, 1, 0.25 + b);
    case TORUS:
    case BOWL:
        return vec3(1, 1, b);
    case OCTAHEDRON:
        return vec3(1, 1, 0.2 + b);
    case CROSS:
        return vec3(1, 0.5 + 0.5 * b, 0.5 + 0.5 * c);
    case ARCH:
        return vec3(1, 0.55 * b, 0.5 + 0.5 * c);
    default:
        return vec3(a, b, c);
    }
}

static void solid_draw(Random *r, SolidKind kind, double radius, Solid *s)
{
    s->kind = kind;
    s->radius = radius;
    Vec3 stretch = stretch_draw(r, kind);
    double scale = radius / solid_reach(kind, stretch);
    s->stretch = vec3(stretch.x * scale, stretch.y * scale, stretch.z * scale);
    s->axes = rotation_draw(r);
    Vec3 down = vec3(-s->axes.y.x * s->stretch.x, -s->axes.y.y * s->stretch.y, -s->axes.y.z * s->stretch.z);
    s->centre.y = solid_support(kind, down);
    Vec3 colour = colour_draw(r, 0.1, 0.95, 0.25, 0.9);
    s->surface = surface_draw(r, colour, 0.9, 1.2, 3.2);
    s->gloss = draw(r, -0.5, 0.7);
}

/* Where the solid is at the draft's time. */
static void solid_move(const Draft *draft, const Path *path, Solid *s)
{
    double cosine, sine;
    s->centre.x = path->x + draft->time * path->x_way;
    s->centre.z = path->z + draft->time * path->z_way;
    angle_of(path->spin * draft->time, &cosine, &sine);
    Turn3 a = s->axes;
    s->axes.x = vec3(cosine * a.x.x + sine * a.z.x, cosine * a.x.y + sine * a.z.y, cosine * a.x.z + sine * a.z.z);
    s->axes.z = vec3(cosine * a.z.x - sine * a.x.x, cosine * a.z.y - sine * a.x.y, cosine * a.z.z - sine * a.x.z);
    a = s->axes;
    Vec3 t = vec3(1 / s->stretch.x, 1 / s->stretch.y, 1 / s->stretch.z);
    s->inside = (Turn3){{a.x.x * t.x, a.y.x * t.x, a.z.x * t.x},
                        {a.x.y * t.y, a.y.y * t.y, a.z.y * t.y},
                        {a.x.z * t.z, a.y.z * t.z, a.z.z * t.z}};
}

static void plane_draw(Random *r, Plane *plane, double size, double dark, double bright)
{
    Vec3 colour = colour_draw(r, 0, 0.6, dark, bright);
    plane->surface = surface_draw(r, colour, 0.6, 0.4 / size, 1.6 / size);
    colour = colour_draw(r, 0, 0.6, dark, bright);
    plane->fine = surface_draw(r, colour, 0.6, 2 / size, 6 / size);
    plane->fine.pattern = CLOUDS;
    plane->patch_count = (int)random_below(r, PATCHES + 1);
    for (int i = 0; i < plane->patch_count; i++) {
        Patch *p = &plane->patches[i];
        p->kind = (PatchKind)random_below(r, PATCH_KINDS);
        p->x = draw(r, -3, 3) * size;
        p->y = draw(r, -2, 4) * size;
        p->radius = draw(r, 0.4, 1.3) * size;
        double tangent = draw(r, -1, 1);
        angle_of(tangent, &p->cosine, &p->sine);
        colour = colour_draw(r, 0, 0.8, 0.1, 0.85);
        p->surface = surface_draw(r, colour, 0.8, 0.8 / size, 3 / size);
    }
}

/* The camera at its beginning, looking such that the main solid, at the origin, is seen where it was drawn to be. */
static void camera_draw(Random *r, Draft *draft)
{
    Scene *s = draft->scene;
    const Solid *solid = &s->solids[0];
    s->opening = draw(r, 0.35, 0.6);
    double share = draw(r, 0.5, 0.78); /* of half the short side that the solid's sphere takes */
    double room = 0.85 * (1 - share);
    double x = draw(r, -room, room);
    double y = draw(r, -room, room);
    double fall = draw(r, 0.36, 1.3); /* the tangent of the angle by which the camera looks down */
    double tilt = draw(r, -0.1, 0.1);
    double cosine, sine, flat = 1 / sqrt(1 + fall * fall);
    angle_of(tilt, &cosine, &sine);
    double edge = share * s->opening; /* where a ray touches the sphere */
    draft->distance = solid->radius * sqrt(1 + edge * edge) / edge;
    s->forward = vec3(0, -fall * flat, flat);
    Vec3 up = vec3(0, flat, fall * flat), right = vec3(1, 0, 0);
    s->right = vec3(cosine * right.x, sine * up.y, sine * up.z);
    s->up = vec3(-sine * right.x, cosine * up.y, cosine * up.z);
    for (int side = 0; side < 2; side++, y = -y) {
        Vec3 line = vec3_along(vec3_along(s->forward, x * s->opening, s->right), -y * s->opening, s->up);
        s->eye = vec3_along(solid->centre, -draft->distance, line);
        if (s->eye.y > 0.5 * solid->radius)
            break;
    }
    draft->approach = draw(r, -0.2, 0.25);
    draft->orbit = draw(r, -0.16, 0.16);
}

/* Moves the camera around the main solid's first place to where it is at the draft's time. */
static void camera_move(const Draft *draft)
{
    Scene *s = draft->scene;
    double cosine, sine, far = 1 - draft->approach * draft->time;
    angle_of(draft->orbit * draft->time, &cosine, &sine);
    Vec3 middle = vec3(0, s->solids[0].centre.y, 0), away = turned(vec3_minus(s->eye, middle), cosine, sine);
    s->eye = vec3_along(middle, far, away);
    s->forward = turned(s->forward, cosine, sine);
    s->right = turned(s->right, cosine, sine);
    s->up = turned(s->up, cosine, sine);
}

/* Whether a smaller solid has room on its way: not in another, not in the wall, not before the camera. */
static bool has_room(const Draft *draft, const Path *path, double radius)
{
    const Scene *s = draft->scene;
    for (int c = 0; c < CLEARANCES; c++) {
        double time = (double)c / (CLEARANCES - 1), x = path->x + time * path->x_way, z = path->z + time * path->z_way;
        for (int i = 0; i < s->solid_count; i++) {
            const Path *other = &draft->paths[i];
            double dx = x - other->x - time * other->x_way, dz = z - other->z - time * other->z_way;
            double least = radius + s->solids[i].radius;
            if (dx * dx + dz * dz < least * least * 1.05)
                return false;
        }
        if (s->wall.normal.x * x + s->wall.normal.z * z < s->wall.height + radius)
            return false;
        double dx = x - s->eye.x, dz = z - s->eye.z, least = radius + draft->distance / 2;
        if (dx * dx + dz * dz < least * least)
            return false;
    }
    return true;
}

/* Whether a sphere hides more than the rim of the main solid in the still picture. */
static bool hides_main(const Draft *draft, Vec3 centre, double radius)
{
    const Scene *s = draft->scene;
    Vec3 line = vec3_minus(centre, s->eye);
    double depth = vec3_dot(line, s->forward);
    if (depth > draft->distance)
        return false;
    if (depth < radius)
        return true;
    Vec3 main = vec3_minus(s->solids[0].centre, s->eye);
    double main_depth = vec3_dot(main, s->forward);
    double dx = vec3_dot(line, s->right) / depth - vec3_dot(main, s->right) / main_depth;
    double dy = vec3_dot(line, s->up) / depth - vec3_dot(main, s->up) / main_depth;
    double least = 0.85 * (radius / depth + s->solids[0].radius / main_depth);
    return dx * dx + dy * dy < least * least;
}

static void way_draw(Random *r, Path *path, double most)
{
    path->x_way = draw(r, -most, most);
    path->z_way = draw(r, -most, most);
    path->spin = draw(r, -0.6, 0.6);
}

static void smaller_draw(Random *r, Draft *draft)
{
    Scene *s = draft->scene;
    int count = (int)random_below(r, WORLD_SOLIDS);
    double size = s->solids[0].radius;
    for (int i = 0; i < count; i++) {
        Solid *solid = &s->solids[s->solid_count];
        *solid = (Solid){0};
        SolidKind kind = (SolidKind)random_below(r, WORLD_CLASSES);
        double radius = draw(r, 0.28, 0.55) * size;
        solid_draw(r, kind, radius, solid);
        Path *path = &draft->paths[s->solid_count];
        for (int attempt = 0; attempt < TRIES; attempt++) {
            path->x = draw(r, -2.6, 2.6) * size;
            path->z = draw(r, -1.2, 3.5) * size;
            way_draw(r, path, 0.9 * size);
            if (has_room(draft, path, radius) && !hides_main(draft, vec3(path->x, solid->centre.y, path->z), radius)) {
                s->solid_count++;
                break;
            }
        }
    }
}

static void light_draw(Random *r, Scene *s)
{
    double x = draw(r, -1, 1);
    double y = draw(r, 0.5, 1.4);
    double z = draw(r, -1, 0.6);
    Vec3 light = vec3_unit(vec3(x, y, z));
    double facing = vec3_dot(light, s->wall.normal);
    if (facing < 0.15)
        light = vec3_unit(vec3_along(light, 0.15 - facing, s->wall.normal));
    s->light = light;
    double bright = draw(r, 0.75, 1.25);
    double warm = draw(r, -0.2, 0.2);
    s->sun = vec3(bright * (1 + warm), bright, bright * (1 - warm));
    bright = draw(r, 0.14, 0.36);
    s->sky = vec3(bright * (1 - warm), bright, bright * (1 + warm));
}

/* Held-out pictures have streams of their own, which no seed of the others names. */
static Random scene_stream(const World *world, uint64_t index)
{
    return random_stream(world->seed, RANDOM_WORLD, world->held_out, 0, index);
}

SolidKind scene_label(const World *world, uint64_t index)
{
    Random r = scene_stream(world, index);
    return (SolidKind)random_below(&r, WORLD_CLASSES);
}

Scene scene_draw(const World *world, uint64_t index, double time)
{
    Random r = scene_stream(world, index);
    Scene scene = {.solid_count = 1};
    Draft draft = {.scene = &scene, .time = time};
    SolidKind kind = (SolidKind)random_below(&r, WORLD_CLASSES); /* as scene_label() */
    double size = draw(&r, 0.45, 0.75);
    solid_draw(&r, kind, size, &scene.solids[0]);
    way_draw(&r, &draft.paths[0], 0.35 * size);
    camera_draw(&r, &draft);

    scene.ground.normal = vec3(0, 1, 0);
    scene.ground.right = vec3(1, 0, 0);
    scene.ground.up = vec3(0, 0, 1);
    plane_draw(&r, &scene.ground, size, 0.12, 0.8);
    double tangent = draw(&r, -0.35, 0.35);
    double cosine, sine;
    angle_of(tangent, &cosine, &sine);
    scene.wall.normal = vec3(sine, 0, -cosine);
    scene.wall.right = vec3(cosine, 0, sine);
    scene.wall.up = vec3(0, 1, 0);
    scene.wall.height = -draw(&r, 1.9, 7) * size;
    plane_draw(&r, &scene.wall, size, 0.1, 0.85);
    light_draw(&r, &scene);
    smaller_draw(&r, &draft);

    for (int i = 0; i < scene.solid_count; i++)
        solid_move(&draft, &draft.paths[i], &scene.solids[i]);
    camera_move(&draft);
    for (int i = 0; i < scene.solid_count; i++)
        scene.solids[i].eye = turn3(&scene.solids[i].inside, vec3_minus(scene.eye, scene.solids[i].centre));
    return scene;
}
