/* A program that MPI is not linked into. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "device/ranks.h"

static void without_mpi_there_is_one(void **state)
{
    (void)state;
    assert_false(ranks_are_built());
    assert_null(ranks_open());
    assert_non_null(strstr(error_text(), "built without MPI"));
    assert_int_equal(ranks_rank(NULL), 0);
    assert_int_equal(ranks_count(NULL), 1);
    ranks_close(NULL);
}

static void mpirun_tells_how_many(void **state)
{
    (void)state;
    unsetenv("OMPI_COMM_WORLD_SIZE");
    assert_int_equal(ranks_started(), 1);
    static const struct {
        const char *text;
        int count;
    } cases[] = {{"4", 4}, {"1", 1}, {"", 1}, {"many", 1}, {"-3", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("OMPI_COMM_WORLD_SIZE", cases[i].text, 1);
        assert_int_equal(ranks_started(), cases[i].count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_mpi_there_is_one), cmocka_unit_test(mpirun_tells_how_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
