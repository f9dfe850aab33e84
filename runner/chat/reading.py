"""How a prompt was read, in words: what was read, what was not, and why not. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from runner.base.text import clean_name
from runner.base.units import duration
from runner.chat.events import Usage
from runner.chat.untrusted import number
from runner.net import headers as net_headers

# What a server of steprun says before an answer begins; others have no such headers.
RESTORED: Final = "x-steprun-restored"  # tokens of the prompt that are restored from the disk
# Tokens that were read for this answer, but ahead of the rest: the engine counts them as cached.
AHEAD: Final = "x-steprun-ahead"
REREAD: Final = "x-steprun-reread"  # why a prompt that an earlier one had is read again
RATE: Final = "x-steprun-read-rate"  # tokens per second at which this machine reads prompts
_WORDS: Final = 200  # characters of a reason
_LEAST: Final = 256  # tokens; fewer do not fill a batch, and their rate says little


def with_headers(usage: Usage, headers: Mapping[str, str]) -> Usage:
    """Return what an answer took with what its headers say of the reading. They are not trusted."""
    try:
        rate = number(float(headers.get(RATE, "0")))
    except ValueError:
        rate = 0.0
    return replace(
        usage,
        cached_tokens=max(0, usage.cached_tokens - (net_headers.number(headers, AHEAD) or 0)),
        restored_tokens=net_headers.number(headers, RESTORED) or 0,
        reread=clean_name(why, _WORDS) if (why := headers.get(REREAD, "").strip()) else "",
        read_tps=rate,
    )


def read_rate(usage: Usage | None) -> float:
    """Return how many tokens of a prompt are read in a second, 0 where this says nothing."""
    if usage is None:
        return 0.0
    read = usage.prompt_tokens - usage.cached_tokens
    return usage.read_tps or (usage.prefill_tps if read >= _LEAST else 0.0)


def reading_text(usage: Usage) -> str:
    """Return how an answer was read and written, a line for each thing to say.

    Such as: `Read 43 of 6,251 tokens, 6,208 from the disk: 12 s saved.` and `First token after
    0.4 s; wrote 312 tokens at 31.2 tokens/s; 45 of 63 drafts accepted.`
    """
    read = max(0, usage.prompt_tokens - usage.cached_tokens)
    parts = []
    if usage.cached_tokens:
        restored = min(usage.restored_tokens, usage.cached_tokens)
        where = "from the disk" if restored else "from the cache"
        rate = read_rate(usage)
        seconds = usage.cached_tokens / rate if rate else 0
        saved = f": {duration(seconds)} saved" if seconds >= 1 else ""
        parts.append(
            f"Read {read:,} of {usage.prompt_tokens:,} tokens, "
            f"{usage.cached_tokens:,} {where}{saved}."
        )
    if usage.reread and read >= _LEAST:
        parts.append(f"Read again: {usage.reread}.")
    if usage.first_token_s:
        parts.append(_written(usage))
    return "\n".join(parts)


def _written(usage: Usage) -> str:
    first = usage.first_token_s
    parts = [f"First token after {f'{first:.1f} s' if first < 10 else duration(first)}"]
    if usage.completion_tokens:
        rate = f" at {usage.decode_tps:,.1f} tokens/s" if usage.decode_tps else ""
        parts.append(f"wrote {usage.completion_tokens:,} tokens{rate}")
    if usage.drafted:
        parts.append(f"{min(usage.accepted, usage.drafted):,} of {usage.drafted:,} drafts accepted")
    return f"{'; '.join(parts)}."
