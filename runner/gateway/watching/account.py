"""What one request took: a line of the request log, from the engine's own account of it. Pure.

The engine writes `usage` and `timings` at the end of an answer; Anthropic's streams have the tokens
of the prompt in their first event instead. Nothing else of an answer is looked at.
"""

import json
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from runner.gateway.activity import Entry
from runner.gateway.prompts.earlier import LEAST_SHARE, LEAST_TOKENS

GONE: Final = "it was no longer in the cache"
_DECODER: Final = json.JSONDecoder()


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One request that is over. None where a figure is not known, or there is none.

    `time`: of its arrival, ISO 8601 in UTC. `status`: of HTTP; 499 where the client went away.
    `prompt_tokens`: all of them, of which `cached_tokens` were in the engine's cache and
    `restored_tokens` came from a disk; `saved_s`: what reading the cached ones would have taken, by
    the rate measured here. `waited_s`: for its turn. `read_s`: until the prompt was
    read. `first_token_s`: from its arrival to the first token of a stream. `tokens`: written, of
    which `accepted` of `drafted` came from draft heads. `reread_because`: why much of a prompt was
    read again that an earlier one had had. `ended_because`: why the gateway has ended the answer.
    """

    time: str
    client: str
    api: str
    path: str
    status: int
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    restored_tokens: int | None = None
    waited_s: float | None = None
    read_s: float | None = None
    first_token_s: float | None = None
    total_s: float = 0.0
    tokens: int | None = None
    tokens_per_s: float | None = None
    drafted: int | None = None
    accepted: int | None = None
    reread_because: str | None = None
    saved_s: float | None = None
    ended_because: str | None = None


def account_of(entry: Entry, now: float) -> Account:
    """Return the account of a request that is over. `now`: `time.time` at its end."""
    arrived = now - (entry.ended - entry.arrived)
    common: dict[str, Any] = {
        "time": datetime.fromtimestamp(arrived, UTC).isoformat(timespec="milliseconds"),
        "client": entry.client,
        "api": str(entry.api),
        "path": entry.path,
        "status": entry.status,
        "total_s": _rounded(entry.ended - entry.arrived),
    }
    if entry.began:
        common["waited_s"] = _rounded(entry.began - entry.arrived - entry.ahead_s)
    if entry.trouble:
        common["ended_because"] = entry.trouble
    elif not (entry.generates and entry.began and entry.status in {200, 499}):
        return Account(**common)
    if entry.stream and entry.first_byte:
        common["first_token_s"] = _rounded(entry.first_byte - entry.arrived)
    return Account(**common, **_figures(entry))


def _figures(entry: Entry) -> dict[str, Any]:
    usage = last_object(bytes(entry.tail), b'"usage":')
    timings = last_object(bytes(entry.tail), b'"timings":')
    began = {}
    if b"message_start" in entry.head:
        began = object_at(bytes(entry.head), entry.head.find(b'"usage":'))
    read, cached = _count(timings, "prompt_n"), _count(timings, "cache_n")
    if read is not None and cached is not None:
        prompt: int | None = read + cached
    else:
        prompt, cached = _prompt(usage)
        if prompt is None:
            prompt, cached = _prompt(began)
    if cached is not None:
        cached = max(0, cached - entry.ahead)
    tokens = _first(timings, "predicted_n", other=_first(usage, "completion_tokens"))
    tokens = tokens if tokens is not None else _first(usage, "output_tokens")
    return {
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "restored_tokens": None if prompt is None else min(entry.restored, cached or 0),
        "reread_because": _reread(entry, prompt, cached),
        "read_s": _read_s(entry, timings),
        "tokens": tokens,
        "tokens_per_s": _rate(entry, timings, tokens),
        "drafted": _count(timings, "draft_n") or 0 if timings else None,
        "accepted": _count(timings, "draft_n_accepted") or 0 if timings else None,
    }


def _reread(entry: Entry, prompt: int | None, cached: int | None) -> str | None:
    """Return why much of a prompt was read again, None where it was not.

    What an earlier prompt had and the cache had not was read again. It is worth a word where it is
    a good part of the prompt: all of them have some tokens that are read each time.
    """
    if prompt is None or cached is None:
        return None
    again = entry.known * prompt - cached
    if again < max(LEAST_TOKENS, LEAST_SHARE * prompt):
        return None
    return entry.reread or GONE


def _prompt(usage: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return the tokens of a prompt, and how many of them were cached, in any API's words."""
    for name in ("prompt_tokens", "input_tokens"):
        total = _count(usage, name)
        if total is None:
            continue
        if (apart := _count(usage, "cache_read_input_tokens")) is not None:  # Anthropic's
            return total + apart, apart
        details = usage.get(f"{name}_details")
        return total, _count(details, "cached_tokens") if isinstance(details, dict) else None
    return None, None


def _read_s(entry: Entry, timings: dict[str, Any]) -> float | None:
    if isinstance(ms := timings.get("prompt_ms"), int | float):
        return _rounded(ms / 1000 + entry.ahead_s)
    if entry.stream and entry.first_byte:
        return _rounded(entry.first_byte - entry.began)
    return None


def _rate(entry: Entry, timings: dict[str, Any], tokens: int | None) -> float | None:
    if isinstance(rate := timings.get("predicted_per_second"), int | float):
        return round(rate, 2)
    seconds = entry.ended - entry.first_byte
    if tokens is None or tokens < 2 or not (entry.stream and entry.first_byte) or seconds <= 0:
        return None
    return round((tokens - 1) / seconds, 2)  # the first one ended the reading


def last_object(data: bytes, name: bytes) -> dict[str, Any]:
    """Return the last object of a name in some JSON text; empty where there is none.

    What stands in a string cannot be mistaken for it: its quotation marks are escaped there.
    """
    return object_at(data, data.rfind(name))


def object_at(data: bytes, at: int) -> dict[str, Any]:
    """Return the object whose name is at a place in some JSON text; empty where there is none."""
    _, _, rest = data[max(0, at) :].partition(b":")
    if at < 0:
        return {}
    text = rest.decode("utf-8", "replace").lstrip()
    try:
        value, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _count(values: dict[str, Any], name: str) -> int | None:
    value = values.get(name)
    return value if type(value) is int and 0 <= value < 1 << 40 else None


def _first(values: dict[str, Any], name: str, *, other: int | None = None) -> int | None:
    value = _count(values, name)
    return other if value is None else value


def _rounded(seconds: float) -> float:
    return round(max(0.0, seconds), 4)
