#define LACUNA_CUDA_RUNTIME_HERE
#include "device/cuda/fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "device/cuda/fake_parts.h"

/* ---- state: a runtime is one for the whole process */

typedef struct Block Block;
struct Block {
    void *at;
    size_t bytes; /* whole pages */
    Block *next;  /* by address */
};

typedef struct {
    int put;  /* pieces of work so far, a graph being one */
    int sums; /* over GPUs among them */
} Stream;

typedef struct {
    const Stream *stream; /* where it was recorded last; NULL: nowhere yet */
    int put, sums;        /* into that stream before it */
    double at;            /* by the fake's clock */
    int capture;          /* number of the capture in which it was recorded; 0: outside of any */
    int lane;
    size_t place;
} Event;

#define SPACE ((size_t)1 << 38) /* bytes of addresses, taken once; only what is used becomes memory */

static struct {
    char *space;
    Block *blocks; /* of the GPU */
    int64_t memory, used;
    int devices, count_error;
    int things, calls, fail_at, error, launch_error, graph_launches, waits, slack, overtaking, rushed;
    FakeOrder order;
    double clock;
    FakeGraph *capturing;
    int captures; /* so far */
    int sums, sums_joined;
    const void *origin;
    Text log;
} fake = {.memory = 64000000000, .devices = 1};

void fake_reset(void)
{
    fake.memory = 64000000000;
    fake.devices = 1;
    fake.order = FAKE_AS_PUT;
    fake.sums = fake.sums_joined = 0;
    fake.count_error = fake.calls = fake.fail_at = fake.error = fake.launch_error = 0;
    fake_log_clear();
    fake_libraries_reset();
}

void fake_set_devices(int count, int error)
{
    fake.devices = count;
    fake.count_error = error;
}

void fake_set_memory(int64_t bytes)
{
    fake.memory = bytes;
}

void fake_set_order(FakeOrder order)
{
    fake.order = order;
}

void fake_fail_at(int n, int error)
{
    fake.fail_at = n ? fake.calls + n : 0;
    fake.error = error;
}

int fake_calls(void)
{
    return fake.calls;
}

int fake_open_things(void)
{
    return fake.things;
}

const char *fake_log(void)
{
    return fake.log.data ? fake.log.data : "";
}

void fake_log_clear(void)
{
    text_free(&fake.log);
    fake.graph_launches = fake.waits = fake.slack = fake.overtaking = fake.rushed = 0;
}

int fake_waits(void)
{
    return fake.waits;
}

int fake_slack(void)
{
    return fake.slack;
}

int fake_overtaking(void)
{
    return fake.overtaking;
}

int fake_rushed(void)
{
    return fake.rushed;
}

int fake_unjoined(void)
{
    return fake.sums - fake.sums_joined;
}

int fake_graph_launches(void)
{
    return fake.graph_launches;
}

/* One more call: the error it is to fail with, or 0. */
int fake_call(void)
{
    const char *fails = getenv("LACUNA_FAKE_FAILS"), *rank = getenv("OMPI_COMM_WORLD_RANK"); /* "RANK:CALL" */
    int which, n;
    fake.calls++;
    if (fails && rank && sscanf(fails, "%d:%d", &which, &n) == 2 && which == atoi(rank) && fake.calls >= n)
        return FAKE_LOST;
    bool lost = fake.error == FAKE_LOST && fake.fail_at && fake.calls > fake.fail_at;
    return (fake.fail_at && fake.calls == fake.fail_at) || lost ? fake.error : 0;
}

const char *fake_error_words(int error)
{
    static const char *const words[] = {"no error",           "the fake call failed", "out of memory",           "device lost",
                                        "no driver is there", "no device is there",   "not allowed in a capture"};
    return words[error];
}

static CudaFault fault(int error)
{
    switch (error) {
    case FAKE_OUT_OF_MEMORY:
        return CUDA_FAULT_MEMORY;
    case FAKE_LOST:
        return CUDA_FAULT_LOST;
    case FAKE_NO_DRIVER:
        return CUDA_FAULT_NO_DRIVER;
    case FAKE_NO_DEVICE:
        return CUDA_FAULT_NO_DEVICE;
    default:
        return CUDA_FAULT_OTHER;
    }
}

