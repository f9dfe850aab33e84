"""One file from a web address to its place: bounded, resumed, checked, whole or not at all."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from runner.base.disk import explained, sync_folder
from runner.base.errors import BadFile, SteprunError
from runner.base.progress import OnProgress, ignore
from runner.net import web
from runner.net.stream import HttpStatus, HttpStream, Patience, Stream
from runner.net.transfer import Fetch, transfer_all, wrong

_CHUNK: Final = 1 << 20


class Sha256:
    """The sha256 of a whole file, and nothing else."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self.update, self.hexdigest = self._whole.update, self._whole.hexdigest

    def resume(self, part: BinaryIO, told: Callable[[int], None]) -> int:
        """Take in what an earlier run left: all of it is good, for all that is known."""
        done = 0
        while chunk := part.read(_CHUNK):
            self._whole.update(chunk)
            done += len(chunk)
            told(done)
        return done


class Web:
    """A file at a web address, as a source."""

    def __init__(self, url: str, size: int | None, patience: Patience) -> None:
        self._url, self._size, self._patience = url, size, patience
        self.name = web.shown(url.partition("?")[0])  # a signed one has its signature there

    def stream(self, start: int, etag: str, end: int | None = None) -> Stream:
        """Return its bytes from `start` on."""
        return HttpStream(
            self._url, start, end, size=self._size, etag=etag, patience=self._patience
        )

    def refused(self, answer: HttpStatus) -> SteprunError:
        """Say what a refusal means."""
        gone = answer.status in {404, 410}
        return SteprunError(
            f"{self.name} was not fetched",
            why=f"There is no such file there (status {answer.status})."
            if gone
            else f"The server refuses (status {answer.status}).",
            next="Take another version, or another mirror",
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
    """Bring `url` to `to`, replacing it whole.

    `size`: what it must be, in bytes; else what the server says. Raises BadFile (it is not what was
    promised; nothing of it is kept), Refused (no room, no encryption) or SteprunError (no network,
    or a server in trouble; what has come is kept).
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(sha256)
    given = patience or Patience()
    part = to.with_name(f"{to.name}.{sha256[:16]}.part")

    def finish(digest: Sha256) -> None:
        must_be(Web(url, size, given).name, digest.hexdigest(), sha256)

    with explained(to.parent):
        to.parent.mkdir(parents=True, exist_ok=True)
        fetch = Fetch(
            Web(url, size, given), part, size=size, make=Sha256, finish=finish, patience=given
        )
        try:
            transfer_all([fetch], progress or ignore)
        except BadFile:
            part.unlink()
            raise
        part.replace(to)
        sync_folder(to.parent)


def must_be(name: str, sha256: str, promised: str) -> None:
    """Raise BadFile where a file's sha256 is not the one that was promised."""
    if sha256 != promised:
        raise wrong(name, f"Its sha256 is {sha256}, and should be {promised}.")
