/* `lacuna data world`: what it writes is what the world's functions say, in the layouts of other programs. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "data/world.h"
#include "data/world_files.h"
#include "image/image.h"
#include "run_program.h"

#define HOME "data_world_test.tmp"

enum { COUNT = 12, VAL = 5, FRAMES = 4, SIDE = 40 };

static const WorldMoment STILL = {0, 1};

static int write_world(void **state)
{
    (void)state;
    assert_true(file_remove(HOME) && file_make_folder(HOME));
    Ran ran = run_program("data world --out " HOME "/a --count 12 --val 5 --clips 2 --frames 4 --size 40 --seed 3 --threads 3");
    assert_string_equal(ran.out, HOME "/a: 12 pictures of 40 x 40 in train, 5 in val, 2 clips of 4 frames\n");
    assert_string_equal(ran.err, "");
    assert_int_equal(ran.code, 0);
    ran_free(&ran);
    return 0;
}

static int remove_world(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static void read_image(Image *image, int channels, const char *format, ...)
{
    char path[256];
    va_list list;
    va_start(list, format);
    vsnprintf(path, sizeof path, format, list);
    va_end(list);
    assert_true(image_read(path, channels, image));
    assert_int_equal(image->height, SIDE);
    assert_int_equal(image->width, SIDE);
}

static void pictures_and_maps(void **state)
{
    (void)state;
    for (int split = 0; split < 2; split++)
        for (int i = 0; i < (split ? VAL : COUNT); i++) {
            World world = {3, SIDE, SIDE, split == 1};
            const char *class_name = world_class_name(world_label(&world, (uint64_t)i)), *name = split ? "val" : "train";
            Image drawn, read;
            WorldTruth truth;
            assert_true(world_picture(&world, (uint64_t)i, STILL, 3, &drawn));
            assert_true(world_truth(&world, (uint64_t)i, STILL, &truth));
            read_image(&read, 3, HOME "/a/%s/%s/%06d.png", name, class_name, i);
            assert_memory_equal(read.data, drawn.data, image_size(&drawn));
            image_free(&drawn);
            image_free(&read);
            read_image(&read, 1, HOME "/a/truth/instances/%s/%s/%06d.png", name, class_name, i);
            assert_memory_equal(read.data, truth.instances, image_size(&read));
            image_free(&read);
            read_image(&read, 1, HOME "/a/truth/classes/%s/%s/%06d.png", name, class_name, i);
            assert_memory_equal(read.data, truth.classes, image_size(&read));
            image_free(&read);
            read_image(&read, 1, HOME "/a/truth/depth/%s/%s/%06d.png", name, class_name, i);
            for (size_t p = 0; p < SIDE * SIDE; p++) { /* 16 bits are read as value / 257 */
                float bytes = truth.depth[p] * 1000 / 257;
                assert_true(read.data[p] - bytes < 0.51F && read.data[p] - bytes > -0.51F);
            }
            image_free(&read);
            world_truth_free(&truth);
        }
}

static void depth_has_sixteen_bits(void **state)
{
    (void)state;
    World world = {3, SIDE, SIDE, false};
    char path[256];
    size_t size;
    snprintf(path, sizeof path, HOME "/a/truth/depth/train/%s/000007.png", world_class_name(world_label(&world, 7)));
    char *bytes = file_read(path, 0, &size);
    assert_non_null(bytes);
    assert_int_equal(bytes[24], 16); /* of the header: bits, then grey */
    assert_int_equal(bytes[25], 0);
    memory_free(bytes);
}

static void check_annotation(json_t *annotation, const World *world)
{
    WorldTruth truth;
    int image = (int)json_integer_value(json_object_get(annotation, "image_id"));
    int solid = (int)json_integer_value(json_object_get(annotation, "id")) - 4 * image - 1, at = 0, area = 0;
    assert_true(world_truth(world, (uint64_t)image, STILL, &truth));
    assert_in_range(solid, 0, truth.solid_count - 1);
    const WorldSolid *s = &truth.solids[solid];
    assert_int_equal(json_integer_value(json_object_get(annotation, "category_id")), 1 + s->label);
    assert_int_equal(json_integer_value(json_object_get(annotation, "area")), s->area);
    json_t *box = json_object_get(annotation, "bbox"), *points = json_object_get(annotation, "keypoints"), *run;
    int wanted[] = {s->box.left, s->box.top, s->box.width, s->box.height};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(json_integer_value(json_array_get(box, i)), wanted[i]);
    assert_int_equal(json_array_size(points), 3 * s->point_count);
    for (size_t p = 0; p < (size_t)s->point_count; p++) {
        assert_int_equal(json_integer_value(json_array_get(points, 3 * p + 2)), s->points[p].visible);
        double apart = json_number_value(json_array_get(points, 3 * p)) - (double)s->points[p].x;
        assert_true(!s->points[p].visible || (apart < 0.006 && apart > -0.006));
    }
    size_t i;
    json_array_foreach(json_object_get(json_object_get(annotation, "segmentation"), "counts"), i, run)
    {
        for (int k = 0; k < json_integer_value(run); k++, at++)
            assert_int_equal(truth.instances[at % SIDE * SIDE + at / SIDE] == solid + 1, i % 2);
        area += i % 2 ? (int)json_integer_value(run) : 0;
    }
    assert_int_equal(at, SIDE * SIDE);
    assert_int_equal(area, s->area);
    world_truth_free(&truth);
}

