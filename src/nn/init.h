/* Initial weights (spec/pretraining.md 5.3). A family says how the parts of a network start; each parameter is drawn from a
 * stream of its own, named by the parameter, so that its numbers do not depend on what else the network has. */
#ifndef LACUNA_NN_INIT_H
#define LACUNA_NN_INIT_H

#include "graph/param.h"

typedef enum { FAMILY_XAVIER, FAMILY_BEIT, FAMILY_MASKFEAT, FAMILY_MOCO } InitFamily;

/* Weight (out, in) of a linear map; branch >= 0: it ends a residual branch of the block of that index, which BEiT's family
 * scales down. */
Init init_weight(InitFamily family, int64_t out, int64_t in, int branch);
/* The weight (3 width, width) of queries, keys and values: one matrix, of MoCo's family three. */
Init init_qkv_weight(InitFamily family, int64_t width);
/* The patch embedding's weight and bias for F = C P P numbers a patch. */
Init init_patch_weight(InitFamily family, int64_t width, int64_t numbers);
Init init_patch_bias(InitFamily family, int64_t numbers);
/* Class tokens, mask tokens, learned position tables. */
Init init_token(InitFamily family);
Init init_constant(double value);
/* Biases of linear maps and norms. */
Init init_bias(InitFamily family);
/* Weight and bias of SimMIM's head on tokens of that width, which starts apart from the encoder's family (10). */
Init init_pixel_head(int64_t width);
/* A classifier's map (docs/spec/transfer.md A.1): normal. */
Init init_head_weight(double deviation);
/* A map of MoCo's heads from so many numbers (14): uniform within 1 / sqrt(in). */
Init init_contrast_weight(int64_t in);
/* Fixed sin-cos table (3.1) of a grid, with or without a class row of zeros; of MoCo's family the row comes first. */
Init init_sincos(InitFamily family, int rows, int columns);

/* Draws all parameters of a set into its two buffers (padding is set to zero). stage: of dBOT, 0 otherwise; INIT_TEACHER for a
 * random teacher, which differs from every student. */
enum { INIT_TEACHER = 0x7FFFFFFF };
void init_params(const ParamSet *set, uint64_t seed, uint32_t stage, float *trained, float *fixed);

#endif
