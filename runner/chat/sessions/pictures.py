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
from runner.chat.images.load import picture_from_bytes
from runner.chat.wire import Picture

PICTURE_BYTES = 64 << 20
NAME_CHARS = 255
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUFFIX = {"image/png": "png", "image/jpeg": "jpg"}


def keep(folder: Path, picture: Picture) -> dict[str, Any]:
    """Store a picture; return how a message refers to it."""
    sha256 = hashlib.sha256(picture.data).hexdigest()
    path = _path(folder, sha256, picture.mime)
    if not path.is_file():
        write_private(path, picture.data)
    return {"sha256": sha256, "name": picture.name, "mime": picture.mime}


def stored(folder: Path, reference: Mapping[str, Any]) -> Picture | None:
    """Return a picture that a message refers to, None where it is missing or has changed."""
    sha256, mime, name = (str(reference.get(key) or "") for key in ("sha256", "mime", "name"))
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
