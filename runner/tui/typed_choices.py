"""What is typed to change how a chat answers, read: effort, temperature, thinking. Pure."""

from collections.abc import Sequence
from typing import Final

from runner.base.errors import Refused, UsageError
from runner.base.text import clean_name
from runner.chat.dialect import Dialect
from runner.chat.sessions.choices import HOTTEST
from runner.chat.wire import EFFORTS
from runner.tui.settings import THINKING_DIGITS

DEFAULT: Final = "default"  # what the server or the model's template chooses
NONE: Final = "none"  # no system prompt


def effort_typed(typed: str, now: str | None) -> str:
    """Return the effort that is meant, `DEFAULT` for none; without a word the one after `now`."""
    efforts = (DEFAULT, *EFFORTS)
    chosen = typed.lower() or efforts[(efforts.index(now or DEFAULT) + 1) % len(efforts)]
    if chosen not in efforts:
        raise UsageError(
            f"{typed[:40]!r} is not a reasoning effort.",
            why=f"It can be {', '.join(EFFORTS)} or {DEFAULT}.",
            next="/effort low",
        )
    return chosen


def temperature_typed(typed: str) -> float | None:
    """Return the temperature that is meant, None for the server's own. Raises `UsageError`."""
    word = typed.lower()
    if word == DEFAULT:
        return None
    try:
        value = float(word.replace(",", "."))
    except ValueError:
        value = -1.0
    if not 0 <= value <= HOTTEST:
        raise UsageError(
            f"{typed[:40]!r} is not a temperature.",
            why=f"It is a number from 0 to {HOTTEST:g}; 0 always takes the likeliest.",
            next="/temperature 0.7",
        )
    return value


def temperature_text(chosen: float | None, given: float | None) -> str:
    """Return how the temperature is: of this chat, or else as the command line has `given` it."""
    now = given if chosen is None else chosen
    return f"Temperature: {'the default' if now is None else f'{now:g}'}, in this chat."


def limit_typed(typed: str, dialect: Dialect) -> int | None:
    """Return the limit on thinking that is meant, in tokens; None for none. Raises."""
    word = typed.lower()
    if word == DEFAULT:
        return None
    if not (word.isdecimal() and len(word) <= THINKING_DIGITS):
        raise UsageError(f"{typed[:40]!r} is not a number of tokens.", next="/thinking 4096")
    if not dialect.thinking_cap:
        raise Refused(
            "This server takes no limit on thinking.",
            why=f"It is {dialect.name}.",
            next="/effort low",
        )
    return int(word)


def model_typed(typed: str, names: Sequence[str]) -> str:
    """Return the model that is meant, of those that a server offers. Raises `UsageError`."""
    if typed in names or not names:
        return typed
    near = [each for each in names if typed.casefold() in each.casefold()]
    if len(near) != 1:
        raise UsageError(
            f"The server offers no model {clean_name(typed)!r}.",
            why=f"{len(near)} have it in their name." if near else f"It offers {len(names)}.",
            next="/model lists them",
        )
    return near[0]


def limit_text(cap: int | None) -> str:
    """Return what the limit on thinking is."""
    if cap is None:
        return "The thinking has no limit: /thinking N sets one."
    return f"The thinking ends after {cap:,} tokens, from the next question on."
