#include "cli/bench_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "ops/linear/slots.h"

/* ---- one node */

/* Whether bf16 numbers are multiplied: in a product by what it was told, since it may round numbers that it finds in f32. */
static bool multiplies_bf16(const ProgramNode *node)
{
    const Call *c = node->call;
    if (!strcmp(node->op, "linear") || !strcmp(node->op, "linear_dx") || !strcmp(node->op, "linear_dw"))
        return ((const LinearAttr *)c->attr)->bf16;
    for (int i = 0; i < CALL_IN; i++)
        if (c->in[i].rows && c->in[i].dtype == DTYPE_BF16)
            return true;
    return false;
}

static int64_t count_of(const Tensor *t)
{
    return t->rows * t->columns; /* none: 0 */
}

static void write_shape(const Shape *s, char *room, size_t size)
{
    size_t at = (size_t)snprintf(room, size, "%s", s->n ? "" : "1");
    for (int i = 0; i < s->n && at < size; i++)
        at += (size_t)snprintf(room + at, size - at, "%s%lld", i ? " x " : "", (long long)s->d[i]);
}

/* Of a product: rows x outputs x inputs, as in a layer. Of others: the shape of what is largest. */
static void write_sizes(const ProgramNode *node, char *room, size_t size)
{
    const Call *c = node->call;
    const Tensor *rows = NULL, *most = &c->out[0];
    int64_t outputs = 0, inputs = 0;
    if (!strcmp(node->op, "linear")) {
        rows = &c->in[LINEAR_X];
        outputs = c->out[LINEAR_Y].columns;
        inputs = rows->columns;
    } else if (!strcmp(node->op, "linear_dx")) {
        rows = &c->in[DX_DY];
        outputs = rows->columns;
        inputs = outputs ? count_of(&c->in[DX_W]) / outputs : 0;
    } else if (!strcmp(node->op, "linear_dw")) {
        rows = &c->in[DW_X];
        outputs = c->in[DW_DY].columns;
        inputs = rows->columns;
    }
    if (rows) {
        snprintf(room, size, "%lld x %lld x %lld", (long long)rows->rows, (long long)outputs, (long long)inputs);
        return;
    }
    for (int i = 0; i < CALL_IN + CALL_OUT; i++) {
        const Tensor *t = i < CALL_IN ? &c->in[i] : &c->out[i - CALL_IN];
        if (count_of(t) > count_of(most))
            most = t;
    }
    write_shape(&most->shape, room, size);
}

static void add_node(OpLine *line, const ProgramNode *node, int steps, const Peak *peak)
{
    line->calls++;
    line->seconds += node->seconds / steps;
    line->flops += node->cost.flops;
    line->bytes += node->cost.bytes;
    if (!peak)
        return;
    double flops = multiplies_bf16(node) && peak->bf16_flops > 0 ? peak->bf16_flops : peak->flops;
    double arithmetic = node->cost.flops / flops, memory = node->cost.bytes / peak->bytes;
    line->floor += arithmetic > memory ? arithmetic : memory;
    line->arithmetic_part += arithmetic > memory ? arithmetic : 0;
}

/* ---- all of them */

static OpLine *line_for(OpLine *lines, int *count, const char *op, const char *sizes)
{
    int k = 0;
    while (k < *count && (strcmp(lines[k].op, op) != 0 || strcmp(lines[k].sizes, sizes) != 0))
        k++;
    if (k == *count) {
        lines[(*count)++] = (OpLine){.op = op};
        snprintf(lines[k].sizes, sizeof lines[k].sizes, "%s", sizes);
    }
    return &lines[k];
}

static int by_place_and_seconds(const void *a, const void *b)
{
    const OpLine *x = a, *y = b;
    if (x->op_place != y->op_place)
        return x->op_place < y->op_place ? -1 : 1;
    if (x->seconds != y->seconds)
        return x->seconds < y->seconds ? 1 : -1;
    return (x->floor < y->floor) - (x->floor > y->floor); /* of a program that did not run */
}

bool op_lines_make(const Program *program, int steps, const Peak *peak, OpLines *lines)
{
    size_t nodes = program_node_count(program);
    *lines = (OpLines){.ops = memory_new(nodes, sizeof *lines->ops), .shapes = memory_new(nodes, sizeof *lines->shapes)};
    if (!lines->ops || !lines->shapes) {
        op_lines_free(lines);
        return false;
    }
    for (size_t n = 0; n < nodes; n++) {
        ProgramNode node = program_node(program, n);
        char sizes[sizeof lines->shapes->sizes];
        write_sizes(&node, sizes, sizeof sizes);
        add_node(line_for(lines->ops, &lines->op_count, node.op, ""), &node, steps, peak);
        add_node(line_for(lines->shapes, &lines->shape_count, node.op, sizes), &node, steps, peak);
    }
    qsort(lines->ops, (size_t)lines->op_count, sizeof *lines->ops, by_place_and_seconds);
    for (int k = 0; k < lines->op_count; k++) {
        lines->ops[k].op_place = k;
        lines->seconds += lines->ops[k].seconds;
        lines->floor += lines->ops[k].floor;
        for (int s = 0; s < lines->shape_count; s++)
            if (!strcmp(lines->shapes[s].op, lines->ops[k].op))
                lines->shapes[s].op_place = k;
    }
    qsort(lines->shapes, (size_t)lines->shape_count, sizeof *lines->shapes, by_place_and_seconds);
    return true;
}

