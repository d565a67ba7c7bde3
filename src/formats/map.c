#include "formats/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

bool file_map(const char *path, FileMap *map)
{
    struct stat info;
    *map = (FileMap){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set("cannot open %s: %s", path, strerror(errno));
    bool ok = fstat(fd, &info) == 0;
    if (!ok)
        error_set("cannot read %s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        ok = error_set("cannot read %s: not a regular file", path);
    if (ok && info.st_size) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            ok = error_set("cannot map %s: %s", path, strerror(errno));
        else
            *map = (FileMap){data, (size_t)info.st_size};
    }
    close(fd);
    return ok;
}

void file_unmap(FileMap *map)
{
    if (map->data)
        munmap(map->data, map->size);
    *map = (FileMap){0};
}
