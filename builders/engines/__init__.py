# SPDX-License-Identifier: Apache-2.0
"""Engines: the canonical ONNX made to run on a target, one module a kind."""
