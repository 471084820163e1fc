# SPDX-License-Identifier: Apache-2.0
"""Record what Ultralytics and torchvision make of the same masks, for tests that run where they are not installed.

    python tests/peers/record_masks.py      needs ultralytics, torch, torchvision's sources, opencv

Writes tests/data/peers/masks_*.npz: inputs, and each peer's masks as packed bits.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from ultralytics.utils import ops

try:
    from torchvision.models.detection.roi_heads import paste_masks_in_image
except (
    RuntimeError
):  # a torchvision built for another torch: its Python code is all we need, so name its operators
    for name in ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"):
        for suffix in ("", "_backward"):
            torch.library.define(
                f"torchvision::_{name}{suffix}" if suffix else f"torchvision::{name}", "(Tensor x) -> Tensor"
            )
    from torchvision.models.detection.roi_heads import paste_masks_in_image

FOLDER = Path(__file__).resolve().parent.parent / "data" / "peers"
SIZES = [(640, 640), (1280, 720), (811, 1080), (500, 333), (123, 77), (1281, 719)]
NETWORK = (320, 320)
CHANNELS, OBJECTS = 8, 6


def boxes_in(rng: np.random.Generator, width: int, height: int, count: int) -> np.ndarray:
    centre = rng.random((count, 2))
    half = rng.uniform(0.03, 0.4, (count, 2))
    corners = np.concatenate([centre - half, centre + half], axis=1)
    return (np.clip(corners, 0, 1) * [width, height, width, height]).astype(np.float32)


def smooth_prototypes(rng: np.random.Generator) -> np.ndarray:
    """Blobs, as a network's prototypes are; float16 values, so that the file stays small."""
    coarse = rng.standard_normal((CHANNELS, 8, 8)).astype(np.float32)
    size = NETWORK[0] // 4, NETWORK[1] // 4
    fine = np.stack([cv2.resize(channel, size, interpolation=cv2.INTER_CUBIC) for channel in coarse])
    return fine.astype(np.float16)


def record_prototypes(rng: np.random.Generator) -> None:
    prototypes = smooth_prototypes(rng)
    out = {"prototypes": prototypes}
    maps = torch.tensor(prototypes.astype(np.float32))
    for width, height in SIZES:
        name = f"{width}x{height}"
        coefficients = rng.standard_normal((OBJECTS, CHANNELS)).astype(np.float32)
        boxes = boxes_in(rng, width, height, OBJECTS)
        network_boxes = boxes_in(rng, *NETWORK, OBJECTS)
        vectors = torch.tensor(coefficients)
        native = ops.process_mask_native(maps, vectors, torch.tensor(boxes), (height, width))
        network = ops.process_mask(
            maps, vectors, torch.tensor(network_boxes), (NETWORK[1], NETWORK[0]), upsample=True
        )
        out |= {f"{name}_coefficients": coefficients, f"{name}_boxes": boxes}
        out |= {f"{name}_network_boxes": network_boxes, f"{name}_native": np.packbits(native.numpy())}
        out[f"{name}_network"] = np.packbits(network.numpy())
    np.savez_compressed(FOLDER / "masks_ultralytics.npz", **out)


def record_paste(rng: np.random.Generator) -> None:
    width, height, count = 321, 240, 24
    coarse = rng.random((count, 5, 5)).astype(np.float32)
    masks = np.stack([cv2.resize(mask, (28, 28), interpolation=cv2.INTER_LINEAR) for mask in coarse])
    corner = rng.uniform(-0.2, 0.9, (count, 2)) * [width, height]
    other = np.maximum(
        corner + rng.uniform(0.5, 150, (count, 2)), 4
    )  # torchvision takes no box outside the frame
    boxes = np.concatenate([corner, other], axis=1).astype(np.float32)
    pasted = paste_masks_in_image(torch.tensor(masks)[:, None], torch.tensor(boxes), (height, width))[:, 0]
    packed = np.packbits((pasted > 0.5).numpy())
    np.savez_compressed(
        FOLDER / "masks_torchvision.npz",
        masks=masks,
        boxes=boxes,
        pasted=packed,
        size=np.array([width, height]),
    )


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    record_prototypes(np.random.default_rng(1))
    record_paste(np.random.default_rng(2))
