/* The order of the folders below src/: a file may include headers of its own folder and of those before it, so that the engine
 * never learns what it is used for. Tests (NAME_test.c) may use anything. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

/* As in CONTRIBUTING.md. That graph stands before ops is the promise that it does not know them. */
static const char *const folders[] = {"base", "recipe",   "formats", "image", "data",     "device",   "graph", "ops", "nn",
                                      "mim",  "controls", "report",  "train", "transfer", "analysis", "api",   "cli"};
enum { FOLDERS = sizeof folders / sizeof *folders };

/* The place in the order of the folder that a path starts with; -1 if that is none of ours. */
static int folder_of(const char *path, size_t length)
{
    const char *slash = memchr(path, '/', length);
    if (!slash)
        return -1;
    for (int i = 0; i < FOLDERS; i++) {
        if (strlen(folders[i]) == (size_t)(slash - path) && !memcmp(folders[i], path, (size_t)(slash - path)))
            return i;
    }
    return -1;
}

/* The name between the quotes or brackets of an include line; NULL when the line is none. */
static const char *included_name(const char *line, size_t *length, char *opening)
{
    line += strspn(line, " \t");
    if (*line != '#')
        return NULL;
    line++;
    line += strspn(line, " \t");
    if (strncmp(line, "include", 7))
        return NULL;
    line += 7;
    line += strspn(line, " \t");
    if (*line != '"' && *line != '<')
        return NULL;
    *opening = *line++;
    *length = strcspn(line, "\">\n");
    return line;
}

/* What is wrong with one line of the file at `path` (relative to src/); NULL when nothing is. */
static const char *line_fault(const char *path, const char *line)
{
    size_t length;
    char opening;
    const char *name = included_name(line, &length, &opening);
    if (!name)
        return NULL;
    int own = folder_of(path, strlen(path)), other = folder_of(name, length);
    if (own < 0)
        return "the file lies in a folder that the order does not name";
    if (other >= 0)
        return other > own ? "the included folder comes later in the order" : NULL;
    if (opening == '<')
        return NULL;
    if (strstr(name, "..") && strstr(name, "..") < name + length)
        return "write the path from src/, without ..";
    if (!memchr(name, '/', length) || (length == strlen("lacuna.h") && !memcmp(name, "lacuna.h", length)))
        return NULL;
    return "the path does not start with a folder of src/";
}

typedef struct {
    int files, includes, faults;
    bool quiet; /* the faults are wanted: print nothing */
} Tally;

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

static bool is_read(const char *name)
{
    static const char *const suffixes[] = {".c", ".h", ".inc", ".cu", ".cuh"};
    if (ends_with(name, "_test.c"))
        return false;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (ends_with(name, suffixes[i]))
            return true;
    }
    return false;
}

static void read_file(const char *root, const char *path, Tally *tally)
{
    char *full = file_join(root, path);
    size_t size;
    char *text = file_read(full, 0, &size);
    if (!text)
        fail_msg("%s", error_text());
    tally->files++;
    int number = 1;
    for (const char *line = text; line; number++) {
        size_t length;
        char opening;
        tally->includes += included_name(line, &length, &opening) != NULL;
        const char *fault = line_fault(path, line);
        if (fault) {
            tally->faults++;
            if (!tally->quiet)
                print_error("src/%s:%d: %.*s: %s\n", path, number, (int)strcspn(line, "\n"), line, fault);
        }
        const char *end = strchr(line, '\n');
        line = end ? end + 1 : NULL;
    }
    memory_free(text);
    memory_free(full);
}

/* All source files below ROOT/path; "" is ROOT itself. */
static void read_folder(const char *root, const char *path, Tally *tally)
{
    char *full = path[0] ? file_join(root, path) : memory_string(root);
    DIR *folder = opendir(full);
    if (!folder)
        fail_msg("cannot open %s", full);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] == '.')
            continue;
        char *inner = file_join(path, entry->d_name), *inner_full = file_join(root, inner);
        if (file_is_folder(inner_full))
            read_folder(root, inner, tally);
        else if (is_read(entry->d_name))
            read_file(root, inner, tally);
        memory_free(inner);
        memory_free(inner_full);
    }
    closedir(folder);
    memory_free(full);
}

static void made_up_lines_are_judged(void **state)
{
    (void)state;
    static const struct {
        const char *path, *line;
        bool good;
    } cases[] = {
        {"graph/tape.c", "#include \"base/error.h\"", true},
        {"graph/tape.c", "#include \"graph/tape.h\"", true},
        {"graph/tape.c", "#include \"tape.h\"", true},
        {"graph/tape.c", "#include <sys/stat.h>", true},
        {"graph/tape.c", "// #include \"ops/linear/linear.h\"", true},
        {"graph/tape.c", "#include \"ops/linear/linear.h\"", false},
        {"graph/tape.c", "  #  include\t\"ops/table.inc\"", false},
        {"graph/tape.c", "#include <ops/linear/linear.h>", false},
        {"graph/tape.c", "#include \"../ops/linear/linear.h\"", false},
        {"graph/tape.c", "#include \"opsx/linear.h\"", false},
        {"ops/linear/linear.c", "#include \"graph/tape.h\"", true},
        {"ops/linear/linear.c", "#include \"nn/vit.h\"", false},
        {"base/error.c", "#include \"recipe/recipe.h\"", false},
        {"base/error.c", "#include \"lacuna.h\"", true},
        {"cli/main.c", "#include \"api/model.h\"", true},
        {"api/model.c", "#include \"cli/options.h\"", false},
        {"stray.c", "#include \"base/error.h\"", false},
        {"misc/stray.c", "#include \"base/error.h\"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if ((line_fault(cases[i].path, cases[i].line) == NULL) != cases[i].good)
            fail_msg("%s: %s is judged wrongly", cases[i].path, cases[i].line);
    }
}

static void write_text(const char *root, const char *folder, const char *name, const char *text)
{
    char *full = file_join(root, folder), *path = file_join(full, name);
    assert_true(file_make_folder(full));
    assert_true(file_write(path, text, strlen(text)));
    memory_free(path);
    memory_free(full);
}

static void a_made_up_tree_is_searched_to_the_last_line(void **state)
{
    (void)state;
    char root[] = "order-XXXXXX";
    assert_non_null(mkdtemp(root));
    write_text(root, "ops/linear", "cpu.c", "#include <math.h>\n\n#include \"graph/tape.h\"\n#include \"train/loop.h\"");
    write_text(root, "ops/linear", "linear_test.c", "#include \"train/loop.h\"\n");
    write_text(root, "nn", "vit.h", "#include \"mim/mask.h\"\n#include \"ops/linear/linear.h\"\n#include \"cli/options.h\"\n");
    write_text(root, "nn", "notes.txt", "#include \"cli/options.h\"\n");
    Tally tally = {.quiet = true};
    read_folder(root, "", &tally);
    assert_int_equal(tally.files, 2);
    assert_int_equal(tally.includes, 6);
    assert_int_equal(tally.faults, 3);
    assert_true(file_remove(root));
}

static void the_source_keeps_the_order(void **state)
{
    (void)state;
    Tally tally = {0};
    read_folder(LACUNA_SOURCE "/src", "", &tally);
    print_message("%d files, %d includes\n", tally.files, tally.includes);
    assert_true(tally.files >= 10 && tally.includes >= 20);
    assert_int_equal(tally.faults, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_up_lines_are_judged),
        cmocka_unit_test(a_made_up_tree_is_searched_to_the_last_line),
        cmocka_unit_test(the_source_keeps_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
