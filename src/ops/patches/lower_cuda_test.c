/* On a GPU patches that are standardised are made in one pass, where nobody reads them otherwise and they fit; the numbers are
 * the reference's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "device/cuda/fake.h"
#include "graph/program.h"
#include "ops/patches/patches.h"
#include "ops/standardise/standardise.h"

enum { PICTURES = 2, CHANNELS = 3, MOST = PICTURES * CHANNELS * 112 * 112, LARGE = 3 * 1300 * 1300 };

static float image[MOST], expected[MOST];

/* Patches of that side, in pictures of twice the side. */
static Program *standardised_patches(Tape *tape, const Device *device, int side, bool keep_patches)
{
    tape_segment(tape, SEGMENT_ONLY);
    Ref x = tape_input(tape, "image", DTYPE_REAL, shape_4(PICTURES, CHANNELS, 2 * side, 2 * side));
    Ref cut = patches(tape, x, REF_NONE, side, PATCH_CHANNEL_LAST);
    if (keep_patches)
        tape_keep(tape, cut, "cut");
    tape_keep(tape, standardise(tape, cut), "out");
    Program *p = program_make(tape, device, NULL, 0);
    assert_non_null(p);
    memcpy(program_input(p, "image"), image, (size_t)(PICTURES * CHANNELS * 4 * side * side) * sizeof *image);
    assert_true(program_run(p, SEGMENT_ONLY));
    return p;
}

static int count_of(const Program *p, const char *op)
{
    int count = 0;
    for (size_t i = 0; i < program_node_count(p); i++)
        count += !strcmp(program_node(p, i).op, op);
    return count;
}

static void compare(int side, bool keep_patches, int cut, int standardised, int both)
{
    Device ref, cuda;
    size_t count = (size_t)(PICTURES * CHANNELS * 4 * side * side);
    fake_reset();
    assert_true(device_open("ref", 1, &ref) && device_open("cuda", 1, &cuda));
    Tape *tape = tape_new();
    Program *p = standardised_patches(tape, &ref, side, keep_patches);
    assert_int_equal(count_of(p, "patches_standardised"), 0);
    memcpy(expected, program_kept(p, SEGMENT_ONLY, "out"), count * sizeof *expected);
    program_free(p);
    tape_free(tape);
    tape = tape_new();
    p = standardised_patches(tape, &cuda, side, keep_patches);
    assert_int_equal(count_of(p, "patches"), cut);
    assert_int_equal(count_of(p, "standardise"), standardised);
    assert_int_equal(count_of(p, "patches_standardised"), both);
    const float *got = program_kept(p, SEGMENT_ONLY, "out");
    assert_non_null(got);
    for (size_t i = 0; i < count; i++)
        assert_true(fabsf(got[i] - expected[i]) < 1e-4f);
    program_free(p);
    tape_free(tape);
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

/* The kernel's quotients are exact for the largest that recipes have. */
static void large_patches_are_cut(void **state)
{
    (void)state;
    static float picture[LARGE], kept[LARGE];
    static const int shapes[][2] = {{3, 1300}, {1, 2250}};
    for (int i = 0; i < LARGE; i++)
        picture[i] = (float)i;
    for (int k = 0; k < 2; k++)
        for (int on_gpu = 0; on_gpu < 2; on_gpu++) {
            Device device;
            int channels = shapes[k][0], side = shapes[k][1];
            size_t bytes = (size_t)(channels * side * side) * sizeof(float);
            fake_reset();
            assert_true(device_open(on_gpu ? "cuda" : "ref", 1, &device));
            Tape *tape = tape_new();
            tape_segment(tape, SEGMENT_ONLY);
            Ref x = tape_input(tape, "image", DTYPE_REAL, shape_4(1, channels, side, side));
            tape_keep(tape, patches(tape, x, REF_NONE, side, k ? PATCH_CHANNEL_FIRST : PATCH_CHANNEL_LAST), "out");
            Program *p = program_make(tape, &device, NULL, 0);
            assert_non_null(p);
            memcpy(program_input(p, "image"), picture, bytes);
            assert_true(program_run(p, SEGMENT_ONLY));
            const float *out = program_kept(p, SEGMENT_ONLY, "out");
            assert_non_null(out);
            if (on_gpu)
                assert_memory_equal(out, kept, bytes);
            else
                memcpy(kept, out, bytes);
            program_free(p);
            tape_free(tape);
            device_close(&device);
        }
}

static int draw(void **state)
{
    (void)state;
    for (int i = 0; i < MOST; i++)
        image[i] = (float)(i * 7919 % 1009) / 1009;
    return 0;
}

static void one_pass_makes_both(void **state)
{
    (void)state;
    compare(5, false, 0, 0, 1);
    compare(16, false, 0, 0, 1);
    compare(52, false, 0, 0, 1); /* 8,112 numbers a patch: a warp a block */
}

static void who_else_reads_them_has_them(void **state)
{
    (void)state;
    compare(5, true, 1, 0, 1);
}

static void what_finds_no_room_stays_apart(void **state)
{
    (void)state;
    compare(56, false, 1, 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_pass_makes_both),
        cmocka_unit_test(who_else_reads_them_has_them),
        cmocka_unit_test(what_finds_no_room_stays_apart),
        cmocka_unit_test(large_patches_are_cut),
    };
    return cmocka_run_group_tests(tests, draw, NULL);
}
