"""Rows to train on: one prefix, and as many conversations behind it as fit.

The prefix is the begin token, the system turn and perhaps a picture; each branch is a conversation
that sees the prefix and itself, at positions that continue from the prefix. That is exactly the
distribution of single conversations, at a fraction of the cost.

One kind of row per batch keeps the padding small: a row with tools is longer than one without.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from runner.testbed.vocabulary import BEGIN
from training.world import dialogues, pictures, seeds, template, text, tools
from training.world.pictures import Scene
from training.world.tokenizer import MERGES, Tokenizer, train

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from runner.testbed.vocabulary import Vocabulary
    from training.world.dialogues import Effort, Exchange
    from training.world.tools import Tool

LENGTH = 400
"""Tokens to fill, about: a branch that would pass this ends the row, unless it is the first."""

KINDS = ("talk", "picture", "pair", "weather", "zoom")
"""Rows without a picture, about one, about two; with tools, without and with a picture."""

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
    `learned`: the token is to be predicted, from the token at the position before (in a branch,
    the element before; a branch never begins with a learned token). `decisive`: a place in
    `text.KINDS`, 0 for wording.
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


def row(tokenizer: Tokenizer, seed: int, kind: str, pool: Sequence[Scene] = ()) -> Row:
    """Make the row of a seed and a kind.

    `pool`: scenes to ask about, whose features a trainer has at hand; by default each row makes its
    own. For ``pair`` the pool holds both pictures of a pair one after another, for ``zoom`` a
    picture and its enlargement.
    """
    held_out = seeds.is_held_out(seed)
    dice = seeds.generator("row", kind, seed)
    effort = dice.choice(dialogues.EFFORTS)
    declared: tuple[Tool, ...] = ()
    shown: tuple[Scene, ...] = ()
    if kind == "picture":
        shown = (dice.choice(pool) if pool else scene_for(seed),)
    elif kind == "pair":
        place = 2 * dice.randrange(len(pool) // 2) if pool else 0
        shown = (pool[place], pool[place + 1]) if pool else pictures.pair(seed)
    elif kind == "zoom":
        place = 2 * dice.randrange(len(pool) // 2) if pool else 0
        shown = (pool[place] if pool else pictures.scene(seed, pictures.SMALL),)
        declared = dice.choice([some for some in tools.SETS if tools.ZOOM in some])
    elif kind == "weather":
        declared = dice.choice([some for some in tools.SETS if tools.GET_WEATHER in some])
    elif kind != "talk":
        raise ValueError(f"{kind!r} is not a kind of row")
    make = _maker(kind, dice, shown, effort, held_out=held_out)
    return pack(tokenizer, kind, effort, declared, shown, make)


def scene_for(seed: int, difficulty: float = 1.0) -> Scene:
    """Make the scene that a picture row of this seed is about."""
    kinds = ("one", "shapes", "shapes", "shapes", "number", "number", "word")
    return pictures.scene(seed, seeds.generator("kind", seed).choice(kinds), difficulty)


def _maker(
    kind: str, dice: random.Random, shown: tuple[Scene, ...], effort: Effort, *, held_out: bool
) -> Callable[[], Exchange]:
    """Return what makes the next conversation of a row."""

    def make() -> Exchange:
        if kind == "zoom":
            return tools.zooming(dice, shown[0], effort)
        if kind == "pair":
            return dialogues.about_pair(dice, (shown[0], shown[1]), effort)
        if kind == "picture":
            return _continued(dice, lambda: dialogues.about_picture(dice, shown[0], effort))
        if kind == "weather" and dice.random() < 0.8:
            return tools.weather(dice, effort, held_out=held_out)
        return _continued(
            dice, lambda: dialogues.about_nothing(dice, effort, held_out=held_out)
        )

    return make


def _continued(dice: random.Random, make: Callable[[], Exchange]) -> Exchange:
    """Let every fifth conversation follow an earlier question and its answer."""
    exchange = make()
    if dice.random() >= 0.2:
        return exchange
    earlier = make()
    return replace(exchange, history=((earlier.question, earlier.steps[-1].answer),))


def pack(
    tokenizer: Tokenizer,
    kind: str,
    effort: Effort,
    declared: tuple[Tool, ...],
    shown: tuple[Scene, ...],
    make: Callable[[], Exchange],
    most: int = 64,
) -> Row:
    """Put conversations behind one prefix until the next would pass `LENGTH`; at most `most`.

    A conversation that the row has already is left out, and eight of these in a row end it: a
    picture has only so much to ask about.
    """
    prefix = [
        _Token(token)
        for token in prefix_tokens(tokenizer, effort, declared, len(shown))
    ]
    tokens, branches, positions = list(prefix), [0] * len(prefix), list(range(len(prefix)))
    pictured = [*shown]
    seen: set[tuple[object, ...]] = set()
    again = branch = 0
    while branch < most and again < 8:
        exchange = make()
        key = (exchange.question, exchange.history)
        if key in seen:
            again += 1
            continue
        seen.add(key)
        again = 0
        said = list(branch_tokens(tokenizer, exchange))
        if branch and len(tokens) + len(said) > LENGTH:
            break
        branch += 1
        tokens += said
        branches += [branch] * len(said)
        positions += range(len(prefix), len(prefix) + len(said))
        pictured += [r for step in exchange.steps for r in step.results if isinstance(r, Scene)]
    return Row(
        kind,
        np.array([token.id for token in tokens], np.int32),
        np.array(positions, np.int32),
        np.array(branches, np.int32),
        np.array([token.learned for token in tokens], np.bool_),
        np.array([token.decisive for token in tokens], np.int32),
        _slots(tokens, tokenizer.words.id("<im_patch>"), pictured),
    )


@dataclass(frozen=True)
class _Token:
    id: int
    learned: bool = False
    decisive: int = 0


def prefix_tokens(
    tokenizer: Tokenizer, effort: Effort, declared: tuple[Tool, ...] = (), shown: int = 0
) -> list[int]:
    """Tokenise the beginning of a conversation with so many pictures, the begin token first."""
    head = template.begin(effort, declared) + template.user(shown)
    return [tokenizer.words.id(BEGIN), *tokenizer.encode(head)]


def branch_tokens(tokenizer: Tokenizer, exchange: Exchange) -> Iterator[_Token]:
    """Tokenise a conversation from where its first user turn's text begins."""
    for piece in template.branch(exchange):
        words, spans = text.split(piece.marked)
        start = 0
        for token, end in tokenizer.encode_with_ends(words):
            about = next((s.kind for s in spans if s.start < end and start < s.end), 0)
            yield _Token(token, piece.learned, about if piece.learned else 0)
            start = end


