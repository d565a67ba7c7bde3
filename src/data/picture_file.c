/* Pictures that are files of their own, for folders and lists. */
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/kinds.h"

static char *read_path(const char *path, size_t *size)
{
    return path ? file_read_if(path, LARGEST_PICTURE_FILE, image_start_is_sound, size) : NULL;
}

bool picture_file_bytes(const char *folder, const char *name, char **bytes, size_t *size)
{
    char *path = file_join(folder, name);
    *bytes = read_path(path, size);
    memory_free(path);
    return *bytes != NULL;
}

bool picture_file_read(const char *folder, const char *name, int channels, Image *out)
{
    char *path = file_join(folder, name);
    size_t size = 0;
    char *bytes = read_path(path, &size);
    bool ok = bytes && image_decode(bytes, size, path, channels, out);
    memory_free(bytes);
    memory_free(path);
    return ok;
}

bool picture_file_hash(const char *folder, const char *name, uint64_t *hash)
{
    struct stat info;
    char *path = file_join(folder, name);
    bool known = path && stat(path, &info) == 0;
    memory_free(path);
    if (!known)
        return false;
    int64_t what[] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
    *hash = hash_bytes(*hash, name, strlen(name) + 1);
    *hash = hash_bytes(*hash, what, sizeof what);
    return true;
}
