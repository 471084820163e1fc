/* SPDX-License-Identifier: Apache-2.0 */
/* Which variant of a kernel runs: asked once, then one atomic load a call. */
#include <stdatomic.h>

#include "common/internal.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { UNKNOWN = -1 };

static atomic_int in_use = UNKNOWN;

#if defined(__x86_64__)
static bool has_f16c(void) { /* clang has no name for it in __builtin_cpu_supports */
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C) != 0;
}
#endif

static sl_cpu_level best(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !has_f16c()) return SL_CPU_SCALAR;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
               ? SL_CPU_AVX512
               : SL_CPU_AVX2;
#elif defined(__aarch64__)
    return SL_CPU_NEON;
#else
    return SL_CPU_SCALAR;
#endif
}

sl_cpu_level sl_cpu(void) {
    int level = atomic_load_explicit(&in_use, memory_order_relaxed);
    if (level == UNKNOWN) {
        level = (int)best();
        atomic_store_explicit(&in_use, level, memory_order_relaxed);
    }
    return (sl_cpu_level)level;
}

sl_cpu_level sl_cpu_limit(sl_cpu_level highest) {
    sl_cpu_level level = best();
    if (highest < level) {
#if defined(__x86_64__)
        level = highest == SL_CPU_NEON ? SL_CPU_SCALAR : highest;
#else
        level = highest;
#endif
    }
    atomic_store_explicit(&in_use, (int)level, memory_order_relaxed);
    return sl_cpu();
}
