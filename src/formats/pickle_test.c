/* Pickles: the subset is read, all else is refused with its byte, and nothing is ever run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/pickle.h"

#define CORPUS LACUNA_SOURCE "/tests/fuzz/corpus/pickle/"

static Pickle *read_file(const char *name, char **data, size_t *size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s%s", CORPUS, name);
    *data = file_read(path, 0, size);
    if (!*data)
        fail_msg("%s", error_text());
    return pickle_read(*data, *size, 0, PICKLE_OPCODES_MAX, "it");
}

static int64_t integer_at(const PickleValue *list, uint32_t i)
{
    assert_true(i < list->count && list->items[i]->kind == PICKLE_INT);
    return list->items[i]->integer;
}

/* What Python's own pickle wrote, in two protocols. */
static void values_are_those_of_python(void **state)
{
    (void)state;
    static const char *const files[] = {"values-2.pkl", "values-4.pkl"};
    for (int f = 0; f < 2; f++) {
        char *data;
        size_t size;
        Pickle *p = read_file(files[f], &data, &size);
        if (!p)
            fail_msg("%s", error_text());
        const PickleValue *root = pickle_root(p), *a = pickle_get(root, "a");
        assert_int_equal(pickle_end(p), size);
        assert_true(a->kind == PICKLE_LIST && a->count == 10);
        assert_int_equal(integer_at(a, 0), 1);
        assert_int_equal(integer_at(a, 1), -2);
        assert_int_equal(integer_at(a, 2), 300);
        assert_int_equal(integer_at(a, 3), 70000);
        assert_true(integer_at(a, 4) == (int64_t)1 << 40);
        assert_true(a->items[5]->kind == PICKLE_LONG && a->items[6]->real == 1.5 && a->items[7]->kind == PICKLE_NONE);
        assert_true(a->items[8]->integer == 1 && a->items[9]->integer == 0 && a->items[9]->kind == PICKLE_BOOL);
        static const char *const tuples[] = {"b", "c", "d", "e", "k"};
        static const uint32_t lengths[] = {1, 2, 3, 5, 0};
        for (int i = 0; i < 5; i++) {
            const PickleValue *tuple = pickle_get(root, tuples[i]);
            assert_true(tuple->kind == PICKLE_TUPLE && tuple->count == lengths[i]);
        }
        const PickleValue *ordered = pickle_get(root, "h"), *space = pickle_get(ordered, "x");
        assert_true(pickle_is_name(ordered->record->callee, "collections", "OrderedDict"));
        assert_true(pickle_is_name(space->record->callee, "argparse", "Namespace"));
        assert_int_equal(pickle_get(space, "y")->integer, 2);
        assert_null(pickle_get(space, "z"));
        pickle_free(p);
        /* Cut anywhere, it is refused. */
        for (size_t cut = 0; cut < size; cut++) {
            char *part = memory_new(cut, 1);
            if (cut)
                memcpy(part, data, cut);
            assert_null(pickle_read(part, cut, 0, PICKLE_OPCODES_MAX, "it"));
            assert_non_null(strstr(error_text(), "it: its pickle is refused at byte"));
            memory_free(part);
        }
        memory_free(data);
    }
    char *data;
    size_t size;
    Pickle *p = read_file("strings.pkl", &data, &size);
    if (!p)
        fail_msg("%s", error_text());
    const PickleValue *root = pickle_root(p);
    static const char *const texts[] = {"a", "b", "c", "d", "d"};
    for (int i = 0; i < 5; i++)
        assert_true(pickle_is_text(root->items[i], texts[i]));
    assert_int_equal(integer_at(root, 5), 256);
    assert_true(pickle_is_text(root->items[6], "e") && pickle_is_text(root->items[7], "f"));
    pickle_free(p);
    memory_free(data);
}

