/* The recipe that a command line means: one that is named, or one that is proposed for the pictures of --data. */
#ifndef LACUNA_CLI_CHOOSE_H
#define LACUNA_CLI_CHOOSE_H

#include "cli/verb.h"

/* The recipe of the first word, else one that fits --data (or data.train=) and this machine, else the demo's; then the settings
 * of the command line upon it. Reasons of a proposal, a line each, are appended to `why`; none otherwise. Of a recipe, `notes`
 * gets a line for each key of its own file that does nothing. The recipe is checked. False after error_set(); *code is then the
 * exit code: the command line may be wrong, or the pictures may be of no use. */
bool choose_recipe(const Arguments *arguments, Recipe *recipe, Text *why, Text *notes, int *code);

/* Prints such notes on standard error, and frees them. */
void choose_tell(Text *notes);

#endif
