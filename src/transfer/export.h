/* Handing an encoder to other programs. */
#ifndef LACUNA_TRANSFER_EXPORT_H
#define LACUNA_TRANSFER_EXPORT_H

#include "base/text.h"
#include "device/device.h"

/* Makes the folder `out` with what timm loads unchanged (timm.create_model("local-dir:OUT", pretrained=True)): config.json and
 * the encoder as model.safetensors; beside them decoders.safetensors with all that pre-training needs besides, when the
 * checkpoint has it, and example.safetensors: pictures of random numbers (`image`, N x C x H x W) and the `tokens` (N x T x
 * width, f32, behind the final norm) that the encoder makes of them, so that a reader can be checked. `from`: a run, a
 * checkpoint, or its model.safetensors; what is worth knowing about it is appended to `note` (may be NULL). False after
 * error_set(): `out` is there already, or timm has no such encoder, and the key is named. */
bool export_timm(const char *from, const char *out, const Device *device, Text *note);

/* Writes the encoder alone as a safetensors file, names and metadata as in a checkpoint. False after error_set(). */
bool export_safetensors(const char *from, const char *out, Text *note);

#endif
