/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers of settings share. */
#ifndef SIGHTLINE_BACKEND_SETTINGS_READ_H
#define SIGHTLINE_BACKEND_SETTINGS_READ_H

#include "json.h"
#include "settings.h"

#define SETTINGS_AGAIN "run `sightline build` again"

/* Fail: the parameter lacks `name`, or has it wrong; `wanted` says what it must be. */
bool settings_missing(const char *name, const char *wanted, failure *why);
/* Index of the member's text in `words`; -1 where it is none of them. */
int settings_word(const json *j, uint32_t object, const char *name, const char *const *words, int count);
/* The task of post-processing and what it needs. */
bool settings_read_task(const json *j, settings *out, failure *why);
bool settings_read_head(const json *j, settings *out, failure *why);

#endif
