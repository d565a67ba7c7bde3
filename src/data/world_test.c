/* The built-in world: the same bytes everywhere, and truths that agree with the pictures and with each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/kinds.h"
#include "data/world_parts.h"

static const WorldMoment STILL = {0, 1};

static void hash_numbers(uint64_t *hash, const int *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[4] = {(uint8_t)numbers[i], (uint8_t)(numbers[i] >> 8), (uint8_t)(numbers[i] >> 16),
                            (uint8_t)(numbers[i] >> 24)};
        *hash = hash_bytes(*hash, bytes, sizeof bytes);
    }
}

static void hash_float(uint64_t *hash, float value)
{
    int bits;
    memcpy(&bits, &value, sizeof bits);
    hash_numbers(hash, &bits, 1);
}

/* Hashes of what is drawn of some samples; whoever changes the world on purpose puts the new numbers here. */
enum { PICTURES, LUMA, INSTANCES, CLASSES, DEPTH, BOXES, KEY_POINTS, CLIPS, HASHES };
static const char *const hash_names[HASHES] = {"pictures", "luma", "instances", "classes", "depth", "boxes", "points", "clips"};
static const uint64_t hashes[HASHES] = {0xe480de801432d3e4, 0xdcdb93fb93e93db1, 0x842355d38b86798c, 0xd011fc0594322a5d,
                                        0x57d71f6bb550691f, 0xa2616eaaf210869a, 0x3dd610b4e45500a7, 0xef69286623bd7eeb};

static void hash_truth(uint64_t *now, const WorldTruth *truth)
{
    size_t pixels = (size_t)truth->height * (size_t)truth->width;
    now[INSTANCES] = hash_bytes(now[INSTANCES], truth->instances, pixels);
    now[CLASSES] = hash_bytes(now[CLASSES], truth->classes, pixels);
    for (size_t i = 0; i < pixels; i++)
        hash_float(&now[DEPTH], truth->depth[i]);
    for (int s = 0; s < truth->solid_count; s++) {
        const WorldSolid *solid = &truth->solids[s];
        int box[] = {solid->label, solid->area, solid->box.top, solid->box.left, solid->box.height, solid->box.width};
        hash_numbers(&now[BOXES], box, 6);
        for (int p = 0; p < solid->point_count; p++) {
            hash_float(&now[KEY_POINTS], solid->points[p].x);
            hash_float(&now[KEY_POINTS], solid->points[p].y);
            hash_float(&now[KEY_POINTS], solid->points[p].depth);
            hash_numbers(&now[KEY_POINTS], &solid->points[p].visible, 1);
        }
    }
}

static void hash_picture(uint64_t *hash, const World *world, uint64_t index, WorldMoment moment, int channels)
{
    Image image;
    assert_true(world_picture(world, index, moment, channels, &image));
    assert_int_equal(image.height, world->height);
    assert_int_equal(image.width, world->width);
    assert_int_equal(image.channels, channels);
    *hash = hash_bytes(*hash, image.data, image_size(&image));
    image_free(&image);
}

static void the_same_bytes_everywhere(void **state)
{
    (void)state;
    static const World worlds[] = {{0, 64, 64, false}, {3, 48, 80, false}, {1, 33, 20, false}, {~(uint64_t)0, 5, 160, false}};
    uint64_t now[HASHES];
    bool same = true;
    for (int h = 0; h < HASHES; h++)
        now[h] = HASH_START;
    for (int w = 0; w < 4; w++)
        for (uint64_t i = 0; i < 40; i++) {
            uint64_t index = i < 36 ? i : i << 40;
            WorldTruth truth;
            hash_picture(&now[PICTURES], &worlds[w], index, STILL, 3);
            hash_picture(&now[LUMA], &worlds[w], index, STILL, 1);
            assert_true(world_truth(&worlds[w], index, STILL, &truth));
            hash_truth(now, &truth);
            world_truth_free(&truth);
            hash_picture(&now[CLIPS], &worlds[w], index, (WorldMoment){1 + (int)i % 7, 9}, 3);
        }
    for (int h = 0; h < HASHES; h++)
        if (now[h] != hashes[h]) {
            print_message("%s: 0x%016llx\n", hash_names[h], (unsigned long long)now[h]);
            same = false;
        }
    if (!same)
        fail_msg("the world has changed");
}

