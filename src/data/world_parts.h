/* Private to the world: the scene, its solids, and arithmetic that rounds the same everywhere. Files that include this are
 * compiled with -ffp-contract=off. No functions of libm but sqrt(), which IEEE 754 rounds exactly. */
#ifndef LACUNA_DATA_WORLD_PARTS_H
#define LACUNA_DATA_WORLD_PARTS_H

#include <float.h>
#include <math.h>

#include "base/random.h"
#include "data/world.h"

_Static_assert(FLT_EVAL_METHOD == 0, "the world's pictures would differ where arithmetic is done in a wider type");

/* World: x to the right and z away from the first camera, y up, the ground at y = 0. A solid's body: within [-1, 1] in each
 * coordinate, z its axis. */
typedef struct {
    double x, y, z;
} Vec3;

static inline Vec3 vec3(double x, double y, double z)
{
    return (Vec3){x, y, z};
}

static inline Vec3 vec3_add(Vec3 a, Vec3 b)
{
    return vec3(a.x + b.x, a.y + b.y, a.z + b.z);
}

/* a + t b */
static inline Vec3 vec3_along(Vec3 a, double t, Vec3 b)
{
    return vec3(a.x + t * b.x, a.y + t * b.y, a.z + t * b.z);
}

static inline Vec3 vec3_minus(Vec3 a, Vec3 b)
{
    return vec3(a.x - b.x, a.y - b.y, a.z - b.z);
}

static inline double vec3_dot(Vec3 a, Vec3 b)
{
    return a.x * b.x + a.y * b.y + a.z * b.z;
}

static inline Vec3 vec3_unit(Vec3 a)
{
    double scale = 1 / sqrt(vec3_dot(a, a));
    return vec3(a.x * scale, a.y * scale, a.z * scale);
}

/* Three rows. */
typedef struct {
    Vec3 x, y, z;
} Turn3;

static inline Vec3 turn3(const Turn3 *m, Vec3 v)
{
    return vec3(vec3_dot(m->x, v), vec3_dot(m->y, v), vec3_dot(m->z, v));
}

/* With the transposed matrix. */
static inline Vec3 turn3_back(const Turn3 *m, Vec3 v)
{
    return vec3_along(vec3_along(vec3(m->x.x * v.x, m->x.y * v.x, m->x.z * v.x), v.y, m->y), v.z, m->z);
}

static inline double between(double low, double value, double high)
{
    return value < low ? low : value > high ? high : value;
}

/* The largest whole number not above x, |x| < 2^31. */
static inline int whole(double x)
{
    int i = (int)x;
    return i - (x < i);
}

/* ---- solids (world_solid.c) */

typedef enum { SPHERE, BOX, CYLINDER, CONE, PYRAMID, TORUS, TUBE, BOWL, PRISM, OCTAHEDRON, CROSS, ARCH } SolidKind;

/* How far the body of a kind reaches from its middle in a direction of any length. */
double solid_support(SolidKind kind, Vec3 direction);

/* The farthest point of the body from its middle, when its axes are stretched by `stretch`. */
double solid_reach(SolidKind kind, Vec3 stretch);

/* The points fixed in the body; returns how many, at most WORLD_POINTS. */
int solid_points(SolidKind kind, const Vec3 **points);

/* Where the ray origin + t direction first lies in the body with t > least: *t and the outward normal there (of any length).
 * False: nowhere. */
bool solid_hit(SolidKind kind, Vec3 origin, Vec3 direction, double least, double *t, Vec3 *normal);

/* ---- the scene (world_scene.c) */

typedef enum { PLAIN, STRIPES, CHECKS, SPOTS, CLOUDS, PATTERNS } Pattern;

typedef struct {
    Pattern pattern;
    Vec3 colours[2]; /* of light, 0..1 for each channel, linear */
    Vec3 across;     /* stripes: across them; otherwise cells for each unit; shifted by: */
    Vec3 shift;
    double cells; /* for a unit of length, or of the body */
    uint32_t salt;
} Surface;

typedef struct {
    SolidKind kind;
    Surface surface;
    double gloss;
    double radius; /* of the sphere around it */
    Vec3 centre;
    Turn3 axes;   /* body to world, without the stretch: columns are the body's axes */
    Turn3 inside; /* world, from the centre, to body */
    Vec3 stretch;
    Vec3 eye; /* the camera, in the body */
} Solid;

typedef enum { PATCH_DISC, PATCH_SQUARE, PATCH_RING, PATCH_TRIANGLE, PATCH_KINDS } PatchKind;

/* A flat shape on a plane. */
typedef struct {
    PatchKind kind;
    double x, y, radius, cosine, sine;
    Surface surface;
} Patch;

enum { PATCHES = 2 }; /* of a plane at most */

/* Ground or wall: points with normal . p = height; right and up are directions in it. */
typedef struct {
    Vec3 normal, right, up;
    double height;
    Surface surface, fine; /* fine: mixed in */
    int patch_count;
    Patch patches[PATCHES];
} Plane;

typedef struct {
    int solid_count;
    Solid solids[WORLD_SOLIDS]; /* the main one first */
    Plane ground, wall;
    Vec3 light;                   /* direction to it, of length 1 */
    Vec3 sun, sky;                /* how bright, for each channel */
    Vec3 eye, right, up, forward; /* the camera, directions of length 1 */
    double opening;               /* half the short side of the picture, at a distance of 1 */
} Scene;

/* The kind of the main solid, without the rest. */
SolidKind scene_label(const World *world, uint64_t index);

/* The scene at a time from 0 to 1 of its motion. */
Scene scene_draw(const World *world, uint64_t index, double time);

#endif
