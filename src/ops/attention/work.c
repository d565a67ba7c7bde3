#include "ops/attention/work.h"

#include "ops/attention/slots.h"

size_t attention_workspace(const Call *call, const Device *device)
{
    const AttentionAttr *a = call->attr;
    if (device->kind == DEVICE_REF || device->kind == DEVICE_CUDA)
        return 0;
    return (size_t)device->threads * (size_t)attention_floats(a->queries, a->keys, a->width / a->heads) * sizeof(float);
}

size_t attention_grad_workspace(const Call *call, const Device *device)
{
    const AttentionAttr *a = call->attr;
    if (device->kind == DEVICE_CUDA) /* do . o of each query */
        return (size_t)(a->groups * a->heads * a->queries) * sizeof(float);
    if (device->kind == DEVICE_REF)
        return 0;
    int64_t floats = device->threads * attention_grad_floats(a->queries, a->keys, a->width / a->heads);
    if (call->out[ATTENTION_GRAD_DBIAS].shape.n)
        floats += attention_bias_parts(a->groups) * a->heads * a->queries * a->keys;
    return (size_t)floats * sizeof(float);
}
