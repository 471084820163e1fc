# SPDX-License-Identifier: Apache-2.0
"""Checks of an ONNX file from a stranger, before any parser in C++ sees it.

Readers of ONNX trust the file: a cycle lets OpenVINO take 2 GiB and 20 s, functions that call each other twice hang
onnx's shape inference and ONNX Runtime, and a list of empty nodes makes protobuf take fifty times the file's size. So
the file is walked here first, in Python, in time that grows with its size alone:

    wire       before parsing: how many messages there are, and that the file is whole
    versions   IR, operator sets, domains, unknown operators, their attributes
    functions  the file's own functions: recursion, and how much they unfold to
    graph      names, cycles, subgraphs
    tensors    sizes and types of weights; sizes that constants ask for
"""

from sightline.builders.onnx_checks.check import check_graph
from sightline.builders.onnx_checks.versions import NEWEST_OPSET, OLDEST_OPSET
from sightline.builders.onnx_checks.wire import check_wire

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "check_graph", "check_wire"]
