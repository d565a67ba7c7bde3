#include "recipe/find.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "recipe/recipe.h"

enum { FOLDERS = 3 };

typedef struct {
    char *name, *path;
} Found;

typedef struct {
    Found *list;
    size_t count, capacity;
} FoundList;

static bool ends_in(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n > m && !strcmp(text + n - m, suffix);
}

bool find_is_path(const char *name_or_path)
{
    return strchr(name_or_path, '/') || ends_in(name_or_path, ".yaml") || ends_in(name_or_path, ".yml") ||
           ends_in(name_or_path, ".json");
}

/* The i-th folder of recipes into *folder, fresh string; NULL when there is none. False when memory is out. */
static bool folder_at(int i, char **folder)
{
    *folder = NULL;
    if (i == 0) {
        const char *own = getenv("LACUNA_RECIPES");
        return !own || !own[0] || (*folder = memory_string(own));
    }
    if (i == 1) {
        /* PREFIX/bin/lacuna has its recipes in PREFIX/share/lacuna/recipes. */
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        self[n > 0 ? n : 0] = 0;
        char *slash = strrchr(self, '/');
        if (!slash)
            return true;
        *slash = 0;
        return (*folder = file_join(self, "../share/lacuna/recipes"));
    }
#ifdef LACUNA_RECIPES_SOURCE
    return (*folder = memory_string(LACUNA_RECIPES_SOURCE));
#else
    return true;
#endif
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const Found *)a)->name, ((const Found *)b)->name);
}

static bool add_folder(FoundList *all, const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return true;
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || !ends_in(entry->d_name, ".yaml"))
            continue;
        char *name = memory_string(entry->d_name);
        ok = name;
        if (ok)
            name[strlen(name) - 5] = 0;
        for (size_t i = 0; ok && name && i < all->count; i++)
            if (!strcmp(all->list[i].name, name)) {
                memory_free(name);
                name = NULL;
            }
        if (!ok || !name)
            continue;
        char *path = file_join(folder, entry->d_name);
        ok = path && memory_grow((void **)&all->list, all->count, &all->capacity, sizeof *all->list);
        if (ok) {
            all->list[all->count++] = (Found){name, path};
        } else {
            memory_free(name);
            memory_free(path);
        }
    }
    closedir(dir);
    return ok;
}

static void free_list(FoundList *all)
{
    for (size_t i = 0; i < all->count; i++) {
        memory_free(all->list[i].name);
        memory_free(all->list[i].path);
    }
    memory_free(all->list);
}

static bool find_all(FoundList *all)
{
    bool ok = true;
    for (int i = 0; ok && i < FOLDERS; i++) {
        char *folder;
        ok = folder_at(i, &folder) && (!folder || add_folder(all, folder));
        memory_free(folder);
    }
    if (all->count)
        qsort(all->list, all->count, sizeof *all->list, by_name);
    return ok;
}

bool recipe_each_name(void (*see)(void *context, const char *name, const char *path), void *context)
{
    FoundList all = {0};
    bool ok = find_all(&all);
    for (size_t i = 0; ok && i < all.count; i++)
        see(context, all.list[i].name, all.list[i].path);
    free_list(&all);
    return ok;
}

char *find_named(const char *name)
{
    FoundList all = {0};
    char *path = NULL;
    if (!find_all(&all))
        goto done;
    const char *near = NULL;
    int least = 1000;
    for (size_t i = 0; i < all.count; i++) {
        int distance = text_distance(name, all.list[i].name);
        if (!strcmp(name, all.list[i].name)) {
            path = memory_string(all.list[i].path);
            goto done;
        }
        if (distance < least) {
            least = distance;
            near = all.list[i].name;
        }
    }
    if (near && (least <= 2 || (size_t)least * 3 <= strlen(name)))
        error_set("no recipe is named '%s'; did you mean %s?", name, near);
    else
        error_set(
            "no recipe is named '%s'; `lacuna recipes` lists those there are, and a file is given by a path ending in .yaml",
            name);
done:
    free_list(&all);
    return path;
}
