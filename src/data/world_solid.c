/* Solids as sets that a ray enters and leaves: convex pieces (half spaces and at most one curved surface), unions and
 * differences of them; and a torus, to which the ray steps. */
#include "data/world_parts.h"

typedef struct {
    Vec3 normal;
    double height; /* inside: normal . p <= height */
} HalfSpace;

typedef enum { FLAT, BALL, PIPE, TAPER } Curve; /* none; x^2 + y^2 + z^2 or x^2 + y^2 <= size^2; a cone with its tip at z = 1 */

typedef struct {
    int count;
    Curve curve;
    double size;
    HalfSpace faces[8];
} Piece;

/* The part of a ray in a piece. The faces at its ends: the number of a half space, or: */
enum { CURVED = -1 };
typedef struct {
    double in, out;
    int in_face, out_face;
} Span;

#define BEYOND 1e30

/* clang-format off */
static const Piece ball = {.curve = BALL, .size = 1};
static const Piece cylinder = {.count = 2, .curve = PIPE, .size = 1, .faces = {{{0, 0, 1}, 1}, {{0, 0, -1}, 1}}};
static const Piece cone = {.count = 2, .curve = TAPER, .faces = {{{0, 0, 1}, 1}, {{0, 0, -1}, 1}}};
static const Piece cube = {.count = 6, .faces = {
    {{1, 0, 0}, 1}, {{-1, 0, 0}, 1}, {{0, 1, 0}, 1}, {{0, -1, 0}, 1}, {{0, 0, 1}, 1}, {{0, 0, -1}, 1}}};
static const Piece pyramid = {.count = 5, .faces = {
    {{2, 0, 1}, 1}, {{-2, 0, 1}, 1}, {{0, 2, 1}, 1}, {{0, -2, 1}, 1}, {{0, 0, -1}, 1}}};
static const Piece prism = {.count = 5, .faces = {
    {{0, -1, 0}, 0.5}, {{0.8660254037844386, 0.5, 0}, 0.5}, {{-0.8660254037844386, 0.5, 0}, 0.5}, {{0, 0, 1}, 1}, {{0, 0, -1}, 1}}};
static const Piece octahedron = {.count = 8, .faces = {
    {{1, 1, 1}, 1}, {{1, 1, -1}, 1}, {{1, -1, 1}, 1}, {{1, -1, -1}, 1},
    {{-1, 1, 1}, 1}, {{-1, 1, -1}, 1}, {{-1, -1, 1}, 1}, {{-1, -1, -1}, 1}}};
#define THICK 0.32 /* of the cross's bars, half */
static const Piece bars[3] = {
    {.count = 6, .faces = {{{1, 0, 0}, 1}, {{-1, 0, 0}, 1}, {{0, 1, 0}, THICK}, {{0, -1, 0}, THICK}, {{0, 0, 1}, THICK}, {{0, 0, -1}, THICK}}},
    {.count = 6, .faces = {{{1, 0, 0}, THICK}, {{-1, 0, 0}, THICK}, {{0, 1, 0}, 1}, {{0, -1, 0}, 1}, {{0, 0, 1}, THICK}, {{0, 0, -1}, THICK}}},
    {.count = 6, .faces = {{{1, 0, 0}, THICK}, {{-1, 0, 0}, THICK}, {{0, 1, 0}, THICK}, {{0, -1, 0}, THICK}, {{0, 0, 1}, 1}, {{0, 0, -1}, 1}}}};
static const Piece half_ball = {.count = 1, .curve = BALL, .size = 1, .faces = {{{0, 0, 1}, 0}}};
/* What is taken away. */
static const Piece bore = {.curve = PIPE, .size = 0.68};
static const Piece hollow = {.curve = BALL, .size = 0.82};
static const Piece gate = {.count = 3, .faces = {{{1, 0, 0}, 0.55}, {{-1, 0, 0}, 0.55}, {{0, 0, 1}, 0.4}}};

