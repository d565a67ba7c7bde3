#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "graph/program.h"
#include "ops/upsample/upsample.h"

/* A column of two tokens, 0 and 8, becomes 8 lines of one pixel: 1/2, 3/2 .. of the way, and flat at the edges. */
static void edges_are_flat_and_corners_do_not_align(void **state)
{
    (void)state;
    static const float expected[] = {0, 0, 1, 3, 5, 7, 8, 8};
    Device device;
    assert_true(device_open("cpu", 1, &device));
    Tape *t = tape_new();
    tape_segment(t, SEGMENT_EVALUATE);
    tape_keep(t, upsample(t, tape_input(t, "x", DTYPE_REAL, shape_3(1, 2, 1)), 2, 1, 8, 1), "y");
    Program *p = program_make(t, &device, NULL, 0);
    assert_non_null(p);
    memcpy(program_input(p, "x"), (float[]){0, 8}, 2 * sizeof(float));
    program_run(p, SEGMENT_EVALUATE);
    assert_memory_equal(program_kept(p, SEGMENT_EVALUATE, "y"), expected, sizeof expected);
    program_free(p);
    tape_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(edges_are_flat_and_corners_do_not_align)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
