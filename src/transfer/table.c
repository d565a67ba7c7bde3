#include "transfer/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

/* A nameless file of that size, mapped. */
static float *map_file(size_t bytes)
{
    char *folder = file_cache_folder(), *path = folder ? file_join(folder, "table-XXXXXX") : NULL;
    float *data = NULL;
    int fd = path ? mkostemp(path, O_CLOEXEC) : -1;
    if (path && fd < 0)
        error_set("cannot create %s: %s", path, strerror(errno));
    if (fd >= 0) {
        unlink(path);
        /* Room is taken now: a full disk is an error here and not a signal later. */
        int failed = posix_fallocate(fd, 0, (off_t)bytes);
        void *mapping = failed ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapping == MAP_FAILED)
            error_set("the cache folder %s cannot take %zu MB of features: %s; XDG_CACHE_HOME names another one", folder,
                      bytes >> 20, strerror(failed ? failed : errno));
        else
            data = mapping;
        close(fd);
    }
    memory_free(folder);
    memory_free(path);
    return data;
}

bool table_make(Table *t, size_t rows, size_t columns, size_t limit)
{
    size_t count, bytes;
    *t = (Table){.rows = rows, .columns = columns};
    if (!size_multiply(rows, columns, &count) || !size_multiply(count, sizeof *t->data, &bytes))
        return error_set("%zu features of %zu numbers are more than memory can address", rows, columns);
    if (bytes <= limit) {
        t->data = memory_new(count, sizeof *t->data);
    } else if ((t->data = map_file(bytes))) {
        t->mapped = bytes;
    }
    return t->data != NULL;
}

void table_free(Table *t)
{
    if (t->mapped)
        munmap(t->data, t->mapped);
    else
        memory_free(t->data);
    *t = (Table){0};
}