/* Opcodes of Python that no weights need, and bytes that are none. */
static void other_opcodes_are_refused(void **state)
{
    (void)state;
    static const unsigned char read[] = {0x80, 'c', 'q',  'r', 'h',  'j',  '(',  ')',  't',  0x85, 0x86, 0x87, ']', 'a', 'e',
                                         '}',  's', 'u',  'N', 0x88, 0x89, 'J',  'K',  'M',  0x8a, 'G',  'X',  'Q', 'R', 0x81,
                                         'b',  '.', 0x8b, 'U', 'T',  0x95, 0x94, 0x8c, 0x8d, 0x93, 0x8f, 0x90, 'C', 'B'};
    int refused = 0;
    for (int op = 0; op < 256; op++) {
        if (memchr(read, op, sizeof read))
            continue;
        /* Behind two values and a mark, so that it would find what it might want. */
        char bytes[] = {'\x80', 2, 'N', 'N', '(', (char)op, '0', '\n', '0', '\n', '.'}, words[64];
        assert_null(pickle_read(bytes, sizeof bytes, 0, PICKLE_OPCODES_MAX, "it"));
        snprintf(words, sizeof words, "at byte 5, opcode 0x%02x: this opcode is none", (unsigned)op);
        if (!strstr(error_text(), words))
            fail_msg("'%s' does not say '%s'", error_text(), words);
        refused++;
    }
    assert_int_equal(refused, 256 - (int)sizeof read);
}

static void hostile_names_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"os\nsystem",      "posix\nsystem",        "nt\nsystem",        "sys\nexit",
                                        "subprocess\nrun", "builtins\neval",       "__builtin__\nexec", "builtins\ngetattr",
                                        "os.path\njoin",   "builtins\n__import__", "__builtin__\nopen"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char bytes[200];
        int length = snprintf(bytes, sizeof bytes, "c%s\n)R.", names[i]);
        assert_null(pickle_read(bytes, (size_t)length, 0, PICKLE_OPCODES_MAX, "it"));
        assert_non_null(strstr(error_text(), "nothing was run"));
    }
    /* The same name made of texts on the stack. */
    static const char stack[] = "\x8c\x02os\x8c\x06system\x93)R.";
    assert_null(pickle_read(stack, sizeof stack - 1, 0, PICKLE_OPCODES_MAX, "it"));
    assert_non_null(strstr(error_text(), "os.system would be called"));
    /* What is not known and not hostile is kept as it is. */
    static const char other[] = "cyacs.config\nCfgNode\n)\x81}U\x01"
                                "aK\x05sb.";
    Pickle *p = pickle_read(other, sizeof other - 1, 0, PICKLE_OPCODES_MAX, "it");
    if (!p)
        fail_msg("%s", error_text());
    assert_int_equal(pickle_get(pickle_root(p), "a")->integer, 5);
    pickle_free(p);
}

static void unsound_ones_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *words;
    } cases[] = {
#define CASE(bytes, words) {bytes, sizeof bytes - 1, words}
        CASE("", "without a STOP"),
        CASE(".", "other than one value"),
        CASE("NN.", "other than one value"),
        CASE("N(.", "other than one value"),
        CASE("h\x05.", "was never set"),
        CASE("q\x05.", "the stack is empty"),
        CASE("Nr\xff\xff\xff\x7f.", "of the memo is too large"),
        CASE("t.", "there is no mark"),
        CASE("N\x86.", "the stack is empty"),
        CASE("N(\x85.", "the stack is empty"),
        CASE("(R.", "the stack is empty"),
        CASE("N(q\x05.", "the stack is empty"),
        CASE("NNR.", "what is called is no name"),
        CASE("]NNs.", "no collection of this kind"),
        CASE("}(Nu.", "a key has no value"),
        CASE("}(NNe.", "no collection of this kind"),
        CASE("}(NNNu.", "a key has no value"),
        CASE("(NNu.", "nothing that items could be added to"),
        CASE("N}b.", "a state is given to what has none"),
        CASE("NN\x93.", "a name is no text"),
        CASE("X\xff\xff\xff\xff", "it ends in the middle"),
        CASE("\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "it ends in the middle"),
        CASE("\x8b\xff\xff\xff\xff", "it ends in the middle"),
        CASE("cno line", "it ends in the middle"),
        CASE("\x80\x09N.", "protocol 9"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *copy = memory_new(cases[i].size, 1); /* of its exact size, so that sanitizers see reads beyond */
        memcpy(copy, cases[i].bytes, cases[i].size);
        assert_null(pickle_read(copy, cases[i].size, 0, PICKLE_OPCODES_MAX, "it"));
        if (!strstr(error_text(), cases[i].words))
            fail_msg("'%s' does not say '%s'", error_text(), cases[i].words);
        memory_free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_python),
        cmocka_unit_test(other_opcodes_are_refused),
        cmocka_unit_test(hostile_names_are_refused),
        cmocka_unit_test(unsound_ones_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
