#include "base/system.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

void system_processor(char name[SYSTEM_PROCESSOR_BYTES])
{
    static const char key[] = "model name";
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    name[0] = 0;
    while (file && !name[0] && fgets(line, sizeof line, file)) {
        const char *value = strchr(line, ':');
        line[strcspn(line, "\n")] = 0;
        if (value && !strncmp(line, key, sizeof key - 1))
            snprintf(name, SYSTEM_PROCESSOR_BYTES, "%s", value + 1 + strspn(value + 1, " "));
    }
    if (file)
        fclose(file);
}

long long system_peak_resident(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (long long)usage.ru_maxrss * 1024;
}
