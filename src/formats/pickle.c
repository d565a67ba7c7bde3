#include "formats/pickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"

enum { CHUNK_BYTES = 1 << 16, PROTOCOL_MAX = 5 };

typedef struct Chunk Chunk;
struct Chunk {
    Chunk *next;
    size_t used, size;
    _Alignas(16) char bytes[];
};

struct Pickle {
    const unsigned char *data;
    size_t size, at, opcode_at; /* of the opcode that is carried out */
    const char *origin;
    Chunk *chunks;
    PickleValue **stack, **memo;
    size_t depth, stack_capacity, memo_count;
    size_t *marks; /* depths of the stack */
    size_t mark_count, mark_capacity;
    PickleValue **persistent;
    size_t persistent_count, persistent_capacity;
    const PickleValue *root;
};

/* ---- memory: all values live as long as the pickle */

static void *take(Pickle *p, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    if (!p->chunks || p->chunks->size - p->chunks->used < bytes) {
        size_t size = bytes > CHUNK_BYTES / 4 ? bytes : CHUNK_BYTES;
        Chunk *chunk = memory_new(1, sizeof *chunk + size);
        if (!chunk)
            return NULL;
        *chunk = (Chunk){.next = p->chunks, .size = size};
        p->chunks = chunk;
    }
    void *block = p->chunks->bytes + p->chunks->used;
    p->chunks->used += bytes;
    return block;
}

static PickleValue *new_value(Pickle *p, PickleKind kind)
{
    PickleValue *v = take(p, sizeof *v);
    if (v)
        *v = (PickleValue){.kind = kind};
    return v;
}

void pickle_free(Pickle *p)
{
    if (!p)
        return;
    for (Chunk *chunk = p->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        memory_free(chunk);
    }
    memory_free(p->stack);
    memory_free(p->memo);
    memory_free(p->marks);
    memory_free(p->persistent);
    memory_free(p);
}

/* ---- reading */

