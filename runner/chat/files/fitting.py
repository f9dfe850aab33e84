"""Whether the files of a message fit the context, and what to type where they do not. Pure."""

from collections.abc import Callable, Sequence
from typing import Final

from runner.base.errors import Refused
from runner.base.text import clean_name
from runner.chat.files.attached import Attachment
from runner.chat.files.mentions import mention_of

# Of what is free: an estimate is as good as a count for what takes less, or more than all of it.
CERTAIN: Final = (0.5, 4.0)
_SPARE: Final = 0.9  # of the lines that would fit: lines are not of one length


def tokens_of(found: Attachment, *, prices: bool) -> int:
    """Return what a file costs; `prices`: its pictures cost what they do with Step."""
    drawn = sum(picture.tokens for picture in found.pictures) if prices else 0
    return found.file.tokens + drawn


def needs_count(attached: Sequence[Attachment], free: int, *, prices: bool) -> bool:
    """Return whether an estimate is not enough to know whether files fit."""
    least, most = CERTAIN
    return least * free < sum(tokens_of(each, prices=prices) for each in attached) < most * free


def too_long(
    attached: Sequence[Attachment],
    free: int,
    *,
    prices: bool,
    typed: Callable[[str], str] = mention_of,
) -> Refused | None:
    """Return why files are not sent where `free` tokens of the context are left; None: they are.

    `typed`: how a part of a file is asked for.
    """
    costs = [tokens_of(each, prices=prices) for each in attached]
    if not costs or sum(costs) < free:
        return None
    most = max(costs)
    found = attached[costs.index(most)]
    room = max(0, free - (sum(costs) - most))
    lines = int(_SPARE * found.lines * room / max(1, most))
    exact = found.file.exact or not found.file.text
    part = f"#1-{lines}{found.as_text}" if lines else ""
    return too_much(found.file.name, most, room, part, exact=exact, typed=typed)


def too_much(
    name: str,
    tokens: int,
    free: int,
    part: str,
    *,
    exact: bool,
    typed: Callable[[str], str] = mention_of,
) -> Refused:
    """Return why a file is not sent: it has `tokens`, the context has `free`.

    `part`: of it that does fit, as it is mentioned; empty where none can be taken.
    """
    about = "" if exact else "about "
    advice = f"Take a part: {typed(name + part)}" if part else "Send less"
    return Refused(
        f"{clean_name(name, 80)} does not fit.",
        why=f"It has {about}{tokens:,} tokens, and the context has {free:,} free.",
        next=f"{advice}, or begin a new chat: /new" if typed is mention_of else f"{advice}.",
    )
