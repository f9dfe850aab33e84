"""What a prompt consists of, as a client sends it: to find what of it was read before. Pure.

A prompt is compared as it is sent, not as tokens: nothing has to be rendered, tokenized or asked
of the engine for it. Equal parts at the beginning are equal tokens at the beginning, whichever API
sent them. Whether a cache really holds them the engine decides by its own tokens: what is compared
here only selects the cache, so a mistake costs time, never a wrong answer.

Of people's words only hashes are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Final

HASH_BYTES: Final = 16  # two different prompts of one user never meet by chance
# A part is cut into blocks at the ends of its lines, so that texts with the same beginning have the
# same blocks. The first lines of a prompt are blocks of their own: it is there that clients put
# what changes.
SINGLE_LINES: Final = 64
SINGLE_KINDS: Final = frozenset({"system", "text"})
BLOCK_CHARACTERS: Final = 1024  # about 250 tokens; at most twice as many, where lines are long


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
    `system`, `user`, `assistant`, `thinking` (what was thought before a call of a tool), `tool`,
    `picture` or `text`. `name`: which one, for people, such as `message 3` or `tool get_weather`.
    `blocks`: in order, never empty.
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

    def steps(self) -> Iterator[bytes]:
        """Yield what each block adds to the prompt: its text, and the role that begins with it."""
        for part in self.parts:
            begins = b"%b\0" % part.kind.encode()
            for block in part.blocks:
                yield begins + block.digest
                begins = b""

    def chain(self) -> tuple[bytes, ...]:
        """Return, for each block, a hash of everything up to its end."""
        hashes = accumulate(
            self.steps(),
            lambda before, step: blake2b(before + step, digest_size=HASH_BYTES).digest(),
            initial=b"",
        )
        return tuple(hashes)[1:]

    @property
    def characters(self) -> int:
        """The length of its text. A picture counts as many as its part says."""
        return sum(part.characters for part in self.parts)


def part(kind: str, name: str, text: str) -> Part:
    """Return a part that is a text."""
    return Part(kind, name, tuple(_blocks(text, SINGLE_LINES if kind in SINGLE_KINDS else 0)))


def picture(name: str, data: bytes, characters: int) -> Part:
    """Return a part that is a picture. `data`: its bytes; `characters`: as what it counts."""
    return Part("picture", name, (Block(_digest(data), characters, 1),))


def common(before: Prompt, now: Prompt) -> int:
    """Return how many blocks at the beginning of two prompts are equal."""
    count = 0
    for one, other in zip(before.steps(), now.steps(), strict=False):
        if one != other:
            break
        count += 1
    return count


def characters_of(prompt: Prompt, blocks: int) -> int:
    """Return the length of the text of so many blocks at the beginning."""
    lengths = [block.characters for _, block in prompt.blocks()]
    return sum(lengths[:blocks])


def _blocks(text: str, single: int) -> Iterator[Block]:
    """Yield the blocks of a text. `single`: so many lines at its beginning have one each."""
    at, line, end = 0, 1, len(text)
    while at < end or not at:
        least = 0 if line <= single else BLOCK_CHARACTERS - 1
        found = text.find("\n", at + least, at + 2 * BLOCK_CHARACTERS - 1)
        if found >= 0:
            after = found + 1
        else:
            after = min(end, at + BLOCK_CHARACTERS) if end - at > BLOCK_CHARACTERS else end
        piece = text[at:after]
        yield Block(_digest(piece.encode("utf-8", "surrogatepass")), len(piece), line)
        line += piece.count("\n")
        at = after or 1


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=HASH_BYTES).digest()