/* ---- devices */

static int device_count(int *count)
{
    int error = fake_call();
    if (!error)
        error = fake.count_error;
    const char *many = getenv("LACUNA_FAKE_GPUS"); /* for a whole program on the fake */
    *count = error ? 0 : many ? atoi(many) : fake.devices;
    return error;
}

static int device_properties(int index, CudaProperties *properties)
{
    *properties = (CudaProperties){.multiprocessors = 3, .shared_most = 96 << 10, .memory = fake.memory};
    if (getenv("LACUNA_FAKE_GPUS") && !getenv("LACUNA_FAKE_MIXED")) /* all alike */
        snprintf(properties->name, sizeof properties->name, "lock-step");
    else
        snprintf(properties->name, sizeof properties->name, "lock-step %d", index);
    return fake_call();
}

static int device_use(int index)
{
    (void)index;
    return fake_call();
}

static int memory_left(int64_t *bytes)
{
    *bytes = fake.memory - fake.used;
    return fake_call();
}

static int versions(int *driver, int *runtime)
{
    *driver = *runtime = 0;
    return fake_call();
}

/* ---- memory */

static size_t whole_pages(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

/* All of it at once: from the first to the last block. */
static void open_memory(bool open)
{
    const Block *last = fake.blocks;
    while (last && last->next)
        last = last->next;
    if (last)
        mprotect(fake.space, (size_t)((char *)last->at + last->bytes - fake.space), open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

/* Puts a block into the first gap that takes it. */
static void *place(Block *b)
{
    if (!fake.space) {
        void *space = mmap(NULL, SPACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        fake.space = space == MAP_FAILED ? NULL : space;
    }
    if (!fake.space)
        return NULL;
    char *at = fake.space;
    Block **before = &fake.blocks;
    for (; *before && at + b->bytes > (char *)(*before)->at; before = &(*before)->next)
        at = (char *)(*before)->at + (*before)->bytes;
    if (at + b->bytes > fake.space + SPACE)
        return NULL;
    b->at = at;
    b->next = *before;
    *before = b;
    return at;
}

static int allocate(void **at, size_t bytes)
{
    int error = fake_call();
    size_t whole = whole_pages(bytes);
    if (!error && (bytes > (size_t)fake.memory || fake.used + (int64_t)whole > fake.memory || fake.capturing))
        error = fake.capturing ? FAKE_NOT_ALLOWED : FAKE_OUT_OF_MEMORY;
    if (error)
        return error;
    Block *b = calloc(1, sizeof *b);
    if (!b)
        return FAKE_OUT_OF_MEMORY;
    b->bytes = whole;
    *at = place(b);
    if (!*at) {
        free(b);
        return FAKE_OUT_OF_MEMORY;
    }
    fake.used += (int64_t)whole;
    fake.things++;
    return 0;
}

static int release(void *at)
{
    for (Block **b = &fake.blocks; *b; b = &(*b)->next)
        if ((*b)->at == at) {
            Block *gone = *b;
            *b = gone->next;
            madvise(gone->at, gone->bytes, MADV_DONTNEED);
            mprotect(gone->at, gone->bytes, PROT_NONE);
            fake.used -= (int64_t)gone->bytes;
            fake.things--;
            free(gone);
            return 0;
        }
    return FAKE_ERROR;
}

static int allocate_pinned(void **at, size_t bytes)
{
    int error = fake_call();
    if (error)
        return error;
    *at = malloc(bytes);
    fake.things += *at != NULL;
    return *at ? 0 : FAKE_OUT_OF_MEMORY;
}

static int release_pinned(void *at)
{
    free(at);
    fake.things--;
    return 0;
}

/* ---- streams and events */

/* Streams, events and handles are small blocks, so that losing one shows. */
int fake_thing_new(void **thing, size_t bytes)
{
    int error = fake_call();
    if (error)
        return error;
    *thing = calloc(1, bytes);
    fake.things += *thing != NULL;
    return *thing ? 0 : FAKE_OUT_OF_MEMORY;
}

int fake_thing_free(void *thing)
{
    free(thing);
    fake.things--;
    return 0;
}

static int event_new(void **event, bool timed)
{
    (void)timed;
    return fake_thing_new(event, sizeof(Event));
}

static int stream_new(void **stream, CudaTurn turn)
{
    (void)turn;
    return fake_thing_new(stream, sizeof(Stream));
}

static int wait(void *thing)
{
    (void)thing;
    int error = fake_call();
    fake.waits++;
    return error ? error : fake.capturing ? FAKE_NOT_ALLOWED : 0;
}

static int lane_of(const void *stream)
{
    return fake.capturing && stream ? fake_graph_lane(fake.capturing, stream) : -1;
}

static int event_record(void *event, void *stream)
{
    const Stream *s = stream;
    Event *e = event;
    int lane = lane_of(stream);
    *e = (Event){.stream = s, .put = s->put, .sums = s->sums, .at = fake.clock};
    if (lane >= 0) {
        e->capture = fake.captures;
        e->lane = lane;
        e->place = fake_graph_place(fake.capturing, lane);
    }
    return fake_call();
}

static int stream_follow(void *stream, void *event)
{
    const Event *e = event;
    if (e->capture || lane_of(stream) >= 0) {
        int error = fake_call();
        if (!error && (!fake.capturing || e->capture != fake.captures))
            error = FAKE_NOT_ALLOWED;
        if (error)
            return error;
        return fake_graph_follow(fake.capturing, stream, e->lane, e->place) ? 0 : FAKE_OUT_OF_MEMORY;
    }
    if (e->stream && e->stream->put - e->put > fake.slack)
        fake.slack = e->stream->put - e->put;
    if (e->stream != stream && e->sums > fake.sums_joined)
        fake.sums_joined = e->sums;
    return fake_call();
}

static int event_seconds(void *from, void *to, double *seconds)
{
    *seconds = 1e-3 + ((const Event *)to)->at - ((const Event *)from)->at;
    return fake_call();
}

/* ---- work */

static void run_open(const FakeWork *w)
{
    if (w->bytes)
        text_add(&fake.log, "%s %zu\n", w->name, w->bytes);
    else
        text_add(&fake.log, "%s\n", w->name);
    w->run(w->data);
}

/* Memory is open while it runs. */
static void run(const FakeWork *w)
{
    open_memory(true);
    run_open(w);
    open_memory(false);
}

/* The work is owned from here on. While anything is captured, what is put into a stream that takes no part is a mistake: a GPU
 * would do it now. A NULL stream, of a test that runs a kernel by itself, always takes part. */
int fake_put(void *stream, FakeWork w)
{
    int error = fake_call(), lane = stream ? lane_of(stream) : 0;
    if (stream)
        ((Stream *)stream)->put++;
    if (!error && fake.capturing && lane < 0)
        error = FAKE_NOT_ALLOWED;
    if (!error && fake.capturing)
        return fake_graph_put(fake.capturing, lane, w) ? 0 : FAKE_OUT_OF_MEMORY;
    if (!error)
        run(&w);
    fake_work_release(&w);
    return error;
}

void fake_enqueue(void *stream, const char *name, void (*function)(void *data), void (*release_data)(void *data), void *data)
{
    int error = fake_put(stream, (FakeWork){.name = name, .run = function, .release = release_data, .data = data});
    fake.launch_error = fake.launch_error ? fake.launch_error : error;
}

void fake_pass(double seconds)
{
    fake.clock += seconds;
}

void fake_note_sum(void *stream)
{
    ((Stream *)stream)->sums = ++fake.sums;
}

static int last_error(void)
{
    int error = fake.launch_error;
    fake.launch_error = 0;
    return error;
}

typedef struct {
    void *to;
    const void *from; /* NULL: zeros */
    size_t bytes;
} Copy;

/* Whole pages are given back, which makes zeros of them without touching them: arenas are large and little of them is used. */
static void clear_pages(char *at, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (uintptr_t)at % page ? 0 : bytes / page * page;
    if (whole && madvise(at, whole, MADV_DONTNEED))
        whole = 0;
    memset(at + whole, 0, bytes - whole);
}

static void run_copy(void *data)
{
    const Copy *c = data;
    if (c->from)
        memcpy(c->to, c->from, c->bytes);
    else
        clear_pages(c->to, c->bytes);
}

static int put_copy(void *stream, const char *name, void *to, const void *from, size_t bytes)
{
    Copy *c = malloc(sizeof *c);
    if (!c)
        return FAKE_OUT_OF_MEMORY;
    *c = (Copy){to, from, bytes};
    return fake_put(stream, (FakeWork){.name = name, .bytes = bytes, .run = run_copy, .release = free, .data = c});
}

static int copy(void *to, const void *from, size_t bytes, void *stream)
{
    return put_copy(stream, "copy", to, from, bytes);
}

static int clear(void *at, size_t bytes, void *stream)
{
    return put_copy(stream, "clear", at, NULL, bytes);
}

/* ---- graphs */

static int graph_free(void *graph)
{
    fake_graph_free(graph);
    fake.things--;
    return 0;
}

static int capture_begin(void *stream)
{
    int error = fake_call();
    if (error)
        return error;
    fake.captures++;
    fake.origin = stream;
    fake.capturing = fake_graph_new(stream);
    fake.things += fake.capturing != NULL;
    return fake.capturing ? 0 : FAKE_OUT_OF_MEMORY;
}

static int capture_end(void *stream, void **graph)
{
    FakeGraph *g = fake.capturing;
    fake.capturing = NULL;
    *graph = NULL;
    int error = fake_call();
    if (!error && g && (stream != fake.origin || !fake_graph_joined(g)))
        error = FAKE_NOT_ALLOWED;
    if (!error && g)
        *graph = g;
    else if (g)
        graph_free(g);
    return error;
}

static int graph_launch(void *graph, void *stream)
{
    int error = fake_call();
    if (error)
        return error;
    ((Stream *)stream)->put++;
    fake.graph_launches++;
    fake.rushed += fake.sums > fake.sums_joined;
    open_memory(true);
    fake.overtaking += fake_graph_run(graph, fake.order, run_open);
    open_memory(false);
    return 0;
}

const CudaRuntime *cuda_runtime(void)
{
    static const CudaRuntime runtime = {.error_text = fake_error_words,
                                        .fault = fault,
                                        .device_count = device_count,
                                        .device_properties = device_properties,
                                        .device_use = device_use,
                                        .memory_left = memory_left,
                                        .versions = versions,
                                        .allocate = allocate,
                                        .release = release,
                                        .allocate_pinned = allocate_pinned,
                                        .release_pinned = release_pinned,
                                        .stream_new = stream_new,
                                        .stream_free = fake_thing_free,
                                        .stream_wait = wait,
                                        .stream_follow = stream_follow,
                                        .event_new = event_new,
                                        .event_free = fake_thing_free,
                                        .event_record = event_record,
                                        .event_wait = wait,
                                        .event_seconds = event_seconds,
                                        .copy = copy,
                                        .clear = clear,
                                        .capture_begin = capture_begin,
                                        .capture_end = capture_end,
                                        .graph_launch = graph_launch,
                                        .graph_free = graph_free,
                                        .last_error = last_error,
                                        .products_open = fake_products_open,
                                        .products_close = fake_products_close,
                                        .products_version = fake_products_version,
                                        .product_describe = fake_product_describe,
                                        .product_forget = fake_product_forget,
                                        .product_propose = fake_product_propose,
                                        .product = fake_product,
                                        .sums_open = fake_sums_open,
                                        .sums_close = fake_sums_close,
                                        .sums_version = fake_sums_version,
                                        .sums_name = fake_sums_name,
                                        .sums_join = fake_sums_join,
                                        .sum = fake_sum};
    return &runtime;
}
