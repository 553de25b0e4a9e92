"""The headers of a zip archive, taken apart: the end records, the central directory, the header before each member.

Its five records, all of them little-endian, are those of PKWARE's APPNOTE.TXT.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .refusals import damaged, hostile, truncated

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")

END_SIGN, END64_SIGN, LOCATOR_SIGN = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
CENTRAL_SIGN, LOCAL_SIGN, DESCRIPTOR_SIGN = b"PK\x01\x02", b"PK\x03\x04", b"PK\x07\x08"

FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF
"""What a field holds whose value is too large for it and stands in a zip64 record instead."""

ZIP64, PADDING = 0x0001, int.from_bytes(b"FB", "little")
"""Extra fields: large sizes; the letters Z with which torch fills up to an aligned address."""

HARMLESS = {ZIP64, PADDING, 0x000A, 0x000D, 0x5455, 0x5855, 0x7855, 0x7875, 0x6375, 0x7075, 0xCAFE, 0xD935}
"""Extra fields that archives have: times, owners, names in Unicode, alignment; but for the first two none is read."""

STREAMED = 0x0008
"""The flag of a member whose checksum and sizes were written after it, in a descriptor."""

MOST_MEMBERS = 100_000
"""Members of an archive; a network of a billion parameters saves some thousands."""


class Directory(NamedTuple):
    """Where the central directory lies, in bytes from the archive's start, and how many members it lists."""

    start: int
    size: int
    members: int


class Central(NamedTuple):
    """One entry of the central directory."""

    made_by: int
    needed: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    packed: int
    size: int
    disk: int
    internal: int
    external: int
    offset: int
    name: bytes


@dataclass(frozen=True)
class Window:
    """A stretch of a file in which an archive lies: all of the file, or one of several archives in it."""

    path: Path
    start: int
    size: int

    def read(self, file: BinaryIO, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, counted from the window's start; raises where they are not all inside."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise truncated(self.path, f"it ends at byte {self.size}, and its headers point to byte {offset + size}")
        file.seek(self.start + offset)
        data = file.read(size)
        if len(data) != size:
            raise truncated(self.path, f"it ends before byte {offset + size}")
        return data


def directory(window: Window, file: BinaryIO) -> Directory:
    """Where the central directory is, from the records at the end, all of which must agree."""
    tail_at = max(0, window.size - END.size - FULL16)
    tail = window.read(file, tail_at, window.size - tail_at)
    at = tail.rfind(END_SIGN)
    while at >= 0 and not _ends_there(tail, at):
        at = tail.rfind(END_SIGN, 0, at)
    if at < 0:
        raise truncated(window.path, "the record that ends a zip archive is missing")
    _, disk, first, here, members, size, start, _ = END.unpack_from(tail, at)
    end = tail_at + at
    if disk or first or here != members:
        raise damaged(window.path, "its end record speaks of several disks")
    locator = window.read(file, end - LOCATOR.size, LOCATOR.size) if end >= LOCATOR.size else b""
    if locator[:4] == LOCATOR_SIGN:
        large, end = _directory64(window, file, end, locator)
        full = (FULL32, FULL32, FULL16)
        if any(a not in (b, most) for a, b, most in zip((start, size, members), large, full, strict=True)):
            raise damaged(window.path, "its two end records disagree")
        start, size, members = large
    if start + size != end:
        raise damaged(window.path, f"its directory ends at byte {start + size} and its end record begins at {end}")
    if members > MOST_MEMBERS:
        raise hostile(window.path, f"it lists {members} members, where {MOST_MEMBERS} is the limit")
    return Directory(start, size, members)


def centrals(window: Window, file: BinaryIO, place: Directory) -> Iterator[Central]:
    """The entries of the central directory, in its order."""
    if place.size < place.members * CENTRAL.size:
        raise damaged(window.path, f"its directory of {place.size} bytes is too short for {place.members} members")
    data = window.read(file, place.start, place.size)
    at = 0
    for _ in range(place.members):
        if len(data) - at < CENTRAL.size or data[at : at + 4] != CENTRAL_SIGN:
            raise damaged(window.path, f"its directory has no entry at byte {place.start + at}")
        _, made_by, needed, flags, method, time, date, crc, packed, size, name, extra, comment, *rest = (
            CENTRAL.unpack_from(data, at)
        )
        disk, internal, external, offset = rest
        at += CENTRAL.size
        if at + name + extra + comment > len(data):
            raise damaged(window.path, "an entry of its directory runs past the directory's end")
        text, tail = data[at : at + name], data[at + name : at + name + extra]
        large = next((value for kind, value in extras(window, tail) if kind == ZIP64), b"")
        sizes = widened(window, large, size=size, packed=packed, offset=offset)
        yield Central(
            made_by,
            needed,
            flags,
            method,
            time,
            date,
            crc,
            sizes[1],
            sizes[0],
            disk,
            internal,
            external,
            sizes[2],
            text,
        )
        at += name + extra + comment
    if at != len(data):
        raise damaged(window.path, f"its directory holds {len(data) - at} bytes that belong to no member")


def extras(window: Window, data: bytes) -> Iterator[tuple[int, bytes]]:
    """The extra fields of a header: (kind, value)."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<2H", data, at) if len(data) - at >= 4 else (0, FULL32)
        if at + 4 + size > len(data):
            raise damaged(window.path, "an extra field runs past its header")
        value = data[at + 4 : at + 4 + size]
        if kind not in HARMLESS:
            raise damaged(window.path, f"an extra field of the kind 0x{kind:04x} is none that archives have")
        if kind == PADDING and value.strip(b"Z"):
            raise damaged(window.path, "the padding before a member is not as torch writes it")
        yield kind, value
        at += 4 + size


def widened(window: Window, large: bytes, *, size: int, packed: int, offset: int = 0) -> tuple[int, int, int]:
    """(size, packed size, offset), those that overflow taken from a zip64 field in this order."""
    found = []
    for value in (size, packed, offset):
        if value == FULL32:
            if len(large) < 8:
                raise damaged(window.path, "a large member has no zip64 field")
            value, large = int.from_bytes(large[:8], "little"), large[8:]  # noqa: PLW2901
        found.append(value)
    return found[0], found[1], found[2]


def _ends_there(tail: bytes, at: int) -> bool:
    return len(tail) - at >= END.size and at + END.size + END.unpack_from(tail, at)[-1] == len(tail)


def _directory64(window: Window, file: BinaryIO, end: int, locator: bytes) -> tuple[tuple[int, int, int], int]:
    _, disk, at, disks = LOCATOR.unpack(locator)
    if disk or disks != 1 or at + END64.size != end - LOCATOR.size:
        raise damaged(window.path, "the pointer to its zip64 end record is wrong")
    sign, length, made_by, needed, disk, first, here, members, size, start = END64.unpack(
        window.read(file, at, END64.size)
    )
    if sign != END64_SIGN or length != END64.size - 12 or disk or first or here != members:
        raise damaged(window.path, "its zip64 end record is wrong")
    if made_by & 0xFF > 63 or needed != 45:
        raise damaged(window.path, "its zip64 end record names a version of zip that does not exist")
    return (start, size, members), at