static bool refuse(const Pickle *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool refuse(const Pickle *p, const char *format, ...)
{
    char why[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    unsigned char op = p->opcode_at < p->size ? p->data[p->opcode_at] : 0;
    return error_set("%s: its pickle is refused at byte %zu, opcode 0x%02x: %s", p->origin, p->opcode_at, op, why);
}

/* The next `count` bytes; NULL when there are fewer. */
static const char *bytes_of(Pickle *p, uint64_t count)
{
    if (count > p->size - p->at) {
        refuse(p, "it ends in the middle; is the file cut short?");
        return NULL;
    }
    const char *bytes = (const char *)p->data + p->at;
    p->at += (size_t)count;
    return bytes;
}

/* A little-endian number of up to 8 bytes. */
static bool number_of(Pickle *p, int bytes, uint64_t *out)
{
    const unsigned char *from = (const unsigned char *)bytes_of(p, (uint64_t)bytes);
    *out = 0;
    for (int i = bytes - 1; from && i >= 0; i--)
        *out = *out << 8 | from[i];
    return from != NULL;
}

/* ---- the stack */

static bool push(Pickle *p, PickleValue *value)
{
    if (!value || !memory_grow((void **)&p->stack, p->depth, &p->stack_capacity, sizeof *p->stack))
        return false;
    p->stack[p->depth++] = value;
    return true;
}

static size_t floor_of(const Pickle *p)
{
    return p->mark_count ? p->marks[p->mark_count - 1] : 0;
}

/* The value on top, off the stack. NULL after error_set(). */
static PickleValue *pop(Pickle *p)
{
    if (p->depth <= floor_of(p)) {
        refuse(p, "the stack is empty");
        return NULL;
    }
    return p->stack[--p->depth];
}

/* The value on top, which stays. */
static PickleValue *top(Pickle *p)
{
    PickleValue *value = pop(p);
    p->depth += value != NULL;
    return value;
}

/* Takes the newest mark away: values from *first on are those above it. */
static bool pop_mark(Pickle *p, size_t *first)
{
    if (!p->mark_count)
        return refuse(p, "there is no mark");
    *first = p->marks[--p->mark_count];
    return true;
}

static bool push_bytes(Pickle *p, PickleKind kind, uint64_t count)
{
    const char *bytes = bytes_of(p, count);
    if (bytes && count > UINT32_MAX)
        return refuse(p, "a text of %llu bytes", (unsigned long long)count);
    PickleValue *v = bytes ? new_value(p, kind) : NULL;
    if (!v)
        return false;
    v->bytes = bytes;
    v->count = (uint32_t)count;
    return push(p, v);
}

/* The same, behind a count of so many bytes. */
static bool push_counted(Pickle *p, PickleKind kind, int bytes)
{
    uint64_t count;
    return number_of(p, bytes, &count) && push_bytes(p, kind, count);
}

static bool push_integer(Pickle *p, PickleKind kind, int64_t integer)
{
    PickleValue *v = new_value(p, kind);
    if (!v)
        return false;
    v->integer = integer;
    return push(p, v);
}

/* An unsigned number of that many bytes. */
static bool push_unsigned(Pickle *p, int bytes)
{
    uint64_t number;
    return number_of(p, bytes, &number) && push_integer(p, PICKLE_INT, (int64_t)number);
}

/* A number of any length, two's complement. */
static bool push_long(Pickle *p, uint64_t count)
{
    if (count > 8)
        return push_bytes(p, PICKLE_LONG, count);
    uint64_t number;
    if (!number_of(p, (int)count, &number))
        return false;
    if (count && count < 8 && number >> (8 * count - 1))
        number |= ~(uint64_t)0 << (8 * count);
    return push_integer(p, PICKLE_INT, (int64_t)number);
}

static bool push_real(Pickle *p)
{
    const unsigned char *from = (const unsigned char *)bytes_of(p, 8);
    PickleValue *v = from ? new_value(p, PICKLE_REAL) : NULL;
    uint64_t bits = 0;
    for (int i = 0; v && i < 8; i++)
        bits = bits << 8 | from[i];
    if (v)
        memcpy(&v->real, &bits, sizeof bits);
    return push(p, v);
}

/* ---- collections */

/* Room for `more` items behind those of a value; the arrays that are outgrown stay in the pickle's memory. Their capacity is
 * the power of two at or above their count. */
static bool reserve(Pickle *p, PickleValue *v, size_t more)
{
    size_t needed = v->count + more, held = 1, wanted = 1;
    while (held < v->count)
        held *= 2;
    while (wanted < needed)
        wanted *= 2;
    if (!v->count || wanted > held) {
        const PickleValue **items = take(p, wanted * sizeof *items);
        if (!items)
            return false;
        if (v->count)
            memcpy(items, v->items, v->count * sizeof *items);
        v->items = items;
    }
    return true;
}

/* Moves what lies on the stack from `first` on into a collection. */
static bool move_items(Pickle *p, PickleValue *to, size_t first)
{
    size_t count = p->depth - first;
    if (count && !reserve(p, to, count))
        return false;
    for (size_t i = 0; i < count; i++)
        to->items[to->count++] = p->stack[first + i];
    p->depth = first;
    return true;
}

static bool push_tuple(Pickle *p, size_t first)
{
    PickleValue *v = new_value(p, PICKLE_TUPLE);
    return v && move_items(p, v, first) && push(p, v);
}

/* TUPLE1 to TUPLE3. */
static bool push_short_tuple(Pickle *p, size_t count)
{
    if (p->depth - floor_of(p) < count)
        return refuse(p, "the stack is empty");
    return push_tuple(p, p->depth - count);
}

/* Moves items into the collection below them: one of `kind`, or a record, which swallows all. */
static bool add_items(Pickle *p, size_t first, PickleKind kind)
{
    if (first <= floor_of(p))
        return refuse(p, "there is nothing that items could be added to");
    if (kind == PICKLE_DICT && (p->depth - first) % 2)
        return refuse(p, "a key has no value");
    PickleValue *to = p->stack[first - 1];
    if (to->kind == PICKLE_RECORD) {
        PickleRecord *record = to->record;
        if (!record->added && !(record->added = new_value(p, kind)))
            return false;
        to = record->added;
    }
    if (to->kind != kind)
        return refuse(p, "items are added to what is no collection of this kind");
    return move_items(p, to, first);
}

static bool add_marked(Pickle *p, PickleKind kind)
{
    size_t first = 0;
    return pop_mark(p, &first) && add_items(p, first, kind);
}

/* APPEND and SETITEM. */
static bool add_some(Pickle *p, size_t count, PickleKind kind)
{
    if (p->depth - floor_of(p) < count + 1)
        return refuse(p, "the stack is empty");
    return add_items(p, p->depth - count, kind);
}

/* ---- names and records */

static bool same(const char *bytes, size_t count, const char *text)
{
    return strlen(text) == count && !memcmp(bytes, text, count);
}

static bool is_hostile(const PickleName *n)
{
    static const char *const modules[] = {"os", "posix", "nt", "sys", "subprocess"};
    static const char *const functions[] = {"eval", "exec", "getattr", "__import__", "open"};
    size_t module = 0;
    while (module < n->module_bytes && n->module[module] != '.')
        module++;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (same(n->module, module, modules[i]))
            return true;
    if (same(n->module, n->module_bytes, "builtins") || same(n->module, n->module_bytes, "__builtin__"))
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
            if (same(n->name, n->name_bytes, functions[i]))
                return true;
    return false;
}

static bool push_name(Pickle *p, const char *module, size_t module_bytes, const char *name, size_t name_bytes)
{
    enum { NAME_MOST = 1024 };
    if (module_bytes > NAME_MOST || name_bytes > NAME_MOST)
        return refuse(p, "a name of more than %d bytes", NAME_MOST);
    PickleValue *v = new_value(p, PICKLE_NAME);
    PickleName *n = v ? take(p, sizeof *n) : NULL;
    if (!n)
        return false;
    *n = (PickleName){module, name, (uint32_t)module_bytes, (uint32_t)name_bytes};
    v->name = n;
    if (is_hostile(n))
        return refuse(p, "%.*s.%.*s would be called, as no honest weights do; nothing was run", (int)module_bytes, module,
                      (int)name_bytes, name);
    return push(p, v);
}

/* Up to the end of a line. */
static const char *line_of(Pickle *p, size_t *length)
{
    const char *from = (const char *)p->data + p->at, *end = memchr(from, '\n', p->size - p->at);
    if (!end) {
        refuse(p, "it ends in the middle; is the file cut short?");
        return NULL;
    }
    *length = (size_t)(end - from);
    p->at += *length + 1;
    return from;
}

static bool push_global(Pickle *p)
{
    size_t module_bytes, name_bytes;
    const char *module = line_of(p, &module_bytes), *name = module ? line_of(p, &name_bytes) : NULL;
    return name && push_name(p, module, module_bytes, name, name_bytes);
}

static bool push_stack_global(Pickle *p)
{
    const PickleValue *name = pop(p), *module = name ? pop(p) : NULL;
    if (!module)
        return false;
    if (name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT)
        return refuse(p, "a name is no text");
    return push_name(p, module->bytes, module->count, name->bytes, name->count);
}

/* REDUCE and NEWOBJ. */
static bool push_record(Pickle *p)
{
    const PickleValue *arguments = pop(p), *callee = arguments ? pop(p) : NULL;
    if (!callee)
        return false;
    if (callee->kind != PICKLE_NAME || arguments->kind != PICKLE_TUPLE)
        return refuse(p, "what is called is no name, or its arguments are no tuple");
    PickleValue *v = new_value(p, PICKLE_RECORD);
    PickleRecord *record = v ? take(p, sizeof *record) : NULL;
    if (!record)
        return false;
    *record = (PickleRecord){.callee = callee, .arguments = arguments};
    v->record = record;
    return push(p, v);
}

static bool build(Pickle *p)
{
    const PickleValue *state = pop(p);
    PickleValue *of = state ? top(p) : NULL;
    if (!of)
        return false;
    if (of->kind != PICKLE_RECORD)
        return refuse(p, "a state is given to what has none");
    of->record->state = state;
    return true;
}

static bool push_persistent(Pickle *p)
{
    PickleValue *identifier = pop(p), *v = identifier ? new_value(p, PICKLE_PERSISTENT) : NULL;
    if (!v || !reserve(p, v, 1))
        return false;
    v->items[v->count++] = identifier;
    if (!memory_grow((void **)&p->persistent, p->persistent_count, &p->persistent_capacity, sizeof *p->persistent))
        return false;
    p->persistent[p->persistent_count++] = v;
    return push(p, v);
}

/* ---- memo */

static bool memo_put(Pickle *p, uint64_t index)
{
    PickleValue *value = top(p);
    if (!value)
        return false;
    if (index >= PICKLE_OPCODES_MAX)
        return refuse(p, "number %llu of the memo is too large", (unsigned long long)index);
    if (index >= p->memo_count) {
        size_t count = p->memo_count ? p->memo_count : 64;
        while (count <= index)
            count *= 2;
        PickleValue **memo = memory_resize(p->memo, count, sizeof *memo);
        if (!memo)
            return false;
        memset(memo + p->memo_count, 0, (count - p->memo_count) * sizeof *memo);
        p->memo = memo;
        p->memo_count = count;
    }
    p->memo[index] = value;
    return true;
}

static bool memo_put_at(Pickle *p, int bytes)
{
    uint64_t index;
    return number_of(p, bytes, &index) && memo_put(p, index);
}

/* MEMOIZE: the first number that is free, which is their count, since none is ever taken away. */
static bool memoize(Pickle *p, size_t *next)
{
    while (*next < p->memo_count && p->memo[*next])
        ++*next;
    return memo_put(p, *next);
}

static bool memo_get(Pickle *p, int bytes)
{
    uint64_t index;
    if (!number_of(p, bytes, &index))
        return false;
    if (index >= p->memo_count || !p->memo[index])
        return refuse(p, "number %llu of the memo was never set", (unsigned long long)index);
    return push(p, p->memo[index]);
}

/* ---- the machine */

static bool push_mark(Pickle *p)
{
    if (!memory_grow((void **)&p->marks, p->mark_count, &p->mark_capacity, sizeof *p->marks))
        return false;
    p->marks[p->mark_count++] = p->depth;
    return true;
}

static bool marked_tuple(Pickle *p)
{
    size_t first = 0;
    return pop_mark(p, &first) && push_tuple(p, first);
}

static bool signed_integer(Pickle *p)
{
    uint64_t number;
    return number_of(p, 4, &number) && push_integer(p, PICKLE_INT, (int32_t)(uint32_t)number);
}

static bool long_of(Pickle *p, int bytes)
{
    uint64_t count;
    return number_of(p, bytes, &count) && push_long(p, count);
}

static bool protocol(Pickle *p)
{
    uint64_t number;
    return number_of(p, 1, &number) && (number <= PROTOCOL_MAX || refuse(p, "protocol %d is not known", (int)number));
}

static bool carry_out(Pickle *p, unsigned char op, size_t *next_memo)
{
    uint64_t ignored;
    switch (op) {
    case 0x80:
        return protocol(p);
    case 0x95: /* FRAME */
        return number_of(p, 8, &ignored);
    case 'c':
        return push_global(p);
    case 0x93:
        return push_stack_global(p);
    case 'q':
        return memo_put_at(p, 1);
    case 'r':
        return memo_put_at(p, 4);
    case 0x94:
        return memoize(p, next_memo);
    case 'h':
        return memo_get(p, 1);
    case 'j':
        return memo_get(p, 4);
    case '(':
        return push_mark(p);
    case ')':
        return push_tuple(p, p->depth);
    case 't':
        return marked_tuple(p);
    case 0x85:
    case 0x86:
    case 0x87:
        return push_short_tuple(p, op - 0x84u);
    case ']':
        return push(p, new_value(p, PICKLE_LIST));
    case '}':
        return push(p, new_value(p, PICKLE_DICT));
    case 0x8f:
        return push(p, new_value(p, PICKLE_SET));
    case 'a':
        return add_some(p, 1, PICKLE_LIST);
    case 's':
        return add_some(p, 2, PICKLE_DICT);
    case 'e':
        return add_marked(p, PICKLE_LIST);
    case 'u':
        return add_marked(p, PICKLE_DICT);
    case 0x90:
        return add_marked(p, PICKLE_SET);
    case 'N':
        return push(p, new_value(p, PICKLE_NONE));
    case 0x88:
    case 0x89:
        return push_integer(p, PICKLE_BOOL, op == 0x88);
    case 'J':
        return signed_integer(p);
    case 'K':
        return push_unsigned(p, 1);
    case 'M':
        return push_unsigned(p, 2);
    case 0x8a:
        return long_of(p, 1);
    case 0x8b:
        return long_of(p, 4);
    case 'G':
        return push_real(p);
    case 'X':
    case 'T':
    case 'B':
        return push_counted(p, PICKLE_TEXT, 4);
    case 'U':
    case 'C':
    case 0x8c:
        return push_counted(p, PICKLE_TEXT, 1);
    case 0x8d:
        return push_counted(p, PICKLE_TEXT, 8);
    case 'Q':
        return push_persistent(p);
    case 'R':
    case 0x81:
        return push_record(p);
    case 'b':
        return build(p);
    default:
        return refuse(p, "this opcode is none of those that weights need");
    }
}

static bool run(Pickle *p, int opcodes)
{
    size_t next_memo = 0;
    for (int count = 0;; count++) {
        p->opcode_at = p->at;
        if (p->at >= p->size)
            return refuse(p, "it ends without a STOP; is the file cut short?");
        if (count >= opcodes)
            return refuse(p, "it has more than %d opcodes", opcodes);
        unsigned char op = p->data[p->at++];
        if (op == '.')
            break;
        if (!carry_out(p, op, &next_memo))
            return false;
    }
    if (p->mark_count || p->depth != 1)
        return refuse(p, "it ends with other than one value");
    p->root = p->stack[0];
    return true;
}

Pickle *pickle_read(const void *data, size_t size, size_t at, int opcodes, const char *origin)
{
    Pickle *p = memory_new(1, sizeof *p);
    if (!p)
        return NULL;
    *p = (Pickle){.data = data, .size = size, .at = at, .opcode_at = at, .origin = origin};
    if (!run(p, opcodes)) {
        pickle_free(p);
        return NULL;
    }
    return p;
}

/* ---- looking at values */

const PickleValue *pickle_root(const Pickle *p)
{
    return p->root;
}

size_t pickle_end(const Pickle *p)
{
    return p->at;
}

size_t pickle_persistent_count(const Pickle *p)
{
    return p->persistent_count;
}

const PickleValue *pickle_persistent_at(const Pickle *p, size_t i)
{
    return p->persistent[i]->items[0];
}

bool pickle_is_text(const PickleValue *v, const char *text)
{
    return v && v->kind == PICKLE_TEXT && same(v->bytes, v->count, text);
}

bool pickle_is_name(const PickleValue *v, const char *module, const char *name)
{
    return v && v->kind == PICKLE_NAME && same(v->name->module, v->name->module_bytes, module) &&
           same(v->name->name, v->name->name_bytes, name);
}

const PickleValue *pickle_mapping(const PickleValue *v)
{
    if (!v || v->kind == PICKLE_DICT)
        return v;
    if (v->kind != PICKLE_RECORD)
        return NULL;
    if (v->record->added && v->record->added->kind == PICKLE_DICT)
        return v->record->added;
    return v->record->state && v->record->state->kind == PICKLE_DICT ? v->record->state : NULL;
}

const PickleValue *pickle_get(const PickleValue *v, const char *key)
{
    const PickleValue *pairs = pickle_mapping(v);
    for (size_t i = pairs ? pairs->count : 0; i >= 2; i -= 2)
        if (pickle_is_text(pairs->items[i - 2], key))
            return pairs->items[i - 1];
    return NULL;
}