static void annotations_are_cocos(void **state)
{
    (void)state;
    for (int split = 0; split < 2; split++) {
        World world = {3, SIDE, SIDE, split == 1};
        json_t *root = json_load_file(split ? HOME "/a/truth/val.json" : HOME "/a/truth/train.json", 0, NULL), *entry;
        assert_non_null(root);
        json_t *images = json_object_get(root, "images"), *categories = json_object_get(root, "categories");
        json_t *annotations = json_object_get(root, "annotations");
        size_t i;
        assert_int_equal(json_array_size(images), split ? VAL : COUNT);
        assert_int_equal(json_array_size(categories), WORLD_CLASSES);
        assert_true(json_array_size(annotations) >= json_array_size(images));
        json_array_foreach(annotations, i, entry) check_annotation(entry, &world);
        json_array_foreach(images, i, entry)
        {
            char path[256];
            snprintf(path, sizeof path, HOME "/a/%s/%s", split ? "val" : "train",
                     json_string_value(json_object_get(entry, "file_name")));
            assert_int_equal(json_integer_value(json_object_get(entry, "id")), i);
            assert_true(file_exists(path));
        }
        json_decref(root);
    }
}

/* Where a picture has so few pixels that nothing is in sight in some, the first included. */
static void annotations_may_be_missing(void **state)
{
    (void)state;
    for (int seed = 0; seed < 6; seed++) {
        Ran ran = run_program("data world --out " HOME "/tiny%d --count 3 --val 2 --size 2 --seed %d", seed, seed);
        assert_int_equal(ran.code, 0);
        ran_free(&ran);
        for (int split = 0; split < 2; split++) {
            char path[256];
            json_error_t why;
            snprintf(path, sizeof path, HOME "/tiny%d/truth/%s.json", seed, split ? "val" : "train");
            json_t *root = json_load_file(path, 0, &why);
            if (!root)
                fail_msg("%s, line %d: %s", path, why.line, why.text);
            assert_int_equal(json_array_size(json_object_get(root, "images")), split ? 2 : 3);
            json_decref(root);
        }
    }
}

static void clips_have_tracks(void **state)
{
    (void)state;
    World world = {3, SIDE, SIDE, false};
    for (int clip = 0; clip < 2; clip++) {
        char path[256];
        snprintf(path, sizeof path, HOME "/a/clips/%04d/tracks.json", clip);
        json_t *root = json_load_file(path, 0, NULL), *solids = json_object_get(root, "solids");
        assert_non_null(root);
        for (int f = 0; f < FRAMES; f++) {
            Image drawn, read;
            WorldTruth truth;
            WorldMoment moment = {f, FRAMES};
            assert_true(world_picture(&world, (uint64_t)clip, moment, 3, &drawn));
            assert_true(world_truth(&world, (uint64_t)clip, moment, &truth));
            read_image(&read, 3, HOME "/a/clips/%04d/%03d.png", clip, f);
            assert_memory_equal(read.data, drawn.data, image_size(&drawn));
            assert_int_equal(json_array_size(solids), truth.solid_count);
            for (int s = 0; s < truth.solid_count; s++) {
                json_t *solid = json_array_get(solids, (size_t)s);
                json_t *box = json_array_get(json_object_get(solid, "boxes"), (size_t)f);
                json_t *points = json_array_get(json_object_get(solid, "points"), (size_t)f);
                assert_int_equal(json_is_null(box), truth.solids[s].area == 0);
                if (truth.solids[s].area)
                    assert_int_equal(json_integer_value(json_array_get(box, 2)), truth.solids[s].box.width);
                assert_int_equal(json_array_size(points), truth.solids[s].point_count);
                double y = json_number_value(json_array_get(json_array_get(points, 1), 1));
                assert_true(y - (double)truth.solids[s].points[1].y < 0.006 &&
                            y - (double)truth.solids[s].points[1].y > -0.006);
            }
            world_truth_free(&truth);
            image_free(&drawn);
            image_free(&read);
        }
        json_decref(root);
    }
}

