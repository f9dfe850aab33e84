"""The status line in words, for any width. Pure."""

from dataclasses import dataclass

from rich.cells import cell_len

from runner.chat.turn import Turn, TurnState

GAP = 3


@dataclass(frozen=True, slots=True)
class ChatStatus:
    """What the status line shows. Figures that are 0 and words that are empty are left out.

    `rate` in tokens per second, `used` and `context` in tokens.
    """

    title: str
    state: str
    rate: float = 0.0
    used: int = 0
    context: int = 0
    effort: str = ""


def turn_state(turn: Turn) -> str:
    """Return what the model is doing, in a few words."""
    match turn.phase:
        case TurnState.QUEUED:
            return "waiting"
        case TurnState.PREFILL:
            if turn.prompt_tokens:
                return f"prefill {min(100, turn.prefilled * 100 // turn.prompt_tokens)} %"
            return "prefill"
        case TurnState.THINKING:
            return "thinking"
        case TurnState.ANSWERING:
            return "answering"
        case _:
            return "ready"


def context_text(used: int, context: int, *, short: bool = False) -> str:
    """Return how full the context is: `1,234 / 32,768 (4 %)`, or `4 %`."""
    if not used:
        return ""
    if not context:
        return "" if short else f"{used:,} tokens"
    percent = min(100, round(used * 100 / context))
    share = f"{percent} %" if percent else "<1 %"
    return share if short else f"{used:,} / {context:,} ({share})"


def rate_text(rate: float) -> str:
    """Return a rate: `31.2 tokens/s`."""
    return f"{rate:.1f} tokens/s" if rate else ""


def status_parts(status: ChatStatus, width: int) -> tuple[str, str, str]:
    """Return title, state and figures so that they fit `width` cells.

    What matters least goes first: the effort, the long form of the context, the title.
    """
    rate = rate_text(status.rate)
    long = context_text(status.used, status.context)
    short = context_text(status.used, status.context, short=True)
    effort = f"effort {status.effort}" if status.effort else ""
    for title, figures in (
        (status.title, (rate, long, effort)),
        (status.title, (rate, long)),
        (status.title, (rate, short)),
        ("", (rate, long)),
        ("", (rate, short)),
        ("", (rate,)),
        ("", ()),
    ):
        right = " · ".join(figure for figure in figures if figure)
        if _width(title, status.state, right) <= width:
            return title, status.state, right
    return "", status.state[:width], ""


def _width(title: str, state: str, right: str) -> int:
    left = cell_len(f"{title} · {state}" if title else state)
    return left + (GAP + cell_len(right) if right else 0)
