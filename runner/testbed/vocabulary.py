"""Step's special tokens and byte tokens, and the tiny model's vocabulary built around them.

The official vocabulary begins with three specials and the 256 bytes in GPT-2's order; the tiny one
keeps that start. `scripts/testbed/twin.py` has a stand-in for all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gguf.constants import TokenType

BEGIN = "<｜begin▁of▁sentence｜>"  # noqa: RUF001  (the token's real spelling)
END = "<｜end▁of▁sentence｜>"  # noqa: RUF001
PAD = "<｜▁pad▁｜>"  # noqa: RUF001

SHOWN = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)
"""Markers that the parser must see in the text, hence user-defined instead of control tokens."""

ADDED = (
    "<im_start>",
    "<im_patch>",
    "<im_end>",
    "<patch_start>",
    "<patch_end>",
    "<patch_newline>",
    "<|im_start|>",
    "<|im_end|>",
)
"""Control tokens from id 128,000 on. `<im_patch>` (128,001) and `<|im_end|>` (128,007) stand where
the official config puts them; the order of the others is a guess."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in id order with their types, and the merges in rank order ("left right")."""

    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]
    merges: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a vocabulary that no engine would load."""
        if len(set(self.tokens)) != len(self.tokens) or len(self.types) != len(self.tokens):
            raise ValueError("a vocabulary needs one type per token and no token twice")

    def id(self, token: str) -> int:
        """Find a token by its stored spelling."""
        return self.tokens.index(token)


def spell(text: str) -> str:
    """Write text as the vocabulary stores it: one printable character per UTF-8 byte."""
    alphabet = _byte_alphabet()
    return "".join(alphabet[byte] for byte in text.encode())


def byte_tokens() -> list[str]:
    """List the 256 byte tokens in id order: printable Latin-1 first, then the others."""
    alphabet = _byte_alphabet()
    return [alphabet[byte] for byte in sorted(alphabet, key=alphabet.__getitem__)]


def tiny(words: list[str], pieces: list[str]) -> Vocabulary:
    """Put together bytes, markers and a few whole tokens.

    `words` (text) can also be read: merges grow each from its first character, so a word that was
    generated is tokenised to itself when it comes back in a prompt. `pieces` can only be written.
    """
    starts, stored = (BEGIN, END, PAD), [spell(word) for word in words]
    # Words with a space first: otherwise the merges of "The" would eat into " Then".
    grown = (
        f"{word[:end]} {word[end]}"
        for word in sorted(stored, key=lambda word: not word.startswith(spell(" ")))
        for end in range(1, len(word))
    )
    plain = [*byte_tokens(), *stored, *(spell(piece) for piece in pieces)]
    return Vocabulary(
        tokens=(*starts, *plain, *ADDED, *SHOWN),
        types=(
            *(TokenType.CONTROL for _ in starts),
            *(TokenType.NORMAL for _ in plain),
            *(TokenType.CONTROL for _ in ADDED),
            *(TokenType.USER_DEFINED for _ in SHOWN),
        ),
        merges=tuple(dict.fromkeys(grown)),
    )


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's printable stand-ins: Latin-1 as it is, everything else from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(0x100 + place) for place, byte in enumerate(others)
    }
