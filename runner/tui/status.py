"""The status line in words, for any width. Pure."""

from dataclasses import dataclass

from rich.cells import cell_len

from runner.base.loaded import Loaded
from runner.base.text import clean_name
from runner.base.units import duration
from runner.chat.clock import AnswerClock
from runner.chat.turn import Turn, TurnState

GAP = 3


@dataclass(frozen=True, slots=True)
class ChatStatus:
    """What the status line shows. Figures that are 0 and words that are empty are left out.

    `shorter`: the state in ever fewer words. `rate` in tokens per second, `used` and `context` in
    tokens. `memory`: the engine's, against the plan.
    """

    title: str
    state: str
    rate: float = 0.0
    used: int = 0
    context: int = 0
    effort: str = ""
    shorter: tuple[str, ...] = ()
    memory: str = ""


def turn_states(
    turn: Turn, clock: AnswerClock, now: float, *, own: bool = False
) -> tuple[str, ...]:
    """Return what the model is doing, and the same in ever fewer words.

    What is waited for is told with its seconds; a stall with those since anything came. `own`: it
    is our own engine.
    """
    match turn.phase:
        case TurnState.QUEUED:
            return ("waiting",)
        case TurnState.PREFILL:
            return _prefill(clock, now, own=own)
        case TurnState.THINKING | TurnState.ANSWERING:
            word = "thinking" if turn.phase is TurnState.THINKING else "answering"
            if silent := clock.silent_s(now):
                words = f"no token for {duration(silent)}"
                return (f"{word} · {words}", words)
            return (word,)
        case TurnState.CALLING:
            waits = turn.not_run
            name = clean_name(waits[0].name, 40) if waits and waits[0].name else "a tool"
            return (f"running {name}", "running a tool")
        case TurnState.ASKING:
            return ("a tool asks for permission", "permission?")
        case _:
            return ("ready",)


def _prefill(clock: AnswerClock, now: float, *, own: bool) -> tuple[str, ...]:
    waited = duration(clock.waited_s(now))
    if clock.token_at:  # what it writes is neither thought nor answer
        return ("calling a tool",)
    if clock.total:
        percent = f"prefill {clock.done * 100 // clock.total} %"
        tokens = f"prefill {clock.done:,} of {clock.total:,}"
        known = f"{clock.cached:,} {'from the disk' if clock.restored else 'cached'}"
        rate = f"{read:,.0f} tokens/s" if (read := clock.read_rate()) else ""
        ends = f"{duration(left)} left" if (left := clock.left_s(now)) >= 1 else ""
        if silent := clock.silent_s(now):
            what = "progress" if clock.done < clock.total else "token"
            rate, ends = "", f"no {what} for {duration(silent)}"
        forms = (
            (tokens, known if clock.cached else "", rate, ends),
            (tokens, rate, ends),
            (tokens, ends),
            (percent, ends),
            (percent,),
        )
        found = (" · ".join(part for part in form if part) for form in forms)
        return tuple(dict.fromkeys(found))
    if not clock.connected_at:
        return (f"connecting … {waited}",)
    if clock.reading:  # and it does not tell how far it is
        return (f"prefill … {waited}",)
    return _waiting(waited, "engine" if own else "server")


def host_states(seconds: float, loaded: Loaded | None, *, own: bool) -> tuple[str, ...]:
    """Return how far the host is, or how long it is waited for, in ever fewer words.

    `own`: our own engine.
    """
    if loaded is not None:
        return tuple(f"loading {form}" for form in loaded.forms(seconds))
    waited = duration(seconds)
    return (f"loading … {waited}",) if own else _waiting(waited)


def _waiting(waited: str, whom: str = "server") -> tuple[str, ...]:
    return (f"waiting for the {whom} … {waited}", f"waiting … {waited}")


def context_text(used: int, context: int, *, short: bool = False) -> str:
    """Return how full the context is: `1,234 / 32,768 (4 %)`, or `4 %`."""
    if not used:
        return ""
    if not context:
        return "" if short else f"{used:,} tokens"
    percent = min(100, round(used * 100 / context))
    share = f"{percent} %" if percent else "<1 %"
    return share if short else f"{used:,} / {context:,} ({share})"


def thought_text(seconds: float, tokens: int, cap: int = 0) -> str:
    """Return how much was thought: `12 s · 1,024 of 4,096 tokens`.

    `cap`: the limit in tokens while it counts, else 0.
    """
    limit = f" of {cap:,}" if cap else ""
    plural = "" if tokens == 1 and not limit else "s"
    count = f"{tokens:,}{limit} token{plural}" if tokens else ""
    return " · ".join(filter(None, (duration(seconds) if seconds >= 1 else "", count)))


def rate_text(rate: float) -> str:
    """Return a rate: `31.2 tokens/s`."""
    return f"{rate:,.1f} tokens/s" if rate else ""


def status_parts(status: ChatStatus, width: int) -> tuple[str, str, str]:
    """Return title, state and figures so that they fit `width` cells.

    What matters least goes first: the memory, the effort, the long form of the context, the title;
    then the state is told in fewer words.
    """
    rate = rate_text(status.rate)
    long = context_text(status.used, status.context)
    short = context_text(status.used, status.context, short=True)
    effort = f"effort {status.effort}" if status.effort else ""
    alone = ((rate, short), (rate,), ())
    for title, state, figures in (
        (status.title, status.state, (rate, long, effort, status.memory)),
        (status.title, status.state, (rate, long, effort)),
        (status.title, status.state, (rate, long)),
        (status.title, status.state, (rate, short)),
        ("", status.state, (rate, long)),
        *(("", state, each) for state in (status.state, *status.shorter) for each in alone),
    ):
        right = " · ".join(figure for figure in figures if figure)
        if _width(title, state, right) <= width:
            return title, state, right
    return "", (status.state, *status.shorter)[-1][:width], ""


def _width(title: str, state: str, right: str) -> int:
    left = cell_len(f"{title} · {state}" if title else state)
    return left + (GAP + cell_len(right) if right else 0)
