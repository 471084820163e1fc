# SPDX-License-Identifier: Apache-2.0
"""Load tests with NVIDIA's perf_analyzer, and the serving tax."""
