/* lacuna export: the encoder for other programs. */
#include <stdio.h>

#include "cli/cli.h"
#include "transfer/export.h"

typedef enum { FORMAT_TIMM, FORMAT_SAFETENSORS } Format;

typedef struct {
    int format;
} ExportOptions;

static int run_export(void *options, const Arguments *arguments)
{
    const char *from = arguments->words[0], *out = arguments->words[1];
    bool timm = ((const ExportOptions *)options)->format == FORMAT_TIMM;
    Device device;
    Text note = {0};
    bool ok = device_open("cpu", 0, &device) &&
              (timm ? export_timm(from, out, &device, &note) : export_safetensors(from, out, &note));
    if (ok && note.length)
        cli_note(note.data, false);
    text_free(&note);
    if (!ok)
        return cli_failed();
    if (timm)
        printf("%s: timm.create_model(\"local-dir:%s\", pretrained=True)\n", out, out);
    else
        printf("%s: the encoder's weights\n", out);
    return EXIT_DONE;
}

static const char *const FORMATS[] = {"timm", "safetensors", NULL};

static const Option OPTIONS[] = {{"format", OPTION_CHOICE, offsetof(ExportOptions, format), .choices = FORMATS,
                                  .initial = "timm", .help = "a folder for timm, or one file with the encoder's weights"},
                                 {0}};

const Verb export_verb = {
    .name = "export",
    .line = "hand the backbone to other programs",
    .operands = "RUN OUT",
    .least = 2,
    .most = 2,
    .wanted = {"RUN, a run directory or a checkpoint", "OUT, the folder or file to write"},
    .about =
        "Writes the encoder of a run's newest checkpoint, or of another project's file. For timm, OUT becomes a folder that "
        "timm.create_model(\"local-dir:OUT\", "
        "pretrained=True) loads unchanged, with the pictures' mean and deviation in its config.json; beside it lie the "
        "decoders, and example.safetensors, pictures of random numbers with the tokens that the encoder makes of them, so "
        "that a reader can be checked.",
    .options = OPTIONS,
    .examples = "lacuna export runs/deepmim backbone\n"
                "lacuna export runs/deepmim encoder.safetensors --format safetensors\n",
    .size = sizeof(ExportOptions),
    .run = run_export};
