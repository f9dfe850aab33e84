"""Takes the body of an answer apart into JSON texts, however a server frames them. Pure.

Server-sent events are the rule. Some servers send one JSON object instead, or one a line (NDJSON);
and llama-server of 2025 reports an error as a field of the stream named `error`, which the
standard's readers drop. Lines end in CR, LF or both, and may be cut anywhere.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"
_SHOWN: Final = 200  # bytes of what is not understood


class TooLong(Exception):  # noqa: N818 - an answer, not a fault
    """One event is longer than any server sends."""


class Payloads:
    """Yields the JSON texts of one answer. `most`: the longest event in bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._line = bytearray()
        self._searched = 0  # so much of the line holds no line end
        self._data: list[str] = []
        self._size = 0
        self._event = ""
        self._started = False
        self._json: list[str] | None = None  # the lines of an object without a frame
        self.odd = ""  # the beginning of what is neither

    def feed(self, data: bytes) -> Iterator[str]:
        """Take bytes; yield each text that is whole. Raises TooLong."""
        self._line += data
        if not self._started:
            if _BOM.startswith(self._line[:3]) and len(self._line) < len(_BOM):
                return
            self._started = True
            if self._line.startswith(_BOM):
                del self._line[: len(_BOM)]
        begin = 0
        while match := _END.search(self._line, max(begin, self._searched)):
            if match[0] == b"\r" and match.end() == len(self._line):
                break  # its LF may follow
            line = self._line[begin : match.start()].decode("utf-8", "replace")
            begin = self._searched = match.end()
            yield from self._take(line)
        del self._line[:begin]
        self._searched = max(0, len(self._line) - 1)
        if len(self._line) + self._size > self._most:
            raise TooLong

    def close(self) -> Iterator[str]:
        """Yield what the end of the body completes. Servers forget the last blank line."""
        line, self._line = self._line.decode("utf-8", "replace").rstrip("\r"), bytearray()
        if line:
            yield from self._take(line)
        yield from self._dispatch()
        if self._json is not None:
            yield "\n".join(self._json)
            self._json = None

    def _take(self, line: str) -> Iterator[str]:
        self._size += len(line)
        if self._size > self._most:
            raise TooLong
        bare = line.strip()
        if self._json is not None or (bare[:1] in ("{", "[") and not self._data):
            yield from self._unframed(line)
            return
        if not bare:
            yield from self._dispatch()
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "error":
                self._event, self._data = "error", [*self._data, value]
            case "event":
                self._event = value.strip()
            case "" | "id" | "retry":
                self._size -= len(line)  # comments keep a connection open for as long as it takes
            case _:
                self._size -= len(line)
                self.odd = self.odd or bare[:_SHOWN]

    def _dispatch(self) -> Iterator[str]:
        text, event = "\n".join(self._data), self._event
        self._data, self._size, self._event = [], 0, ""
        if text and event == "error":
            yield _as_error(text)
        elif text:
            yield text

    def _unframed(self, line: str) -> Iterator[str]:
        """Take a line of an object without a frame: a whole one is passed on at once."""
        if self._json is None:
            if _whole(line):
                self._size = 0
                yield line
                return
            self._json = []
        self._json.append(line)


def _whole(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _as_error(text: str) -> str:
    """Return the data of an error event as a chunk that holds an error."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    if isinstance(found, dict) and found.get("error"):
        return text
    return json.dumps({"error": found or "It gave no reason."})