static void sizes_are_checked(void **state)
{
    (void)state;
    static const int bad[][2] = {{0, 8}, {8, -1}, {16385, 600}, {10, 330}};
    for (int i = 0; i < 4; i++) {
        World world = {0, bad[i][0], bad[i][1], false};
        Image image;
        WorldTruth truth;
        assert_false(world_check(&world));
        assert_non_null(strstr(error_text(), "cannot be drawn"));
        assert_false(world_picture(&world, 0, STILL, 3, &image));
        assert_false(world_truth(&world, 0, STILL, &truth));
    }
    World thin = {0, 1, 32, false};
    assert_true(world_check(&thin));
}

static void labels_are_the_main_solids(void **state)
{
    (void)state;
    World world = {7, 16, 16, false};
    int seen[WORLD_CLASSES] = {0};
    for (uint64_t i = 0; i < 2400; i++)
        seen[world_label(&world, i)]++;
    for (int c = 0; c < WORLD_CLASSES; c++) {
        assert_in_range(seen[c], 150, 250);
        for (int other = 0; other < c; other++)
            assert_string_not_equal(world_class_name(c), world_class_name(other));
    }
    for (uint64_t i = 0; i < 100; i++) {
        WorldTruth truth;
        assert_true(world_truth(&world, i, STILL, &truth));
        assert_int_equal(truth.solids[0].label, world_label(&world, i));
        world_truth_free(&truth);
    }
}

static void the_main_solid_is_plain_to_see(void **state)
{
    (void)state;
    World world = {2, 64, 64, false};
    int solids = 0;
    for (uint64_t i = 0; i < 300; i++) {
        WorldTruth truth;
        assert_true(world_truth(&world, i, STILL, &truth));
        const WorldSolid *main = &truth.solids[0];
        assert_in_range(main->area, 64 * 64 / 50, 64 * 64 / 2);
        for (int s = 1; s < truth.solid_count; s++)
            assert_true(truth.solids[s].area < main->area);
        /* The whole of it lies in the picture. */
        assert_true(main->box.top > 0 && main->box.left > 0);
        assert_true(main->box.top + main->box.height < 64 && main->box.left + main->box.width < 64);
        solids += truth.solid_count;
        world_truth_free(&truth);
    }
    assert_in_range(solids, 500, 1000);
}

static void check_maps(const WorldTruth *truth)
{
    int areas[WORLD_SOLIDS] = {0};
    for (int y = 0; y < truth->height; y++)
        for (int x = 0; x < truth->width; x++) {
            size_t at = (size_t)y * (size_t)truth->width + (size_t)x;
            int solid = truth->instances[at] - 1;
            assert_in_range(truth->instances[at], 0, truth->solid_count);
            assert_true(truth->depth[at] > 0 && truth->depth[at] < 60);
            if (solid < 0) {
                assert_int_equal(truth->classes[at], 0);
                continue;
            }
            const ImageBox *box = &truth->solids[solid].box;
            areas[solid]++;
            assert_int_equal(truth->classes[at], 1 + truth->solids[solid].label);
            assert_true(y >= box->top && y < box->top + box->height && x >= box->left && x < box->left + box->width);
        }
    for (int s = 0; s < truth->solid_count; s++)
        assert_int_equal(areas[s], truth->solids[s].area);
}

/* A point in sight has its solid's pixels around it, at its depth; a hidden one has something before it. */
static void check_points(const WorldTruth *truth, int *in_sight, int *hidden)
{
    for (int s = 0; s < truth->solid_count; s++)
        for (int p = 0; p < truth->solids[s].point_count; p++) {
            const WorldPoint *point = &truth->solids[s].points[p];
            int row = (int)point->y, column = (int)point->x, near = 0;
            if (!point->visible)
                continue;
            float least = truth->depth[row * truth->width + column];
            for (int y = row - 2; y <= row + 2; y++) /* a tip may be thinner than a pixel */
                for (int x = column - 2; x <= column + 2; x++)
                    if (y >= 0 && y < truth->height && x >= 0 && x < truth->width) {
                        near += truth->instances[y * truth->width + x] == s + 1;
                        if (truth->depth[y * truth->width + x] < least)
                            least = truth->depth[y * truth->width + x];
                    }
            if (point->visible == 2)
                assert_true(near > 0);
            else
                assert_true(least < point->depth);
            *(point->visible == 2 ? in_sight : hidden) += 1;
        }
}

