"""Rows to train on: one prefix, and as many conversations behind it as fit.

The prefix is the begin token, the system turn and perhaps pictures; each branch is a conversation
that sees the prefix and itself, at positions that continue from the prefix. That is exactly the
distribution of single conversations, at a fraction of the cost.

One kind of row per batch keeps the padding small: a row with tools is longer than one without.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from runner.testbed.vocabulary import BEGIN
from training.world import template, text, topics
from training.world.pictures import Scene
from training.world.tokenizer import MERGES, Tokenizer, train

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.testbed.vocabulary import Vocabulary
    from training.world.dialogues import Exchange
    from training.world.topics import Topic

LENGTHS = {"talk": 400, "picture": 400, "pair": 480, "weather": 640, "zoom": 800}
"""Tokens to fill: a branch that would pass this ends the row, unless it is the first. Tools declare
themselves in about 300 tokens, a picture takes 171, and one that is enlarged 171 more."""

_PATIENCE = 16
"""Conversations to look at for the next branch: a picture has only so much to ask about."""

Ints: TypeAlias = npt.NDArray[np.int32]
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Slot:
    """Where a picture's 169 vectors go: from `start` on, in place of `<im_patch>` tokens."""

    start: int
    scene: Scene


@dataclass(frozen=True)
class Row:
    """A row of n tokens; every array is (n,).

    `positions`: a token's place in its conversation. `branches`: 0 for the prefix, then 1, 2, ...
    `learned`: the token is to be predicted, from the token at the position before (the element
    before: no branch begins with a learned token). `decisive`: a place in `text.KINDS`, 0 for
    wording.
    """

    kind: str
    tokens: Ints
    positions: Ints
    branches: Ints
    learned: Flags
    decisive: Ints
    slots: tuple[Slot, ...]

    def visible(self) -> Flags:
        """Say who sees whom, (n, n): [i, j] is true where token i may look at token j.

        A sliding layer also needs ``positions[i] - positions[j] < window``.
        """
        order = np.arange(len(self.tokens))
        before = order[:, None] >= order[None, :]
        same = self.branches[:, None] == self.branches[None, :]
        allowed: Flags = before & (same | (self.branches[None, :] == 0))
        return allowed


@dataclass(frozen=True)
class Token:
    """A token of a conversation: what it is, whether it is learned, what it decides."""

    id: int
    learned: bool = False
    decisive: int = 0


def row(tokenizer: Tokenizer, seed: int, kind: str, scenes: Sequence[Scene] = ()) -> Row:
    """Make the row of a seed and of one of `topics.KINDS`; `scenes` as in `topics.topic`."""
    return pack(tokenizer, topics.topic(seed, kind, scenes))


def pack(tokenizer: Tokenizer, topic: Topic) -> Row:
    """Put conversations behind one prefix until the next would pass the length of its kind.

    A question that the row has already is left out.
    """
    prefix = prefix_tokens(tokenizer, topic)
    tokens = list(prefix)
    scenes = list(topic.pictures)
    positions, branches = list(range(len(prefix))), [0] * len(prefix)
    asked: set[str] = set()
    while exchange := _next_question(topic, asked):
        said = list(branch_tokens(tokenizer, exchange))
        if asked and len(tokens) + len(said) > LENGTHS[topic.kind]:
            break
        asked.add(exchange.question)
        tokens += said
        positions += range(len(prefix), len(prefix) + len(said))
        branches += [len(asked)] * len(said)
        results = (result for step in exchange.steps for result in step.results)
        scenes += [result for result in results if isinstance(result, Scene)]
    return Row(
        topic.kind,
        np.array([token.id for token in tokens], np.int32),
        np.array(positions, np.int32),
        np.array(branches, np.int32),
        np.array([token.learned for token in tokens], np.bool_),
        np.array([token.decisive for token in tokens], np.int32),
        _slots(tokens, tokenizer.words.id("<im_patch>"), scenes),
    )


def prefix_tokens(tokenizer: Tokenizer, topic: Topic) -> list[Token]:
    """Tokenise what all conversations of a topic begin with."""
    head = template.begin(topic.effort, topic.tools) + template.user(len(topic.pictures))
    return [Token(tokenizer.words.id(BEGIN)), *map(Token, tokenizer.encode(head))]


def branch_tokens(tokenizer: Tokenizer, exchange: Exchange) -> Iterator[Token]:
    """Tokenise a conversation from where its first user turn's text begins."""
    for piece in template.branch(exchange):
        words, spans = text.split(piece.marked)
        start = 0
        for token, end in tokenizer.encode_with_ends(words):
            about = next((s.kind for s in spans if s.start < end and start < s.end), 0)
            yield Token(token, piece.learned, about if piece.learned else 0)
            start = end


def learn_vocabulary(merges: int = MERGES, samples: int = 2000) -> Vocabulary:
    """Learn a vocabulary from conversations of every kind, `samples` of each.

    `tokenizer.stored` returns the one that was learned so and kept.
    """
    return train(_corpus(samples), merges)


def _corpus(samples: int) -> Iterator[str]:
    """Write conversations of every kind, with their beginnings.

    The wording of tools is in it as often as conversations are: it is most of a row with tools.
    """
    for kind in topics.KINDS:
        for seed in range(samples):
            topic = topics.topic(seed, kind)
            yield template.begin(topic.effort, topic.tools)
            for piece in template.branch(next(topic.exchanges)):
                yield text.plain(piece.marked)


def _next_question(topic: Topic, asked: set[str]) -> Exchange | None:
    """Return the next conversation whose question is new."""
    some = islice(topic.exchanges, _PATIENCE)
    return next((exchange for exchange in some if exchange.question not in asked), None)


def _slots(tokens: list[Token], patch: int, scenes: list[Scene]) -> tuple[Slot, ...]:
    """Find where the pictures go, in their order."""
    places = [place for place, token in enumerate(tokens) if token.id == patch]
    starts = places[:: template.PICTURE_TOKENS]
    return tuple(Slot(start, scene) for start, scene in zip(starts, scenes, strict=True))
