"""The images of saved chats: files named by their sha256, so that none is kept twice.

A stored image is not trusted: it must match its name, and is decoded again.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.base.errors import SteprunError
from runner.base.files import write_private
from runner.chat.untrusted import mapping
from runner.chat.wire import Picture

PICTURE_BYTES = 64 << 20
NAME_CHARS = 255
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REFERENCE = ("sha256", "mime", "name")
_SUFFIX = {"image/png": "png", "image/jpeg": "jpg"}


class PictureShelf:
    """The images of one chat: each is hashed and written once, and decoded once. Blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # By the picture itself, which is kept alive here: no other can get its number.
        self._kept: dict[int, tuple[Picture, Mapping[str, Any]]] = {}
        self._loaded: dict[tuple[str, ...], Picture] = {}

    def keep(self, picture: Picture) -> Mapping[str, Any]:
        """Store a picture, unless it is; return how a message refers to it."""
        if id(picture) not in self._kept:
            self._kept[id(picture)] = (picture, keep(self._folder, picture))
        return self._kept[id(picture)][1]

    def load(self, references: object) -> tuple[tuple[Picture, ...], list[str]]:
        """Return the pictures that a record refers to, and the names of those that are lost."""
        pictures, lost = [], []
        for reference in map(mapping, references if isinstance(references, list) else ()):
            known = tuple(str(reference.get(key) or "") for key in _REFERENCE)
            picture = self._loaded.get(known) or stored(self._folder, reference)
            if picture is None:
                lost.append(known[2][:NAME_CHARS])
                continue
            self._loaded[known] = picture
            self._kept[id(picture)] = (picture, dict(zip(_REFERENCE, known, strict=True)))
            pictures.append(picture)
        return tuple(pictures), lost


def keep(folder: Path, picture: Picture) -> dict[str, Any]:
    """Store a picture; return how a message refers to it."""
    sha256 = hashlib.sha256(picture.data).hexdigest()
    path = _path(folder, sha256, picture.mime)
    if not path.is_file():
        write_private(path, picture.data)
    return {"sha256": sha256, "name": picture.name, "mime": picture.mime}


def stored(folder: Path, reference: Mapping[str, Any]) -> Picture | None:
    """Return a picture that a message refers to, None where it is missing or has changed."""
    from runner.chat.images.load import picture_from_bytes  # noqa: PLC0415 - with the first picture

    sha256, mime, name = (str(reference.get(key) or "") for key in _REFERENCE)
    if not _SHA256.fullmatch(sha256) or mime not in _SUFFIX:
        return None
    path = _path(folder, sha256, mime)
    try:
        data = path.read_bytes() if path.stat().st_size <= PICTURE_BYTES else b""
        if hashlib.sha256(data).hexdigest() != sha256:
            return None
        # Decoded again: the engine trusts what it is given, and this folder need not be ours.
        return picture_from_bytes(data, name[:NAME_CHARS] or "picture")
    except (OSError, SteprunError):
        return None


def _path(folder: Path, sha256: str, mime: str) -> Path:
    return folder / "pictures" / f"{sha256}.{_SUFFIX.get(mime, 'png')}"