void op_lines_free(OpLines *lines)
{
    memory_free(lines->ops);
    memory_free(lines->shapes);
    *lines = (OpLines){0};
}

static double rate(double amount, double seconds)
{
    return seconds > 0 ? amount / seconds / 1e9 : 0;
}

void op_lines_print_profile(const OpLines *lines)
{
    printf("%-28s %6s %10s %7s %9s %8s\n", "op", "calls", "ms", "share", "GFLOP/s", "GB/s");
    for (int k = 0; k < lines->op_count; k++) {
        const OpLine *l = &lines->ops[k];
        printf("%-28s %6d %10.3f %6.1f%% %9.1f %8.1f\n", l->op, l->calls, 1e3 * l->seconds, 100 * l->seconds / lines->seconds,
               rate(l->flops, l->seconds), rate(l->bytes, l->seconds));
    }
}

/* ---- bench ops */

static double larger(double a, double b)
{
    return a > b ? a : b;
}

Peak op_report_peak(const OpReport *r)
{
    return (Peak){.flops = larger(r->before.flops, r->after.flops),
                  .bf16_flops = larger(r->before.bf16_flops, r->after.bf16_flops),
                  .bytes = larger(r->before.bytes, r->after.bytes)};
}

const char *op_report_device(const Device *device)
{
    return device->kind == DEVICE_CUDA ? "cuda" : device->kind == DEVICE_CPU ? "cpu" : "ref";
}

static const char *limit_of(const OpLine *l)
{
    return 2 * l->arithmetic_part > l->floor ? "compute" : "memory";
}

static double flops_of(const OpLines *lines)
{
    double sum = 0;
    for (int k = 0; k < lines->op_count; k++)
        sum += lines->ops[k].flops;
    return sum;
}

static void print_line(const OpReport *r, const OpLine *l)
{
    printf("%s%-*s %6d %10.3f %6.1f%% %9.1f %8.1f  %-8s", l->sizes[0] ? "  " : "", l->sizes[0] ? 28 : 30,
           l->sizes[0] ? l->sizes : l->op, l->calls, 1e3 * l->seconds, 100 * l->seconds / r->step_seconds,
           rate(l->flops, l->seconds), rate(l->bytes, l->seconds), limit_of(l));
    if (l->floor > 0)
        printf(" %6.1f%% %11.2f\n", 100 * l->floor / l->seconds, l->seconds / l->floor);
    else
        printf(" %7s %11s\n", "-", "-");
}

void op_report_print(const OpReport *r, const OpLines *lines)
{
    double flops = flops_of(lines);
    printf("%s, %s, %s, %d pictures a step, mean of %d steps\n\n", r->config, r->precision, device_describe(r->device),
           r->batch, r->steps);
    printf("%-28s %9s %9s\n", "peak of all threads", "before", "after");
    printf("  %-26s %9.1f %9.1f GFLOP/s\n", "f32 multiply-add", r->before.flops / 1e9, r->after.flops / 1e9);
    if (r->before.bf16_flops > 0)
        printf("  %-26s %9.1f %9.1f GFLOP/s\n", "bf16 dot product", r->before.bf16_flops / 1e9, r->after.bf16_flops / 1e9);
    printf("  %-26s %9.1f %9.1f GB/s\n\n", "memory", r->before.bytes / 1e9, r->after.bytes / 1e9);
    printf("%-30s %6s %10s %7s %9s %8s  %-8s %7s %11s\n", "op, and its sizes", "calls", "ms", "share", "GFLOP/s", "GB/s",
           "limit", "of peak", "time/floor");
    for (int k = 0, s = 0; k < lines->op_count; k++) {
        print_line(r, &lines->ops[k]);
        for (; s < lines->shape_count && lines->shapes[s].op_place == k; s++)
            print_line(r, &lines->shapes[s]);
    }
    printf("%-30s %6s %10.3f %6.1f%%\n", "outside of ops", "", 1e3 * (r->step_seconds - lines->seconds),
           100 * (1 - lines->seconds / r->step_seconds));
    printf("%-30s %6s %10.3f %6.1f%% %9.1f %8s  %-8s %6.1f%% %11.2f\n", "the step", "", 1e3 * r->step_seconds, 100.0,
           rate(flops, r->step_seconds), "", "", 100 * lines->floor / r->step_seconds, r->step_seconds / lines->floor);
}

