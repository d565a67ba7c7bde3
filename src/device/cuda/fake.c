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
#include "device/cuda/fake_graph.h"
#include "device/cuda/fake_group.h"

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

enum { ALGORITHMS = 8 };

#define SPACE ((size_t)1 << 38) /* bytes of addresses, taken once; only what is used becomes memory */

static struct {
    char *space;
    Block *blocks; /* of the GPU */
    int64_t memory, used;
    int devices, count_error;
    int things, calls, fail_at, error, launch_error, graph_launches, waits, slack, overtaking;
    FakeOrder order;
    int algorithms;
    double seconds[ALGORITHMS], clock;
    uint64_t library;
    FakeGraph *capturing;
    int captures; /* so far */
    FakeSums sums_way;
    int sums, sums_joined;
    const void *origin;
    Text log;
} fake = {.memory = 64000000000, .devices = 1, .algorithms = 1, .library = 1};

void fake_reset(void)
{
    fake.memory = 64000000000;
    fake.devices = fake.algorithms = 1;
    fake.library = 1;
    fake.seconds[0] = 0;
    fake.order = FAKE_AS_PUT;
    fake.sums_way = FAKE_SUMS_MISSING;
    fake.sums = fake.sums_joined = 0;
    fake.count_error = fake.calls = fake.fail_at = fake.error = fake.launch_error = 0;
    fake_log_clear();
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

void fake_set_algorithms(int count, const double *seconds)
{
    fake.algorithms = count;
    memcpy(fake.seconds, seconds, (size_t)count * sizeof *seconds);
}

void fake_set_library(uint64_t version)
{
    fake.library = version;
}

void fake_set_order(FakeOrder order)
{
    fake.order = order;
}

void fake_set_sums(FakeSums sums)
{
    fake.sums_way = sums;
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
    fake.graph_launches = fake.waits = fake.slack = fake.overtaking = 0;
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

int fake_unjoined(void)
{
    return fake.sums - fake.sums_joined;
}

int fake_graph_launches(void)
{
    return fake.graph_launches;
}

/* One more call: the error it is to fail with, or 0. */
static int call(void)
{
    fake.calls++;
    bool lost = fake.error == FAKE_LOST && fake.fail_at && fake.calls > fake.fail_at;
    return (fake.fail_at && fake.calls == fake.fail_at) || lost ? fake.error : 0;
}

static const char *error_words(int error)
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
    int error = call();
    if (!error)
        error = fake.count_error;
    const char *many = getenv("LACUNA_FAKE_GPUS"); /* for a whole program on the fake */
    *count = error ? 0 : many ? atoi(many) : fake.devices;
    return error;
}

static int device_properties(int index, CudaProperties *properties)
{
    *properties = (CudaProperties){.multiprocessors = 3, .shared_most = 96 << 10, .memory = fake.memory};
    if (getenv("LACUNA_FAKE_GPUS")) /* all alike */
        snprintf(properties->name, sizeof properties->name, "lock-step");
    else
        snprintf(properties->name, sizeof properties->name, "lock-step %d", index);
    return call();
}

static int device_use(int index)
{
    (void)index;
    return call();
}

static int memory_left(int64_t *bytes)
{
    *bytes = fake.memory - fake.used;
    return call();
}

static int versions(int *driver, int *runtime)
{
    *driver = *runtime = 0;
    return call();
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
    int error = call();
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
    int error = call();
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
static int thing_new(void **thing, size_t bytes)
{
    int error = call();
    if (error)
        return error;
    *thing = calloc(1, bytes);
    fake.things += *thing != NULL;
    return *thing ? 0 : FAKE_OUT_OF_MEMORY;
}

static int thing_free(void *thing)
{
    free(thing);
    fake.things--;
    return 0;
}

static int event_new(void **event, bool timed)
{
    (void)timed;
    return thing_new(event, sizeof(Event));
}

static int stream_new(void **stream, bool first)
{
    (void)first;
    return thing_new(stream, sizeof(Stream));
}

static int wait(void *thing)
{
    (void)thing;
    int error = call();
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
    return call();
}

static int stream_follow(void *stream, void *event)
{
    const Event *e = event;
    if (e->capture || lane_of(stream) >= 0) {
        int error = call();
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
    return call();
}

static int event_seconds(void *from, void *to, double *seconds)
{
    *seconds = 1e-3 + ((const Event *)to)->at - ((const Event *)from)->at;
    return call();
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
static int put(void *stream, FakeWork w)
{
    int error = call(), lane = stream ? lane_of(stream) : 0;
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
    int error = put(stream, (FakeWork){.name = name, .run = function, .release = release_data, .data = data});
    fake.launch_error = fake.launch_error ? fake.launch_error : error;
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
    return put(stream, (FakeWork){.name = name, .bytes = bytes, .run = run_copy, .release = free, .data = c});
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
    int error = call();
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
    int error = call();
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
    int error = call();
    if (error)
        return error;
    ((Stream *)stream)->put++;
    fake.graph_launches++;
    open_memory(true);
    fake.overtaking += fake_graph_run(graph, fake.order, run_open);
    open_memory(false);
    return 0;
}

/* ---- products */

static double number(const void *from, DType type, int64_t i)
{
    if (type == DTYPE_REAL)
        return (double)((const float *)from)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

static void set_number(void *to, DType type, int64_t i, double value)
{
    float x = (float)value;
    if (type == DTYPE_REAL) {
        ((float *)to)[i] = x;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    ((uint16_t *)to)[i] = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

typedef struct {
    CudaProduct product;
    int algorithm;
} Job;

static void run_product(void *data)
{
    const Job *job = data;
    const CudaProduct *p = &job->product;
    fake.clock += fake.seconds[job->algorithm];
    for (int64_t i = 0; i < p->rows; i++)
        for (int64_t j = 0; j < p->columns; j++) {
            double sum = p->bias ? number(p->bias, p->c_type, j) : 0;
            for (int64_t k = 0; k < p->inner; k++)
                sum += number(p->a, p->type, p->a_turned ? k * p->a_stride + i : i * p->a_stride + k) *
                       number(p->b, p->type, p->b_turned ? j * p->b_stride + k : k * p->b_stride + j);
            int64_t at = i * p->c_stride + j;
            if (p->accumulate || p->residual)
                sum += number(p->accumulate ? p->c : p->residual, p->c_type, at);
            set_number(p->c, p->c_type, at, sum);
        }
}

static bool products_open(void **products)
{
    return !thing_new(products, 1) || error_set("the fake library of products does not open");
}

static void products_close(void *products)
{
    thing_free(products);
}

static uint64_t products_version(void *products)
{
    (void)products;
    return fake.library;
}

static bool product_describe(void *products, const CudaProductKind *kind, void **described)
{
    (void)products;
    (void)kind;
    return !thing_new(described, 1) || error_set("the fake library does not know such a product");
}

static void product_forget(void *products, void *described)
{
    (void)products;
    thing_free(described);
}

static bool product_propose(void *products, void *described, const void *bias, int most, CudaAlgorithm *ways, int *count)
{
    (void)products;
    (void)described;
    (void)bias;
    *count = most < fake.algorithms ? most : fake.algorithms;
    memset(ways, 0, (size_t)*count * sizeof *ways);
    for (int i = 0; i < *count; i++)
        ways[i].words[0] = (uint64_t)i;
    return !call() || error_set("the fake library does not propose anything");
}

static bool product(void *products, void *described, const CudaAlgorithm *way, const CudaProduct *p, void *stream)
{
    static const char *const names[ALGORITHMS] = {"product",      "product by 1", "product by 2", "product by 3",
                                                  "product by 4", "product by 5", "product by 6", "product by 7"};
    int algorithm = (int)way->words[0];
    (void)products;
    (void)described;
    if (fake.seconds[algorithm] < 0)
        return error_set("the fake library does not carry that out");
    Job *job = malloc(sizeof *job);
    if (!job)
        return error_set("memory is out");
    *job = (Job){*p, algorithm};
    int error = put(stream, (FakeWork){.name = names[algorithm], .run = run_product, .release = free, .data = job});
    return !error || error_set("the fake product failed: %s", error_words(error));
}

/* ---- sums over GPUs */

/* For a whole program on the fake, LACUNA_FAKE_NCCL. */
static FakeSums sums_way(void)
{
    return getenv("LACUNA_FAKE_NCCL") ? FAKE_SUMS_TOGETHER : fake.sums_way;
}

static bool sums_open(void **sums)
{
    if (sums_way() == FAKE_SUMS_MISSING)
        return error_set("the fake library of sums is missing");
    return !thing_new(sums, sizeof(FakeGroup)) || error_set("the fake library of sums does not open");
}

static void sums_close(void *sums, bool together)
{
    fake_group_close(sums, together);
    thing_free(sums);
}

static bool sums_name(void *sums, unsigned char *name)
{
    (void)sums;
    if (call())
        return error_set("the fake group has no name");
    return fake_group_name((char *)name, CUDA_SUMS_NAME);
}

static bool sums_join(void *sums, const unsigned char *name, int rank, int count)
{
    if (call())
        return error_set("the fake group cannot be joined");
    return sums_way() == FAKE_SUMS_ALONE || fake_group_join(sums, (const char *)name, rank, count);
}

typedef struct {
    FakeGroup *group;
    float *data;
    size_t count;
} FakeSum;

static void run_sum(void *data)
{
    const FakeSum *s = data;
    fake_group_sum(s->group, s->data, s->count);
}

static bool sum(void *sums, float *data, size_t count, void *stream)
{
    FakeSum *s = malloc(sizeof *s);
    if (!s)
        return error_set("memory is out");
    *s = (FakeSum){sums, data, count};
    Stream *to = stream;
    to->sums = ++fake.sums;
    int error =
        put(stream, (FakeWork){.name = "sum", .bytes = count * sizeof *data, .run = run_sum, .release = free, .data = s});
    return !error || error_set("the fake sum failed: %s", error_words(error));
}

const CudaRuntime *cuda_runtime(void)
{
    static const CudaRuntime runtime = {.error_text = error_words,
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
                                        .stream_free = thing_free,
                                        .stream_wait = wait,
                                        .stream_follow = stream_follow,
                                        .event_new = event_new,
                                        .event_free = thing_free,
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
                                        .products_open = products_open,
                                        .products_close = products_close,
                                        .products_version = products_version,
                                        .product_describe = product_describe,
                                        .product_forget = product_forget,
                                        .product_propose = product_propose,
                                        .product = product,
                                        .sums_open = sums_open,
                                        .sums_close = sums_close,
                                        .sums_name = sums_name,
                                        .sums_join = sums_join,
                                        .sum = sum};
    return &runtime;
}
