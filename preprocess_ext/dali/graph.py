# SPDX-License-Identifier: Apache-2.0
"""The DALI graphs: encoded pictures, or raw frames, to the network's input and its geometry.

The same results as the C core's `letterbox`: sizes and padding in float64 with its roundings, its filters, float levels
from the decoder to the output. This file needs nothing but DALI: a model repository gets a copy of it, see `entry.py`.

Three things DALI has no operator for are put together here:
- a triangle that is cut at the picture's edge and normalised (DALI repeats the edge instead): the picture is padded with
  zeros, and the result divided by what the same filter makes of ones;
- the mean of an area (`box`): running sums, sampled where the areas begin and end, and their differences;
- I420 and NV12: slices of the packed bytes, resized plane by plane, and a matrix for each item of the batch.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

_dali: Any = importlib.import_module("nvidia.dali")
fn, math, types = _dali.fn, _dali.math, _dali.types

MAX_PIXELS = 50_000_000  # as sightline.frame
MAX_SIDE_PIXELS = 65_535  # as the C core
_MAX_RESIZED = 1 << 24
_SUM_STEPS = 16  # doublings that cover MAX_SIDE_PIXELS
_RGB_FORMAT = 2  # formats from here on are packed, see sightline.frame.PixelFormat
_SWAPPED = {"rgb": (0, 1, 2), "bgr": (2, 1, 0)}


class Settings(NamedTuple):
    """The card's `input`, as plain values. device: "gpu", or "cpu" for CPU operators only."""

    width: int
    height: int
    resize: str
    short_side: int
    filter: str
    pad: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    colour: str
    device: str


class Placement(NamedTuple):
    """Where pictures lie, per item, float64 nodes of shape (2,), height before width.

    sides: of the source. resized: of the whole resized picture. pad: top, left; below 0 is cut away. shown: the part of the
    resized picture that is written. begin, end: the source pixels of that part. fits: int64 scalar, 0 where a crop cannot
    cover the input.
    """

    sides: Any
    resized: Any
    pad: Any
    shown: Any
    begin: Any
    end: Any
    fits: Any


def encoded_pictures(settings: Settings) -> tuple[Any, Any]:
    """Inputs IMAGE (file's bytes, zeros behind it ignored) and VALID (1,) int32; gives TENSOR and GEOMETRY."""
    encoded = fn.external_source(name="IMAGE", device="cpu", dtype=types.UINT8, ndim=1)
    valid = fn.external_source(name="VALID", device="cpu", dtype=types.INT32, ndim=1)
    order = types.BGR if settings.colour == "bgr" else types.RGB
    options = {"device": "cpu"} if settings.device == "cpu" else {"device": "mixed", "affine": False}
    pictures = fn.decoders.image(encoded, output_type=order, jpeg_fancy_upsampling=True, **options)
    place = placement(settings, fn.peek_image_shape(encoded)[0:2])
    levels = resized(settings, pictures, place)
    return normalised(settings, levels, place), geometry(place, valid[0])


def raw_frames(settings: Settings) -> tuple[Any, Any]:
    """Inputs FRAME (packed bytes) and FRAME_INFO (4,) int32; gives TENSOR and GEOMETRY, all 0 for a bad item."""
    packed = fn.external_source(name="FRAME", device="cpu", dtype=types.UINT8, ndim=1)
    info = fn.external_source(name="FRAME_INFO", device="cpu", dtype=types.INT32, ndim=1)
    width, height, layout, colour, good = _safe_info(info, packed.shape()[0])
    place = placement(settings, fn.stack(height, width))
    if settings.device != "cpu":
        packed = packed.gpu()
    levels = frame_levels(settings, packed, layout, place)
    levels = _converted(settings, levels, layout, colour)
    return normalised(settings, levels, place), geometry(place, good)


def placement(settings: Settings, sides: Any) -> Placement:
    """How pictures with these sides, int64 (height, width), are placed: sl_geometry_fit and sl_geometry_crop."""
    sides = fn.cast(sides, dtype=types.INT64)
    network = _constant([settings.height, settings.width], types.INT64)
    fits = _constant([1], types.INT64)[0]
    if settings.resize == "crop":
        whole, fits = _covering(settings, sides, network)
    elif settings.resize == "stretch":
        whole = network + 0 * sides
    else:
        ratios = _double(network) / _double(sides)
        whole = _rounded(_double(sides) * math.min(ratios[0], ratios[1]))
        whole = math.clamp(whole, _constant([1, 1], types.INT64), network)
    rest = _double(network - whole)
    if settings.resize == "crop":
        pad = 0.0 - _double(_rounded(0.0 - rest / 2.0))
    elif settings.resize == "corner":
        pad = rest * 0.0
    else:
        pad = math.max(_double(_rounded(rest / 2.0 - 0.1)), 0.0)
    ratio = _double(sides) / _double(whole)
    first = math.max(0.0 - pad, 0.0)
    shown = math.min(_double(whole) - first, _double(network))
    return Placement(_double(sides), _double(whole), pad, shown, first * ratio, (first + shown) * ratio, fits)


