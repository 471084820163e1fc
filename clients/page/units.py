# SPDX-License-Identifier: Apache-2.0
"""What the MP4 muxer asks of a codec: the units of a packet, which of them begin a group, the decoder's configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from sightline.clients.page import h264, h265


class UnitKind(Enum):
    """What a NAL unit is to the muxer."""

    PARAMETERS = "parameters"
    DELIMITER = "delimiter"
    KEY = "key"
    OTHER = "other"


@dataclass(frozen=True)
class Configuration:
    """What stands in an MP4 header. entry, box: four-letter codes. codec: the name that MediaSource takes."""

    entry: bytes
    box: bytes
    record: bytes
    codec: str
    size: tuple[int, int]


class Units(ABC):
    """One connection's units: remembers the parameter sets that pass by."""

    def __init__(self, extradata: bytes, size: tuple[int, int]) -> None:
        self._size = size
        self._lengths = self.length_bytes(extradata)
        for unit in self.parameters_of(extradata):
            self.keep(unit)

    def split(self, data: bytes) -> Iterator[bytes]:
        """The NAL units of a packet."""
        return (
            h264.nal_units_of_avcc(data, self._lengths) if self._lengths else h264.nal_units_of_annex_b(data)
        )

    @abstractmethod
    def length_bytes(self, extradata: bytes) -> int:
        """Size of the lengths in front of units; 0 where start codes stand there."""

    @abstractmethod
    def parameters_of(self, extradata: bytes) -> list[bytes]:
        """The parameter sets of a codec header."""

    @abstractmethod
    def kind(self, unit: bytes) -> UnitKind:
        """What the unit is."""

    @abstractmethod
    def keep(self, unit: bytes) -> None:
        """Remember a parameter set."""

    @abstractmethod
    def configuration(self) -> Configuration | None:
        """What the decoder needs; None until all parameter sets were seen."""


class AvcUnits(Units):
    """H.264."""

    def __init__(self, extradata: bytes, size: tuple[int, int]) -> None:
        self._sps: bytes | None = None
        self._pps: bytes | None = None
        super().__init__(extradata, size)

    def length_bytes(self, extradata: bytes) -> int:
        """See Units."""
        return h264.length_bytes_of(extradata) if h264.is_avcc(extradata) else 0

    def parameters_of(self, extradata: bytes) -> list[bytes]:
        """See Units."""
        return h264.parameter_units(extradata)

    def kind(self, unit: bytes) -> UnitKind:
        """See Units."""
        kind = unit[0] & 0x1F
        if kind in (h264.NAL_SPS, h264.NAL_PPS):
            return UnitKind.PARAMETERS
        if kind == h264.NAL_AUD:
            return UnitKind.DELIMITER
        return UnitKind.KEY if kind == h264.NAL_IDR else UnitKind.OTHER

    def keep(self, unit: bytes) -> None:
        """See Units."""
        if unit[0] & 0x1F == h264.NAL_SPS and len(unit) >= 4:
            self._sps = unit
        elif unit[0] & 0x1F == h264.NAL_PPS:
            self._pps = unit

    def configuration(self) -> Configuration | None:
        """See Units."""
        if self._sps is None or self._pps is None:
            return None
        sets = h264.ParameterSets(self._sps, self._pps)
        size = h264.picture_size(self._sps) or self._size
        return Configuration(b"avc1", b"avcC", sets.decoder_configuration(), sets.codec, size)


class HevcUnits(Units):
    """H.265."""

    def __init__(self, extradata: bytes, size: tuple[int, int]) -> None:
        self._sets: dict[int, bytes] = {}
        super().__init__(extradata, size)

    def length_bytes(self, extradata: bytes) -> int:
        """See Units."""
        return h265.length_bytes_of(extradata) if h265.is_hvcc(extradata) else 0

    def parameters_of(self, extradata: bytes) -> list[bytes]:
        """See Units."""
        if h265.is_hvcc(extradata):
            return h265.units_of_hvcc(extradata)
        units = list(h264.nal_units_of_annex_b(extradata))
        return [unit for unit in units if self.kind(unit) is UnitKind.PARAMETERS]

    def kind(self, unit: bytes) -> UnitKind:
        """See Units."""
        kind = h265.nal_type(unit)
        if kind in (h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS):
            return UnitKind.PARAMETERS
        if kind == h265.NAL_AUD:
            return UnitKind.DELIMITER
        return UnitKind.KEY if h265.starts_group(kind) else UnitKind.OTHER

    def keep(self, unit: bytes) -> None:
        """See Units."""
        if len(unit) > 2:
            self._sets[h265.nal_type(unit)] = unit

    def configuration(self) -> Configuration | None:
        """See Units."""
        vps, sps, pps = (self._sets.get(kind) for kind in (h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS))
        if vps is None or sps is None or pps is None:
            return None
        fields = h265.read_sps(sps)
        if fields is None:
            return None
        sets = h265.ParameterSets(vps, sps, pps, fields)
        return Configuration(
            b"hvc1", b"hvcC", sets.decoder_configuration(), sets.codec, (fields.width, fields.height)
        )


UNITS: dict[str, type[Units]] = {"h264": AvcUnits, "hevc": HevcUnits}
"""The codecs whose video is passed through, by FFmpeg's names."""
