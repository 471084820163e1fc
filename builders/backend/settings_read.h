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
/* A member that is there and not null; JSON_NONE otherwise. */
uint32_t settings_given(const json *j, uint32_t object, const char *name);
/* The same where the member may be left out (or null): *value stays as it is. */
bool settings_optional_word(const json *j, uint32_t object, const char *name, const char *const *words, int count,
                            const char *wanted, int *value, failure *why);
bool settings_optional_integer(const json *j, uint32_t object, const char *name, int64_t low, int64_t high,
                               int32_t *value, failure *why);
bool settings_optional_flag(const json *j, const char *name, int32_t *value, failure *why);
/* The task of post-processing and what it needs. */
bool settings_is_segment(const json *j);
bool settings_read_task(const json *j, settings *out, failure *why);
bool settings_read_head(const json *j, settings *out, failure *why);
/* "size" of the root, where it is there: the network's input as heads know it. */
bool settings_read_network_size(const json *j, settings *out, failure *why);

#endif
