# SPDX-License-Identifier: Apache-2.0
"""Walks protobuf's wire format without building anything: is the file whole, and would parsing it take much memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

MAX_FIELDS = 2_000_000  # a large vision network has about 100,000
MAX_PACKED_BYTES = 1 << 26  # numbers of 1 byte each in the file become 8 bytes
MAX_DEPTH = 96  # protobuf's own limit is 100

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_TYPES = frozenset((3, 4, 5, 8, 13, 14, 17, 18))  # numbers of FieldDescriptor.TYPE_*

_STRING_TYPE = 9


class WireError(Exception):
    """Why a file is no ONNX file, or too much for one."""


@dataclass
class _Layout:
    """Fields of a message type: those that hold messages, packed numbers, and texts."""

    name: str
    messages: dict[int, _Layout] = field(default_factory=dict)
    packed: set[int] = field(default_factory=set)
    texts: set[int] = field(default_factory=set)


def check_wire(content: bytes) -> None:
    """Raises WireError where the content is not one whole ONNX message, or has too many parts."""
    layout, end = _model_layout(), len(content)
    outer: list[tuple[int, _Layout]] = []  # end and layout of the messages around the one that is read
    position = fields = packed = 0
    while True:
        while position >= end:
            if not outer:
                return
            end, layout = outer.pop()
        fields += 1
        if fields > MAX_FIELDS:
            raise WireError(f"it has more than {MAX_FIELDS} parts, which no vision network has")
        tag, position = content[position], position + 1  # most tags and lengths are of one byte
        if tag > 0x7F:
            tag, position = _varint(content, position - 1, end)
        number, kind = tag >> 3, tag & 7
        if kind != _BYTES:
            position = _skip(content, position, end, kind, number)
            continue
        length = content[position] if position < end else 0x80
        position += 1
        if length > 0x7F:
            length, position = _varint(content, position - 1, end)
        if length > end - position:
            raise WireError(
                f"it is cut off: at byte {position} a part of {layout.name} claims {length} bytes, "
                f"{end - position} are left"
            )
        inner = layout.messages.get(number)
        if inner is not None:
            outer.append((end, layout))
            if len(outer) > MAX_DEPTH:
                raise WireError(f"its parts are nested more than {MAX_DEPTH} deep")
            end, layout = position + length, inner
            continue
        if number in layout.packed:
            packed += length
            if packed > MAX_PACKED_BYTES:
                raise WireError(
                    f"it has more than {MAX_PACKED_BYTES} bytes of whole numbers; save them as raw data"
                )
        elif number in layout.texts:
            _check_text(content, position, length)
        position += length


def _check_text(content: bytes, position: int, length: int) -> None:
    """Protobuf gives bytes in place of text where it is no UTF-8."""
    try:
        content[position : position + length].decode()
    except UnicodeDecodeError as error:
        raise WireError(f"it is damaged: the text at byte {position} is no UTF-8") from error


def _skip(content: bytes, position: int, end: int, kind: int, number: int) -> int:
    if number == 0 or kind not in (_VARINT, _FIXED64, _FIXED32):
        raise WireError(f"byte {position} is no part of an ONNX file")
    if kind == _VARINT:
        return _varint(content, position, end)[1]
    position += 8 if kind == _FIXED64 else 4
    if position > end:
        raise WireError(f"it is cut off at byte {position}")
    return position


def _varint(content: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 70:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise WireError(f"it is cut off, or damaged, at byte {position}")


@cache
def _model_layout() -> _Layout:
    import onnx

    return _layout(onnx.ModelProto.DESCRIPTOR, {})


def _layout(descriptor: Any, made: dict[str, _Layout]) -> _Layout:
    """The layout of a message type and of all within it; types may hold themselves, as graphs do."""
    if descriptor.full_name in made:
        return made[descriptor.full_name]
    layout = made[descriptor.full_name] = _Layout(descriptor.name)
    for item in descriptor.fields:
        if item.message_type is not None:
            layout.messages[item.number] = _layout(item.message_type, made)
        elif item.type in _VARINT_TYPES:
            layout.packed.add(item.number)
        elif item.type == _STRING_TYPE:
            layout.texts.add(item.number)
    return layout
