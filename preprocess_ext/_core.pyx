# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3
"""The C core itself: its version and the instructions it uses."""

from sl_common cimport sl_cpu, sl_cpu_level, sl_cpu_limit, sl_version


def version() -> str:
    return sl_version().decode()


def cpu() -> int:
    return <int> sl_cpu()


def cpu_limit(int highest) -> int:
    return <int> sl_cpu_limit(<sl_cpu_level> highest)
