#include "device/device.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

bool device_open(const char *name, int threads, Device *device)
{
    *device = (Device){.kind = DEVICE_CPU, .threads = threads > 0 ? threads : cpu_count()};
    if (!strcmp(name, "ref") || !strcmp(name, "ref64")) {
        device->kind = DEVICE_REF;
        device->f64 = !strcmp(name, "ref64");
        device->threads = 1;
        return true;
    }
    if (strcmp(name, "cpu") != 0 && strcmp(name, "auto") != 0)
        return error_set("device %s is not known; use cpu or ref", name);
    if (!cpu_level(&device->level))
        return false;
    if (device->level == CPU_REF)
        device->kind = DEVICE_REF;
    return true;
}

const char *device_describe(const Device *device)
{
    static _Thread_local char text[96];
    if (device->kind == DEVICE_REF)
        snprintf(text, sizeof text, "ref (plain C kernels, f%d)", device->f64 ? 64 : 32);
    else
        snprintf(text, sizeof text, "cpu (%s, %d thread%s)", cpu_level_name(device->level), device->threads,
                 device->threads == 1 ? "" : "s");
    return text;
}

size_t device_element(const Device *device, DType dtype)
{
    switch (dtype) {
    case DTYPE_BF16:
        return 2;
    case DTYPE_I32:
        return 4;
    default:
        return device->f64 ? 8 : 4;
    }
}
