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
from typing import Final
from zlib import crc32

HASH_BYTES: Final = 16  # two different prompts of one user never meet by chance
# A part is cut into blocks at the ends of its lines, so that texts with the same beginning have the
# same blocks, and mostly also those with the same end. The first lines of a prompt are blocks of
# their own: it is there that clients put what changes.
SINGLE_LINES: Final = 64
SINGLE_KINDS: Final = frozenset({"system", "text"})
BLOCK_CHARACTERS: Final = 1024  # about 250 tokens; from half to twice as many
_MOST: Final = 2 * BLOCK_CHARACTERS - 1
_LINES: Final = 8  # of so many lines, one may end a block, on average
_TRIED: Final = 32  # lines of one block: a text of empty lines takes no longer than another


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
        hashes, before = [], b""
        for step in self.steps():
            before = blake2b(before + step, digest_size=HASH_BYTES).digest()
            hashes.append(before)
        return tuple(hashes)

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
    at, line = 0, 1
    while at < len(text) or not at:
        after = _line_end(text, at) if line <= single else _block_end(text, at)
        after = after or min(len(text), at + BLOCK_CHARACTERS)
        piece = text[at:after]
        yield Block(_digest(piece.encode("utf-8", "surrogatepass")), len(piece), line)
        line += piece.count("\n")
        at = after or 1


def _line_end(text: str, at: int) -> int:
    """Return the end of the line at a place, 0 where it is too long for a block."""
    return text.find("\n", at, at + _MOST) + 1


def _block_end(text: str, at: int) -> int:
    """Return the end of a block at the end of one of its lines, 0 where they are too long.

    Which line is seen from the line itself: so two texts with different beginnings have the same
    blocks again, a few after that in which they differ.
    """
    start = at + BLOCK_CHARACTERS // 2
    before, usual = text.rfind("\n", at, start) + 1 or at, 0
    for _ in range(_TRIED):
        if not (after := text.find("\n", max(before, start), at + _MOST) + 1):
            return usual
        if not crc32(text[before:after].encode("utf-8", "surrogatepass")) % _LINES:
            return after
        usual = usual or (after if after - at >= BLOCK_CHARACTERS else 0)
        before = after
    return usual or text.find("\n", max(before, at + BLOCK_CHARACTERS - 1), at + _MOST) + 1


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=HASH_BYTES).digest()