void op_report_print_floors(const OpReport *r, const OpLines *lines)
{
    double flops = flops_of(lines), whole = strcmp(r->precision, "bf16") ? r->before.flops : r->before.bf16_flops;
    printf("%s, %s, %s, %d pictures a step, by count: nothing was run\n", r->config, r->precision, op_report_device(r->device),
           r->batch);
    printf("a machine of %.1f TFLOP/s in f32, %.1f in bf16, %.0f GB/s needs at least\n\n", r->before.flops / 1e12,
           r->before.bf16_flops / 1e12, r->before.bytes / 1e9);
    printf("%-30s %6s %10s %7s %10s %10s  %s\n", "op, and its sizes", "calls", "ms", "share", "GFLOP", "MB", "limit");
    for (int k = 0, s = 0; k < lines->op_count; k++)
        for (const OpLine *l = &lines->ops[k]; l;
             l = s < lines->shape_count && lines->shapes[s].op_place == k ? &lines->shapes[s++] : NULL)
            printf("%s%-*s %6d %10.4f %6.1f%% %10.2f %10.1f  %s\n", l->sizes[0] ? "  " : "", l->sizes[0] ? 28 : 30,
                   l->sizes[0] ? l->sizes : l->op, l->calls, 1e3 * l->floor, 100 * l->floor / lines->floor, l->flops / 1e9,
                   l->bytes / 1e6, limit_of(l));
    printf("%-30s %6s %10.4f %6.1f%% %10.2f\n", "the step", "", 1e3 * lines->floor, 100.0, flops / 1e9);
    printf("\nat most %.0f pictures a second, %.0f %% of the %s peak\n", r->batch / lines->floor,
           100 * flops / lines->floor / whole, r->precision);
}

static void print_json_line(const OpReport *r, const OpLine *l)
{
    printf("{\"op\": \"%s\", \"sizes\": \"%s\", \"calls\": %d, \"seconds\": %.9g, \"share\": %.9g, \"flops\": %.17g, "
           "\"bytes\": %.17g, \"gflops_per_second\": %.9g, \"gbytes_per_second\": %.9g, \"limit\": \"%s\", "
           "\"floor_seconds\": %.9g, \"peak_share\": %.9g}",
           l->op, l->sizes, l->calls, l->seconds, l->seconds / r->step_seconds, l->flops, l->bytes, rate(l->flops, l->seconds),
           rate(l->bytes, l->seconds), limit_of(l), l->floor, l->seconds > 0 ? l->floor / l->seconds : 0);
}

static void print_json_lines(const OpReport *r, const char *key, const OpLine *lines, int count)
{
    printf(", \"%s\": [", key);
    for (int k = 0; k < count; k++) {
        printf("%s", k ? ", " : "");
        print_json_line(r, &lines[k]);
    }
    printf("]");
}

void op_report_print_json(const OpReport *r, const OpLines *lines)
{
    Peak peak = op_report_peak(r);
    double flops = flops_of(lines);
    printf("{\"config\": \"%s\", \"precision\": \"%s\", \"device\": \"%s\", \"threads\": %d, \"batch_size\": %d, "
           "\"steps\": %d, \"step_seconds_mean\": %.9g, \"op_seconds\": %.9g, \"floor_seconds\": %.9g, \"peak_share\": %.9g, "
           "\"gflops\": %.9g, \"gflops_per_second\": %.9g, ",
           r->config, r->precision, op_report_device(r->device), r->device->threads, r->batch, r->steps, r->step_seconds,
           lines->seconds, lines->floor, lines->floor / r->step_seconds, flops / 1e9, rate(flops, r->step_seconds));
    printf("\"peak\": {\"f32_gflops_per_second\": %.9g, \"bf16_gflops_per_second\": %.9g, \"memory_gbytes_per_second\": %.9g, "
           "\"before\": [%.9g, %.9g, %.9g], \"after\": [%.9g, %.9g, %.9g]}",
           peak.flops / 1e9, peak.bf16_flops / 1e9, peak.bytes / 1e9, r->before.flops / 1e9, r->before.bf16_flops / 1e9,
           r->before.bytes / 1e9, r->after.flops / 1e9, r->after.bf16_flops / 1e9, r->after.bytes / 1e9);
    print_json_lines(r, "ops", lines->ops, lines->op_count);
    print_json_lines(r, "shapes", lines->shapes, lines->shape_count);
    printf("}\n");
}
