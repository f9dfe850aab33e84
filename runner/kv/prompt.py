"""What a prompt consists of, as a client sends it: to find what of it was read before. Pure.

A prompt is compared as it is sent, not as tokens: nothing has to be rendered, tokenized or asked
of the engine for it. Equal parts at the beginning are equal tokens at the beginning, whichever API
sent them. Whether a cache really holds them the engine decides by its own tokens: what is compared
here only selects the cache, so a mistake costs time, never a wrong answer.

Of people's words only hashes are kept.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

HASH_BYTES: Final = 16  # two different prompts of one user never meet by chance
# A part is cut into blocks at the ends of its lines, so that texts with the same beginning have the
# same blocks. The first lines are blocks of their own: it is there that clients put what changes.
SINGLE_LINES: Final = 64
BLOCK_CHARACTERS: Final = 1024  # about 250 tokens


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a part: its hash, its length, and the number of its first line, from 1."""

    digest: bytes
    characters: int
    line: int


@dataclass(frozen=True, slots=True)
class Part:
    """What a client sends as one: its tools, a message, a picture.

    `kind`: `settings` (what the template puts in front, such as the reasoning effort), `tools`,
    `system`, `user`, `assistant`, `tool`, `picture` or `text`. `name`: which one, for people, such
    as `message 3` or `tool get_weather`. `blocks`: in order, never empty.
    """

    kind: str
    name: str
    blocks: tuple[Block, ...]

    @property
    def characters(self) -> int:
        """The length of its text."""
        return sum(block.characters for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A whole prompt in the order in which the model reads it."""

    parts: tuple[Part, ...]

    def blocks(self) -> Iterator[tuple[Part, Block]]:
        """Yield all blocks with their parts, in order."""
        for part in self.parts:
            for block in part.blocks:
                yield part, block

    def chain(self) -> tuple[bytes, ...]:
        """Return, for each block, a hash of everything up to its end."""
        # Written for speed: an agent's prompt has thousands of blocks.
        hashes: list[bytes] = []
        so_far = b""
        for part in self.parts:
            kind = part.kind.encode() + b"\0"
            for block in part.blocks:
                so_far = blake2b(so_far + kind + block.digest, digest_size=HASH_BYTES).digest()
                hashes.append(so_far)
        return tuple(hashes)

    @property
    def characters(self) -> int:
        """The length of its text. A picture counts as many as its part says."""
        return sum(part.characters for part in self.parts)


def part(kind: str, name: str, text: str) -> Part:
    """Return a part that is a text."""
    return Part(kind, name, tuple(_blocks(text)))


def picture(name: str, data: bytes, characters: int) -> Part:
    """Return a part that is a picture. `data`: its bytes; `characters`: as what it counts."""
    return Part("picture", name, (Block(_digest(data), characters, 1),))


def common(before: Prompt, now: Prompt) -> int:
    """Return how many blocks at the beginning of two prompts are equal."""
    count = 0
    for (one, first), (other, second) in zip(before.blocks(), now.blocks(), strict=False):
        if one.kind != other.kind or first.digest != second.digest:
            break
        count += 1
    return count


def characters_of(prompt: Prompt, blocks: int) -> int:
    """Return the length of the text of so many blocks at the beginning."""
    lengths = [block.characters for _, block in prompt.blocks()]
    return sum(lengths[:blocks])


def _blocks(text: str) -> Iterator[Block]:
    for piece, line in _cut(text.splitlines(keepends=True) or [""]):
        yield Block(_digest(piece.encode("utf-8", "surrogatepass")), len(piece), line)


def _cut(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield pieces of a text, each with the number of its first line."""
    held, first = "", 1
    for number, line in enumerate(lines, 1):
        first = first if held else number
        held += line
        if number <= SINGLE_LINES or len(held) >= BLOCK_CHARACTERS:
            for at in range(0, max(1, len(held)), BLOCK_CHARACTERS):
                yield held[at : at + BLOCK_CHARACTERS], first
            held = ""
    if held:
        yield held, first


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=HASH_BYTES).digest()
