/* lacuna bench data: pictures per second of the loader, from files to normalised numbers. */
#ifndef LACUNA_CLI_BENCH_DATA_H
#define LACUNA_CLI_BENCH_DATA_H

/* As a command (cli.h); argv[0] is "data". */
int bench_data(int argc, char **argv);

#endif
