#include "ops/linear/linear.h"

#include "ops/add/add.h"
#include "ops/kernels.h"
#include "ops/linear/lower.h"
#include "ops/linear/slots.h"
#include "ops/linear/work.h"

REF_DECLARE(linear);
REF_DECLARE(linear_dw);
REF_DECLARE(linear_dx);
CPU_DECLARE(linear);
CPU_DECLARE(linear_dw);
CPU_DECLARE(linear_dx);
CUDA_DECLARE(linear);
CUDA_DECLARE(linear_dw);
CUDA_DECLARE(linear_dx);

static const char *const in_names[] = {"x", "w", "b", "gamma", "beta", "column_scale", "row_scale", "residual"};
static const char *const out_names[] = {"y", "stats"};
static const char *const dw_in_names[] = {"dy", "x", "stats", "gamma", "beta", "column_scale", "row_scale", "w", "b", "sums"};
static const char *const dw_out_names[] = {"dw", "db", "dcolumn_scale"};
static const char *const dx_in_names[] = {"dy", "w", "x", "stats", "gamma", "column_scale", "row_scale"};
static const char *const dx_out_names[] = {"dx", "dgamma", "dbeta"};

/* ---- cost */

static Cost product_cost(double rows, double n, double k, const Tensor *a, const Tensor *b, const Tensor *c)
{
    return (Cost){2 * rows * n * k, tensor_bytes(a) + tensor_bytes(b) + tensor_bytes(c)};
}

static Cost linear_cost(const Call *c)
{
    const Tensor *x = &c->in[LINEAR_X], *y = &c->out[LINEAR_Y];
    return product_cost((double)x->rows, (double)y->columns, (double)x->columns, x, &c->in[LINEAR_W], y);
}

static Cost dw_cost(const Call *c)
{
    const Tensor *dy = &c->in[DW_DY], *x = &c->in[DW_X];
    return product_cost((double)x->rows, (double)dy->columns, (double)x->columns, dy, x, &c->out[DW_DW]);
}

static Cost dx_cost(const Call *c)
{
    const Tensor *dy = &c->in[DX_DY], *w = &c->in[DX_W];
    double n = (double)dy->columns;
    return product_cost((double)dy->rows, n, (double)w->rows * (double)w->columns / n, dy, w, &c->out[DX_DX]);
}

/* ---- gradient */

static void linear_gradient(Tape *tape, const Node *node)
{
    const Ref *in = node->in;
    const LinearAttr *attr = node->attr;
    Ref dy = grad_of(tape, node->out[LINEAR_Y]);
    uint32_t accumulate = 0;
    Ref dw[DW_OUT] = {grad_into(tape, in[LINEAR_W], DW_DW, &accumulate), grad_into(tape, in[LINEAR_B], DW_DB, &accumulate),
                      grad_into(tape, in[LINEAR_COLUMN_SCALE], DW_DCOLUMN, &accumulate)};
    if (ref_given(dw[DW_DW]) || ref_given(dw[DW_DB]) || ref_given(dw[DW_DCOLUMN])) {
        Ref ins[DW_IN] = {[DW_DY] = dy,
                          [DW_X] = in[LINEAR_X],
                          [DW_STATS] = node->out[LINEAR_STATS],
                          [DW_GAMMA] = in[LINEAR_GAMMA],
                          [DW_BETA] = in[LINEAR_BETA],
                          [DW_COLUMN_SCALE] = in[LINEAR_COLUMN_SCALE],
                          [DW_ROW_SCALE] = in[LINEAR_ROW_SCALE],
                          [DW_W] = REF_NONE,
                          [DW_B] = REF_NONE,
                          [DW_SUMS] = REF_NONE};
        if (ref_given(dw[DW_DCOLUMN])) {
            ins[DW_W] = in[LINEAR_W];
            ins[DW_B] = in[LINEAR_B];
        }
        tape_append(tape, &linear_dw_op, attr, ins, dw, accumulate);
    }
    bool learns = attr->prologue == PROLOGUE_LAYER_NORM &&
                  (ref_needs_grad(tape, in[LINEAR_GAMMA]) || ref_needs_grad(tape, in[LINEAR_BETA]));
    if (ref_needs_grad(tape, in[LINEAR_X]) || learns) {
        bool reads_x = attr->prologue != PROLOGUE_NONE;
        Ref ins[DX_IN] = {[DX_DY] = dy,
                          [DX_W] = in[LINEAR_W],
                          [DX_X] = reads_x ? in[LINEAR_X] : REF_NONE,
                          [DX_STATS] = node->out[LINEAR_STATS],
                          [DX_GAMMA] = in[LINEAR_GAMMA],
                          [DX_COLUMN_SCALE] = in[LINEAR_COLUMN_SCALE],
                          [DX_ROW_SCALE] = in[LINEAR_ROW_SCALE]};
        accumulate = 0;
        Ref dx[DX_OUT] = {grad_into(tape, in[LINEAR_X], DX_DX, &accumulate),
                          grad_into(tape, in[LINEAR_GAMMA], DX_DGAMMA, &accumulate),
                          grad_into(tape, in[LINEAR_BETA], DX_DBETA, &accumulate)};
        tape_append(tape, &linear_dx_op, attr, ins, dx, accumulate);
    }
    /* Last: from here on dy may be somebody else's gradient and change. */
    grad_pass(tape, in[LINEAR_RESIDUAL], dy, add_to);
}

