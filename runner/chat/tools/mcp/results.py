"""What a call returned, as the model gets it: bounded, cleaned, pictures checked."""

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any, Final

from runner.base.errors import SteprunError
from runner.base.text import clean, clean_name
from runner.chat.images.load import picture_from_bytes
from runner.chat.tools.toolbox import Result
from runner.chat.wire import Picture

TEXT_BYTES: Final = 30 << 10  # about 8,000 tokens: a quarter of a context of 32,768
PICTURES: Final = 4  # each costs up to about 1,300 tokens and a second to read
PICTURE_BYTES: Final = 6 << 20  # what a message of 8 MiB has room for in base64
BLOCKS: Final = 1000


class ResultReader:
    """Takes the parts of a result in, one after the other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._texts: list[str] = []
        self._pictures: list[Picture] = []
        self._room = TEXT_BYTES
        self._left_out = 0  # characters of text
        self._more_pictures = 0

    def take(self, part: Any) -> None:
        """Take in a part: any of the protocol's content blocks."""
        match part.type:
            case "text":
                self._text(part.text)
            case "image":
                self._picture(part.data)
            case "resource":
                self._resource(part.resource)
            case "resource_link":
                self._text(f"{part.name}: {part.uri}")
            case kind:
                self._text(f"[{str(kind)[:40]}, which this chat cannot take]")

    def _resource(self, resource: Any) -> None:
        if isinstance(text := getattr(resource, "text", None), str):
            self._text(text)
        elif str(resource.mime_type or "").startswith("image/"):
            self._picture(resource.blob)
        else:
            kind = clean_name(str(resource.mime_type or "binary data"))
            self._text(f"[{kind}, which this chat cannot take: {resource.uri}]")

    def _text(self, text: str) -> None:
        piece = clean(text[: self._room])
        self._left_out += max(0, len(text) - self._room)
        data = piece.encode("utf-8", "replace")
        if len(data) > self._room:
            piece = data[: self._room].decode("utf-8", "ignore")
            self._left_out += 1
        self._room -= min(len(data), self._room)
        if piece:
            self._texts.append(piece)

    def _picture(self, data: str) -> None:
        if len(self._pictures) >= PICTURES:
            self._more_pictures += 1
            return
        number = len(self._pictures) + 1
        if len(data) * 3 // 4 > PICTURE_BYTES:
            self._text(f"[An image of more than {PICTURE_BYTES >> 20} MiB, which is left out]")
            return
        try:
            decoded = base64.b64decode(data, validate=True)
            self._pictures.append(picture_from_bytes(decoded, f"{self._name} {number}"))
        except SteprunError as error:
            self._text(f"[An image that cannot be used. {error.why}]")
        except (binascii.Error, ValueError) as error:
            self._text(f"[An image that cannot be used. {error}]")

    def result(self, *, failed: bool) -> Result:
        """Return all that was taken in, and say what was left out."""
        notes = []
        if self._left_out:
            notes.append(f"[Cut here: the result is longer than {TEXT_BYTES >> 10} KiB of text.]")
        if self._more_pictures:
            notes.append(f"[{self._more_pictures:,} more images are left out.]")
        text = "\n".join([*self._texts, *notes])
        return Result(text or "[no text]" * (not self._pictures), tuple(self._pictures), failed)


def read_result(name: str, content: Iterable[Any], structured: Any, *, failed: bool) -> Result:
    """Return the result of a call of the tool `name`. Blocks: pictures are decoded.

    `structured`: a JSON value that some tools return in place of text.
    """
    reader = ResultReader(clean_name(name))
    parts = list(content)
    for part in parts[:BLOCKS]:
        reader.take(part)
    if not parts and structured is not None:
        reader.take(_Text(json.dumps(structured, ensure_ascii=False, default=str)))
    if len(parts) > BLOCKS:
        reader.take(_Text(f"[{len(parts) - BLOCKS:,} more parts are left out.]"))
    return reader.result(failed=failed)


class _Text:
    """A part of a result that is text."""

    type = "text"

    def __init__(self, text: str) -> None:
        self.text = text
