"""A conversation as a Markdown document. Pure."""

from collections.abc import Sequence
from html import escape

from runner.base.text import clean_name
from runner.base.units import duration
from runner.chat.files.attached import AttachedFile, labels
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture

TIMES = "\N{MULTIPLICATION SIGN}"


def picture_label(number: int, picture: Picture, *, prices: bool, rate: float = 0) -> str:
    """Return the line that stands for a picture; `prices`: with its tokens in a Step prompt.

    `rate`: tokens of a prompt that are read in a second, for the time that it takes; 0: unknown.
    """
    price = f" · {picture.tokens:,} tokens" if prices else ""
    if prices and rate:
        price += f" · ~{duration(max(1, picture.tokens / rate))}"
    size = f"{picture.width}{TIMES}{picture.height}"
    return f"[Image #{number}] {clean_name(picture.name)} {size}{price}"


def picture_labels(pictures: Sequence[Picture], *, prices: bool, rate: float = 0) -> list[str]:
    """Return the lines that stand for a message's pictures."""
    return [
        picture_label(number, picture, prices=prices, rate=rate)
        for number, picture in enumerate(pictures, 1)
    ]


def to_markdown(turns: Sequence[Turn], title: str) -> str:
    """Return the conversation as a document: `title`, the model's name, heads its answers.

    Reasoning is folded away in `<details>`; a turn that was stopped, cut off or failed says so.
    """
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
        if turn.reasoning.strip():
            parts.append(
                f"<details><summary>Thinking</summary>\n\n{turn.reasoning.strip()}\n\n</details>"
            )
        if turn.answered:
            parts.append(turn.answer.strip())
        if turn.phase is TurnState.STOPPED:
            parts.append("*(stopped)*")
        elif turn.phase is TurnState.CUT:
            parts.append("*(cut off)*")
        elif turn.phase is TurnState.FAILED:
            parts.append(f"*(failed: {turn.error or turn.failed})*")
    return "\n\n".join(parts) + "\n"


def _has_text(file: AttachedFile) -> bool:
    return bool(file.text)
