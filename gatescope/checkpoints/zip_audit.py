"""A zip archive looked at with suspicion before anything in it is believed: read from an `AuditedZip` or not at all."""

import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .refusals import damaged, hostile, shown, unsupported
from .zip_headers import (
    DESCRIPTOR_SIGN,
    LOCAL,
    LOCAL_SIGN,
    STREAMED,
    ZIP64,
    Central,
    Window,
    centrals,
    directory,
    extras,
    widened,
)

STORED, DEFLATED = 0, 8
LARGEST_RATIO = 100
"""Bytes that a packed member may swell to, per byte in the file."""
LONGEST_NAME = 1024
"""Bytes in the name of a member."""

_CHUNK = 1 << 20
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_KNOWN_FLAGS = 0x0006 | STREAMED | 0x0800  # how hard it was packed; a descriptor follows; the name is UTF-8
_DOS_DIRECTORY, _DOS_ARCHIVE = 0x10, 0x20


@dataclass(frozen=True)
class Member:
    """One file in the archive: where its bytes are, counted from the archive's start, and what they must be."""

    name: str
    start: int
    packed: int
    size: int
    method: int
    crc: int


@dataclass(frozen=True, eq=False)
class AuditedZip:
    """An archive whose headers agree with each other and with its size; each member's checksum is verified on reading.

    Raises CheckpointError from every method, when what is read is not what was written.
    """

    window: Window
    members: Mapping[str, Member]
    checksums: bool
    """False where every checksum is zero: whoever wrote the file had them switched off."""
    _verified: set[str] = field(default_factory=set, repr=False)

    @property
    def path(self) -> Path:
        return self.window.path

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the archive's directory."""
        return tuple(self.members)

    def __contains__(self, name: object) -> bool:
        return name in self.members

    def size(self, name: str) -> int:
        """Of a member, in bytes, unpacked."""
        return self._member(name).size

    def read(self, name: str, *, most: int | None = None) -> bytearray:
        """All of a member; refused unread where it is larger than `most` bytes."""
        size = self.size(name)
        if most is not None and size > most:
            raise hostile(self.path, f"{shown(name)} declares {size} bytes, where {most} is the limit")
        return self.open_range(name, 0, size)

    def open_range(self, name: str, start: int, size: int) -> bytearray:
        """`size` bytes of a member from `start` on; the whole member is verified the first time that it is touched."""
        member = self._member(name)
        if start < 0 or size < 0 or start + size > member.size:
            raise damaged(self.path, f"{shown(name)} has {member.size} bytes, and {start + size} are asked for")
        with self.path.open("rb") as file:
            if member.method == STORED and name in self._verified:
                return bytearray(self.window.read(file, member.start + start, size))
            return self._verify_and_take(file, member, start, size)

    def within(self, name: str) -> "AuditedZip":
        """The archive that is a member of this one, audited in its turn after the member's checksum."""
        member = self._member(name)
        if member.method != STORED:
            raise unsupported(self.path, f"{shown(name)} is an archive that is packed again", do="save it stored")
        self.open_range(name, 0, 0)
        return audited(self.path, start=self.window.start + member.start, size=member.size)

    def verify(self) -> None:
        """Read each member once; raises where a checksum is wrong."""
        for name in self.names:
            if name not in self._verified:
                self.open_range(name, 0, 0)

    def _member(self, name: str) -> Member:
        if name not in self.members:
            raise damaged(self.path, f"it has no member {shown(name)}")
        return self.members[name]

    def _verify_and_take(self, file: BinaryIO, member: Member, start: int, size: int) -> bytearray:
        taken, at, crc = bytearray(size), 0, 0
        for chunk in self._unpacked(file, member):
            crc = zlib.crc32(chunk, crc)
            first, last = max(start, at), min(start + size, at + len(chunk))
            if first < last:
                taken[first - start : last - start] = memoryview(chunk)[first - at : last - at]
            at += len(chunk)
        if at != member.size:
            raise damaged(self.path, f"{shown(member.name)} unpacks to {at} bytes and declares {member.size}")
        if self.checksums and crc != member.crc:
            raise damaged(self.path, f"the checksum of {shown(member.name)} is wrong")
        self._verified.add(member.name)
        return taken

    def _unpacked(self, file: BinaryIO, member: Member) -> Iterator[bytes]:
        packed = (
            self.window.read(file, member.start + at, min(_CHUNK, member.packed - at))
            for at in range(0, member.packed, _CHUNK)
        )
        if member.method == STORED:
            yield from packed
            return
        unpacker, so_far = zlib.decompressobj(-zlib.MAX_WBITS), 0
        try:
            for piece in packed:
                rest = piece
                while rest and not unpacker.eof:
                    chunk = unpacker.decompress(rest, _CHUNK)
                    so_far += len(chunk)
                    if so_far > member.size:
                        raise hostile(
                            self.path, f"{shown(member.name)} unpacks to more than the {member.size} bytes declared"
                        )
                    yield chunk
                    rest = unpacker.unconsumed_tail
        except zlib.error as error:
            raise damaged(self.path, f"{shown(member.name)} does not unpack ({error})") from error
        if not unpacker.eof or unpacker.unused_data:
            raise damaged(self.path, f"{shown(member.name)} does not end where its packed bytes do")


