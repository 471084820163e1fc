# SPDX-License-Identifier: Apache-2.0
"""Our kernels against the packages that people use today."""
