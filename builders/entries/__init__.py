# SPDX-License-Identifier: Apache-2.0
"""Triton configurations of a model's entry, for each target."""