def _slots(tokens: list[_Token], patch: int, scenes: list[Scene]) -> tuple[Slot, ...]:
    """Find where the pictures go, in their order."""
    places = [place for place, token in enumerate(tokens) if token.id == patch]
    starts = places[:: template.PICTURE_TOKENS]
    return tuple(Slot(start, scene) for start, scene in zip(starts, scenes, strict=True))


def vocabulary(merges: int = MERGES, samples: int = 2000) -> Vocabulary:
    """Learn the world's vocabulary from conversations of every kind, `samples` of each.

    The wording of tools stands in the corpus as often as conversations do, since it is most of a
    row with tools.
    """
    return train(corpus(samples), merges)


def corpus(samples: int) -> Iterable[str]:
    """Write conversations of every kind, with their beginnings."""
    for kind in KINDS:
        for seed in range(samples):
            dice = seeds.generator("corpus", kind, seed)
            effort = dialogues.EFFORTS[seed % len(dialogues.EFFORTS)]
            shown: tuple[Scene, ...] = ()
            declared: tuple[Tool, ...] = ()
            if kind == "picture":
                shown = (scene_for(seed),)
            elif kind == "pair":
                shown = pictures.pair(seed)
            elif kind == "zoom":
                shown, declared = (pictures.scene(seed, pictures.SMALL),), tools.SETS[1 + seed % 2]
            elif kind == "weather":
                declared = tools.SETS[2 * (seed % 2)]
            exchange = _maker(kind, dice, shown, effort, held_out=False)()
            yield template.begin(effort, declared)
            for piece in template.branch(exchange):
                yield text.plain(piece.marked).replace("<im_patch>", "")