def geometry(place: Placement, valid: Any) -> Any:
    """GEOMETRY of the wire contract, float32 (7,); all 0 where `valid`, a whole scalar, is 0."""
    scale = place.resized / place.sides
    fields = [node[axis] for node in (place.sides, scale, place.pad) for axis in (1, 0)]
    good = fn.cast((fn.cast(valid, dtype=types.INT64) != 0) & (place.fits != 0), dtype=types.FLOAT)
    floats = fn.cast(fn.stack(fields[0] * 0.0 + 1.0, *fields), dtype=types.FLOAT)
    return floats * good + 0.0  # no negative zeros


def resized(settings: Settings, pictures: Any, place: Placement, *, halved: bool = False) -> Any:
    """Float levels (h, w, channels) of the shown part; halved: planes with a sample for two source pixels, rounded up.

    Shapes are calculated, not taken from the pictures: those may be in the GPU's memory.
    """
    density = 0.5 if halved else 1.0
    begin, end, shown = _single(place.begin * density), _single(place.end * density), _single(place.shown)
    sides = _single(math.ceil(place.sides * density))
    if settings.filter == "triangle":
        return _triangle(pictures, sides, begin, end, shown)
    if settings.filter == "box":
        levels = _box(fn.cast(pictures, dtype=types.FLOAT), 0, sides, begin, end, shown)
        return _box(levels, 1, fn.cat(shown[0:1], sides[1:2]), begin, end, shown)
    return _bilinear(pictures, begin, end, shown)


def normalised(settings: Settings, levels: Any, place: Placement) -> Any:
    """TENSOR: float32 (3, height, width); the picture in its place, padding around it, (level - mean) / std."""
    network = _double(_constant([settings.height, settings.width], types.INT64))
    space = network - place.shown
    where = _single(math.max(place.pad, 0.0) / math.max(space, 1.0))
    fill = [(settings.pad - mean) / std for mean, std in zip(settings.mean, settings.std)]  # noqa: B905
    return fn.crop_mirror_normalize(
        levels,
        crop=[float(settings.height), float(settings.width)],
        crop_pos_y=where[0],
        crop_pos_x=where[1],
        mean=list(settings.mean),
        std=list(settings.std),
        out_of_bounds_policy="pad",
        fill_values=fill,
        dtype=types.FLOAT,
        output_layout="CHW",
    )


def frame_levels(settings: Settings, packed: Any, layout: Any, place: Placement) -> Any:
    """Float levels (h, w, 3) of packed frames, Y, U, V or three colours in the frame's order."""
    sides = fn.cast(place.sides, dtype=types.INT64)
    halves = (sides + 1) // 2
    luma_bytes, chroma_bytes = sides[0] * sides[1], halves[0] * halves[1]
    if layout >= _RGB_FORMAT:
        levels = resized(settings, _plane(packed, 0 * luma_bytes, sides, 3), place)
    else:
        luma = resized(settings, _plane(packed, 0 * luma_bytes, sides, 1), place)
        if layout == 0:
            first = _plane(packed, luma_bytes, halves, 1)
            second = _plane(packed, luma_bytes + chroma_bytes, halves, 1)
            chroma = fn.cat(first, second, axis=2)
        else:
            chroma = _plane(packed, luma_bytes, halves, 2)
        levels = fn.cat(luma, resized(settings, chroma, place, halved=True), axis=2)
    return levels


def _plane(packed: Any, start: Any, sides: Any, channels: int) -> Any:
    """A plane of packed frames as (h, w, channels); what lies behind the bytes reads as 0."""
    count = sides[0] * sides[1] * channels
    flat = fn.slice(
        packed,
        start=fn.cast(fn.stack(start), dtype=types.INT32),
        shape=fn.cast(fn.stack(count), dtype=types.INT32),
        axes=[0],
        out_of_bounds_policy="pad",
    )
    shape = fn.cat(sides, 0 * sides[0:1] + channels)
    return fn.reshape(flat, shape=fn.cast(shape, dtype=types.INT32), layout="HWC")