#define TORUS_RING 0.68
#define TORUS_THICK 0.32
static const Piece torus_bounds = {.count = 2, .curve = PIPE, .size = 1, .faces = {{{0, 0, 1}, TORUS_THICK}, {{0, 0, -1}, TORUS_THICK}}};

static const Vec3 corners[] = {{-1, -1, -1}, {-1, -1, 1}, {-1, 1, -1}, {-1, 1, 1}, {1, -1, -1}, {1, -1, 1}, {1, 1, -1}, {1, 1, 1}};
static const Vec3 ends[] = {{-1, 0, 0}, {1, 0, 0}, {0, -1, 0}, {0, 1, 0}, {0, 0, -1}, {0, 0, 1}};
static const Vec3 cylinder_points[] = {{0, 0, -1}, {0, 0, 1}, {-1, 0, -1}, {1, 0, -1}, {-1, 0, 1}, {1, 0, 1}};
static const Vec3 cone_points[] = {{0, 0, -1}, {0, 0, 1}, {-1, 0, -1}, {1, 0, -1}, {0, -1, -1}, {0, 1, -1}};
static const Vec3 pyramid_points[] = {{0, 0, 1}, {-1, -1, -1}, {-1, 1, -1}, {1, -1, -1}, {1, 1, -1}};
static const Vec3 torus_points[] = {{-1, 0, 0}, {1, 0, 0}, {0, -1, 0}, {0, 1, 0}, {-TORUS_RING, 0, TORUS_THICK}, {TORUS_RING, 0, TORUS_THICK}, {0, -TORUS_RING, -TORUS_THICK}, {0, TORUS_RING, -TORUS_THICK}};
static const Vec3 tube_points[] = {{-1, 0, -1}, {1, 0, -1}, {0, -1, -1}, {0, 1, -1}, {-1, 0, 1}, {1, 0, 1}, {0, -1, 1}, {0, 1, 1}};
static const Vec3 bowl_points[] = {{-1, 0, 0}, {1, 0, 0}, {0, -1, 0}, {0, 1, 0}, {0, 0, -1}};
static const Vec3 prism_points[] = {{0, 1, -1}, {0.8660254037844386, -0.5, -1}, {-0.8660254037844386, -0.5, -1}, {0, 1, 1}, {0.8660254037844386, -0.5, 1}, {-0.8660254037844386, -0.5, 1}};
/* clang-format on */

#define POINTS(array) (*points = (array), (int)(sizeof(array) / sizeof *(array)))

int solid_points(SolidKind kind, const Vec3 **points)
{
    switch (kind) {
    case SPHERE:
    case OCTAHEDRON:
    case CROSS:
        return POINTS(ends);
    case CYLINDER:
        return POINTS(cylinder_points);
    case CONE:
        return POINTS(cone_points);
    case PYRAMID:
        return POINTS(pyramid_points);
    case TORUS:
        return POINTS(torus_points);
    case TUBE:
        return POINTS(tube_points);
    case BOWL:
        return POINTS(bowl_points);
    case PRISM:
        return POINTS(prism_points);
    default:
        return POINTS(corners);
    }
}

