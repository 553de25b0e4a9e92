"""`x.npz:key`: one array of an archive of numpy's, the key being its name; with one array the key can be left out."""

import struct
import zipfile
import zlib

from ..errors import GatescopeError, InputError
from .found import Found, Options, damaged, digest
from .npy import array
from .place import Place, listed, quoted, shown

_SIGNS = (b"PK\x03\x04", b"PK\x05\x06")
_SUFFIX = ".npy"
_MOST_MEMBERS = 10_000
_LARGEST_RATIO, _ALWAYS_FINE = 100, 64 << 20
"""Bytes that a packed array may swell to, per byte in the file; zeros, such as padding, swell a thousandfold, so that
up to 64 MiB is let through."""
_NOT_A_ZIP = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What the standard library raises over an archive that is none."""


def is_npz(place: Place) -> bool:
    return place.head.startswith(_SIGNS)


def read_npz(place: Place, options: Options) -> Found:
    """The array of that name.

    Raises:
        UnreadableError: the archive is damaged, or packed so that it would fill the memory.
        InputError: it has no array of that name.
    """
    with place.file.open("rb") as file:
        sha256 = digest(file)
        try:
            with zipfile.ZipFile(file) as archive:
                member = _member(archive, place)
                name = f"{place.name}:{shown(member.filename.removesuffix(_SUFFIX))}"
                with archive.open(member) as stream:
                    return Found(array(stream, member.file_size, name), name, sha256)
        except GatescopeError:  # some of which are a ValueError too
            raise
        except _NOT_A_ZIP as error:
            raise damaged(place.name, f"as a zip archive it is damaged ({shown(str(error))})") from error


def _member(archive: zipfile.ZipFile, place: Place) -> zipfile.ZipInfo:
    members = archive.infolist()
    names = [member.filename.removesuffix(_SUFFIX) for member in members]
    if len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise damaged(place.name, f"it lists {len(names)} arrays, too many or one name twice")
    if place.key not in names and (place.key or len(names) != 1):
        saw = f"has no array {quoted(place.key)}" if place.key else f"holds {len(names)} arrays"
        has = f"choose one by name, as in {place.name}:{shown(names[0])}" if names else "save one in it"
        raise InputError(f"{place.name} {saw}, it holds {listed(names) or 'none'}; {has}.")
    member = members[names.index(place.key) if place.key else 0]
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise damaged(place.name, f"{shown(member.filename)} is packed as numpy packs nothing")
    if member.file_size > max(_ALWAYS_FINE, _LARGEST_RATIO * member.compress_size):
        raise damaged(
            place.name,
            f"{shown(member.filename)} would swell from {member.compress_size} bytes to {member.file_size}",
            do="save it without compression",
        )
    return member
