"""What an answer's headers say, where they can be trusted. Pure."""

import re
from collections.abc import Mapping
from typing import Final

_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Return the first byte, the last and the whole size of a partial answer."""
    match = _RANGE.fullmatch(headers.get("content-range", ""))
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def etag(headers: Mapping[str, str]) -> str:
    """Return the server's name for a version, if it may be sent back in a header."""
    name = headers.get("etag", "")
    return name if re.fullmatch(r"[ -~]{1,255}", name) else ""


def number(headers: Mapping[str, str], name: str) -> int | None:
    """Return a header's number; None where it has none."""
    text = headers.get(name, "")
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None