static double size_of(double x)
{
    return x < 0 ? -x : x;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

double solid_support(SolidKind kind, Vec3 d)
{
    double round = sqrt(d.x * d.x + d.y * d.y), length = sqrt(vec3_dot(d, d)), most = -BEYOND;
    double x = size_of(d.x), y = size_of(d.y), z = size_of(d.z);
    switch (kind) {
    case SPHERE:
        return length;
    case CYLINDER:
    case TUBE:
        return round + z;
    case CONE:
        return larger(d.z, round - d.z);
    case TORUS:
        return TORUS_RING * round + TORUS_THICK * length;
    case BOWL:
        return d.z < 0 ? length : round;
    case CROSS:
        return THICK * (x + y + z) + (1 - THICK) * larger(x, larger(y, z));
    default: {
        const Vec3 *points;
        for (int i = solid_points(kind, &points); i-- > 0;)
            most = larger(most, vec3_dot(points[i], d));
        return most;
    }
    }
}

double solid_reach(SolidKind kind, Vec3 s)
{
    double most = 0, round = larger(s.x, s.y);
    const Vec3 *points;
    switch (kind) {
    case SPHERE:
        return larger(round, s.z);
    case CYLINDER:
    case TUBE:
    case CONE:
        return sqrt(round * round + s.z * s.z);
    case TORUS:
        return larger(round, TORUS_THICK * s.z);
    case BOWL:
        return larger(round, s.z);
    case CROSS:
        for (int i = 0; i < 3; i++) {
            Vec3 corner = vec3(s.x * (i == 0 ? 1 : THICK), s.y * (i == 1 ? 1 : THICK), s.z * (i == 2 ? 1 : THICK));
            most = larger(most, vec3_dot(corner, corner));
        }
        return sqrt(most);
    default:
        for (int i = solid_points(kind, &points); i-- > 0;) {
            Vec3 corner = vec3(points[i].x * s.x, points[i].y * s.y, points[i].z * s.z);
            most = larger(most, vec3_dot(corner, corner));
        }
        return sqrt(most);
    }
}

/* Cuts the span to a <= t <= b. */
static void span_cut(Span *s, double a, double b)
{
    if (a > s->in) {
        s->in = a;
        s->in_face = CURVED;
    }
    if (b < s->out) {
        s->out = b;
        s->out_face = CURVED;
    }
}

static void span_empty(Span *s)
{
    s->in = BEYOND;
    s->out = -BEYOND;
}

/* Where a t^2 + 2 b t + c <= 0. */
static void span_curve(const Piece *piece, Vec3 o, Vec3 d, Span *s)
{
    double a = d.x * d.x + d.y * d.y, b = o.x * d.x + o.y * d.y, c = o.x * o.x + o.y * o.y;
    if (piece->curve == BALL) {
        a += d.z * d.z;
        b += o.z * d.z;
        c += o.z * o.z;
    }
    if (piece->curve == TAPER) { /* ((1 - z) / 2)^2 is the square of the radius */
        double top = (1 - o.z) * 0.25;
        a -= d.z * d.z * 0.25;
        b += top * d.z;
        c -= top * (1 - o.z);
        if (a > -1e-12 && a < 1e-12)
            a = 1e-12;
    } else {
        c -= piece->size * piece->size;
        if (a < 1e-12) { /* along a pipe */
            if (c > 0)
                span_empty(s);
            return;
        }
    }
    double square = b * b - a * c;
    if (square < 0) {
        if (a > 0)
            span_empty(s);
        return;
    }
    double root = sqrt(square), first = (-b - root) / a, second = (-b + root) / a;
    if (a > 0)
        span_cut(s, first, second);
    else if (d.z > 0) /* a steep ray meets the cone and its mirror image once each; the cone is the lower one */
        span_cut(s, -BEYOND, second);
    else
        span_cut(s, first, BEYOND);
}

static Span span_of(const Piece *piece, Vec3 o, Vec3 d)
{
    Span s = {-BEYOND, BEYOND, CURVED, CURVED};
    for (int i = 0; i < piece->count; i++) {
        double fall = vec3_dot(piece->faces[i].normal, d), room = piece->faces[i].height - vec3_dot(piece->faces[i].normal, o);
        if (fall == 0) {
            if (room < 0)
                span_empty(&s);
            continue;
        }
        double t = room / fall;
        if (fall > 0 && t < s.out) {
            s.out = t;
            s.out_face = i;
        } else if (fall < 0 && t > s.in) {
            s.in = t;
            s.in_face = i;
        }
        if (s.in >= s.out)
            return s;
    }
    if (piece->curve != FLAT)
        span_curve(piece, o, d, &s);
    return s;
}

static Vec3 face_normal(const Piece *piece, int face, Vec3 p)
{
    if (face != CURVED)
        return piece->faces[face].normal;
    return vec3(p.x, p.y, piece->curve == BALL ? p.z : piece->curve == TAPER ? (1 - p.z) * 0.25 : 0);
}

static bool torus_hit(Vec3 o, Vec3 d, double least, double *t, Vec3 *normal)
{
    enum { STEPS = 64 };
    const double near = 1e-4;
    Span s = span_of(&torus_bounds, o, d);
    if (s.in >= s.out || s.out <= least)
        return false;
    double at = larger(s.in, least), pace = 1 / sqrt(vec3_dot(d, d));
    for (int i = 0; i < STEPS && at < s.out; i++) {
        Vec3 p = vec3_along(o, at, d);
        double round = sqrt(p.x * p.x + p.y * p.y);
        if (round < 1e-9)
            round = 1e-9;
        double away = round - TORUS_RING, middle = sqrt(away * away + p.z * p.z), distance = middle - TORUS_THICK;
        if (distance < near) {
            Vec3 n = vec3(p.x * away / round, p.y * away / round, p.z);
            if (vec3_dot(n, d) < 0) {
                *t = at;
                *normal = n;
                return true;
            }
            distance = larger(distance, 10 * near); /* it leaves a surface on which it began */
        }
        at += distance * pace;
    }
    return false;
}

static bool piece_hit(const Piece *piece, Vec3 o, Vec3 d, double least, double *t, Vec3 *normal)
{
    Span s = span_of(piece, o, d);
    if (s.in >= s.out || s.out <= least)
        return false;
    *t = s.in;
    *normal = face_normal(piece, s.in_face, vec3_along(o, s.in, d));
    return true;
}

/* A piece without what another takes away. */
static bool rest_hit(const Piece *piece, const Piece *taken, Vec3 o, Vec3 d, double least, double *t, Vec3 *normal)
{
    Span s = span_of(piece, o, d);
    if (s.in >= s.out || s.out <= least)
        return false;
    Span hole = span_of(taken, o, d);
    bool none = hole.in >= hole.out || hole.in >= s.out || hole.out <= s.in;
    if (none || (s.in < hole.in && hole.in > least)) {
        *t = s.in;
        *normal = face_normal(piece, s.in_face, vec3_along(o, s.in, d));
        return true;
    }
    if (hole.out >= s.out)
        return false;
    *t = hole.out;
    Vec3 n = face_normal(taken, hole.out_face, vec3_along(o, hole.out, d));
    *normal = vec3(-n.x, -n.y, -n.z);
    return true;
}

bool solid_hit(SolidKind kind, Vec3 o, Vec3 d, double least, double *t, Vec3 *normal)
{
    bool hit = false;
    double other;
    Vec3 facing;
    switch (kind) {
    case SPHERE:
        return piece_hit(&ball, o, d, least, t, normal);
    case BOX:
        return piece_hit(&cube, o, d, least, t, normal);
    case CYLINDER:
        return piece_hit(&cylinder, o, d, least, t, normal);
    case CONE:
        return piece_hit(&cone, o, d, least, t, normal);
    case PYRAMID:
        return piece_hit(&pyramid, o, d, least, t, normal);
    case TORUS:
        return torus_hit(o, d, least, t, normal);
    case TUBE:
        return rest_hit(&cylinder, &bore, o, d, least, t, normal);
    case BOWL:
        return rest_hit(&half_ball, &hollow, o, d, least, t, normal);
    case PRISM:
        return piece_hit(&prism, o, d, least, t, normal);
    case OCTAHEDRON:
        return piece_hit(&octahedron, o, d, least, t, normal);
    case ARCH:
        return rest_hit(&cube, &gate, o, d, least, t, normal);
    case CROSS:
        for (int i = 0; i < 3; i++)
            if (piece_hit(&bars[i], o, d, least, &other, &facing) && (!hit || other < *t)) {
                *t = other;
                *normal = facing;
                hit = true;
            }
        return hit;
    }
    return false;
}
