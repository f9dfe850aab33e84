"""All that is known of a chat at one moment, for `/status`: rows of a name and a text. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runner.base.text import clean
from runner.base.units import GIB, duration, size
from runner.chat.events import Usage
from runner.chat.reading import read_rate
from runner.chat.sessions.choices import ChatChoices
from runner.chat.turn import Turn
from runner.chat.wire import Options
from runner.tui.status import context_text, rate_text

if TYPE_CHECKING:
    from runner.chat.figures import ServerFigures

GAUGE: Final = 20  # cells
FULL, EMPTY = "█", "░"

Group = tuple[str, list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class ChosenSettings:
    """What was chosen: the effort, the tokens of thinking, the temperature, the system prompt."""

    effort: str = ""
    cap: int | None = None
    temperature: float | None = None
    system: str = ""


def memory_text(figures: "ServerFigures | None") -> str:
    """Return the engine's memory against the plan: `memory 87.1 / 96.0 GiB`."""
    if figures is None or not figures.planned or not figures.resident:
        return ""
    if figures.planned < GIB:
        return f"memory {size(figures.resident)} / {size(figures.planned)}"
    return f"memory {figures.resident / GIB:.1f} / {figures.planned / GIB:.1f} GiB"


def gauge(part: int, whole: int, cells: int = GAUGE) -> str:
    """Return a bar that shows a part of something, full where it is more."""
    full = min(cells, round(part * cells / whole)) if whole else 0
    return FULL * full + EMPTY * (cells - full)


def memory_rows(figures: "ServerFigures", *, bar: bool = True) -> list[tuple[str, str]]:
    """Return what the engine holds, what the plan counts, and what is free; `bar`: drawn, too."""
    rows = [("plan", f"{size(figures.planned)} of {size(figures.limit)} that it may take")]
    if figures.resident:
        percent = round(figures.resident * 100 / figures.planned) if figures.planned else 0
        held = f"{size(figures.resident)}, {percent} % of the plan"
        drawn = f" {gauge(figures.resident, figures.planned)}" if bar else ""
        rows.append(("engine", f"{held}{drawn}"))
    if figures.free:
        rows.append(("free", f"{size(figures.free)} on this machine"))
    if figures.gave_up:
        rows.append(("given up", f"{figures.gave_up} (memory was short)"))
    return rows


def answer_rows(turn: Turn) -> list[tuple[str, str]]:
    """Return what the last answer took."""
    usage = turn.usage or Usage()
    rows = []
    if usage.first_token_s:
        rows.append(("first token", f"after {_seconds(usage.first_token_s)}"))
    if usage.prompt_tokens:
        read = max(0, usage.prompt_tokens - usage.cached_tokens)
        rate = f" at {usage.prefill_tps:,.0f} tokens/s" if usage.prefill_tps and read else ""
        rows.append(("read", f"{read:,} of {usage.prompt_tokens:,} tokens{rate}"))
        restored = min(usage.restored_tokens, usage.cached_tokens)
        where = f", {restored:,} of them from the disk" if restored else ""
        seconds = usage.cached_tokens / known if (known := read_rate(usage)) else 0
        saved = f"; {duration(seconds)} saved" if seconds >= 1 else ""
        rows.append(("cached", f"{usage.cached_tokens:,} tokens{where}{saved}"))
    if usage.reread:
        rows.append(("read again", f"{usage.reread}."))
    if turn.thought_tokens:
        plural = "s" if turn.thought_tokens > 1 else ""
        took = f" in {_seconds(turn.thought_s)}" if turn.thought_s >= 1 else ""
        rows.append(("thought", f"{turn.thought_tokens:,} token{plural}{took}"))
    if usage.completion_tokens:
        rate = f" at {rate_text(usage.decode_tps)}" if usage.decode_tps else ""
        rows.append(("written", f"{usage.completion_tokens:,} tokens{rate}"))
    if usage.drafted:
        accepted = min(usage.accepted, usage.drafted)
        percent = round(accepted * 100 / usage.drafted)
        rows.append(("drafts", f"{accepted:,} of {usage.drafted:,} accepted ({percent} %)"))
    return rows


def setting_rows(
    options: Options, chosen: ChatChoices, *, limited: bool = True
) -> list[tuple[str, str]]:
    """Return what was chosen for a chat; `limited`: its server takes a limit on thinking."""
    temperature = options.temperature if chosen.temperature is None else chosen.temperature
    cap = options.thinking_cap if limited else None
    return choice_rows(ChosenSettings(options.effort or "", cap, temperature, chosen.system))


def choice_rows(choices: ChosenSettings) -> list[tuple[str, str]]:
    """Return what was chosen, and what is the server's own."""
    temperature = choices.temperature
    rows = [
        ("effort", choices.effort or "the model's own"),
        ("thinking", "no limit" if choices.cap is None else f"{choices.cap:,} tokens at most"),
        ("temperature", "the server's own" if temperature is None else f"{temperature:g}"),
    ]
    if choices.system:
        words = " ".join(clean(choices.system).split())
        rows.append(("system", words if len(words) <= 200 else f"{words[:199]}…"))
    return rows


def server_rows(
    state: str, figures: "ServerFigures | None", used: int, context: int
) -> list[tuple[str, str]]:
    """Return how the server is."""
    rows = [("state", state)]
    if figures is not None:
        rows.append(("engine", " ".join(filter(None, (figures.engine, figures.quant)))))
        up = f"up {duration(figures.uptime_s)}, engine restarts: {figures.restarts}"
        rows.append(("running", up))
    filled = context_text(used, context) or (f"0 / {context:,}" if context else "")
    return [*rows, *([("context", filled)] if filled else [])]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
