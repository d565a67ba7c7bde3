#include "ops/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "graph/program.h"
#include "ops/bf16.h"
#include "ops/distance/distance.h"
#include "ops/fill/fill.h"
#include "ops/linear/linear.h"

enum { MOST_INPUTS = 64, TRIES = 48 /* elements of an input that are varied */ };

/* A built and bound example. */
typedef struct {
    Tape *tape;
    Program *program;
    int inputs[MOST_INPUTS]; /* slots of REAL and BF16 inputs */
    int input_count;
    bool differentiated;
    DType value_type;
} Example;

static void example_close(Example *e)
{
    program_free(e->program);
    tape_free(e->tape);
}

/* The same numbers in REAL: a product with 1. */
static Ref widened(Tape *tape, Ref value)
{
    enum { WIDTH_MOST = 256 };
    double one[WIDTH_MOST * WIDTH_MOST] = {0};
    int64_t n = ref_columns(tape, value);
    if (n > WIDTH_MOST)
        return tape_fail(tape, "an example in bf16 has more than %d columns", WIDTH_MOST);
    for (int64_t i = 0; i < n; i++)
        one[i * n + i] = 1;
    return linear(tape, (LinearArgs){.x = value,
                                     .w = tape_constant(tape, shape_2(n, n), one),
                                     .b = REF_NONE,
                                     .gamma = REF_NONE,
                                     .beta = REF_NONE,
                                     .column_scale = REF_NONE,
                                     .row_scale = REF_NONE,
                                     .residual = REF_NONE});
}

static Ref loss_of(Tape *tape, Ref value)
{
    if (ref_shape(tape, value)->n == 0)
        return value;
    if (tape_value(tape, value.slot)->dtype == DTYPE_BF16)
        value = widened(tape, value);
    double count = (double)ref_rows(tape, value);
    double scale = 1 / count;
    Ref target = tape_constant_example(tape, *ref_shape(tape, value));
    return distance(tape, (DistanceArgs){.pred = value,
                                         .target = target,
                                         .weight = REF_NONE,
                                         .scale = tape_constant(tape, shape_0(), &scale),
                                         .kind = DISTANCE_L2});
}

static CheckOutcome example_open(Example *e, CheckBuild build, int index, DType activation, bool differentiate,
                                 const Device *device, CheckPlant plant, const void *what)
{
    *e = (Example){.tape = tape_new()};
    if (!e->tape)
        return CHECK_ERROR;
    tape_segment(e->tape, SEGMENT_ONLY);
    tape_set_activation(e->tape, activation);
    if (differentiate)
        tape_differentiate_inputs(e->tape);
    Ref value = build(e->tape, index);
    if (tape_failed(e->tape))
        return CHECK_ERROR;
    if (!ref_given(value))
        return CHECK_END;
    tape_keep(e->tape, value, "value");
    e->value_type = tape_value(e->tape, value.slot)->dtype;
    for (size_t i = 0; i < tape_value_count(e->tape); i++)
        if (tape_value(e->tape, (int32_t)i)->home == HOME_INPUT && tape_value(e->tape, (int32_t)i)->dtype != DTYPE_I32 &&
            e->input_count < MOST_INPUTS)
            e->inputs[e->input_count++] = (int)i;
    e->differentiated = differentiate && ref_needs_grad(e->tape, value);
    if (e->differentiated) {
        Ref loss = loss_of(e->tape, value);
        tape_keep(e->tape, loss, "loss");
        tape_gradient(e->tape, &loss, (double[]){1.5}, 1, fill);
        for (int i = 0; i < e->input_count; i++) {
            char name[32];
            snprintf(name, sizeof name, "grad.%d", i);
            tape_keep(e->tape, grad_of(e->tape, (Ref){e->inputs[i], 0}), name);
        }
    }
    if (plant && !plant(e->tape, what)) {
        error_set("the bug could not be planted");
        return CHECK_ERROR;
    }
    e->program = program_make(e->tape, device, NULL, 0);
    if (!e->program)
        return CHECK_ERROR;
    for (int i = 0; i < e->input_count; i++) {
        const Value *v = tape_value(e->tape, e->inputs[i]);
        Random random = random_stream(3, RANDOM_TEST, 0, 0, random_hash(v->name));
        void *to = program_input(e->program, v->name);
        for (int64_t k = 0; k < shape_count(&v->shape); k++) {
            double x = random_normal(&random);
            if (v->dtype == DTYPE_BF16)
                ((uint16_t *)to)[k] = bf16_from_float((float)x);
            else if (device->f64)
                ((double *)to)[k] = (float)x;
            else
                ((float *)to)[k] = (float)x;
        }
    }
    return CHECK_DONE;
}

static double number(const Example *e, DType dtype, const void *from, int64_t i)
{
    if (dtype == DTYPE_I32)
        return ((const int32_t *)from)[i];
    if (dtype == DTYPE_BF16)
        return bf16_to_float(((const uint16_t *)from)[i]);
    return program_device(e->program)->f64 ? ((const double *)from)[i] : ((const float *)from)[i];
}

