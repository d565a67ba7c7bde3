/* Sums over GPUs by NCCL, which is loaded where it is found. Its header is a package of its own, so the few things of it that
 * are called are declared here: they are the same in all of version 2. */
#include <dlfcn.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/cuda/nvidia.h"

enum { NCCL_FLOAT32 = 7, NCCL_SUM = 0 };

typedef struct {
    char bytes[CUDA_SUMS_NAME];
} UniqueId;

typedef struct {
    void *library, *group; /* group: a ncclComm_t; NULL until it is joined */

    const char *(*error_text)(int result);
    int (*version)(int *version);
    int (*unique_id)(UniqueId *id);
    int (*join)(void **group, int count, UniqueId id, int rank);
    int (*all_reduce)(const void *from, void *to, size_t count, int type, int operation, void *group, void *stream);
    int (*leave)(void *group);
    int (*give_up)(void *group);
} Sums;

static bool load_symbols(Sums *s)
{
    const struct {
        const char *name;
        void **to;
    } symbols[] = {{"ncclGetErrorString", (void **)&s->error_text}, {"ncclGetVersion", (void **)&s->version},
                   {"ncclGetUniqueId", (void **)&s->unique_id},     {"ncclCommInitRank", (void **)&s->join},
                   {"ncclAllReduce", (void **)&s->all_reduce},      {"ncclCommDestroy", (void **)&s->leave},
                   {"ncclCommAbort", (void **)&s->give_up}};
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if (!(*symbols[i].to = dlsym(s->library, symbols[i].name)))
            return error_set("NCCL has no %s", symbols[i].name);
    return true;
}

/* It stays loaded, as cuBLASLt does. */
bool nvidia_sums_open(void **sums)
{
    static const char *const names[] = {"libnccl.so.2", LACUNA_CUDA_LIBRARIES "/libnccl.so.2"};
    Sums *s = memory_new(1, sizeof *s);
    if (!s)
        return false;
    for (size_t i = 0; !s->library && i < sizeof names / sizeof *names; i++)
        s->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    bool ok = s->library ? load_symbols(s)
                         : error_set("NCCL, libnccl.so.2, cannot be loaded; install it and add its folder to LD_LIBRARY_PATH");
    if (!ok) {
        memory_free(s);
        return false;
    }
    *sums = s;
    return true;
}

void nvidia_sums_close(void *sums, bool together)
{
    Sums *s = sums;
    if (s->group && together)
        s->leave(s->group);
    else if (s->group)
        s->give_up(s->group);
    memory_free(s);
}

static bool check(const Sums *s, int result)
{
    return !result || error_set("NCCL: %s", s->error_text(result));
}

int nvidia_sums_version(void *sums)
{
    int version = 0;
    return ((const Sums *)sums)->version(&version) ? 0 : version;
}

bool nvidia_sums_name(void *sums, unsigned char *name)
{
    UniqueId id;
    if (!check(sums, ((const Sums *)sums)->unique_id(&id)))
        return false;
    memcpy(name, id.bytes, sizeof id.bytes);
    return true;
}

bool nvidia_sums_join(void *sums, const unsigned char *name, int rank, int count)
{
    Sums *s = sums;
    UniqueId id;
    memcpy(id.bytes, name, sizeof id.bytes);
    return check(s, s->join(&s->group, count, id, rank));
}

bool nvidia_sum(void *sums, float *data, size_t count, void *stream)
{
    const Sums *s = sums;
    return check(s, s->all_reduce(data, data, count, NCCL_FLOAT32, NCCL_SUM, s->group, stream));
}
