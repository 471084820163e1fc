# SPDX-License-Identifier: Apache-2.0
"""First weights for a detector from an ONNX file that our own export wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from sightline.builders.train.network import StreetDetector
from sightline.errors import ModelFileError


def detector_from_onnx(path: Path) -> StreetDetector:
    """The detector of an exported file, with its weights. Raises ModelFileError where it is another network.

    In the file each normalisation is part of its convolution; here it becomes one that only adds the bias.
    """
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ModelFileError(f"{path} is no ONNX file ({error})") from error
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Identity" and node.input[0] in weights:  # the exporter keeps equal weights once
            weights[node.output[0]] = weights[node.input[0]]
    kernels = [
        tuple(weights[name] for name in node.input[1:])
        for node in model.graph.node
        if node.op_type == "Conv" and all(name in weights for name in node.input[1:])
    ]
    if not kernels or len(kernels[-1]) != 2:
        raise ModelFileError(
            f"{path} is not a detector of ours: it has no convolutions with weights in the file"
        )
    try:
        network = StreetDetector(len(kernels[-1][1])).eval()
    except (ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path} is not a detector of ours ({error})") from error
    layers = _in_order(network)
    if len(layers) != len(kernels):
        raise ModelFileError(
            f"{path} has {len(kernels)} convolutions, our detector {len(layers)}; give an ONNX file from sightline train"
        )
    with torch.no_grad():
        for (layer, norm), (kernel, bias) in zip(layers, kernels, strict=True):
            _load(path, layer, norm, kernel, bias)
    return network


def backbone_from(detector: StreetDetector, classes: int) -> StreetDetector:
    """A detector of other classes with the weights of this one, but for the layers that give the scores."""
    network = StreetDetector(classes)
    ours = network.state_dict()
    for name, value in detector.state_dict().items():
        if ours[name].shape == value.shape:
            ours[name].copy_(value)
    return network


def _in_order(network: StreetDetector) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
    """Convolutions in the order in which they run, each with the normalisation that follows."""
    ran: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: ran.append(module))
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))
    ]
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d | None]] = []
    for module, after in zip(ran, [*ran[1:], None], strict=True):
        if isinstance(module, nn.Conv2d):
            pairs.append((module, after if isinstance(after, nn.BatchNorm2d) else None))
    return pairs


def _load(
    path: Path, layer: nn.Conv2d, norm: nn.BatchNorm2d | None, kernel: np.ndarray, bias: np.ndarray
) -> None:
    if tuple(layer.weight.shape) != kernel.shape:
        raise ModelFileError(
            f"{path} has a convolution of shape {kernel.shape} where our detector has {tuple(layer.weight.shape)}"
        )
    layer.weight.copy_(torch.from_numpy(kernel.astype(np.float32)))
    offset = torch.from_numpy(bias.astype(np.float32))
    if norm is None:
        if layer.bias is not None:
            layer.bias.copy_(offset)
        return
    if norm.running_mean is None or norm.running_var is None:
        return
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0 - norm.eps)
    norm.weight.fill_(1.0)
    norm.bias.copy_(offset)