static void nothing_is_written_over(void **state)
{
    (void)state;
    Ran ran = run_program("data world --out " HOME "/a --count 1");
    assert_string_equal(ran.err, "lacuna: the folder " HOME "/a is not empty; give one that is, or that is not there\n");
    assert_int_equal(ran.code, 1);
    ran_free(&ran);
    ran = run_program("data world");
    assert_non_null(strstr(ran.err, "data world wants --out DIR"));
    assert_int_equal(ran.code, 2);
    ran_free(&ran);
}

static void end_at_once(void *context, int done, int all)
{
    (void)context;
    if (done >= 3 && done < all)
        raise(SIGKILL);
}

/* A folder that is there is whole: one of a program that was killed, or that the disk failed, is not. */
static void half_a_world_is_none(void **state)
{
    (void)state;
    int status;
    WorldFiles files = {
        .world = {.height = 8, .width = 8}, .train = 3, .val = 2, .frames = 2, .threads = 1, .step = end_at_once};
    pid_t child = fork();
    if (!child) {
        world_files_write(&files, HOME "/half");
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    assert_true(file_exists(HOME "/half.tmp/train") && !file_exists(HOME "/half"));
    Ran ran = run_program("data world --out " HOME "/half --count 3 --val 2 --size 8");
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, HOME "/half.tmp is in the way"));
    ran_free(&ran);
    assert_true(file_remove(HOME "/half.tmp"));
    files.step = NULL;
    file_fail_at(9); /* the head of the annotations and a picture with its maps are written; of the next, the last map fails */
    assert_false(world_files_write(&files, HOME "/half"));
    file_fail_at(0);
    assert_non_null(strstr(error_text(), "No space left"));
    assert_false(file_exists(HOME "/half") || file_exists(HOME "/half.tmp"));
    assert_true(world_files_write(&files, HOME "/half"));
    assert_true(file_exists(HOME "/half/truth/val.json") && !file_exists(HOME "/half.tmp"));
}

static void threads_change_nothing(void **state)
{
    (void)state;
    static const char *const files[] = {"truth/train.json", "truth/val.json", "clips/0001/tracks.json"};
    Ran ran = run_program("data world --out " HOME "/b --count 12 --val 5 --clips 2 --frames 4 --size 40 --seed 3 --threads 1");
    assert_int_equal(ran.code, 0);
    ran_free(&ran);
    for (int i = 0; i < 3; i++) {
        char path[256];
        size_t sizes[2];
        snprintf(path, sizeof path, HOME "/a/%s", files[i]);
        char *a = file_read(path, 0, &sizes[0]);
        snprintf(path, sizeof path, HOME "/b/%s", files[i]);
        char *b = file_read(path, 0, &sizes[1]);
        assert_true(a && b && sizes[0] == sizes[1]);
        assert_memory_equal(a, b, sizes[0]);
        memory_free(a);
        memory_free(b);
    }
}

static void the_files_are_a_source(void **state)
{
    (void)state;
    Ran ran = run_program("data check " HOME "/a/train");
    assert_string_equal(ran.err, "12 pictures, all good\n");
    assert_int_equal(ran.code, 0);
    ran_free(&ran);
}

static void a_sheet(void **state)
{
    (void)state;
    Image sheet;
    Ran ran = run_program("data world --sheet " HOME "/sheet.png --rows 2 --frames 3 --size 48");
    assert_string_equal(ran.out, HOME "/sheet.png: 2 pictures, 632 x 231 pixels\n");
    assert_int_equal(ran.code, 0);
    ran_free(&ran);
    assert_true(image_read(HOME "/sheet.png", 3, &sheet));
    World world = {0, 48, 48, false};
    Image first;
    assert_true(world_picture(&world, 0, STILL, 3, &first));
    /* The first picture, twice as large, below the captions. */
    for (int y = 0; y < 48; y++)
        assert_memory_equal(sheet.data + (size_t)((8 + 15 + 2 * y) * 632 + 8) * 3, first.data + (size_t)y * 48 * 3, 3);
    image_free(&first);
    image_free(&sheet);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_and_maps),          cmocka_unit_test(depth_has_sixteen_bits),
        cmocka_unit_test(annotations_may_be_missing), cmocka_unit_test(annotations_are_cocos),
        cmocka_unit_test(clips_have_tracks),          cmocka_unit_test(nothing_is_written_over),
        cmocka_unit_test(half_a_world_is_none),       cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(the_files_are_a_source),     cmocka_unit_test(a_sheet),
    };
    return cmocka_run_group_tests(tests, write_world, remove_world);
}
