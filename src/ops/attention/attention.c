#include "ops/attention/attention.h"

#include <math.h>

#include "ops/attention/slots.h"
#include "ops/attention/work.h"
#include "ops/kernels.h"

REF_DECLARE(attention);
REF_DECLARE(attention_grad);
CPU_DECLARE(attention);
CPU_DECLARE(attention_grad);
CUDA_DECLARE(attention_grad);
CUDA_DECLARE(attention);

static const char *const in_names[] = {"q", "kv", "bias"}, *const out_names[] = {"o", "lse", "map"};
static const char *const grad_in_names[] = {"do", "q", "kv", "o", "lse", "bias"}, *const grad_out_names[] = {"dq", "dkv",
                                                                                                             "dbias"};

/* `products` matrix products of Tq x Tk x d a head; each value is read or written once. */
static Cost product_cost(const Call *c, double products)
{
    const AttentionAttr *a = c->attr;
    Cost cost = {2 * products * (double)a->groups * (double)a->queries * (double)a->keys * (double)a->width, 0};
    for (int i = 0; i < CALL_IN; i++)
        if (i == 0 || !c->in[i].data || c->in[i].data != c->in[i - 1].data) /* q and kv may be one value */
            cost.bytes += tensor_bytes(&c->in[i]);
    for (int i = 0; i < CALL_OUT; i++)
        cost.bytes += tensor_bytes(&c->out[i]);
    return cost;
}

static Cost cost(const Call *c)
{
    return product_cost(c, 2);
}

static Cost grad_cost(const Call *c)
{
    return product_cost(c, 5);
}

static const Op attention_grad_op = {.name = "attention_grad",
                                     .takes_bf16 = true,
                                     .in_count = ATTENTION_GRAD_IN,
                                     .out_count = ATTENTION_GRAD_OUT,
                                     .in_names = grad_in_names,
                                     .out_names = grad_out_names,
                                     .attr_size = sizeof(AttentionAttr),
                                     .workspace = attention_grad_workspace,
                                     .cost = grad_cost,
                                     .ref = REF_KERNELS(attention_grad),
                                     .cuda = CUDA_KERNEL(attention_grad),
                                     .cpu = CPU_KERNELS(attention_grad)};

static void gradient(Tape *tape, const Node *node)
{
    Ref q = node->in[ATTENTION_Q], kv = node->in[ATTENTION_KV], bias = node->in[ATTENTION_BIAS];
    uint32_t accumulate = 0;
    Ref dq = grad_into(tape, q, ATTENTION_GRAD_DQ, &accumulate), dkv = REF_NONE;
    if (q.slot != kv.slot)
        dkv = grad_into(tape, kv, ATTENTION_GRAD_DKV, &accumulate);
    Ref dbias = grad_into(tape, bias, ATTENTION_GRAD_DBIAS, &accumulate);
    tape_append(tape, &attention_grad_op, node->attr,
                (Ref[]){grad_of(tape, node->out[ATTENTION_O]), q, kv, node->out[ATTENTION_O], node->out[ATTENTION_LSE], bias},
                (Ref[]){dq, dkv, dbias}, accumulate);
}

static Ref example(Tape *tape, int index)
{
    static const struct {
        int groups, tokens, width, heads;
    } packed[] = {{2, 5, 6, 2},   {1, 4, 12, 3},  {3, 1, 4, 1},  {2, 17, 32, 2}, {1, 35, 40, 2},
                  {1, 70, 64, 1}, {1, 66, 80, 1}, {1, 66, 48, 2}}, /* the last ones: tensor cores, several tiles */
        biased[] = {
            {19, 5, 6, 2}, {2, 35, 6, 2}, {2, 66, 32, 2}}; /* the first: more groups than the bias' gradient has parts */
    enum { PACKED = sizeof packed / sizeof *packed, BIASED = sizeof biased / sizeof *biased };
    if (index < PACKED)
        return self_attention(tape,
                              tape_input(tape, "qkv", tape_activation(tape),
                                         shape_3(packed[index].groups, packed[index].tokens, 3 * packed[index].width)),
                              packed[index].heads, REF_NONE);
    index -= PACKED;
    if (index < BIASED) {
        int tokens = biased[index].tokens, heads = biased[index].heads;
        Ref bias = tape_input(tape, "bias", DTYPE_REAL, shape_3(heads, tokens, tokens));
        Shape shape = shape_3(biased[index].groups, tokens, 3 * biased[index].width);
        return self_attention(tape, tape_input(tape, "qkv", tape_activation(tape), shape), heads, bias);
    }
    index -= BIASED;
    if (index > 1)
        return REF_NONE;
    /* Queries of their own: fewer than keys. */
    int queries = index == 0 ? 2 : 19, keys = index == 0 ? 5 : 33;
    return attention(tape, (AttentionArgs){.q = tape_input(tape, "q", tape_activation(tape), shape_3(2, queries, 6)),
                                           .kv = tape_input(tape, "kv", tape_activation(tape), shape_3(2, keys, 12)),
                                           .v_column = 6,
                                           .width = 6,
                                           .heads = 2,
                                           .scale = 0.7,
                                           .index = REF_NONE,
                                           .bias = REF_NONE,
                                           .mask = REF_NONE});
}

