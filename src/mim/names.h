/* What model.c and feed.c agree on: the program's inputs. */
#ifndef LACUNA_MIM_NAMES_H
#define LACUNA_MIM_NAMES_H

#include "mim/model.h"

/* The places that a loss looks at. Inputs of a view are VIEW.rows, VIEW.inverse (between rows of (N, class + L) and counted
 * rows), VIEW.places (rows of (N, L)), VIEW.scale (1 / what counts in the batch) and, when weighted, VIEW.weight. Where hidden
 * places share their tokens, VIEW.tokens and VIEW.tokens_inverse stand between the encoder's rows (N, T) and counted rows; a
 * hidden place is shared token class + l. */
typedef enum { MIM_MASKED, MIM_ALL, MIM_VIEWS } MimView;
extern const char *const mim_view_names[MIM_VIEWS];

/* Rows that are predicted. All places, or the hidden ones: their number is fixed when visible patches alone enter the encoder;
 * else it varies between pictures, and there is room for all, those that count first. */
int64_t mim_view_rows(const Mim *mim, MimView view);
bool mim_view_weighted(const Mim *mim, MimView view);

/* Whether a decoder's tokens of hidden places, the same in each picture, are computed once and not for each. */
bool mim_shares_tokens(const Mim *mim);

#endif