def is_zip(head: bytes) -> bool:
    """Whether the first bytes of a file say that it is a zip archive."""
    return head[:4] == LOCAL_SIGN


def audited(path: Path, *, start: int = 0, size: int | None = None) -> AuditedZip:
    """The archive at `path`, or the one that lies in `size` bytes from `start` on, after the audit of its headers.

    Refused: members that are duplicate, absolute, above their folder, links, folders, encrypted or overlapping;
    bytes that belong to none; more than 100 times packed; local headers that contradict the directory. No member
    is read yet: that is when its checksum is verified.
    """
    whole = path.stat().st_size
    window = Window(path, start, whole - start if size is None else size)
    if start < 0 or window.size < 0 or start + window.size > whole:
        raise damaged(path, f"an archive is said to lie at bytes {start} to {start + window.size} of {whole}")
    with path.open("rb") as file:
        place = directory(window, file)
        entries = list(centrals(window, file, place))
        members: dict[str, Member] = {}
        expected = 0
        for entry in sorted(entries, key=lambda entry: entry.offset):
            if entry.offset != expected:
                what = "overlap" if entry.offset < expected else "leave bytes between them that belong to none"
                raise hostile(path, f"members {what} at byte {entry.offset}")
            member, expected = _member(window, file, entry, place.start)
            if member.name in members:
                raise hostile(path, f"there are two members {shown(member.name)}")
            members[member.name] = member
        if expected != place.start:
            raise hostile(path, f"{place.start - expected} bytes before the directory belong to no member")
    _were_written_by_one_program(path, entries)
    in_order = {name: members[name] for name in (_name(path, entry) for entry in entries)}
    checksums = any(member.crc for member in members.values()) or not any(member.size for member in members.values())
    return AuditedZip(window, in_order, checksums)


def _were_written_by_one_program(path: Path, entries: list[Central]) -> None:
    """What one program writes is alike: the version it names, and attributes that came from no file on a disk."""
    versions = {entry.made_by for entry in entries}
    systems = {version >> 8 for version in versions}
    if len(systems) > 1 or (len(versions) > 1 and any(entry.made_by & 0xFF != entry.needed for entry in entries)):
        raise damaged(path, "its members name different programs that they were packed by")
    unlike = {(entry.external, entry.internal) for entry in entries if not stat.S_IFMT(entry.external >> 16)}
    if len(unlike) > 1 or any(internal for _, internal in unlike):
        raise damaged(path, "its members have attributes that no one program gives")


