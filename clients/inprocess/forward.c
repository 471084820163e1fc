/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "forward.h"

#include "forward_names.h"

#include <dlfcn.h>
#include <string.h>

typedef void (*function)(void);

#define DEFINE_FORWARD(name)                                                                                           \
  static function address_##name;                                                                                      \
  static function resolve_##name(void) { return address_##name; }                                                      \
  __attribute__((visibility("default"), ifunc("resolve_" #name))) void name(void);
FORWARD_NAMES(DEFINE_FORWARD)

static void take(void *library, const char *name, function *address) {
  void *symbol = dlsym(library, name);
  memcpy(address, &symbol, sizeof symbol);
}

const char *triton_forward(void *library) {
#define TAKE(name) take(library, #name, &address_##name);
  FORWARD_NAMES(TAKE)
  Dl_info here;
  if (dladdr(&address_TRITONSERVER_ErrorNew, &here) == 0)
    return "the extension does not find itself";
  return dlopen(here.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD) == NULL ? dlerror() : NULL;
}
