/* SPDX-License-Identifier: Apache-2.0 */
#include "triton_api.h"

#include "forward.h"

#include <dlfcn.h>
#include <string.h>

triton_api triton;
static void *opened;

static const char *resolve(void *library) {
  triton_api found;
#define TRITON_RESOLVE(result, name, arguments)                                                                        \
  {                                                                                                                    \
    void *symbol = dlsym(library, "TRITONSERVER_" #name);                                                              \
    if (symbol == NULL)                                                                                                \
      return "it has no TRITONSERVER_" #name;                                                                          \
    memcpy(&found.name, &symbol, sizeof symbol);                                                                       \
  }
  TRITON_FUNCTIONS(TRITON_RESOLVE)
#undef TRITON_RESOLVE
  uint32_t major = 0, minor = 0;
  TRITONSERVER_Error *error = found.ApiVersion(&major, &minor);
  if (error != NULL || major != 1)
    return "its API version is not 1";
  triton = found;
  return NULL;
}

const char *triton_load(const char *library) {
  if (opened != NULL)
    return NULL;
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL)
    return dlerror();
  const char *wrong = resolve(handle);
  if (wrong == NULL)
    wrong = triton_forward(handle);
  if (wrong == NULL)
    opened = handle;
  return wrong;
}

const char *triton_preload(const char *library) {
  return dlopen(library, RTLD_NOW | RTLD_LOCAL) == NULL ? dlerror() : NULL;
}