CheckOutcome check_run(CheckBuild build, int index, DType activation, const Device *device, CheckResult *result)
{
    Example e;
    *result = (CheckResult){0};
    CheckOutcome outcome = example_open(&e, build, index, activation, true, device, NULL, NULL);
    /* Ops whose inputs carry no gradient refuse inputs that want one; any other error stays. */
    if (outcome == CHECK_ERROR && e.tape && !e.program && strstr(error_text(), "gradient")) {
        example_close(&e);
        outcome = example_open(&e, build, index, activation, false, device, NULL, NULL);
    }
    if (outcome != CHECK_DONE) {
        example_close(&e);
        return outcome;
    }
    if (!program_run(e.program, SEGMENT_ONLY)) {
        example_close(&e);
        return CHECK_ERROR;
    }
    size_t total = 0;
    for (int pass = 0; pass < 2; pass++) {
        total = 0;
        for (int i = -1; i < (e.differentiated ? e.input_count : 0); i++) {
            char name[32] = "value";
            if (i >= 0)
                snprintf(name, sizeof name, "grad.%d", i);
            const void *data = program_kept(e.program, SEGMENT_ONLY, name);
            const Shape *shape = program_shape(e.program, SEGMENT_ONLY, name);
            DType dtype = i >= 0 ? tape_value(e.tape, e.inputs[i])->dtype : e.value_type;
            int64_t count = data ? shape_count(shape) : 0;
            for (int64_t k = 0; k < count && pass == 1; k++)
                result->values[total + (size_t)k] = number(&e, dtype, data, k);
            total += (size_t)count;
            result->ends[i + 1] = total;
            result->runs = i + 2;
        }
        if (pass == 0 && !(result->values = memory_new(total, sizeof *result->values))) {
            example_close(&e);
            return CHECK_ERROR;
        }
    }
    result->count = total;
    example_close(&e);
    return CHECK_DONE;
}

static double loss_now(Example *e)
{
    program_run(e->program, SEGMENT_ONLY);
    return 1.5 * *(double *)program_kept(e->program, SEGMENT_ONLY, "loss");
}

CheckOutcome check_gradient(CheckBuild build, int index, CheckPlant plant, const void *what, double *error)
{
    Example e;
    Device ref;
    if (!device_open("ref64", 1, &ref))
        return CHECK_ERROR;
    CheckOutcome outcome = example_open(&e, build, index, DTYPE_REAL, true, &ref, plant, what);
    *error = 0;
    if (outcome == CHECK_DONE && !e.differentiated) {
        outcome = CHECK_ERROR;
        error_set("the example carries no gradient");
    }
    for (int i = 0; outcome == CHECK_DONE && i < e.input_count; i++) {
        char name[32];
        snprintf(name, sizeof name, "grad.%d", i);
        const Value *v = tape_value(e.tape, e.inputs[i]);
        double *x = program_input(e.program, v->name);
        const double *kept = program_kept(e.program, SEGMENT_ONLY, name);
        int64_t count = shape_count(&v->shape);
        double *gradient = memory_new((size_t)count, sizeof *gradient), largest = 1e-6;
        if (!gradient) {
            outcome = CHECK_ERROR;
            break;
        }
        program_run(e.program, SEGMENT_ONLY);
        for (int64_t k = 0; kept && k < count; k++) {
            gradient[k] = kept[k];
            largest = fmax(largest, fabs(gradient[k]));
        }
        Random random = random_stream(5, RANDOM_TEST, 0, (uint32_t)i, 0);
        for (int try = 0; try < TRIES && try < 2 * count; try++) {
            int64_t k = count <= TRIES ? try % count : random_below(&random, (uint32_t)count);
            const double step = 1e-5, before = x[k];
            x[k] = before + step;
            double up = loss_now(&e);
            x[k] = before - step;
            double down = loss_now(&e);
            x[k] = before;
            double difference = (up - down) / (2 * step);
            double wrong = fabs(gradient[k] - difference) / fmax(largest, fabs(difference));
            *error = isnan(wrong) ? INFINITY : fmax(*error, wrong);
        }
        memory_free(gradient);
    }
    example_close(&e);
    return outcome;
}

/* Numbers first..end - 1 of both: the largest difference, or its root mean square, over b's root mean square. */
static double run_difference(const double *a, const double *b, size_t first, size_t end, bool largest)
{
    double square = 0, squares = 0, worst = 0, count = (double)(end - first);
    for (size_t i = first; i < end; i++) {
        double wrong = fabs(a[i] - b[i]);
        square += b[i] * b[i];
        squares += wrong * wrong;
        worst = isnan(wrong) ? 1e30 : fmax(worst, wrong);
    }
    double size = sqrt(square / count) + 1e-30;
    return (largest || worst == 1e30 ? worst : sqrt(squares / count)) / size;
}

static double difference(const CheckResult *a, const CheckResult *b, bool largest)
{
    if (a->count != b->count || a->runs != b->runs || a->count == 0)
        return 1e30;
    double worst = 0;
    for (int r = 0; r < b->runs; r++) {
        size_t first = r ? b->ends[r - 1] : 0;
        if (b->ends[r] != a->ends[r])
            return 1e30;
        if (b->ends[r] > first)
            worst = fmax(worst, run_difference(a->values, b->values, first, b->ends[r], largest));
    }
    return worst;
}

double check_difference(const CheckResult *a, const CheckResult *b)
{
    return difference(a, b, true);
}

double check_spread(const CheckResult *a, const CheckResult *b)
{
    return difference(a, b, false);
}

void check_free(CheckResult *result)
{
    memory_free(result->values);
    *result = (CheckResult){0};
}
