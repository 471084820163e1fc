# SPDX-License-Identifier: Apache-2.0
"""Heads about a whole picture: classifiers, class maps, embeddings."""

from __future__ import annotations

from math import prod
from typing import Any

from sightline.builders.heads.network import Family, Network, OutputInfo, Reading

MAX_MAP_CLASSES = 256
MAX_CLASSES = 1 << 16
_BESIDE = ("aux", "auxiliary")  # heads that only help in training

Indexed = tuple[int, OutputInfo]


def _vectors(network: Network) -> list[Indexed]:
    """Outputs with one row of values a picture: (N, C), (N, C, 1, 1), (N, 1, 1, C)."""
    found = []
    for index, output in network.outputs:
        if output.sizes and max(output.sizes) == prod(output.sizes):
            found.append((index, output))
    return _without_helpers(found)


def _without_helpers(found: list[Indexed]) -> list[Indexed]:
    main = [item for item in found if not any(word in item[1].name.lower() for word in _BESIDE)]
    return main or found


def _values(output: OutputInfo) -> int:
    return prod(output.sizes)


# ---------------------------------------------------------------- classifiers


def _read_scores(network: Network) -> list[Reading]:
    return [_scores(network, item) for item in _vectors(network) if _values(item[1]) <= MAX_CLASSES]


def _scores(network: Network, item: Indexed) -> Reading:
    index, output = item
    classes = _values(output)
    activation, reason = _activation(network, output, classes)
    activation = network.option("activation", activation)
    return Reading(
        kind="scores",
        outputs=(index,),
        classes=classes,
        wanted=f"an output of shape {_scores_shape(network)}",
        found=output.text,
        why=f"output {output.text}: classifier, {classes} classes, {reason}",
        certainty=2,
        line=f"head: {{kind: scores, outputs: [{output.name}]}}",
        parameters={
            **({} if activation == "none" else {"activation": activation}),
            "top": min(network.card.limits.top, classes),
        },
    )


def _activation(network: Network, output: OutputInfo, classes: int) -> tuple[str, str]:
    seen = network.seen(output)
    if seen is not None and "Softmax" in seen.last:
        return "none", "softmax in the graph"
    if seen is not None and "Sigmoid" in seen.last:
        return "none", "sigmoid in the graph"
    if classes == 1:
        return "sigmoid", "one logit: sigmoid"
    return "softmax", "logits: softmax"


def _scores_shape(network: Network) -> str:
    return f"(N, {len(network.labels) or 'classes'})"


def _scores_needs(network: Network) -> str:
    return f"an output of shape {_scores_shape(network)}"


# ---------------------------------------------------------------- class maps


def _read_class_map(network: Network) -> list[Reading]:
    found = [(index, output) for index, output in network.outputs if _orders(network, output)]
    return [
        _class_map(network, item, last)
        for item in _without_helpers(found)
        for last in _orders(network, item[1])
    ]


def _orders(network: Network, output: OutputInfo) -> list[bool]:
    """Which orders of the dimensions have the input's aspect ratio: False (C, h, w), True (h, w, C)."""
    sizes = output.sizes
    if len(sizes) != 3 or output.whole_numbers:
        return []
    width, height = network.size
    orders = []
    for last in (False, True):
        rows, columns = sizes[:2] if last else sizes[1:]
        whole = abs(rows * width - columns * height) <= max(width, height) and min(rows, columns) > 1
        if whole and rows <= height and columns <= width and sizes[2 if last else 0] <= MAX_MAP_CLASSES:
            orders.append(last)
    if len(orders) < 2:
        return orders
    wanted = len(network.labels) or min(sizes[0], sizes[2])  # a square map of as many classes as it has rows
    return [sizes[0] != wanted == sizes[2]]


def _class_map(network: Network, item: Indexed, last: bool) -> Reading:
    index, output = item
    classes = output.sizes[2 if last else 0]
    seen = network.seen(output)
    sigmoid = classes == 1 and seen is not None and "Sigmoid" in seen.last
    count = max(classes, 2)
    order = "(N, rows, columns, classes)" if last else "(N, classes, rows, columns)"
    parameters: dict[str, Any] = {
        "classes": classes,
        "channels_last": last,
        "upsample": network.option("upsample", "logits"),
    }
    return Reading(
        kind="class_map",
        outputs=(index,),
        classes=count,
        wanted=_class_map_needs(network),
        found=output.text,
        why=f"output {output.text}: class map {order}, {count} classes"
        + (", from 0.5 on" if sigmoid else ""),
        certainty=2,
        line=f"head: {{kind: class_map, outputs: [{output.name}]}}",
        parameters=parameters,
        labels=("background", *network.labels) if classes == 1 == len(network.labels) else None,
        shift=-0.5 if sigmoid else 0.0,
    )


def _class_map_needs(network: Network) -> str:
    count = len(network.labels) or "classes"
    return f"an output of logits (N, {count}, rows, columns) or (N, rows, columns, {count})"


def _class_map_advice(network: Network) -> str:
    for _, output in network.outputs:
        whole = output.whole_numbers or len(output.inner) == 2
        if whole and output.inner[-2:] and len(output.inner) in (2, 3):
            return (
                f"The output {output.name} {output.text} {output.element} seems to hold class numbers already "
                "(ArgMax inside); export the logits before it"
            )
        if len(output.inner) == 3 and max(output.inner[0] or 0, output.inner[-1] or 0) > MAX_MAP_CLASSES:
            return f"At most {MAX_MAP_CLASSES} classes are read"
    return ""


# ---------------------------------------------------------------- embeddings


def _read_embedding(network: Network) -> list[Reading]:
    return [
        Reading(
            kind="embedding",
            outputs=(index,),
            classes=0,
            wanted=_embedding_needs(network),
            found=output.text,
            why=f"output {output.text}: embedding of {_values(output)} values, scaled to length 1",
            certainty=2,
            line=f"head: {{kind: embedding, outputs: [{output.name}]}}",
            labels=(),
        )
        for index, output in _vectors(network)
    ]


def _embedding_needs(_: Network) -> str:
    return "an output of shape (N, values)"


def _no_advice(_: Network) -> str:
    return ""


FAMILIES = (
    Family("scores", _read_scores, _scores_needs, _no_advice, frozenset(("activation",))),
    Family("class_map", _read_class_map, _class_map_needs, _class_map_advice, frozenset(("upsample",))),
    Family("embedding", _read_embedding, _embedding_needs, _no_advice),
)
