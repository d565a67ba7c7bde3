#include "nn/layers.h"

Norm norm_params(Tape *t, const char *name, int64_t width, double eps, Init bias)
{
    scope_push(t, "%s", name);
    Norm norm = {param(t, "weight", shape_1(width), init_constant(1)), param(t, "bias", shape_1(width), bias), eps};
    scope_pop(t);
    return norm;
}

LinearArgs layer_none(void)
{
    return (LinearArgs){.x = REF_NONE,
                        .w = REF_NONE,
                        .b = REF_NONE,
                        .gamma = REF_NONE,
                        .beta = REF_NONE,
                        .column_scale = REF_NONE,
                        .row_scale = REF_NONE,
                        .residual = REF_NONE};
}

LinearArgs layer_map(Tape *t, const char *name, int64_t out, int64_t in, bool bias, InitFamily family, int branch)
{
    LinearArgs map = layer_none();
    scope_push(t, "%s", name);
    map.w = param(t, "weight", shape_2(out, in), init_weight(family, out, in, branch));
    if (bias)
        map.b = param(t, "bias", shape_1(out), init_bias(family));
    scope_pop(t);
    return map;
}

LinearArgs layer_outputs(Tape *t, LinearArgs map, int64_t first, int64_t count)
{
    map.w = param_rows(t, map.w, first, count);
    map.b = param_rows(t, map.b, first, count);
    return map;
}

LinearArgs norm_before(LinearArgs map, Norm norm)
{
    map.prologue = PROLOGUE_LAYER_NORM;
    map.gamma = norm.gamma;
    map.beta = norm.beta;
    map.eps = norm.eps;
    return map;
}

Ref layer_apply(Tape *t, LinearArgs map, Ref x)
{
    map.x = x;
    return linear(t, map);
}
