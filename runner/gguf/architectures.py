"""What llama.cpp knows of an architecture beyond a header, read from `architectures.toml`."""

import functools
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta

from runner.base.toml import Strict, read_toml

_FILE: Final = Path(__file__).with_name("architectures.toml")
_Count = Annotated[int, Meta(ge=0)]

Recurrence = Literal["all", "both", "no-heads", "no-heads-no-ffn", "interval"]


class Sliding(Strict, frozen=True):
    """Which layers slide where the header has no pattern; `architectures.toml` says how."""

    every: _Count
    first: bool = False
    window: _Count = 0
    fixed: bool = False
    layers: _Count = 0

    def slides(self, layer: int, every: int) -> bool:
        """Whether a layer slides if of each `every` layers one attends to everything."""
        return every == 0 or layer % every != (0 if self.first else every - 1)


class Verified(Strict, frozen=True):
    """The largest model of an architecture that was verified, and the tensors of its layers."""

    layers: _Count
    experts: _Count
    tensors: str


class NotChat(Strict, frozen=True):
    """Architectures that cannot chat, and why: a sentence."""

    why: str
    architectures: str


class Architectures(Strict, frozen=True):
    """The whole table."""

    known: str
    latent: str
    approximate: str
    recurrent: dict[str, Recurrence]
    interval: dict[str, Annotated[int, Meta(ge=1)]]
    sliding: dict[str, Sliding]
    own_cache: dict[str, _Count]
    verified: dict[str, Verified]
    projector: dict[str, tuple[tuple[str, Annotated[int, Meta(ge=0, le=3)]], ...]]
    not_chat: tuple[NotChat, ...]


@functools.cache
def table() -> Architectures:
    """Return the table; BadFile where it is damaged."""
    return read_toml(_FILE, Architectures, "The table of architectures")
