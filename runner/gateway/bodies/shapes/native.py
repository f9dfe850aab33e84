"""The paths of llama.cpp's own that clients use."""

from typing import Annotated, Any

import msgspec

TokenNumber = Annotated[int, msgspec.Meta(ge=0)]


class TokenizeBody(msgspec.Struct):
    """The body of `/tokenize`."""

    content: str | list[str | int]
    add_special: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None


class DetokenizeBody(msgspec.Struct):
    """The body of `/detokenize`."""

    tokens: list[TokenNumber]


class InfillBody(msgspec.Struct):
    """The body of `/infill`."""

    input_prefix: str
    input_suffix: str
    input_extra: list[dict[str, Any]] | None = None
    prompt: str | None = None
