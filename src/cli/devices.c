/* lacuna devices: what can compute here. */
#include <stdio.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/cli.h"
#include "device/cuda/cuda.h"

typedef struct {
    bool json;
} DevicesOptions;

/* One GPU, with what is free of its memory; false after error_set(). */
static bool look_at(int index, CudaProperties *properties, int64_t *free_bytes)
{
    CudaDevice *d = cuda_properties(index, properties) ? cuda_open(index, false) : NULL;
    bool ok = d && cuda_memory_left(d, free_bytes);
    cuda_close(d);
    return ok;
}

static void print_gpu(int index)
{
    CudaProperties p = {0};
    int64_t free_bytes = 0;
    bool ok = look_at(index, &p, &free_bytes);
    printf("cuda:%d  %s, %.1f GB", index, p.name, (double)p.memory / 1e9);
    if (ok)
        printf(" (%.1f GB free), compute capability %d.%d, %d multiprocessors, bf16, TF32\n", (double)free_bytes / 1e9,
               p.capability / 10, p.capability % 10, p.multiprocessors);
    else
        printf(": cannot be used: %s\n", error_text());
}

static void print_gpu_json(int index)
{
    CudaProperties p = {0};
    int64_t free_bytes = 0;
    Text t = {0};
    bool ok = look_at(index, &p, &free_bytes);
    text_add(&t, "{\"device\": \"cuda:%d\", \"usable\": %s, \"name\": ", index, ok ? "true" : "false");
    text_add_json_string(&t, p.name);
    text_add(&t, ", \"memory_bytes\": %lld, \"free_bytes\": %lld, \"compute_capability\": \"%d.%d\", \"multiprocessors\": %d",
             (long long)p.memory, (long long)free_bytes, p.capability / 10, p.capability % 10, p.multiprocessors);
    if (!ok) {
        text_add(&t, ", \"error\": ");
        text_add_json_string(&t, error_text());
    }
    text_add(&t, "}\n");
    if (t.data)
        fputs(t.data, stdout);
    text_free(&t);
}

static int run_devices(void *options, const Arguments *arguments)
{
    bool json = ((const DevicesOptions *)options)->json;
    CpuLevel level;
    CudaProperties properties;
    (void)arguments;
    if (!cpu_level(&level))
        return cli_failed();
    const char *name = cpu_level_name(level), *bf16 = cpu_has_bf16() ? "true" : "false";
    if (json)
        printf("{\"device\": \"cpu\", \"usable\": true, \"level\": \"%s\", \"bf16\": %s, \"threads\": %d}\n"
               "{\"device\": \"ref\", \"usable\": true}\n",
               name, bf16, cpu_count());
    else
        printf("cpu     kernels for %s, %d thread%s, bf16 %s\nref     plain C kernels on one thread, to compare with\n", name,
               cpu_count(), cpu_count() == 1 ? "" : "s", cpu_has_bf16() ? "multiplied natively" : "widened to f32");
    int count = cuda_count();
    for (int i = 0; i < count; i++)
        json ? print_gpu_json(i) : print_gpu(i);
    if (!count && !json && !cuda_properties(0, &properties))
        printf("cuda    none: %s\n", error_text());
    return EXIT_DONE;
}

static const Option OPTIONS[] = {
    {"json", OPTION_SWITCH, offsetof(DevicesOptions, json), .help = "one JSON object a line for each device"}, {0}};

const Verb devices_verb = {.name = "devices",
                           .line = "list what can compute here",
                           .about =
                               "Lists the processor with the level of its kernels, and NVIDIA's GPUs with their memory and "
                               "what they can do; when there is none, why. The names are those of --device and run.device.",
                           .options = OPTIONS,
                           .examples = "lacuna devices\n",
                           .size = sizeof(DevicesOptions),
                           .run = run_devices};
