# SPDX-License-Identifier: Apache-2.0
from libc.stdlib cimport malloc

cdef extern from "sightline_core/status.h" nogil:
    ctypedef enum sl_status:
        SL_OK
    ctypedef enum sl_cpu_level:
        pass
    const char *sl_status_text(sl_status status)
    const char *sl_version()
    sl_cpu_level sl_cpu()
    sl_cpu_level sl_cpu_limit(sl_cpu_level highest)


cdef inline void *scratch_of(size_t bytes) except NULL:
    """Working memory for one call; the caller frees it."""
    cdef void *memory = malloc(bytes if bytes > 0 else 1)
    if memory == NULL:
        raise MemoryError(f"{bytes} bytes of scratch memory")
    return memory


cdef inline check(sl_status status):
    if status != SL_OK:
        raise ValueError(sl_status_text(status).decode())
