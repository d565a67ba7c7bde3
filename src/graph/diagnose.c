#include "graph/diagnose.h"

#include <math.h>
#include <string.h>

static double bf16_value(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return (double)value;
}

/* False: all numbers of the tensor are finite. */
static bool find_value(const Tensor *t, const void *data, bool f64, double *value)
{
    int64_t count = data && t->dtype != DTYPE_I32 ? t->rows * t->columns : 0;
    for (int64_t i = 0; i < count; i++) {
        *value = t->dtype == DTYPE_BF16 ? bf16_value(((const uint16_t *)data)[i])
                 : f64                  ? ((const double *)data)[i]
                                        : (double)((const float *)data)[i];
        if (!isfinite(*value))
            return true;
    }
    return false;
}

bool program_find_fault(Program *p, Segment segment, ProgramFault *fault)
{
    for (size_t i = 0; i < program_node_count(p); i++) {
        fault->node = program_node(p, i);
        if (fault->node.segment != segment)
            continue;
        if (!program_run_node(p, i))
            return false;
        for (int k = 0; k < CALL_OUT; k++)
            if (find_value(&fault->node.call->out[k], program_node_output(p, i, k), program_device(p)->f64, &fault->value))
                return true;
    }
    return false;
}
