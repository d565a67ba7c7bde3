#include "base/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

/* Before the memory itself lies one page with the mark: a number of a process and a descriptor may mean something else
 * elsewhere. */
enum { HEAD = 4096 };

static void *head_of(const void *at)
{
    return (char *)(uintptr_t)at - HEAD;
}

void *shared_new(size_t bytes, SharedName *name)
{
    *name = (SharedName){.process = getpid(), .bytes = bytes};
    int file = memfd_create("lacuna", MFD_CLOEXEC);
    int error = bytes > SIZE_MAX / 4 ? ENOMEM : file < 0 || ftruncate(file, (off_t)(HEAD + bytes)) ? errno : 0;
    char *head = error ? MAP_FAILED : mmap(NULL, HEAD + bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (!error && head == MAP_FAILED)
        error = errno;
    if (!error && getrandom(&name->mark, sizeof name->mark, 0) != (ssize_t)sizeof name->mark)
        error = EIO;
    if (error) {
        if (head != MAP_FAILED)
            munmap(head, HEAD + bytes);
        if (file >= 0)
            close(file);
        error_set("%zu bytes of memory cannot be shared: %s", bytes, strerror(error));
        return NULL;
    }
    name->descriptor = file;
    memcpy(head, &name->mark, sizeof name->mark);
    return head + HEAD;
}

void shared_free(void *at, const SharedName *name)
{
    if (!at)
        return;
    munmap(head_of(at), HEAD + name->bytes);
    close((int)name->descriptor);
}

const void *shared_open(const SharedName *name)
{
    char path[64];
    struct stat is;
    snprintf(path, sizeof path, "/proc/%" PRId64 "/fd/%" PRId64, name->process, name->descriptor);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bool fits = file >= 0 && fstat(file, &is) == 0 && S_ISREG(is.st_mode) && (uint64_t)is.st_size == HEAD + name->bytes;
    char *head = fits ? mmap(NULL, HEAD + name->bytes, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
    int error = errno;
    if (file >= 0)
        close(file);
    if (head != MAP_FAILED && !memcmp(head, &name->mark, sizeof name->mark))
        return head + HEAD;
    if (head != MAP_FAILED)
        munmap(head, HEAD + name->bytes);
    error_set("the memory of process %" PRId64 " cannot be read here: %s", name->process,
              file < 0 ? strerror(error) : "it is something else");
    return NULL;
}

void shared_close(const void *at, const SharedName *name)
{
    if (at)
        munmap(head_of(at), HEAD + name->bytes);
}
