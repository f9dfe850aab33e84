"""Pieces of a file on the network: ranged requests that share a connection and a time limit."""

import contextlib
from dataclasses import dataclass
from typing import Final

from runner.base.errors import SteprunError, UsageError
from runner.base.text import shown
from runner.hub.address import Address
from runner.hub.client import PATIENCE, Hub
from runner.hub.settings import endpoint
from runner.net.endpoint import same_origin
from runner.net.http import NETWORK, Client, ErrorAdvice, HttpStatus, Mismatch, errors_for
from runner.net.retry import Deadline, aborted_after, retry
from runner.net.stream import HttpStream

TOTAL_S: Final = 60.0
_ELSE: Final = "try again, or download the file and give its path: --model PATH"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file. `size`: of the whole file; `etag`: the server's name for this version."""

    data: bytes
    size: int
    etag: str


class PieceSession:
    """Requests pieces of files; TOTAL_S for all that is requested from one session."""

    def __init__(self) -> None:
        self._deadline = Deadline(TOTAL_S)
        self._hub = Hub()
        self._client = Client(PATIENCE, self._hub.headers)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def get(self, place: Address, start: int, end: int, known: str = "") -> Piece | None:
        """Return the bytes from `start` up to `end`, or fewer, but one at least.

        None where the server still has the version `known`, an earlier Piece's `etag`. Raises
        UsageError (no such file), Refused (no access), BadFile (not a file) or SteprunError.
        """

        def once() -> Piece | None:
            stream = HttpStream(
                place.url, start, end, patience=PATIENCE, client=self._client, unless=known
            )
            with contextlib.closing(stream), aborted_after(self._deadline.left(), stream.abort):
                stream.open()
                if known and stream.etag == known:
                    return None
                if stream.size is None:
                    raise Mismatch("Its server does not say how long it is.")
                data = b"".join(stream)
            if not data:
                raise Mismatch(f"It is empty, or has become shorter: {stream.size:,} bytes.")
            return Piece(data, stream.size, stream.etag)

        with errors_for(_advice(place)):
            try:
                return retry(PATIENCE, once, self._deadline)
            except HttpStatus as answer:
                if answer.status == 304 and known:
                    return None
                raise


def _advice(place: Address) -> ErrorAdvice:
    name = shown(place.text)
    return ErrorAdvice(
        what=f"{name} cannot be read.",
        odd=f"{name} is not a file that can be read.",
        denied="Check the name, accept the model's terms on its page, and log in (hf auth login)"
        " or set HF_TOKEN."
        if same_origin(place.url, endpoint())
        else "Check the link; it may have expired.",
        missing="Look the name up in the repository's list of files; model cards often name"
        " others, and large models are split into parts, ...-00001-of-0000N.gguf.",
        mismatch=f"{_ELSE[0].upper()}{_ELSE[1:]}",
        redirect="Use another mirror (HF_ENDPOINT), or download the file yourself.",
        otherwise=f"{NETWORK} and {_ELSE}",
        missing_error=UsageError,
        redirect_error=SteprunError,
    )
