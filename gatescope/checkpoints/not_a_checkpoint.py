"""What a file is that is no checkpoint, in the words of whoever meant to give one."""

from pathlib import Path

from ..errors import CheckpointError
from .refusals import shown, truncated, unsupported

_LFS = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<script")
_CONVERT = "save its state dict with torch, or as safetensors"
_KNOWN = {
    b"GGUF": "a GGUF file, of quantised language models",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"PK\x05\x06": "an empty zip archive",
    b"RIFF": "a sound or a film",
}


def refusal(path: Path, head: bytes, size: int) -> CheckpointError:
    """What to say of a file that no reader knows, from its first bytes."""
    name, begin = shown(path.name), head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if size == 0:
        return CheckpointError(f"{name} is empty (0 bytes); copy or download it again")
    if head.startswith(_LFS):
        return CheckpointError(
            f"{name} is a Git LFS pointer ({size} bytes), not the file itself; "
            "run `git lfs pull` in the repository that it came from"
        )
    if begin.startswith(_PAGES):
        return CheckpointError(
            f"{name} is a web page ({size} bytes), not the file itself; "
            "download it again from the address behind the page's download button"
        )
    if head[4:8] == b"TFL3":
        return unsupported(path, "it is a TensorFlow Lite model", do="save the Keras model that it was made of as .h5")
    for sign, what in _KNOWN.items():
        if head.startswith(sign):
            return unsupported(path, f"it is {what}", do=f"give a checkpoint, or {_CONVERT}")
    if not head.strip(b"\0"):
        return truncated(
            path, f"its first {len(head)} of {size} bytes are all zero, as an interrupted download leaves them"
        )
    if _is_text(head):
        return unsupported(path, f"it is a text file ({size} bytes)", do="give a checkpoint")
    return unsupported(
        path,
        f"its first bytes ({head[:8].hex(' ')}) begin no format that gatescope reads",
        do=f"download it again if it should be a checkpoint, or {_CONVERT}",
    )


def folder_refusal(path: Path) -> CheckpointError:
    """What to say of a folder that is no distributed checkpoint."""
    return unsupported(
        path, "it is a folder, without the .metadata of a distributed checkpoint", do="give a file in it"
    )


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode()
    return all(sign.isprintable() or sign in "\t\r\n\f" for sign in text)
