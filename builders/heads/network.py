# SPDX-License-Identifier: Apache-2.0
"""What the families of heads are asked, and what they answer."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sightline.builders.heads.evidence import GraphEvidence, OutputEvidence
from sightline.builders.onnx_source import Dims, shape_text
from sightline.card import HeadKind, HeadSpec, ModelCard

BACKGROUND_NAMES = frozenset(("background", "__background__", "no object", "no_object"))
MOST_QUERIES = 1000  # DETR and its kin have 100 to 900; grids and anchors are more
_MAX_NOTE = 1 << 12
# Levels that detectors use, pixels a cell.
_STRIDE_SETS = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (4, 8, 16, 32), (8,), (16,), (32,), (4,), (8, 16))


@dataclass(frozen=True)
class OutputInfo:
    """One output of a network: dims at batch 1 and the card's input size, None where they depend on the picture.

    element: ONNX's or OpenVINO's name of the data type, such as FLOAT or F32.
    """

    name: str
    dims: Dims
    element: str = "FLOAT"

    @property
    def inner(self) -> Dims:
        """The dimensions without the batch."""
        return self.dims[1:]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The dimensions without the batch; () where one depends on the picture."""
        known = tuple(dim for dim in self.inner if dim is not None)
        return known if len(known) == len(self.inner) else ()

    @property
    def whole_numbers(self) -> bool:
        """Whether the values are integers."""
        return re.fullmatch(r"(U?INT|[IU])\d+", self.element) is not None

    @property
    def text(self) -> str:
        """For people: "(N, 84, 8400)"."""
        return shape_text((None, *self.inner)) if self.dims else "()"


@dataclass(frozen=True)
class Network:
    """A network whose head is looked for. outputs: those that may be read, as (index, output)."""

    card: ModelCard
    outputs: tuple[tuple[int, OutputInfo], ...]
    labels: tuple[str, ...]
    evidence: GraphEvidence
    metadata: Mapping[str, str]

    @property
    def head(self) -> HeadSpec | None:
        """What the card says of the head."""
        return self.card.head

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the network's input, pixels."""
        return self.card.input.size

    @property
    def shapes(self) -> str:
        """All outputs for people."""
        return ", ".join(f"{output.name} {output.text}" for _, output in self.outputs)

    def seen(self, output: OutputInfo) -> OutputEvidence | None:
        """The operators before an output; None where the graph was not looked at."""
        return self.evidence.of(output.name)

    def note(self, key: str) -> Any:
        """A literal of the exporter's notes; the text where it is none; None where it is not there."""
        text = self.metadata.get(key)
        if text is None or len(text) > _MAX_NOTE:
            return None
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return text

    def option(self, name: str, usual: Any) -> Any:
        """What the card's head says, or what is usual where it says nothing."""
        value = getattr(self.head, name) if self.head is not None else None
        return usual if value is None or value == () else value


@dataclass(frozen=True)
class Reading:
    """One way to read the outputs.

    classes: None where the outputs do not tell. wanted: the shape that fits the labels, for people. certainty: 3
    unmistakable, 2 by the number of anchors or the graph, 1 by shape alone. line: what to write into the card for it.
    missing: why it cannot be served yet. labels: names in place of the card's. shift, batched: as in HeadPlan.
    """

    kind: HeadKind
    outputs: tuple[int, ...]
    classes: int | None
    wanted: str
    found: str
    why: str
    certainty: int
    line: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""
    hint: str = ""
    labels: tuple[str, ...] | None = None
    shift: float = 0.0
    batched: bool = True


@dataclass(frozen=True)
class Family:
    """A head: how its readings are found, what it needs, what may be wrong, and which of the card's options it has."""

    kind: HeadKind
    read: Callable[[Network], Sequence[Reading]]
    needs: Callable[[Network], str]
    advice: Callable[[Network], str]
    options: frozenset[str] = frozenset()


def strides_of(anchors: int, size: tuple[int, int]) -> tuple[int, ...]:
    """The levels whose cells are `anchors` together; () where none of the usual ones are."""
    for strides in _STRIDE_SETS:
        if anchors == cells(size, strides):
            return strides
    return ()


def cells(size: tuple[int, int], strides: Sequence[int]) -> int:
    """Cells of an input of that width and height in all levels."""
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


def prototypes_of(network: Network) -> tuple[int, OutputInfo] | None:
    """The one output (N, channels, rows, columns) whose map is a whole fraction of the input, such as 160 of 640."""
    width, height = network.size
    found = []
    for index, output in network.outputs:
        if len(output.sizes) != 3:
            continue
        channels, rows, columns = output.sizes
        if 1 < channels <= 1024 and width % columns == 0 and width * rows == height * columns and columns > 1:
            found.append((index, output))
    return found[0] if len(found) == 1 else None
