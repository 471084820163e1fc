# SPDX-License-Identifier: Apache-2.0
"""Target `local`: the tritonserver of the nvidia-pytriton wheel, on loopback, supervised."""
