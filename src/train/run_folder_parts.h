/* What run_folder.c (the folder) and run_log.c (what grows in it) share. */
#ifndef LACUNA_TRAIN_RUN_FOLDER_PARTS_H
#define LACUNA_TRAIN_RUN_FOLDER_PARTS_H

#include "train/run_folder.h"

struct RunFolder {
    char *path;
    int lock;       /* descriptor; -1: not locked */
    bool made;      /* the folder was not there before */
    int log;        /* descriptor of log.jsonl; -1: not open */
    int events;     /* of TensorBoard's events */
    int bad;        /* of bad_files.csv */
    Text line;      /* of the log; its memory is kept from line to line */
    BadNames names; /* that bad_files.csv holds */
    size_t timed;   /* kinds of products in algorithms.json */
};

/* A fresh string "RUN/NAME"; NULL after error_set(). */
char *run_folder_inside(const RunFolder *folder, const char *name);

#endif
