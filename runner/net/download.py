"""One file at a web address, downloaded to its place: resumed, verified, whole or not at all."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from runner.base.disk import explained, sync_folder
from runner.base.errors import BadFile
from runner.base.progress import OnProgress, ignore
from runner.base.text import shown
from runner.net.retry import Patience
from runner.net.stream import HttpStream, Stream
from runner.net.transfer import Download, advice, check_digest, transfer_all

_CHUNK: Final = 1 << 20


class Sha256:
    """The sha256 of a whole file, and nothing else."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self.update, self.hexdigest = self._whole.update, self._whole.hexdigest

    def resume(self, part: BinaryIO, checked: Callable[[int], None]) -> int:
        """Take in what an earlier run left, which cannot be checked before the end."""
        done = 0
        while chunk := part.read(_CHUNK):
            self._whole.update(chunk)
            done += len(chunk)
            checked(done)
        return done


class WebFile:
    """A file at a web address, as a source."""

    def __init__(self, url: str, size: int | None, patience: Patience) -> None:
        self._url, self._size, self._patience = url, size, patience
        self.name = shown(url.partition("?")[0])  # the query may hold a signature
        self.advice = advice(self.name)

    def stream(self, start: int, etag: str, end: int | None = None) -> Stream:
        """Return its bytes from `start` on."""
        return HttpStream(
            self._url, start, end, size=self._size, etag=etag, patience=self._patience
        )


def download(
    url: str,
    to: Path,
    *,
    sha256: str,
    size: int | None = None,
    progress: OnProgress | None = None,
    patience: Patience | None = None,
) -> None:
    """Download `url` to `to`, replacing it whole.

    `size`: what it must be, in bytes; else what the server says. Raises BadFile (it is not what was
    promised; nothing of it is kept), Refused (no room, no encryption) or SteprunError (no network,
    or a server in trouble; what has arrived is kept).
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(sha256)
    given = patience or Patience()
    part = to.with_name(f"{to.name}.{sha256[:16]}.part")
    source = WebFile(url, size, given)

    def finish(digest: Sha256) -> None:
        check_digest(source, digest.hexdigest(), sha256)

    with explained(to.parent):
        to.parent.mkdir(parents=True, exist_ok=True)
        made = Download(source, part, size=size, make=Sha256, finish=finish, patience=given)
        try:
            transfer_all([made], progress or ignore)
        except BadFile:
            part.unlink()
            raise
        part.replace(to)
        sync_folder(to.parent)
