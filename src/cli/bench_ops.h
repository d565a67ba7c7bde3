/* Where the time of a step goes: lines of a measured program, for `bench ops` and `bench train --profile`. */
#ifndef LACUNA_CLI_BENCH_OPS_H
#define LACUNA_CLI_BENCH_OPS_H

#include "graph/program.h"
#include "ops/peak/peak.h"

/* All calls of an op, or all those with the same main sizes. Numbers are of one step. */
typedef struct {
    const char *op;
    char sizes[64];      /* rows x outputs x inputs of a product, else the shape of the largest operand; "" of a whole op */
    int op_place, calls; /* op_place: of its op in the order of the lines */
    double seconds, flops, bytes;
    double floor;           /* the least seconds that the peak allows, node by node */
    double arithmetic_part; /* of floor, in nodes whose limit is arithmetic */
} OpLine;

/* Owned by who made it: op_lines_free(). */
typedef struct {
    OpLine *ops, *shapes; /* slowest op first; its shapes likewise, in the order of the ops */
    int op_count, shape_count;
    double seconds, floor; /* all together */
} OpLines;

/* From a program that was measured for `steps` steps, or only planned: then seconds are 0, and floors order the lines. peak
 * NULL: floors are 0. False after error_set(). */
bool op_lines_make(const Program *program, int steps, const Peak *peak, OpLines *lines);
void op_lines_free(OpLines *lines);

/* The table of --profile: ops alone. */
void op_lines_print_profile(const OpLines *lines);

/* What `bench ops` tells beside the lines. */
typedef struct {
    const char *config, *precision;
    const Device *device;
    int batch, steps;
    double step_seconds; /* mean of the measured steps, with what lies outside of ops */
    Peak before, after;  /* of the measured steps */
} OpReport;

/* The yardstick: of each rate the larger of the two. */
Peak op_report_peak(const OpReport *report);

/* "cpu", "cuda" or "ref". */
const char *op_report_device(const Device *device);

void op_report_print(const OpReport *report, const OpLines *lines);
void op_report_print_json(const OpReport *report, const OpLines *lines);

/* Of a program that was planned and not run, on a machine whose peak is `before`. */
void op_report_print_floors(const OpReport *report, const OpLines *lines);

#endif
