/* For the tests of this folder: what is written reads back. Include behind cmocka.h. */
#ifndef LACUNA_RECIPE_ROUND_TRIP_H
#define LACUNA_RECIPE_ROUND_TRIP_H

#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "recipe/recipe.h"

/* Resolved, read back, resolved again: the same structure and the same bytes. */
static inline void check_round_trip(const Recipe *r)
{
    Text first = {0}, second = {0}, changes = {0};
    Recipe again;
    recipe_write(r, &first);
    if (!recipe_parse(&again, first.data, first.length, "written"))
        fail_msg("%s\n%s", error_text(), first.data);
    recipe_write(&again, &second);
    assert_string_equal(first.data, second.data);
    assert_int_equal(recipe_differences(r, &again, &changes), 0);
    memcpy(again.name, r->name, sizeof again.name);
    assert_memory_equal(r, &again, sizeof again);
    text_free(&first);
    text_free(&second);
}

#endif
