"""A conversation as a Markdown document. Pure."""

import re
from collections.abc import Sequence

from runner.base.text import clean_name
from runner.base.units import duration
from runner.chat.files.attached import AttachedFile, labels
from runner.chat.sections import Section, sections_of
from runner.chat.steps import StepKind, ToolUse
from runner.chat.tools.shown import use_words
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture

TIMES = "\N{MULTIPLICATION SIGN}"
LEAST_NAME = 4  # characters of a name that are left when it is cut


def price_text(tokens: int, rate: float = 0, *, estimated: bool = False) -> str:
    """Return what a part of a prompt costs: `836 tokens · ~2 s`.

    `rate`: tokens of a prompt that are read in a second, for the time that it takes; 0: unknown.
    `estimated`: the rate was not measured yet.
    """
    if not rate:
        return f"{tokens:,} tokens"
    time = f"~{duration(max(1, tokens / rate))}"
    return f"{tokens:,} tokens · {time}{' (estimate)' if estimated else ''}"


def picture_label(
    number: int,
    picture: Picture,
    *,
    prices: bool,
    rate: float = 0,
    estimated: bool = False,
    width: int = 0,
) -> str:
    """Return the line that stands for a picture; `prices`: with what it costs in a Step prompt.

    `rate`, `estimated`: see `price_text`. `width`: the name is cut, so that the line has no more
    characters; 0: it is not.
    """
    price = f" · {price_text(picture.tokens, rate, estimated=estimated)}" if prices else ""
    name, after = clean_name(picture.name), f" {picture.width}{TIMES}{picture.height}{price}"
    room = width - len(f"[Image #{number}] {after}")
    if width and len(name) > max(room, LEAST_NAME):
        name = f"{name[: max(room, LEAST_NAME) - 1]}…"
    return f"[Image #{number}] {name}{after}"


def picture_labels(pictures: Sequence[Picture], *, prices: bool) -> list[str]:
    """Return the lines that stand for a message's pictures."""
    return [
        picture_label(number, picture, prices=prices) for number, picture in enumerate(pictures, 1)
    ]


def to_markdown(turns: Sequence[Turn], title: str) -> str:
    """Return the conversation as a document: `title`, the model's name, heads its answers.

    The steps of an answer stand in their order. Reasoning and what tools returned are folded away
    in `<details>`; a turn that was stopped, cut off or failed says so.
    """
    from html import escape  # noqa: PLC0415 - not before the first frame: its tables are long

    parts = [f"# {title}"]
    for turn in turns:
        chips = [f"- {label}" for label in picture_labels(turn.pictures, prices=False)]
        parts.append("## You")
        parts += ["\n".join(chips)] if chips else []
        for file, named in zip(filter(_has_text, turn.files), labels(turn.files), strict=True):
            head = f"<details><summary>{escape(named)}</summary>"
            parts.append(f"{head}\n\n{file.text}\n\n</details>")
        parts += [turn.text] if turn.text else []
        parts.append(f"## {title}")
        for section in sections_of(turn.steps):
            parts += _section_markdown(section)
        if turn.phase is TurnState.STOPPED:
            parts.append("*(stopped)*")
        elif turn.phase is TurnState.CUT:
            parts.append("*(cut off)*")
        elif turn.phase is TurnState.FAILED:
            parts.append(f"*(failed: {turn.error or turn.failed})*")
    return "\n\n".join(parts) + "\n"


def _section_markdown(section: Section) -> list[str]:
    if section.kind is StepKind.CALL:
        return [_tool_markdown(use) for use in section.uses]
    text = section.text.strip()
    if section.kind is StepKind.THINKING:
        return [f"<details><summary>Thinking</summary>\n\n{text}\n\n</details>"]
    return [text]


def _has_text(file: AttachedFile) -> bool:
    return bool(file.text)


def _tool_markdown(use: ToolUse) -> str:
    """Return a call and its result: as code, which nothing in them can end."""
    lines = [f"- Tool call: {_code(use_words(use))}"]
    if use.result is None:
        return f"{lines[0]} *(not run)*"
    for picture in use.result.pictures:
        size = f"{picture.width}{TIMES}{picture.height}"
        lines.append(f"  - [Image] {clean_name(picture.name)} {size}")
    text = use.result.text.strip()
    fence = "`" * max(3, 1 + longest_run(text, "`"))
    block = f"{fence}text\n{text}\n{fence}"
    lines.append(f"\n<details><summary>Result</summary>\n\n{block}\n\n</details>")
    return "\n".join(lines)


def _code(text: str) -> str:
    ticks = "`" * (1 + longest_run(text, "`"))
    return f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def longest_run(text: str, character: str) -> int:
    """Return how many times a character stands in a row at most."""
    return max((len(run) for run in re.findall(f"{re.escape(character)}+", text)), default=0)
