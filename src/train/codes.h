/* Code books of targets of kind `tokens` (docs/spec/pretraining.md 12): those of files, and where they lie in a trainer, which
 * holds them with its teacher. */
#ifndef LACUNA_TRAIN_CODES_H
#define LACUNA_TRAIN_CODES_H

#include "train/pictures.h"
#include "train/trainer.h"

/* What target.teacher names. A safetensors file with a tensor `codebook` (codes, numbers), perhaps the statistics `mean` and
 * `std` (channels) of its pictures, and nothing else, is a code book of patches; anything else is a network, whose safetensors
 * file may hold a `codebook` of its tokens. */
typedef struct {
    MimCodes of;
    int codes; /* 0: it holds no code book */
    bool has_statistics;
    RecipeStatistics mean, std;
} CodeFile;

/* False after error_set(). */
bool code_file_look(const char *path, CodeFile *file);

/* The file's code book into the trainer. False after error_set(): of another width. */
bool code_file_load(const char *path, Trainer *trainer);

/* The width of the trainer's code book, and the book into it. */
int64_t codes_width(const Trainer *trainer);
void codes_put(Trainer *trainer, const float *book);

/* Bytes that a run takes beside its own before its first step, while it makes the code book that nothing brings: of the
 * machine's memory and of the device's, which on the processor are the same ones. Zeros when it makes none. */
typedef struct {
    int64_t host, device;
} CodesMemory;

/* What is planned, without taking it (pretrain_codes.c), for these training pictures; NULL: for as many as it could use. False
 * after error_set(): too few for so many codes. */
bool codes_memory(const Recipe *recipe, const Device *device, const Pictures *pictures, CodesMemory *memory);

/* Whether a parameter that lies with the teacher's is one of its network. */
bool teacher_is_network(const char *name);

#endif
