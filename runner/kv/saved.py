"""What the store hands out: a saved cache, how far a prompt matches it, one being written. Pure."""

import struct
from collections import Counter
from dataclasses import dataclass

from runner.kv.policy import Bounds
from runner.kv.prompt import HASH_BYTES, Prompt


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved KV cache.

    `characters`: of its prompt; `bytes`: of its file; `made`, `used`: seconds since 1970;
    `read_s`: seconds of prefill that it stands for; `restores`, `saved_s`: how often it was used,
    earlier turns of its conversation included, and what that saved; `title`: what kind of prompt,
    never its text; `blocks`: of its prompt; `depends`: the key of what it depends on; `owner`: the
    chat that it is of, empty if none; `ahead`: the characters of a beginning to which an engine can
    go back, 0 where there is none but those that each prompt has.
    """

    id: str
    tokens: int
    characters: int
    bytes: int
    made: float
    used: float
    read_s: float
    restores: int
    saved_s: float
    title: str
    blocks: int = 0
    depends: str = ""
    owner: str = ""
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """A saved cache, and the blocks and characters that a prompt has in common with its prompt."""

    saved: Saved
    blocks: int
    characters: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A cache that is about to be written. `name`: of the file, for the engine."""

    id: str
    name: str
    bytes: int
    hashes: tuple[int, ...]
    characters: int
    title: str
    shared: bool
    owner: str
    ahead: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all files: how many, their bytes, seconds saved; and the bytes written today.

    `bounds`: of the store that was opened last, None before the first.
    """

    files: int
    bytes: int
    saved_s: float
    written_today: int
    bounds: Bounds | None


def hashes_of(prompt: Prompt, depends: str) -> tuple[int, ...]:
    """Return the chain of a prompt as the index has it: 64 bits of each hash.

    What it depends on is mixed in, so that equal numbers are equal prompts for equal engines.
    """
    (mixed,) = struct.unpack(">q", bytes.fromhex(depends)[:8])
    chain = prompt.chain()
    numbers = struct.unpack(">" + f"q{HASH_BYTES - 8}x" * len(chain), b"".join(chain))
    return tuple(number ^ mixed for number in numbers)


def is_shared(prompt: Prompt) -> bool:
    """Return whether a prompt ends before a conversation begins: many may begin with it."""
    return all(part.kind in ("settings", "tools", "system") for part in prompt.parts)


def title_of(prompt: Prompt) -> str:
    """Return what a prompt consists of, such as `system prompt, tools, 3 messages, 1 picture`."""
    kinds = Counter(part.kind for part in prompt.parts)
    messages = len(
        {part.name for part in prompt.parts if part.kind in ("user", "assistant", "tool")}
    )
    counted = (("message", messages), ("picture", kinds["picture"]), ("text", kinds["text"]))
    found = [
        *(name for kind, name in (("system", "system prompt"), ("tools", "tools")) if kinds[kind]),
        *(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counted if count),
    ]
    return ", ".join(found) or "empty prompt"