/* ---- examples */

/* Bits of an example: what it switches on. */
enum { WITH_BIAS = 1, WITH_COLUMN = 2, WITH_ROW = 4, WITH_RESIDUAL = 8 };

static Ref example(Tape *tape, int index)
{
    static const struct {
        int rows, n, k;
        Prologue prologue;
        int with;
    } cases[] = {
        {5, 3, 7, PROLOGUE_NONE, 0},
        {6, 4, 5, PROLOGUE_NONE, WITH_BIAS},
        {6, 5, 9, PROLOGUE_LAYER_NORM, WITH_BIAS},
        {7, 3, 4, PROLOGUE_GELU, WITH_BIAS | WITH_RESIDUAL},
        {4, 6, 3, PROLOGUE_QUICK_GELU, WITH_BIAS},
        {6, 5, 4, PROLOGUE_NONE, WITH_BIAS | WITH_COLUMN | WITH_ROW | WITH_RESIDUAL},
        {6, 5, 4, PROLOGUE_LAYER_NORM, WITH_COLUMN | WITH_ROW},
        {6, 3, 5, PROLOGUE_GELU, WITH_BIAS | WITH_COLUMN | WITH_RESIDUAL},
        {37, 19, 33, PROLOGUE_LAYER_NORM, WITH_BIAS | WITH_RESIDUAL},
        {51, 41, 17, PROLOGUE_GELU, WITH_BIAS | WITH_COLUMN | WITH_ROW | WITH_RESIDUAL},
        {40, 66, 35, PROLOGUE_GELU, WITH_BIAS},
        {31, 70, 64, PROLOGUE_NONE, WITH_BIAS | WITH_RESIDUAL},
    };
    if (index >= (int)(sizeof cases / sizeof *cases))
        return REF_NONE;
    int rows = cases[index].rows, n = cases[index].n, k = cases[index].k, with = cases[index].with;
    bool norm = cases[index].prologue == PROLOGUE_LAYER_NORM;
    return linear(tape,
                  (LinearArgs){
                      .x = tape_input(tape, "x", norm ? DTYPE_REAL : tape_activation(tape), shape_2(rows, k)),
                      .w = tape_input(tape, "w", DTYPE_REAL, shape_2(n, k)),
                      .b = with & WITH_BIAS ? tape_input(tape, "b", DTYPE_REAL, shape_1(n)) : REF_NONE,
                      .prologue = cases[index].prologue,
                      .gamma = norm ? tape_input(tape, "gamma", DTYPE_REAL, shape_1(k)) : REF_NONE,
                      .beta = norm ? tape_input(tape, "beta", DTYPE_REAL, shape_1(k)) : REF_NONE,
                      .eps = 1e-3,
                      .column_scale = with & WITH_COLUMN ? tape_input(tape, "column", DTYPE_REAL, shape_1(n)) : REF_NONE,
                      .row_scale = with & WITH_ROW ? tape_constant_example(tape, shape_1(rows % 3 ? 1 : 3)) : REF_NONE,
                      .residual = with & WITH_RESIDUAL ? tape_input(tape, "residual", DTYPE_REAL, shape_2(rows, n)) : REF_NONE,
                      .dtype = with & WITH_RESIDUAL ? DTYPE_REAL : tape_activation(tape),
                  });
}

/* ---- table */

const Op linear_op = {.name = "linear",
                      .takes_bf16 = true,
                      .in_count = LINEAR_IN,
                      .out_count = LINEAR_OUT,
                      .in_names = in_names,
                      .out_names = out_names,
                      .attr_size = sizeof(LinearAttr),
                      .gradient = linear_gradient,
                      .lower = linear_lower,
                      .workspace = linear_workspace,
                      .cost = linear_cost,
                      .ref = REF_KERNELS(linear),
                      .cuda = CUDA_KERNEL(linear),
                      .cpu = CPU_KERNELS(linear),
                      .example = example};

