"""The vocabulary: Step's special tokens, 256 bytes, and pairs learned from the world's own text.

Texts are split as llama.cpp does for the pre-tokenizer `deepseek-v3`, and pairs are joined in the
order in which they were learned. Digits and capitals in a row stay single tokens, so that reading a
number or a word aloud is one step per character.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import regex
from gguf.constants import TokenType

from runner.testbed import vocabulary
from runner.testbed.vocabulary import ADDED, BEGIN, END, PAD, SHOWN, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable

MERGES = 512

_SPECIAL = (BEGIN, END, PAD, *ADDED, *SHOWN)
_AT_SPECIAL = regex.compile("(" + "|".join(map(regex.escape, _SPECIAL)) + ")")

_SPLITS = (
    regex.compile(r"\p{N}{1,3}"),
    regex.compile("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
    regex.compile(
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
        r"""|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        r"""| ?[\p{P}\p{S}]+[\r\n]*"""
        r"""|\s*[\r\n]+"""
        r"""|\s+(?!\S)"""
        r"""|\s+"""
    ),
)
"""llama.cpp's expressions for `LLAMA_VOCAB_PRE_TYPE_DEEPSEEK3_LLM` (src/llama-vocab.cpp), applied
one after another: each splits the pieces that the one before left."""

_NEVER_JOINED = regex.compile(r"\p{N}+|[^A-Za-z]?[A-Z]{2,}")

_STORED = Path(__file__).with_name("pairs.txt")

_Pair: TypeAlias = tuple[str, str]


def pieces(text: str) -> list[str]:
    """Split a text without special tokens into the pieces inside which tokens are joined."""
    found = [text]
    for expression in _SPLITS:
        found = [part for piece in found for part in _split(expression, piece)]
    return found


def _split(expression: regex.Pattern[str], piece: str) -> Iterable[str]:
    """Cut a piece into the expression's matches and what lies between them."""
    end = 0
    for match in expression.finditer(piece):
        if match.start() > end:
            yield piece[end : match.start()]
        yield match[0]
        end = match.end()
    if end < len(piece):
        yield piece[end:]


def train(texts: Iterable[str], merges: int = MERGES) -> Vocabulary:
    """Learn the most frequent pairs of a text, and put the vocabulary together.

    Pairs of equal frequency are taken in the order of their spelling: the same text gives the same
    vocabulary everywhere.
    """
    parts = Counter(part for text in texts for part in _AT_SPECIAL.split(text))
    counts: Counter[str] = Counter()
    for part, often in parts.items():
        if part and part not in _SPECIAL:
            for piece in pieces(part):
                counts[piece] += often
    words = [
        (tuple(vocabulary.spell(piece)), count)
        for piece, count in counts.items()
        if not _NEVER_JOINED.fullmatch(piece)
    ]
    return assemble(_most_frequent(words, merges))


def _most_frequent(words: list[tuple[tuple[str, ...], int]], merges: int) -> list[_Pair]:
    """Learn pairs from words and their counts: join the most frequent pair, and count again."""
    pairs: Counter[_Pair] = Counter()
    holders: defaultdict[_Pair, set[int]] = defaultdict(set)

    def count(place: int, sign: int) -> None:
        symbols, often = words[place]
        for pair in pairwise(symbols):
            pairs[pair] += sign * often
            holders[pair].add(place)

    for place in range(len(words)):
        count(place, 1)
    learned: list[_Pair] = []
    while len(learned) < merges and pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] <= 0:
            break
        learned.append(best)
        for place in holders.pop(best):
            count(place, -1)
            words[place] = (_join(words[place][0], best), words[place][1])
            count(place, 1)
        del pairs[best]
    return learned


def stored() -> Vocabulary:
    """Return the vocabulary of the trained files.

    Its pairs are kept as data, because a checkpoint is worth nothing with another vocabulary.
    """
    lines = _STORED.read_text(encoding="utf-8").splitlines()
    return assemble([(left, right) for left, right in (line.split(" ") for line in lines)])


