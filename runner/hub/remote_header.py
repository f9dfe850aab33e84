"""The header of a model on the network, which is enough for a plan: the rest stays there.

Headers are kept in the cache folder, by address and version, so that a second plan asks the
server for nothing (a pinned revision) or only whether the file is still the same.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from runner.base import files, paths
from runner.base.errors import BadFile, Refused, SteprunError
from runner.base.text import shown
from runner.gguf import pieces as file_pieces
from runner.gguf.header import Header, parse_header, read_series
from runner.gguf.local_file import must_be_model
from runner.hub import settings
from runner.hub.address import Address, address

if TYPE_CHECKING:
    from runner.hub.pieces import Piece, PieceSession

# Three times the largest real header: no more than this is requested.
LIMIT = 64 << 20
FIRST = 1 << 20
KEPT_FILES = 64
KEPT_BYTES = 256 << 20
_SCHEMA = "steprun.header/1"


def read_model(text: str) -> tuple[Header, ...]:
    """Read the headers of a model's shards, in order, from the address of any one of them.

    UsageError where the file does not exist, BadFile where it is not a model, Refused where it may
    not be read, SteprunError where the network or the server fails. Every error can be shown.
    """
    place = address(text)
    with _session() as session:
        try:
            headers = read_series(place.name, lambda name: _read(place.beside(name), session))
        except BadFile as error:
            raise file_pieces.on_network(place.name) or error from None
    must_be_model(headers, place.name)
    return headers


def read_file(text: str) -> Header:
    """Read the header of one file, a projector or draft heads; raises as `read_model` does."""
    with _session() as session:
        return _read(address(text), session)


@contextlib.contextmanager
def _session() -> Iterator[Callable[[], "PieceSession"]]:
    """Yield what opens a session with the network: once, and not before it is needed."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def session() -> "PieceSession":
            from runner.hub import pieces  # noqa: PLC0415 - 150 ms, and only the network needs it

            return stack.enter_context(contextlib.closing(pieces.PieceSession()))

        yield session


def _read(place: Address, session: Callable[[], "PieceSession"]) -> Header:
    """Return a header from the cache, or from the network."""
    kept = _find(place)
    offline = settings.offline()
    if kept and (place.pinned or offline):
        return kept[0]
    if offline:
        raise Refused(
            f"{shown(place.text)} was not read.",
            why="HF_HUB_OFFLINE says to stay off the network, and its header is not cached.",
            next="Unset HF_HUB_OFFLINE, or give the path of a file: --model PATH",
        )
    piece = session().get(place, 0, FIRST, kept[1] if kept else "")
    if piece is None and kept:  # it is still the version that was kept
        return kept[0]
    if piece is None:
        raise AssertionError("only a version that was kept can be the same")
    front = _Front(session(), place, piece)
    header = parse_header(cast("BinaryIO", front), piece.size, place.name)
    if place.pinned or piece.etag:
        _keep(place, front.upto(header.data_offset), piece.size, piece.etag)
    return header


class _Front:
    """The beginning of a file on the network, as a stream that downloads what is read from it."""

    def __init__(self, session: "PieceSession", place: Address, first: "Piece") -> None:
        self._session = session
        self._place = place
        self._first = first
        self._data = bytearray(first.data)
        self._at = 0

    def seek(self, at: int) -> int:
        self._at = at
        return at

    def read(self, count: int) -> bytes:
        end = min(self._at + count, self._first.size)
        while len(self._data) < end:
            self._grow(end)
        data = bytes(self._data[self._at : end])
        self._at += len(data)
        return data

    def upto(self, end: int) -> bytes:
        return bytes(self._data[:end])

    def _grow(self, needed: int) -> None:
        """Download up to `needed` or beyond: twice as much as before, for few requests."""
        have, size = len(self._data), self._first.size
        if have >= LIMIT:
            raise BadFile(
                f"{shown(self._place.text)} is not a valid GGUF file.",
                why=f"Its header is larger than {LIMIT >> 20} MiB.",
                next="Give another file.",
            )
        end = min(max(needed, 2 * have), LIMIT, size)
        piece = self._session.get(self._place, have, end)
        if piece is None or (piece.size, piece.etag) != (size, self._first.etag):
            raise SteprunError(
                f"{shown(self._place.text)} changed while it was read.",
                why="Its server sent pieces of two versions.",
                next="Try again.",
            )
        self._data += piece.data


def _find(place: Address) -> tuple[Header, str] | None:
    """Return a header that was kept, and its version; None where none is valid."""
    path = _path(place)
    try:
        line, _, data = path.read_bytes().partition(b"\n")
        note = json.loads(line)
        if note["schema"] != _SCHEMA or type(note["size"]) is not int:
            return None
        header = parse_header(io.BytesIO(data), note["size"], place.name)
        os.utime(path)  # used just now: the last to be dropped
        return header, str(note["etag"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, BadFile):
        return None


def _keep(place: Address, data: bytes, size: int, etag: str) -> None:
    """Keep a header, and drop what was not used for longest; a full disk is no reason to fail."""
    note = json.dumps({"schema": _SCHEMA, "size": size, "etag": etag})
    path = _path(place)
    with contextlib.suppress(OSError, Refused):
        files.write_private(path, note.encode() + b"\n" + data)
        seen = [(entry.stat(), entry) for entry in path.parent.glob("*.header")]
        seen.sort(key=lambda pair: -pair[0].st_mtime_ns)
        room = KEPT_BYTES
        for number, (found, entry) in enumerate(seen):
            room -= found.st_size
            if number >= KEPT_FILES or room < 0:
                entry.unlink(missing_ok=True)


def _path(place: Address) -> Path:
    # A hash: addresses may hold signatures, and characters that no file name may.
    name = hashlib.sha256(place.url.encode("utf-8", "surrogateescape")).hexdigest()
    return paths.cache_dir() / "headers" / f"{name}.header"