def _safe_info(info: Any, length: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Width, height, format, colour and 1; for a bad item those of a single RGB pixel, and 0."""
    numbers = fn.cast(info, dtype=types.INT64)
    width, height, layout, colour = (numbers[index] for index in range(4))
    halves = ((width + 1) // 2) * ((height + 1) // 2)
    is_packed = fn.cast(layout >= _RGB_FORMAT, dtype=types.INT64)
    need = is_packed * width * height * 3 + (1 - is_packed) * (width * height + 2 * halves)
    good = (width >= 1) & (height >= 1) & (width <= MAX_SIDE_PIXELS) & (height <= MAX_SIDE_PIXELS)
    good = good & (width * height <= MAX_PIXELS) & (need <= fn.cast(length, dtype=types.INT64))
    good = good & (layout >= 0) & (layout <= 3) & (colour >= 0) & (colour <= 3)
    one = fn.cast(good, dtype=types.INT64)
    bad = 1 - one
    return one * width + bad, one * height + bad, one * layout + bad * _RGB_FORMAT, one * colour, one


def _converted(settings: Settings, levels: Any, layout: Any, colour: Any) -> Any:
    """Levels in the network's order of colours, clamped to 0..255; each item has its own matrix."""
    rows = [row for index in range(6) for row in _matrix(index, settings.colour)]
    table = fn.reshape(
        types.Constant([value for row in rows for value in row], dtype=types.FLOAT), shape=[6, 3, 4]
    )
    is_packed = fn.cast(layout >= _RGB_FORMAT, dtype=types.INT64)
    index = (1 - is_packed) * colour + is_packed * (layout + 2)
    rgb = fn.coord_transform(levels, MT=table[index], dtype=types.FLOAT)
    return fn.reshape(math.clamp(rgb, 0.0, 255.0), layout="HWC", src_dims=[0, 1, 2])


def _matrix(index: int, order: str) -> list[list[float]]:
    """Rows (3, 4) of a colour space (0..3, see sightline.frame.ColourSpace), of RGB (4) or of BGR (5)."""
    if index >= 4:
        rows = [[float(column == row) for column in range(4)] for row in range(3)]
        rows = rows if index == 4 else rows[::-1]
    else:
        rows = _yuv_matrix(bt709=index in (1, 3), limited=index < 2)
    return [rows[channel] for channel in _SWAPPED[order]]


def _yuv_matrix(*, bt709: bool, limited: bool) -> list[list[float]]:
    """BT.601-7, BT.709-6, and both in full range (JFIF): red, green and blue from Y, U, V and 1."""
    red, blue = (0.2126, 0.0722) if bt709 else (0.299, 0.114)
    green = 1.0 - red - blue
    luma, chroma = (255.0 / 219.0, 255.0 / 224.0) if limited else (1.0, 1.0)
    offset = -16.0 * luma if limited else 0.0
    u = [0.0, -2.0 * blue * (1.0 - blue) / green * chroma, 2.0 * (1.0 - blue) * chroma]
    v = [2.0 * (1.0 - red) * chroma, -2.0 * red * (1.0 - red) / green * chroma, 0.0]
    return [[luma, u[i], v[i], offset - 128.0 * (u[i] + v[i])] for i in range(3)]


def _bilinear(pictures: Any, begin: Any, end: Any, shown: Any, *, antialias: bool = False) -> Any:
    return fn.resize(
        pictures,
        size=shown,
        roi_start=begin,
        roi_end=end,
        interp_type=types.INTERP_LINEAR,
        antialias=antialias,
        subpixel_scale=False,
        dtype=types.FLOAT,
    )


def _triangle(pictures: Any, sides: Any, begin: Any, end: Any, shown: Any) -> Any:
    """DALI's antialiased triangle over a picture in a frame of zeros, divided by the weight that lay on the picture."""
    reach = fn.cast(math.ceil(math.max((end - begin) / shown, 1.0)), dtype=types.INT32) + 1
    start = fn.cast(math.floor(begin), dtype=types.INT32) - reach
    shape = fn.cast(math.ceil(end), dtype=types.INT32) + reach - start
    low, high = begin - _single(start), end - _single(start)
    window = _window(pictures, start, shape, [0, 1])
    weights = _edge_weights(sides, start, shape, 0, (low, high, shown))
    weights = weights * _edge_weights(sides, start, shape, 1, (low, high, shown))
    return _bilinear(window, low, high, shown, antialias=True) / weights


def _edge_weights(sides: Any, start: Any, shape: Any, axis: int, view: tuple[Any, Any, Any]) -> Any:
    """What the triangle along one axis makes of a picture of ones in a frame of zeros, (h, w, 1).

    As large as the picture, although its rows or columns are all the same: DALI 2.4 calculates with wrong memory where
    in one batch an operand of some items, not of all, is a single number.
    """
    part = slice(axis, axis + 1)
    ones = fn.full(1.0, shape=fn.cast(sides[part], dtype=types.INT32))
    strip = _window(ones, start[part], shape[part], [0])
    strip = fn.reshape(strip, shape=[-1, 1, 1] if axis == 0 else [1, -1, 1], layout="HWC")
    mine = _constant([1.0 - axis, float(axis)], types.FLOAT)
    low, high, shown = view
    return _bilinear(strip, low * mine, high * mine + (1.0 - mine), shown, antialias=True)


def _window(pictures: Any, start: Any, shape: Any, axes: list[int]) -> Any:
    return fn.slice(
        pictures, start=start, shape=shape, axes=axes, out_of_bounds_policy="pad", fill_values=[0.0]
    )


def _box(levels: Any, axis: int, sides: Any, begin: Any, end: Any, shown: Any) -> Any:
    """Means of areas along one axis, bilinear where it is enlarged; the other axis stays as it is."""
    ratio = (end - begin) / shown
    low, high, size = sides * 0.0, sides * 1.0, sides * 1.0
    mine = _constant([1.0 - axis, float(axis)], types.FLOAT)
    if ratio[axis] >= 1.0:
        # The sum before sample k lies at k + 0.5. Of one more than the areas, the first at the first area's begin.
        sums = _running_sums(levels - 128.0, axis, sides, mine)
        low = (begin + 0.5 - ratio / 2.0) * mine + low * (1.0 - mine)
        high = (end + 0.5 + ratio / 2.0) * mine + high * (1.0 - mine)
        edges = _bilinear(sums, low, high, (shown + 1.0) * mine + size * (1.0 - mine))
        count = fn.cast(shown * mine + size * (1.0 - mine), dtype=types.INT32)
        after = _window(edges, fn.cast(mine, dtype=types.INT32), count, [0, 1])
        before = _window(edges, fn.cast(mine * 0.0, dtype=types.INT32), count, [0, 1])
        means = (after - before) / ratio[axis] + 128.0
    else:
        low = begin * mine + low * (1.0 - mine)
        high = end * mine + high * (1.0 - mine)
        means = _bilinear(levels, low, high, shown * mine + size * (1.0 - mine))
    return means


def _running_sums(levels: Any, axis: int, sides: Any, mine: Any) -> Any:
    """Sums of all samples before each one along an axis, and after the last: one sample more. Doubling steps."""
    shape = fn.cast(sides + mine, dtype=types.INT32)
    sums = _window(levels, fn.cast(0.0 - mine, dtype=types.INT32), shape, [0, 1])
    for step in range(_SUM_STEPS):
        back = fn.cast(mine * (-1.0 * (1 << step)), dtype=types.INT32)
        if sides[axis] > float(1 << step):
            sums = sums + _window(sums, back, shape, [0, 1])
    return sums


def _covering(settings: Settings, sides: Any, network: Any) -> tuple[Any, Any]:
    """Sides of the resized picture that the crop is taken from, int64 (2,), and whether they cover the input."""
    height, width = sides[0], sides[1]
    if settings.short_side > 0:
        by_width = fn.cast(width <= height, dtype=types.INT64)
        short_width = short_height = settings.short_side + 0 * width
    else:
        by_width = fn.cast(width * settings.height <= height * settings.width, dtype=types.INT64)
        short_width, short_height = settings.width + 0 * width, settings.height + 0 * width
    wide = by_width * short_width + (1 - by_width) * (short_height * width // height)
    high = by_width * (short_width * height // width) + (1 - by_width) * short_height
    fits = (
        (wide >= settings.width) & (high >= settings.height) & (wide <= _MAX_RESIZED) & (high <= _MAX_RESIZED)
    )
    return fn.stack(high, wide), fn.cast(fits, dtype=types.INT64)


def _rounded(value: Any) -> Any:
    """Nearest whole number, ties to even, int64: rint()."""
    below = math.floor(value)
    part = value - below
    whole = fn.cast(below, dtype=types.INT64)
    odd = whole - 2 * (whole // 2)
    up = fn.cast(part > 0.5, dtype=types.INT64) + fn.cast(part == 0.5, dtype=types.INT64) * odd
    return whole + up


def _constant(values: list[Any], dtype: Any) -> Any:
    return types.Constant(values, dtype=dtype)


def _double(node: Any) -> Any:
    return fn.cast(node, dtype=types.FLOAT64)


def _single(node: Any) -> Any:
    return fn.cast(node, dtype=types.FLOAT)