static void truths_agree(void **state)
{
    (void)state;
    World world = {5, 96, 128, false};
    int in_sight = 0, hidden = 0;
    for (uint64_t i = 0; i < 60; i++) {
        WorldTruth truth;
        assert_true(world_truth(&world, i, (WorldMoment){(int)i % 4, 4}, &truth));
        check_maps(&truth);
        check_points(&truth, &in_sight, &hidden);
        world_truth_free(&truth);
    }
    assert_in_range(in_sight, 200, 1200);
    assert_in_range(hidden, 100, 1200);
}

static void a_scene_is_the_same_at_any_size(void **state)
{
    (void)state;
    World small = {1, 40, 60, false}, large = {1, 200, 300, false};
    int differ = 0;
    for (uint64_t i = 0; i < 10; i++) {
        WorldTruth a, b;
        assert_true(world_truth(&small, i, STILL, &a) && world_truth(&large, i, STILL, &b));
        assert_int_equal(a.solid_count, b.solid_count);
        for (int y = 0; y < 40; y++) /* five times as large: pixels' middles meet */
            for (int x = 0; x < 60; x++) {
                size_t here = (size_t)y * 60 + (size_t)x, there = (size_t)(5 * y + 2) * 300 + (size_t)(5 * x + 2);
                float apart = a.depth[here] - b.depth[there];
                differ += a.instances[here] != b.instances[there] || apart > 0.001F || apart < -0.001F;
            }
        for (int p = 0; p < a.solids[0].point_count; p++)
            assert_true(fabsf(a.solids[0].points[p].x * 5 - b.solids[0].points[p].x) < 0.01F);
        world_truth_free(&a);
        world_truth_free(&b);
    }
    assert_in_range(differ, 0, 5);
}

static void clips_move_smoothly(void **state)
{
    (void)state;
    enum { FRAMES = 12 };
    World world = {9, 64, 64, false};
    float farthest = 0, sum = 0;
    for (uint64_t i = 0; i < 20; i++) {
        uint64_t still = HASH_START, first = HASH_START, last = HASH_START;
        hash_picture(&still, &world, i, STILL, 3);
        hash_picture(&first, &world, i, (WorldMoment){0, FRAMES}, 3);
        hash_picture(&last, &world, i, (WorldMoment){FRAMES - 1, FRAMES}, 3);
        assert_true(still == first && first != last);
        WorldTruth before, now;
        assert_true(world_truth(&world, i, STILL, &before));
        for (int f = 1; f < FRAMES; f++) {
            assert_true(world_truth(&world, i, (WorldMoment){f, FRAMES}, &now));
            assert_int_equal(now.solid_count, before.solid_count);
            for (int p = 0; p < now.solids[0].point_count; p++) {
                const WorldPoint *a = &before.solids[0].points[p], *b = &now.solids[0].points[p];
                float step = hypotf(a->x - b->x, a->y - b->y);
                farthest = step > farthest ? step : farthest;
                sum += step;
            }
            world_truth_free(&before);
            before = now;
        }
        world_truth_free(&before);
    }
    assert_true(farthest < 8);
    assert_true(sum > 20 * 5 * 5); /* five pixels or more for five points of each */
}

/* ---- solids: where rays meet them agrees with how far they reach, which is written down apart */

