/* SPDX-License-Identifier: Apache-2.0 */
#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

bool fail(failure *why, failure_kind kind, const char *format, ...) {
    va_list values;
    va_start(values, format);
    why->kind = kind;
    (void)vsnprintf(why->text, sizeof why->text, format, values);
    va_end(values);
    return false;
}
