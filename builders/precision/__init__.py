# SPDX-License-Identifier: Apache-2.0
"""Precision of the arithmetic, written into the ONNX: casts, quantization, and what they cost."""
