"""Deletes a saved chat, and the images that no other chat has."""

import contextlib
import re
from pathlib import Path
from typing import Final

from runner.base.errors import Refused
from runner.base.files import listed
from runner.chat.sessions.appending import FILE_BYTES
from runner.chat.sessions.store import Session, find_session, sessions_dir

# The names of stored images, wherever a chat or a draft mentions them.
_REFERENCE: Final = re.compile(rb'"sha256": ?"([0-9a-f]{64})"')


def delete_chat(session_id: str) -> None:
    """Delete a chat with its draft. Blocks: call it in a thread.

    Raises `Refused` where it is unknown or cannot be deleted, `InUse` where it is open somewhere.
    """
    session = Session(find_session(session_id))
    session.claim()
    try:
        files = [path for path in listed(sessions_dir()) if path.name.startswith(f"{session.id}.")]
        images = set().union(*map(_images_in, files))
        for path in files:
            if path.suffix != ".lock":  # goes with the claim
                path.unlink(missing_ok=True)
    except OSError as error:
        raise Refused(
            f"The chat {session.id} cannot be deleted.", why=f"{error.strerror or error}."
        ) from error
    finally:
        session.release()
    _delete_images(images)


def _delete_images(images: set[bytes]) -> None:
    """Delete those images that nothing refers to any more. A failure leaves a file, no more."""
    others = iter(listed(sessions_dir()) if images else ())
    for path in others:
        images = images - _images_in(path)
        if not images:
            return
    for name in images:
        for path in listed(sessions_dir() / "pictures"):
            if path.stem == name.decode("ascii"):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


def _images_in(path: Path) -> set[bytes]:
    """Return which images a file of a chat refers to."""
    try:
        if path.suffix in (".lock", ".db", "") or path.stat().st_size > FILE_BYTES:
            return set()
        return set(_REFERENCE.findall(path.read_bytes()))
    except OSError:
        return set()