static const Op attention_op = {.name = "attention",
                                .takes_bf16 = true,
                                .in_count = ATTENTION_IN,
                                .out_count = ATTENTION_OUT,
                                .in_names = in_names,
                                .out_names = out_names,
                                .attr_size = sizeof(AttentionAttr),
                                .gradient = gradient,
                                .workspace = attention_workspace,
                                .cost = cost,
                                .ref = REF_KERNELS(attention),
                                .cuda = CUDA_KERNEL(attention),
                                .cpu = CPU_KERNELS(attention),
                                .example = example};

const Op *const attention_room[] = {&attention_op, &attention_grad_op, NULL};

Ref attention(Tape *tape, AttentionArgs a)
{
    if (tape_failed(tape))
        return REF_NONE;
    const Shape *q = ref_shape(tape, a.q), *kv = ref_shape(tape, a.kv);
    if (ref_given(a.index) || ref_given(a.mask))
        return tape_fail(tape, "attention: row index and mask are not carried out yet");
    if (q->n != 3 || kv->n != 3 || q->d[0] != kv->d[0])
        return tape_fail(tape, "attention: q and kv are not (groups, rows, columns) of the same groups");
    DType dtype = tape_value(tape, a.q.slot)->dtype;
    if (dtype != tape_value(tape, a.kv.slot)->dtype)
        return tape_fail(tape, "attention: q and kv have different types");
    if (ref_given(a.bias) && !shape_equal(ref_shape(tape, a.bias), &(Shape){.n = 3, .d = {a.heads, q->d[1], kv->d[1]}}))
        return tape_fail(tape, "attention: the bias is not (heads, queries, keys)");
    if (a.heads < 1 || a.width % a.heads)
        return tape_fail(tape, "attention: width %lld is not divisible by %d heads", (long long)a.width, a.heads);
    /* The gradient kernels write q's, k's and v's columns and nothing else, each once. */
    bool one = a.q.slot == a.kv.slot, apart = a.k_column + a.width <= a.v_column || a.v_column + a.width <= a.k_column;
    if (one)
        apart = apart && (a.q_column + a.width <= a.k_column || a.k_column + a.width <= a.q_column) &&
                (a.q_column + a.width <= a.v_column || a.v_column + a.width <= a.q_column);
    if (a.q_column < 0 || a.k_column < 0 || a.v_column < 0 || !apart || q->d[2] != (one ? 3 : 1) * a.width ||
        kv->d[2] != (one ? 3 : 2) * a.width)
        return tape_fail(tape, "attention: q, k and v do not cover their rows of %lld and %lld columns exactly",
                         (long long)q->d[2], (long long)kv->d[2]);
    AttentionAttr attr = {.groups = q->d[0],
                          .queries = q->d[1],
                          .keys = kv->d[1],
                          .q_column = a.q_column,
                          .k_column = a.k_column,
                          .v_column = a.v_column,
                          .width = a.width,
                          .heads = a.heads,
                          .scale = a.scale > 0 ? a.scale : 1 / sqrt((double)a.width / a.heads)};
    bool needs_grad = ref_needs_grad(tape, a.q) || ref_needs_grad(tape, a.kv) || ref_needs_grad(tape, a.bias);
    Ref out[] = {tape_temp(tape, dtype, shape_3(attr.groups, attr.queries, a.width), needs_grad),
                 tape_temp(tape, DTYPE_REAL, shape_3(attr.groups, a.heads, attr.queries), false), REF_NONE};
    if (a.map)
        out[ATTENTION_MAP] = tape_temp(tape, DTYPE_REAL, shape_4(attr.groups, a.heads, attr.queries, attr.keys), false);
    tape_append(tape, &attention_op, &attr, (Ref[]){a.q, a.kv, a.bias}, out, 0);
    if (a.map)
        *a.map = out[ATTENTION_MAP];
    return out[0];
}

Ref self_attention(Tape *tape, Ref qkv, int heads, Ref bias)
{
    return self_attention_map(tape, qkv, heads, bias, NULL);
}

Ref self_attention_map(Tape *tape, Ref qkv, int heads, Ref bias, Ref *map)
{
    if (map)
        *map = REF_NONE;
    int64_t width = ref_columns(tape, qkv) / 3;
    if (!tape_failed(tape) && ref_columns(tape, qkv) != 3 * width)
        return tape_fail(tape, "self_attention: %lld columns are not q, k and v of one width",
                         (long long)ref_columns(tape, qkv));
    return attention(tape, (AttentionArgs){.q = qkv,
                                           .kv = qkv,
                                           .k_column = width,
                                           .v_column = 2 * width,
                                           .width = width,
                                           .heads = heads,
                                           .index = REF_NONE,
                                           .bias = bias,
                                           .mask = REF_NONE,
                                           .map = map});
}