static void rays_find_the_whole_solid(void **state)
{
    (void)state;
    enum { RAYS = 20000, DIRECTIONS = 20 };
    Random r = random_stream(1, RANDOM_TEST, 0, 0, 0);
    for (int kind = 0; kind < WORLD_CLASSES; kind++) {
        Vec3 directions[DIRECTIONS];
        double reach[DIRECTIONS], farthest = 0;
        for (int i = 0; i < DIRECTIONS; i++) {
            directions[i] = vec3(random_normal(&r), random_normal(&r), random_normal(&r));
            reach[i] = -10;
        }
        for (int i = 0; i < RAYS; i++) {
            Vec3 from = vec3(4 * random_normal(&r), 4 * random_normal(&r), 4 * random_normal(&r)), normal;
            Vec3 to = vec3(random_normal(&r), random_normal(&r), random_normal(&r)), d = vec3_minus(to, from);
            double t;
            if (vec3_dot(from, from) < 4 || !solid_hit((SolidKind)kind, from, d, 0, &t, &normal))
                continue;
            Vec3 p = vec3_along(from, t, d);
            assert_true(t > 0 && vec3_dot(normal, d) < 1e-9); /* it meets the outside */
            if (vec3_dot(p, p) > farthest)
                farthest = vec3_dot(p, p);
            for (int k = 0; k < DIRECTIONS; k++)
                if (vec3_dot(p, directions[k]) > reach[k])
                    reach[k] = vec3_dot(p, directions[k]);
        }
        double most = solid_reach((SolidKind)kind, vec3(1, 1, 1));
        assert_true(sqrt(farthest) < most + 1e-3 && sqrt(farthest) > 0.93 * most);
        for (int k = 0; k < DIRECTIONS; k++) {
            double support = solid_support((SolidKind)kind, directions[k]),
                   length = sqrt(vec3_dot(directions[k], directions[k]));
            assert_true(reach[k] < support + 1e-3 * length);
            assert_true(reach[k] > support - 0.12 * length);
        }
        /* Its points lie on it: a ray from outside to one that faces it ends there. */
        const Vec3 *points;
        int count = solid_points((SolidKind)kind, &points);
        assert_in_range(count, 5, WORLD_POINTS);
        for (int i = 0; i < count; i++) {
            Vec3 from = vec3(points[i].x * 5, points[i].y * 5, points[i].z * 5), normal;
            double t;
            Vec3 d = vec3_minus(vec3(points[i].x * 0.999, points[i].y * 0.999, points[i].z * 0.999), from);
            assert_true(solid_hit((SolidKind)kind, from, d, 0, &t, &normal));
            assert_true(fabs(t - 1) < 0.02);
        }
    }
}

static void solids_stand_on_the_ground(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 300; i++) {
        Scene scene = scene_draw(&(World){3, 64, 64, false}, i, 0.5);
        for (int s = 0; s < scene.solid_count; s++) {
            const Solid *solid = &scene.solids[s];
            double lowest = 10;
            const Vec3 *points;
            for (int p = solid_points(solid->kind, &points); p-- > 0;) {
                Vec3 q = vec3(points[p].x * solid->stretch.x, points[p].y * solid->stretch.y, points[p].z * solid->stretch.z);
                Vec3 at = vec3_add(solid->centre, turn3(&solid->axes, q));
                lowest = at.y < lowest ? at.y : lowest;
                Vec3 back = turn3(&solid->inside, vec3_minus(at, solid->centre));
                assert_true(fabs(back.x - points[p].x) + fabs(back.y - points[p].y) + fabs(back.z - points[p].z) < 1e-9);
            }
            assert_true(lowest > -1e-9);
            if (solid->kind == BOX || solid->kind == PRISM || solid->kind == OCTAHEDRON)
                assert_true(lowest < 1e-9);
            for (int other = 0; other < s; other++) {
                Vec3 apart = vec3_minus(solid->centre, scene.solids[other].centre);
                assert_true(sqrt(vec3_dot(apart, apart)) > solid->radius + scene.solids[other].radius);
            }
        }
        assert_true(scene.eye.y > 0);
    }
}

/* No seed leads from the pictures of training to those that are held out. */
static void held_out_pictures_are_others(void **state)
{
    (void)state;
    enum { INDICES = 4 };
    World held_out = {0, 24, 24, true};
    for (uint64_t i = 0; i < INDICES; i++) {
        Image looked_at, trained_on;
        assert_true(world_picture(&held_out, i, STILL, 3, &looked_at));
        for (uint64_t seed = 0; seed < 8; seed++)
            for (uint64_t k = 0; k < INDICES; k++) {
                World world = {seed < 4 ? seed : 0 - seed, 24, 24, false};
                assert_true(world_picture(&world, k, STILL, 3, &trained_on));
                assert_memory_not_equal(looked_at.data, trained_on.data, image_size(&looked_at));
                image_free(&trained_on);
            }
        image_free(&looked_at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bytes_everywhere),       cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(held_out_pictures_are_others),    cmocka_unit_test(labels_are_the_main_solids),
        cmocka_unit_test(the_main_solid_is_plain_to_see),  cmocka_unit_test(truths_agree),
        cmocka_unit_test(a_scene_is_the_same_at_any_size), cmocka_unit_test(clips_move_smoothly),
        cmocka_unit_test(rays_find_the_whole_solid),       cmocka_unit_test(solids_stand_on_the_ground),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