def _member(window: Window, file: BinaryIO, entry: Central, limit: int) -> tuple[Member, int]:
    """The member and where it ends, its local header compared with its entry in the directory."""
    path, name = window.path, _name(window.path, entry)
    _is_an_ordinary_file(path, name, entry)
    if entry.offset + LOCAL.size > limit:
        raise damaged(path, f"{shown(name)} begins past the directory")
    sign, needed, flags, method, time, date, crc, packed, size, name_size, extra_size = LOCAL.unpack(
        window.read(file, entry.offset, LOCAL.size)
    )
    start = entry.offset + LOCAL.size + name_size + extra_size
    if sign != LOCAL_SIGN or start + entry.packed > limit:
        raise damaged(path, f"{shown(name)} does not lie where the directory says")
    text = window.read(file, entry.offset + LOCAL.size, name_size + extra_size)
    found = dict(extras(window, text[name_size:]))
    size, packed, _ = widened(window, found.get(ZIP64, b""), size=size, packed=packed)
    late = bool(entry.flags & STREAMED) and (crc, packed, size) == (0, 0, 0)
    same = (needed, flags, method, time, date) == (entry.needed, entry.flags, entry.method, entry.time, entry.date)
    if not same or text[:name_size] != entry.name or not (late or (crc, packed, size) == _sums(entry)):
        raise hostile(path, f"the two headers of {shown(name)} contradict each other")
    end = start + entry.packed
    if entry.flags & STREAMED:
        end += _descriptor_size(window, file, end, limit, entry)
    return Member(name, start, entry.packed, entry.size, entry.method, entry.crc), end


def _is_an_ordinary_file(path: Path, name: str, entry: Central) -> None:
    dos, mode = entry.external & 0xFFFF, entry.external >> 16
    if stat.S_ISLNK(mode):
        raise hostile(path, f"{shown(name)} is a symbolic link")
    if name.endswith("/") or stat.S_ISDIR(mode) or dos & _DOS_DIRECTORY:
        raise hostile(path, f"{shown(name)} is a folder")
    unreadable = stat.S_ISREG(mode) and not mode & 0o777
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or mode & 0o7000 or dos & ~_DOS_ARCHIVE or unreadable:
        raise hostile(path, f"{shown(name)} is not an ordinary file")
    if "\\" in name or name.startswith("/") or name[1:2] == ":" or {"", ".", ".."} & set(name.split("/")):
        raise hostile(path, f"the member {shown(name)} would lie outside the archive's folder")
    if entry.flags & _ENCRYPTED:
        raise unsupported(path, f"{shown(name)} is encrypted", do="decrypt it first")
    versions = max(entry.needed, entry.made_by & 0xFF)
    if entry.disk or entry.internal > 1 or versions > 63 or entry.flags & ~_KNOWN_FLAGS:
        raise damaged(path, f"the directory's entry for {shown(name)} makes no sense")
    if entry.method not in (STORED, DEFLATED):
        raise unsupported(path, f"{shown(name)} is packed by method {entry.method}", do="save it stored or deflated")
    if entry.method == STORED and entry.packed != entry.size:
        raise damaged(path, f"{shown(name)} is stored as it is and yet has two sizes")
    if entry.size > LARGEST_RATIO * entry.packed:
        raise hostile(
            path,
            f"{shown(name)} swells from {entry.packed} to {entry.size} bytes, more than {LARGEST_RATIO} times",
        )


def _name(path: Path, entry: Central) -> str:
    if not entry.name or len(entry.name) > LONGEST_NAME or b"\0" in entry.name:
        raise hostile(path, f"a member's name has {len(entry.name)} bytes, empty, with a zero, or over {LONGEST_NAME}")
    try:
        return entry.name.decode()
    except UnicodeDecodeError:
        return entry.name.decode("cp437")


def _descriptor_size(window: Window, file: BinaryIO, at: int, limit: int, entry: Central) -> int:
    """How many bytes the record after a streamed member takes, in whichever of its four forms it agrees."""
    found = window.read(file, at, min(24, limit - at))
    for form in ("<3L", "<L2Q"):
        try:
            values = struct.pack(form, *_sums(entry))
        except struct.error:  # too large for the narrow form
            continue
        for record in (DESCRIPTOR_SIGN + values, values):
            if found.startswith(record):
                return len(record)
    raise hostile(window.path, f"the record after {shown(_name(window.path, entry))} contradicts the directory")


def _sums(entry: Central) -> tuple[int, int, int]:
    return entry.crc, entry.packed, entry.size