const Op linear_dw_op = {.name = "linear_dw",
                         .takes_bf16 = true,
                         .in_count = DW_IN,
                         .out_count = DW_OUT,
                         .in_names = dw_in_names,
                         .out_names = dw_out_names,
                         .attr_size = sizeof(LinearAttr),
                         .aside = true,
                         .lower = linear_dw_lower,
                         .workspace = linear_dw_workspace,
                         .cost = dw_cost,
                         .ref = REF_KERNELS(linear_dw),
                         .cuda = CUDA_KERNEL(linear_dw),
                         .cpu = CPU_KERNELS(linear_dw)};

const Op linear_dx_op = {.name = "linear_dx",
                         .takes_bf16 = true,
                         .in_count = DX_IN,
                         .out_count = DX_OUT,
                         .in_names = dx_in_names,
                         .out_names = dx_out_names,
                         .attr_size = sizeof(LinearAttr),
                         .lower = linear_dx_lower,
                         .workspace = linear_dx_workspace,
                         .cost = dx_cost,
                         .ref = REF_KERNELS(linear_dx),
                         .cuda = CUDA_KERNEL(linear_dx),
                         .cpu = CPU_KERNELS(linear_dx)};

const Op *const linear_room[] = {&linear_op, &linear_dw_op, &linear_dx_op, NULL};

/* ---- constructor */

/* Whether an optional vector has the length it must have. */
static bool fits(const Tape *tape, Ref r, int64_t count)
{
    return !ref_given(r) || ref_count(tape, r) == count;
}

Ref linear(Tape *tape, LinearArgs a)
{
    if (tape_failed(tape))
        return REF_NONE;
    const Shape *w = ref_shape(tape, a.w);
    int64_t k = ref_columns(tape, a.x), rows = ref_rows(tape, a.x), n = w->n ? w->d[0] : 0;
    if (ref_shape(tape, a.x)->n < 1 || n < 1 || k < 1 || rows < 1)
        return tape_fail(tape, "linear: input or weight is empty or a scalar");
    if (shape_count(w) != n * k)
        return tape_fail(tape, "linear: the weight has %lld numbers a row, the input %lld", (long long)(shape_count(w) / n),
                         (long long)k);
    bool norm = a.prologue == PROLOGUE_LAYER_NORM;
    if (norm && !(ref_given(a.gamma) && ref_given(a.beta) && fits(tape, a.gamma, k) && fits(tape, a.beta, k)))
        return tape_fail(tape, "linear: LayerNorm needs gamma and beta of the input's width %lld", (long long)k);
    if (!fits(tape, a.b, n) || !fits(tape, a.column_scale, n) || !fits(tape, a.residual, rows * n) ||
        (ref_given(a.residual) && ref_columns(tape, a.residual) != n))
        return tape_fail(tape, "linear: bias, column scale or residual do not fit %lld x %lld outputs", (long long)rows,
                         (long long)n);
    if (a.dtype == DTYPE_BF16 && ref_given(a.residual))
        return tape_fail(tape, "linear: what is added to a residual stream stays f32, not bf16");
    if (ref_given(a.row_scale) && rows % ref_count(tape, a.row_scale))
        return tape_fail(tape, "linear: %lld rows cannot be split in %lld equal groups", (long long)rows,
                         (long long)ref_count(tape, a.row_scale));
    if (ref_needs_grad(tape, a.row_scale))
        return tape_fail(tape, "linear: row scales carry no gradient");
    Shape shape = *ref_shape(tape, a.x);
    shape.d[shape.n - 1] = n;
    Ref ins[LINEAR_IN] = {[LINEAR_X] = a.x,
                          [LINEAR_W] = a.w,
                          [LINEAR_B] = a.b,
                          [LINEAR_GAMMA] = norm ? a.gamma : REF_NONE,
                          [LINEAR_BETA] = norm ? a.beta : REF_NONE,
                          [LINEAR_COLUMN_SCALE] = a.column_scale,
                          [LINEAR_ROW_SCALE] = a.row_scale,
                          [LINEAR_RESIDUAL] = a.residual};
    bool needs_grad = false;
    for (int i = 0; i < LINEAR_IN; i++)
        needs_grad |= ref_needs_grad(tape, ins[i]);
    Ref outs[LINEAR_OUT] = {tape_temp(tape, a.dtype, shape, needs_grad),
                            norm ? tape_temp(tape, DTYPE_REAL, shape_2(rows, 2), false) : REF_NONE};
    LinearAttr attr = {a.prologue, a.eps, tape_activation(tape) == DTYPE_BF16};
    tape_append(tape, &linear_op, &attr, ins, outs, 0);
    return outs[LINEAR_Y];
}
