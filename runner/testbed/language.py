"""What the tiny model says: a toy grammar, laid into its embedding and output matrices.

Random weights alone would babble bytes and never stop thinking. So each token belongs to a group,
the group is written into a few coordinates of its embedding that no layer may touch, and the
output matrix reads them back as "what may follow". A sentence of thinking, `</think>`, an answer
and `<|im_end|>` therefore come in order; which word fills a slot is left to the random rest of the
network, and so depends on everything before it, pictures included.

The state is one token long, which sets the limits: the model cannot know whether tools or pictures
are there, never calls a tool unless a grammar makes it, thinks equally long at every effort, and
writes no newline around `</think>`. Answers are short; ``ignore_eos`` makes an endless one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from runner.testbed import vocabulary

RESERVED = 32
"""Leading coordinates of the residual stream kept for the grammar: one Q8_0 block, so that its
large values do not coarsen the random weights beside them."""

STRENGTH = 6.0
"""Height of a reserved coordinate in an embedding. The others have unit variance, so the model's
final normalisation brings it to roughly `_SEEN`."""

_SEEN = 4.5

_WANTED = 12.0
"""Logit of a token that the grammar proposes; the random part moves it by about one."""


@dataclass(frozen=True)
class Group:
    """Tokens with the same place in the grammar.

    `base` is their logit when nothing proposes them; `then` names the groups that follow, each
    with what is added to `_WANTED`.
    """

    tokens: tuple[str, ...]
    base: float
    then: dict[str, float] = field(default_factory=dict)


_RARE, _NEVER = -22.0, -40.0

_WORDS = {
    "think_open": Group(("The", "This", "Some"), _RARE, {"think_kind": 0}),
    "think_kind": Group((" small", " quiet", " plain", " odd", " new"), _RARE, {"think_thing": 0}),
    "think_thing": Group(
        (" picture", " question", " number", " word", " shape"), _RARE, {"think_verb": 0}
    ),
    "think_verb": Group((" looks", " seems", " sounds", " stays"), _RARE, {"think_how": 0}),
    "think_how": Group(
        (" simple", " round", " green", " short", " warm"), _RARE, {"</think>": 0, ",": -2}
    ),
    ",": Group((",",), -15, {"think_link": 0}),
    "think_link": Group((" so", " and", " while"), _RARE, {"think_again": 0}),
    "think_again": Group((" the", " this"), _RARE, {"think_kind": 0}),
    "</think>": Group(("</think>",), _NEVER, {"say_open": 0}),
    "say_open": Group(("It", "Here", "One"), _RARE, {"say_verb": 0}),
    "say_verb": Group((" is", " was", " became"), _RARE, {"say_what": 0}),
    "say_what": Group((" one", " half", " almost", " nearly"), _RARE, {"say_kind": 0}),
    "say_kind": Group((" bright", " tiny", " random", " calm"), _RARE, {"say_thing": 0}),
    "say_thing": Group(
        (" circle", " model", " garden", " sentence", " tree"), _RARE, {".": 0, "say_link": -2}
    ),
    "say_link": Group((" but", " then", " because"), _RARE, {"say_more": 0}),
    "say_more": Group((" it", " all", " nothing"), _RARE, {"say_verb": 0}),
    # A grammar that demands a tool call forbids the end, and finds the call next.
    ".": Group((".",), -15, {"<|im_end|>": 0, "<tool_call>": -9}),
}

_CALLS = {
    "<tool_call>": Group(("<tool_call>",), _NEVER, {"\n": 0}),
    "</tool_call>": Group(("</tool_call>",), -15, {"<|im_end|>": 0}),
    # Only text arguments may go on with "red" after "<parameter=KEY>" and its newline, so the two
    # are one token: nothing else would tell such a newline from the one that starts thinking.
    ">": Group((">",), -17, {"value": 0, "\n": -3}),
    "value": Group(("\nred", "\nblue", "\nold"), _NEVER, {"value_end": 0}),
    "value_end": Group((" square\n</parameter>\n", " lamp\n</parameter>\n"), _NEVER),
}

_BYTES = {
    "\n": Group(("\n",), -15, {"think_open": 0}),
    # One digit and at most a few letters, or free numbers and strings would not end.
    "digit": Group(tuple("0123456789"), -12, {"\n": 0, "close": 0, ",": 0}),
    "letter": Group(tuple("abcdefghijklm"), -9, {"late letter": -14}),
    "late letter": Group(tuple("nopqrstuvwxyz"), -9, {'"': -10}),
    '"': Group(('"',), -12),
    "close": Group(("}", "]"), -14),
    " ": Group((" ",), -10),
    "sign": Group(tuple("!#$%&'()*+-/:;<=?@[\\^_`{|~"), -17),
    "capital": Group(tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), -14),
    "<|im_end|>": Group(("<|im_end|>",), -17),
}

GROUPS = _WORDS | _CALLS | _BYTES

_OTHER_BYTES = -26.0
"""Logit of bytes outside printable ASCII; special tokens without a group get `_NEVER`."""


def tiny_vocabulary() -> vocabulary.Vocabulary:
    """Make the tiny model's vocabulary: bytes, markers and the words of the grammar."""
    tokens = [token for group in _WORDS.values() for token in group.tokens if len(token) > 1]
    words = [token for token in tokens if token not in vocabulary.SHOWN]
    pieces = [*GROUPS["value"].tokens, *GROUPS["value_end"].tokens]
    return vocabulary.tiny(words, pieces)


def embedding_part(words: vocabulary.Vocabulary) -> npt.NDArray[np.float32]:
    """Lay out the embedding's reserved part, (vocabulary, RESERVED): where a token stands.

    The first coordinate is the same for all; each group that proposes something has its own.
    """
    part = np.zeros((len(words.tokens), RESERVED), np.float32)
    part[:, 0] = STRENGTH
    for place, group in enumerate(_proposing(), start=1):
        part[_ids(words, group), place] = STRENGTH
    return part


def output_part(words: vocabulary.Vocabulary) -> npt.NDArray[np.float32]:
    """Lay out the output matrix's reserved part, same shape: what each place makes likely."""
    part = np.zeros((len(words.tokens), RESERVED), np.float32)
    base = np.full(len(words.tokens), _NEVER, np.float32)
    for token in vocabulary.byte_tokens():
        base[words.id(token)] = _OTHER_BYTES
    for group in GROUPS.values():
        base[_ids(words, group)] = group.base
    part[:, 0] = base
    for place, group in enumerate(_proposing(), start=1):
        for name, bonus in group.then.items():
            ids = _ids(words, GROUPS[name])
            part[ids, place] = _WANTED + bonus - base[ids]
    return part / np.float32(_SEEN)


def steady_ids(words: vocabulary.Vocabulary) -> list[int]:
    """List tokens that compete with another group, such as an end with a continuation.

    Without random weights of their own their odds are the stated ones, and greedy decoding always
    takes the same branch instead of going round in circles.
    """
    forks = (group.then for group in GROUPS.values() if len(group.then) > 1)
    return [place for fork in forks for name in fork for place in _ids(words, GROUPS[name])]


def _proposing() -> list[Group]:
    groups = [group for group in GROUPS.values() if group.then]
    if len(groups) >= RESERVED:
        raise ValueError("the grammar has more places than reserved coordinates")
    return groups


def _ids(words: vocabulary.Vocabulary, group: Group) -> list[int]:
    special = {*vocabulary.SHOWN, *vocabulary.ADDED}
    spelled = (token if token in special else vocabulary.spell(token) for token in group.tokens)
    return [words.id(token) for token in spelled]
