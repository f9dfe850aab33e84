"""Why a prompt had to be read again: the first part that differs from an earlier one. Pure.

The words are for people. Nothing of what they wrote is in them: parts are named, and of names only
those of tools.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from runner.kv.prompt import SINGLE_KINDS, SINGLE_LINES, Part, Prompt, common

_NAMES: Final = 3  # tools that are named; more are counted
_Key = tuple[str, tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Near:
    """An earlier prompt that another one continues.

    `at`: its place among those given. `shared`: characters of the other one that it has, wherever
    they are; `common`: those of them that are the beginning of both.
    """

    prompt: Prompt
    at: int
    shared: int
    common: int


def nearest(prompts: Sequence[Prompt], now: Prompt) -> Near | None:
    """Return which earlier prompt `now` continues, the latest of several; None where none does.

    It is that with the most text in common: also where a change at the beginning means that none
    of it can be used.
    """
    blocks = [block for _, block in now.blocks()]
    best: Near | None = None
    for at in range(len(prompts) - 1, -1, -1):
        known = {block.digest for _, block in prompts[at].blocks()}
        shared = sum(block.characters for block in blocks if block.digest in known)
        count = common(prompts[at], now)
        near = Near(prompts[at], at, shared, sum(block.characters for block in blocks[:count]))
        if shared and (best is None or (shared, near.common) > (best.shared, best.common)):
            best = near
        if near.common == now.characters:
            break  # none has more
    return best


def why(before: Prompt, now: Prompt) -> str:
    """Return why `now` is not read from where `before` ends, as a sentence without its full stop.

    Empty where nothing differs: one of them is the beginning of the other.
    """
    one, other = before.parts, now.parts
    at = 0
    while at < min(len(one), len(other)) and _key(one[at]) == _key(other[at]):
        at += 1
    if at == len(one) or at == len(other) or _grew(one[at:], other[at:]):
        return ""
    first, second = one[at], other[at]
    kinds = {first.kind, second.kind}
    if "settings" in kinds:
        return _settings(_of_kind(one, "settings"), _of_kind(other, "settings"))
    if "system prompt" in (first.name, second.name):
        return _system(first, second)
    if first.kind == second.kind == "text":
        return f"the {second.name} changed{_place(first, second)}"
    if "tools" in kinds:
        return _tools(_of_kind(one, "tools"), _of_kind(other, "tools"))
    return _messages(one[at:], other[at:])


def _key(part: Part) -> _Key:
    return part.kind, tuple(block.digest for block in part.blocks)


def _of_kind(parts: Iterable[Part], kind: str) -> dict[str, _Key]:
    return {part.name: _key(part) for part in parts if part.kind == kind}


def _grew(one: Sequence[Part], other: Sequence[Part]) -> bool:
    """Tell whether a text was only written on: its last block is the first that differs."""
    if len(one) > 1 or one[0].kind != "text" or other[0].kind != "text":
        return False
    before, now = one[0], other[0]
    return now.characters > before.characters and _same(before, now) == len(before.blocks) - 1


def _same(one: Part, other: Part) -> int:
    """Return how many blocks at the beginning of two parts are equal."""
    count = 0
    for first, second in zip(one.blocks, other.blocks, strict=False):
        if first.digest != second.digest:
            break
        count += 1
    return count


def _settings(before: dict[str, _Key], now: dict[str, _Key]) -> str:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return f"{_listed(names)} changed"


def _system(first: Part, second: Part) -> str:
    if first.name != second.name:
        return f"the system prompt was {'left out' if first.name == 'system prompt' else 'added'}"
    return f"the system prompt changed{_place(first, second)}"


def _place(first: Part, second: Part) -> str:
    """Return where a text changed, as exactly as its blocks tell."""
    same = _same(first, second)
    if same >= len(second.blocks):
        return " at its end"
    line = second.blocks[same].line
    if line == 1:
        return " at its first line"
    if first.kind in SINGLE_KINDS and line <= SINGLE_LINES:
        return f" at line {line}"
    return f" after line {line - 1}"


def _tools(before: dict[str, _Key], now: dict[str, _Key]) -> str:
    news = [
        ("added", [name for name in now if name not in before]),
        ("left out", [name for name in before if name not in now]),
        ("changed", [name for name in now if name in before and now[name] != before[name]]),
    ]
    changes = [
        f"{_listed(names)} {'was' if len(names) == 1 else 'were'} {done}"
        for done, names in news
        if names
    ]
    return f"tools changed: {', '.join(changes) or 'their order'}"


def _messages(one: Sequence[Part], other: Sequence[Part]) -> str:
    first, second = one[0], other[0]
    if (first.kind, second.kind) == ("thinking", "assistant"):
        # The template does so, once there is another question; a client may do it, too.
        return f"the thinking in {second.name} was left out"
    if (first.kind, second.kind) == ("assistant", "thinking"):
        return f"the thinking in {second.name} was added"
    runs = _runs(one, other)
    if runs.inserted > max(runs.edited, runs.removed):
        return f"{_parts(other[: runs.more])} added"
    if runs.removed > runs.edited:
        return f"{_parts(one[: runs.fewer])} left out"
    if first.kind != second.kind:
        return f"{_article(second)} is another one"
    if first.kind == "picture":
        return f"{_article(second)} was replaced"
    if runs.edited or _same(first, second):
        return f"{_article(second)} was edited"
    return f"{_article(second)} is another one"


@dataclass(frozen=True, slots=True)
class _Runs:
    """How many parts agree behind a difference, by what may have happened.

    `edited`: one part was replaced by one; `inserted`: `more` parts came in; `removed`: `fewer`
    went.
    """

    edited: int
    inserted: int
    removed: int
    more: int
    fewer: int


def _runs(one: Sequence[Part], other: Sequence[Part]) -> _Runs:
    before, now = [_key(part) for part in one], [_key(part) for part in other]
    inserted = [(_run(before, now[count:]), -count) for count in range(1, len(now))]
    removed = [(_run(before[count:], now), -count) for count in range(1, len(before))]
    most_in, more = max(inserted, default=(0, 0))
    most_out, fewer = max(removed, default=(0, 0))
    return _Runs(_run(before[1:], now[1:]), most_in, most_out, -more, -fewer)


def _run(one: Sequence[_Key], other: Sequence[_Key]) -> int:
    """Return how many parts at the beginning are equal."""
    count = 0
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        count += 1
    return count


def _parts(parts: Sequence[Part]) -> str:
    """Name parts that came or went: `message 3 was`, `messages 3 to 5 were`, `the picture was`."""
    if len({part.name for part in parts}) == 1:
        return f"{_article(parts[0])} was"
    names = [part.name for part in parts if part.kind != "picture"]
    if len(names) < 2:
        return f"{_article(parts[0])} was"
    first, last = names[0], names[-1].rpartition(" ")[2]
    return f"messages {first.rpartition(' ')[2]} to {last} were"


def _article(part: Part) -> str:
    name = f"thinking in {part.name}" if part.kind == "thinking" else part.name
    return f"the {name}" if part.kind in ("picture", "thinking") else name


def _listed(names: Sequence[str]) -> str:
    if len(names) > _NAMES:
        return f"{', '.join(names[:_NAMES])} and {len(names) - _NAMES} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
