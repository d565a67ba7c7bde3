#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"

static atomic_uint_fast64_t writes, fail_write_at;

void file_fail_at(uint64_t n)
{
    atomic_store(&fail_write_at, n ? atomic_load(&writes) + n : 0);
}

static bool io_error(const char *verb, const char *path)
{
    int number = errno;
    error_set("cannot %s %s: %s", verb, path, strerror(number));
    error_blame_errno(number);
    return false;
}

/* Reads up to `count` bytes, fewer at the file's end. False after error_set(). */
static bool read_some(int fd, const char *path, char *data, size_t count, size_t *done)
{
    for (*done = 0; *done < count;) {
        ssize_t n = read(fd, data + *done, count - *done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error("read", path);
        if (n == 0)
            break; /* it shrank meanwhile */
        *done += (size_t)n;
    }
    return true;
}

static bool start_is_good(int fd, const char *path, FileLook look)
{
    char *start = memory_new(FILE_START, 1);
    size_t size;
    bool good = start && read_some(fd, path, start, FILE_START, &size) && look(start, size, path) &&
                (lseek(fd, 0, SEEK_SET) == 0 || io_error("read", path));
    memory_free(start);
    return good;
}

char *file_read(const char *path, size_t limit, size_t *size)
{
    return file_read_if(path, limit, NULL, size);
}

char *file_read_if(const char *path, size_t limit, FileLook look, size_t *size)
{
    char *data = NULL;
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* else a pipe of that name would be waited for */
    if (fd < 0) {
        io_error("open", path);
        return NULL;
    }
    if (fstat(fd, &info) < 0) {
        io_error("read", path);
        goto fail;
    }
    if (!S_ISREG(info.st_mode)) {
        error_set("cannot read %s: not a regular file", path);
        goto fail;
    }
    if (limit && (uint64_t)info.st_size > limit) {
        error_set("%s has %lld bytes, more than the %zu that are accepted here", path, (long long)info.st_size, limit);
        goto fail;
    }
    size_t length = (size_t)info.st_size, done;
    if (look && length > FILE_LARGE && !start_is_good(fd, path, look))
        goto fail;
    data = memory_new(length + 1, 1);
    if (!data || !read_some(fd, path, data, length, &done))
        goto fail;
    data[done] = 0;
    *size = done;
    close(fd);
    return data;
fail:
    memory_free(data);
    close(fd);
    return NULL;
}

bool file_write_all(int descriptor, const char *path, const void *data, size_t size)
{
    const char *at = data;
    while (size) {
        uint64_t number = atomic_fetch_add(&writes, 1) + 1;
        ssize_t n;
        if (number == atomic_load(&fail_write_at)) {
            errno = ENOSPC;
            n = -1;
        } else {
            n = write(descriptor, at, size > 1u << 30 ? 1u << 30 : size);
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error("write", path);
        at += n;
        size -= (size_t)n;
    }
    return true;
}

bool file_write(const char *path, const void *data, size_t size)
{
    Text aside = {0};
    text_add(&aside, "%s.tmp", path);
    if (aside.failed)
        return false;
    bool ok = false;
    int fd = open(aside.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        io_error("create", aside.data);
        goto done;
    }
    ok = file_write_all(fd, aside.data, data, size);
    if (ok && fsync(fd) < 0)
        ok = io_error("flush", aside.data);
    if (close(fd) < 0 && ok)
        ok = io_error("close", aside.data);
    if (ok && rename(aside.data, path) < 0)
        ok = io_error("rename to", path);
    if (!ok)
        unlink(aside.data);
done:
    text_free(&aside);
    return ok;
}

bool file_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_error("open", path);
    bool ok = fsync(fd) == 0 || io_error("flush", path);
    close(fd);
    return ok;
}

bool file_make_folder(const char *path)
{
    char *copy = memory_string(path);
    if (!copy)
        return false;
    bool ok = true;
    for (char *c = copy + 1; ok && copy[0]; c++) {
        if (*c && *c != '/')
            continue;
        char kept = *c;
        *c = 0;
        if (mkdir(copy, 0777) < 0 && errno != EEXIST)
            ok = io_error("make the folder", copy);
        *c = kept;
        if (!kept)
            break;
    }
    if (ok && !file_is_folder(path))
        ok = error_set("cannot make the folder %s: a file of that name is in the way", path);
    memory_free(copy);
    return ok;
}

bool file_remove(const char *path)
{
    struct stat info;
    if (lstat(path, &info) < 0)
        return errno == ENOENT || io_error("remove", path);
    if (!S_ISDIR(info.st_mode))
        return unlink(path) == 0 || io_error("remove", path);
    DIR *folder = opendir(path);
    if (!folder)
        return io_error("open", path);
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        char *inner = file_join(path, entry->d_name);
        ok = inner && file_remove(inner);
        memory_free(inner);
    }
    closedir(folder);
    return ok && (rmdir(path) == 0 || io_error("remove", path));
}

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool file_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *file_join(const char *a, const char *b)
{
    Text t = {0};
    size_t n = strlen(a);
    if (n == 0 || b[0] == '/')
        text_add(&t, "%s", b);
    else
        text_add(&t, "%s%s%s", a, a[n - 1] == '/' ? "" : "/", b);
    if (t.failed)
        text_free(&t);
    return t.data;
}

const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *file_cache_folder(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    if (cache && cache[0] == '/')
        path = file_join(cache, "lacuna");
    else if (home && home[0])
        path = file_join(home, ".cache/lacuna");
    else
        error_set("no folder for caches: neither XDG_CACHE_HOME nor HOME is set");
    if (path && !file_make_folder(path)) {
        memory_free(path);
        path = NULL;
    }
    return path;
}