def store(words: Vocabulary) -> None:
    """Keep a vocabulary's pairs, one per line: what was trained before cannot be used after."""
    _STORED.write_text("".join(f"{merge}\n" for merge in words.merges), encoding="utf-8")


def assemble(learned: list[_Pair]) -> Vocabulary:
    """Put a vocabulary together as the test bed does: specials, bytes, pairs, added tokens."""
    starts = (BEGIN, END, PAD)
    joined = dict.fromkeys(left + right for left, right in learned)
    plain = [*vocabulary.byte_tokens(), *joined]
    return Vocabulary(
        tokens=(*starts, *plain, *ADDED, *SHOWN),
        types=(
            *(TokenType.CONTROL for _ in starts),
            *(TokenType.NORMAL for _ in plain),
            *(TokenType.CONTROL for _ in ADDED),
            *(TokenType.USER_DEFINED for _ in SHOWN),
        ),
        merges=tuple(f"{left} {right}" for left, right in learned),
    )


class Tokenizer:
    """Turns text into token ids and back, as an engine does with the same vocabulary."""

    def __init__(self, words: Vocabulary) -> None:
        self.words = words
        self._ids = {token: place for place, token in enumerate(words.tokens)}
        ranked = (merge.split(" ") for merge in words.merges)
        self._ranks = {(left, right): rank for rank, (left, right) in enumerate(ranked)}
        self._piece = lru_cache(maxsize=1 << 16)(self._encode_piece)

    def encode(self, text: str) -> list[int]:
        """Tokenise a text; special tokens in it are recognised."""
        return [token for token, _ in self.encode_with_ends(text)]

    def encode_with_ends(self, text: str) -> list[tuple[int, int]]:
        """Tokenise a text: each token with the place (in characters) where it ends.

        A token that ends inside a character is said to end where the character ends.
        """
        found: list[tuple[int, int]] = []
        end = 0
        for part in _AT_SPECIAL.split(text):
            if part in _SPECIAL:
                end += len(part)
                found.append((self._ids[part], end))
                continue
            for piece in pieces(part) if part else ():
                found += [(token, end + length) for token, length in self._piece(piece)]
                end += len(piece)
        return found

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of tokens; bytes that are no UTF-8 are replaced."""
        alphabet = _bytes_of_characters()
        raw = bytearray()
        for token in tokens:
            spelled = self.words.tokens[token]
            if spelled in _SPECIAL:
                raw += spelled.encode()
            else:
                raw += bytes(alphabet[character] for character in spelled)
        return raw.decode("utf-8", "replace")

    def _encode_piece(self, piece: str) -> tuple[tuple[int, int], ...]:
        symbols = tuple(vocabulary.spell(piece))
        while len(symbols) > 1:
            known = (pair for pair in pairwise(symbols) if pair in self._ranks)
            ranked = [(self._ranks[pair], pair) for pair in known]
            if not ranked:
                break
            symbols = _join(symbols, min(ranked)[1])
        ends = [place for place, character in enumerate(piece, 1) for _ in character.encode()]
        found: list[tuple[int, int]] = []
        size = 0
        for symbol in symbols:
            size += len(symbol)
            found.append((self._ids[symbol], ends[size - 1]))
        return tuple(found)


def _join(symbols: tuple[str, ...], pair: _Pair) -> tuple[str, ...]:
    """Join every occurrence of a pair, from the left."""
    left, right = pair
    if left not in symbols:
        return symbols
    joined: list[str] = []
    place = 0
    while place < len(symbols):
        if symbols[place] == left and symbols[place + 1 : place + 2] == (right,):
            joined.append(left + right)
            place += 2
        else:
            joined.append(symbols[place])
            place += 1
    return tuple(joined)


@lru_cache(maxsize=1)
def _bytes_of_characters() -> dict[str, int]:
    """Map the stored characters to bytes: printable ones stand for themselves."""
    characters = sorted(vocabulary.byte_tokens())
    printable = {character: ord(character) for character in characters if ord(character) < 256}
    others = sorted({*range(256)} - {*printable.values()})
    return printable | dict(zip(characters[len(printable) :], others, strict=True))
