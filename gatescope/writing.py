"""A file that is there as a whole or not at all."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def atomic_write(path: Path, data: bytes) -> Path:
    """Write `data` to `path`, making its folder; whoever reads meanwhile sees the old file or the new.

    The data go to a new name in the same folder, reach the disk, then take the place of the old file and its mode.
    Whatever interrupts this, the old file stays and nothing else is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.resolve()  # a link keeps pointing where it points
    draft = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            draft.chmod(stat.S_IMODE(path.stat().st_mode))
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some systems cannot open a folder; the data itself has reached the disk
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
