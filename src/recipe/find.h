/* Where named recipes lie. Only for src/recipe. */
#ifndef LACUNA_RECIPE_FIND_H
#define LACUNA_RECIPE_FIND_H

#include <stdbool.h>

/* Whether a recipe is given as a path: it holds a slash or ends in .yaml, .yml or .json. */
bool find_is_path(const char *name_or_path);

/* The path of a named recipe, owned by the caller. NULL after error_set(), with the nearest name if one is near. */
char *find_named(const char *name);

#endif
