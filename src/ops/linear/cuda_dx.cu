/* dx = prologue'(x) ((row_scale column_scale dy) W): dy is scaled and rounded where need be, multiplied, and the prologue's
 * gradient taken behind that. */
#include "ops/linear/cuda.cuh"

/* dx = or += dh activation'(x); dh may be dx. */
template <int N, class From, class T>
static __global__ void slope_kernel(const From *dh, const T *x, T *dx, int64_t count, Activation kind, bool add)
{
    int64_t i = thread_number() * N;
    if (i >= count)
        return;
    Floats<N> d = pack_load<N>(dh + i);
    if (kind != ACTIVATION_NONE) {
        Floats<N> v = pack_load<N>(x + i);
        for (int k = 0; k < N; k++)
            d.at[k] *= activation_slope(v.at[k], kind);
    }
    pack_put<N>(dx + i, d, add);
}

template <class From, class T>
static void slope_launch(CudaStream *s, const From *dh, const T *x, T *dx, int64_t count, Activation kind, bool add)
{
    with_pack(packs_fit(count, dh, x, dx), [&](auto n) {
        cuda_launch(s, slope_kernel<n.value, From, T>, blocks_of(count, BLOCK * n.value), dim3(BLOCK), 0, dh, x, dx, count,
                    kind, add);
    });
}

static void layer_norm_end(const Call *c, CudaStream *s, const LinearRoom &room, const CudaProduct &p)
{
    LayerNormGrad g = {.rows = p.rows,
                       .n = p.columns,
                       .dy = static_cast<const float *>(p.c),
                       .stats = data_of(&c->in[DX_STATS]),
                       .gamma = data_of(&c->in[DX_GAMMA]),
                       .x = c->in[DX_X].data,
                       .dx = c->out[DX_DX].data,
                       .dgamma = data_of(&c->out[DX_DGAMMA]),
                       .dbeta = data_of(&c->out[DX_DBETA]),
                       .add_dx = call_accumulates(c, DX_DX),
                       .add_dgamma = call_accumulates(c, DX_DGAMMA),
                       .add_dbeta = call_accumulates(c, DX_DBETA),
                       .partial = static_cast<float *>(linear_part(c, room.partials))};
    layer_norm_grad_launch(s, g, c->in[DX_X].dtype);
}

extern "C" bool CUDA(linear_dx)(const Call *c, CudaStream *s)
{
    LinearRoom room = linear_dx_cuda_room(c);
    const LinearAttr *attr = (const LinearAttr *)c->attr;
    const Tensor *dy = &c->in[DX_DY], *dx = &c->out[DX_DX], *group = &c->in[DX_ROW_SCALE];
    int64_t rows = dy->rows, n = dy->columns, k = count_of(&c->in[DX_W]) / n;
    LinearGradient g = {.rows = rows,
                        .n = n,
                        .per_group = group->data ? rows / group->columns : 1,
                        .dy = dy->data,
                        .column = data_of(&c->in[DX_COLUMN_SCALE]),
                        .row = data_of(group),
                        .to = linear_part(c, room.dy),
                        .partials = NULL};
    if (g.to)
        gradient_launch(s, g, dy->dtype, linear_operand_type(c));
    bool add = call_accumulates(c, DX_DX), plain = attr->prologue == PROLOGUE_NONE;
    CudaProduct p = linear_product(c, room, rows, k, n);
    p.a = g.to ? g.to : dy->data;
    p.a_stride = n;
    p.b = linear_rounded(c, s, &c->in[DX_W], room.w);
    p.b_stride = k;
    p.c = room.z.needs ? linear_part(c, room.z) : dx->data;
    p.c_type = room.z.needs ? DTYPE_REAL : dx->dtype;
    p.accumulate = !room.z.needs && plain && add;
    if (!cuda_launched(s, "linear_dx") || !cuda_product(s, &p))
        return false;
    if (attr->prologue == PROLOGUE_LAYER_NORM)
        layer_norm_end(c, s, room, p);
    else if (room.z.needs || !plain)
        with_type(dx->dtype, [&](auto t) {
            typedef decltype(t) T;
            const T *x = data_of<T>(&c->in[DX_X]);
            Activation kind = prologue_activation(attr->prologue);
            if (room.z.needs)
                slope_launch(s, static_cast<const float *>(p.c), x, data_of<T>(dx), rows * k, kind, add);
            else
                slope_launch(s, static_cast<const T *>(p.c), x, data_of<T>(dx), rows * k, kind, false);
        });
    return cuda_launched(s, "linear_dx");
}
