/* Every example of the help (and so of the man page) and of README and docs/ runs, in a folder that has what they name:
 * photographs, CIFAR's files, runs. Training is shortened to two steps on small pictures; nothing else is changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"
#include "cli/cli.h"
#include "image/draw.h"
#include "run_program.h"

#define HOME "examples_test.tmp"

/* What makes a command short. Later settings win, so these do; a run that goes on keeps its own recipe. */
static const struct {
    const char *verb, *with, *without, *more;
} shortened[] = {
    {"pretrain", NULL, "--resume",
     "--max-steps 2 image.size=32 encoder.patch=16 encoder.width=24 encoder.heads=3 schedule.batch_size=4 run.micro_batch=4 "
     "schedule.epochs=50 schedule.warmup_epochs=1 data.world_images=40"},
    {"pretrain", "--resume", NULL, "--max-steps 3"},
    {"plan", NULL, "--no-time",
     "image.size=32 encoder.patch=16 encoder.width=24 encoder.heads=3 schedule.batch_size=4 schedule.epochs=50 "
     "schedule.warmup_epochs=1"},
    {"data world --out", NULL, NULL, "--count 4 --val 1 --clips 1"},
    {"probe segmentation", NULL, NULL, "--pictures 40 --val-pictures 8 --epochs 2"},
    {"bench data", NULL, NULL, "--seconds 1"},
    {"bench train", NULL, NULL, "--steps 1 --warmup 0 --batch-size 2"},
    {"bench ops", NULL, NULL, "--steps 1 --warmup 0 --batch-size 2"},
};

static void write_picture(const char *name, int seed)
{
    Image image;
    assert_true(image_new(&image, 40, 48, 3));
    for (size_t i = 0; i < image_size(&image); i++)
        image.data[i] = (uint8_t)(i * i * 7 + (size_t)seed * 31 + i / 48);
    if (!image_write_png(name, &image))
        fail_msg("%s", error_text());
    image_free(&image);
}

static void write_folder(const char *folder, int count)
{
    char name[256];
    assert_true(file_make_folder(folder));
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s/%02d.png", folder, i);
        write_picture(name, i);
    }
}

static int begin(void **state)
{
    (void)state;
    char path[8192];
    snprintf(path, sizeof path, "%s:%s", LACUNA_BINARY_FOLDER, getenv("PATH"));
    setenv("PATH", path, 1);
    if (!file_remove(HOME) || !file_make_folder(HOME) || chdir(HOME) != 0)
        return 1;
    setenv("XDG_CACHE_HOME", "cache", 1);
    write_folder("photos", 24);
    write_folder("cifar/train/cat", 12);
    write_folder("cifar/train/dog", 12);
    write_folder("cifar/test/cat", 4);
    write_folder("cifar/test/dog", 4);
    write_folder("CIFAR/train/cat", 12);
    write_folder("CIFAR/train/dog", 12);
    write_folder("CIFAR/test/cat", 4);
    write_folder("CIFAR/test/dog", 4);
    write_picture("a.jpg", 1); /* the content decides */
    write_picture("b.png", 2);
    /* The program and a golden case where README calls them. */
    if (symlink(LACUNA_SOURCE "/tests/fuzz/corpus/torch/vit.pth", "mae_pretrain_vit_base.pth") != 0)
        return 1;
    return !file_make_folder("build") || !file_make_folder("tests") || symlink(LACUNA_BINARY, "build/lacuna") != 0 ||
           !file_make_folder("tests/golden") ||
           symlink(LACUNA_SOURCE "/tests/golden/deepmim_pixels.json", "tests/golden/deepmim_pixels.json") != 0 ||
           symlink(LACUNA_SOURCE "/tests/golden/deepmim_pixels.safetensors", "tests/golden/deepmim_pixels.safetensors") != 0;
}

static int end(void **state)
{
    (void)state;
    return chdir("..") == 0 && file_remove(HOME) ? 0 : 1;
}

/* `command` begins with "lacuna". */
static void run_example(const char *where, const char *command)
{
    Text line = {0};
    text_add(&line, "(%s", command);
    for (size_t i = 0; i < sizeof shortened / sizeof *shortened; i++)
        if (!strncmp(command + strlen("lacuna "), shortened[i].verb, strlen(shortened[i].verb)) &&
            !(shortened[i].with && !strstr(command, shortened[i].with)) &&
            !(shortened[i].without && strstr(command, shortened[i].without)))
            text_add(&line, " %s", shortened[i].more);
    text_add(&line, ") >out 2>err </dev/null");
    int status = system(line.data);
    size_t size;
    char *err = file_read("err", 0, &size);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s: %s\nends with %d:\n%s", where, line.data, WIFEXITED(status) ? WEXITSTATUS(status) : -1, err);
    memory_free(err);
    text_free(&line);
}

static void examples_of_the_help(void **state)
{
    (void)state;
    int count = 0;
    run_example("before all", "lacuna pretrain mae-world --out runs/mae");
    for (const Verb *const *verb = verbs_all(); *verb; verb++)
        for (const char *line = (*verb)->examples; *line;) {
            char command[1024];
            size_t length = strcspn(line, "\n");
            snprintf(command, sizeof command, "%.*s", (int)length, line);
            assert_int_equal(strncmp(command, "lacuna ", 7), 0);
            run_example((*verb)->name, command);
            line += length + (line[length] != 0);
            count++;
        }
    assert_true(count > 15);
}

/* Lines "    build/lacuna ..." or "    lacuna ..." of a page, with those that follow a backslash. A comment ends a command. */
static int run_page(const char *page)
{
    char path[512], command[2048] = "";
    size_t size;
    int count = 0;
    snprintf(path, sizeof path, LACUNA_SOURCE "/%s", page);
    char *text = file_read(path, 0, &size);
    assert_non_null(text);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        bool goes_on = command[0] != 0;
        if (!goes_on && strncmp(line, "    build/lacuna ", 17) && strncmp(line, "    lacuna ", 11))
            continue;
        line += strspn(line, " ");
        line += !goes_on && !strncmp(line, "build/", 6) ? 6 : 0;
        char *comment = strstr(line, " # ");
        if (comment)
            *comment = 0;
        size_t length = strlen(line);
        bool more = length && line[length - 1] == '\\';
        snprintf(command + strlen(command), sizeof command - strlen(command), "%.*s ", (int)length - more, line);
        if (more)
            continue;
        run_example(page, command);
        command[0] = 0;
        count++;
    }
    memory_free(text);
    return count;
}

/* Each page is read from the top: what an example needs stands in front of it. */
static void start_anew(void)
{
    assert_true(file_remove("runs") && file_remove("shards") && file_remove("world"));
}

static void examples_of_the_readme(void **state)
{
    (void)state;
    start_anew();
    assert_true(run_page("README.md") >= 5);
}

static void examples_of_the_docs(void **state)
{
    (void)state;
    start_anew();
    assert_true(run_page("docs/getting-started.md") >= 3);
    start_anew();
    assert_true(run_page("docs/own-pictures.md") >= 3);
    start_anew();
    assert_true(run_page("docs/checkpoints.md") >= 3);
    run_example("before analysis.md", "lacuna pretrain mae-world --out runs/mae");
    run_example("before analysis.md", "lacuna pretrain mae-world --out runs/deepmim run.seed=1");
    assert_true(run_page("docs/analysis.md") >= 2);
    assert_true(run_page("docs/targets.md") >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(examples_of_the_help), cmocka_unit_test(examples_of_the_readme),
                                       cmocka_unit_test(examples_of_the_docs)};
    return cmocka_run_group_tests(tests, begin, end);
}
