"""Servers for people: what each is, and what it does for whom."""

import textwrap
from datetime import datetime
from typing import Any

import click

from runner.base.text import clean, clean_name
from runner.base.units import duration, size
from runner.cli.render.wrap import wrapped

_COLUMNS = ("prompt", "read", "cached", "written")
_LONGEST = 600  # characters of a line about memory
_WIDTH = 9  # of a figure: 262,144 tokens take seven
_NOTICES = 3  # shown: the latest
_COLOURS = {"busy": "cyan", "ready": "green", "loading": "yellow", "restarting": "red"}
_SAYS = {"asleep": "asleep: loads when asked"}


def server_text(server: dict[str, Any]) -> str:
    """Return a server as `steprun ps --json` has it, within 80 columns."""
    state = str(server["state"])
    head = f"{server['url']}  {server['model']} {server['quant']}".rstrip()
    percent = server.get("loaded_percent")
    shown = f"{state} {percent} %" if state == "loading" and percent is not None else state
    shown = _SAYS.get(state, shown)
    lines = [f"{click.style(head, bold=True)}  {click.style(shown, fg=_COLOURS.get(state))}"]
    whose = "" if server.get("command", "serve") == "serve" else f", of steprun {server['command']}"
    lines.append(f"  engine {server['engine']}{whose}, {server['context']:,} tokens of context")
    facts = [f"{size(server['memory_bytes'])} of {size(server['limit_bytes'])}"]
    if server.get("uptime_s"):
        facts.append(f"up {duration(server['uptime_s'])}")
    if server.get("restarts"):
        facts.append(f"engine restarts: {server['restarts']}")
    if server.get("saved_s"):
        facts.append(f"{duration(server['saved_s'])} of reading saved")
    if server["waiting"]:
        facts.append(f"{server['waiting']} waiting")
    lines.append(f"  {', '.join(facts)}")
    lines += _memory(server)
    rows = server["slots"]
    if any(row["state"] != "idle" for row in rows):
        titles = "".join(f"{title.upper():>{_WIDTH}}" for title in (*_COLUMNS, "tokens/s"))
        lines.append(click.style(f"  {'CLIENT':16} {'STATE':8}{titles}", dim=True))
        lines += [line for row in rows for line in (_row(row), *_reading(row))]
    return "\n".join((*lines, *_troubles(server)))


def _troubles(server: dict[str, Any]) -> list[str]:
    """Return what slows the machine down, and the latest that went wrong, a paragraph each."""
    share = server.get("rate_share")
    slow = isinstance(share, int | float)
    texts = [f"  decode is at {share:.0%} of the rate that it had"] if slow else []
    texts += [f"  {clean(str(each))[:300]}" for each in server.get("health") or ()]
    for notice in (server.get("notices") or ())[-_NOTICES:]:
        when = str(notice.get("time", ""))[11:16]
        texts.append(f"  {when} UTC: {clean(str(notice.get('what', '')))[:400]}")
    return [click.style(wrapped(each, 4), fg="yellow") for each in texts]


def _memory(server: dict[str, Any]) -> list[str]:
    """Return what was given up for want of memory, and what is waited for."""
    lines = []
    if isinstance(lowered := server.get("lowered"), dict):
        gave_up = lowered.get("gave_up")
        since = lowered.get("since")
        lines.append(f"memory was short{_at(since)}; given up for now:")
        lines += [f"  {each}" for each in gave_up] if isinstance(gave_up, list) else []
        lines += [str(because)] if (because := lowered.get("because")) else []
        of_a_chat = server.get("command", "serve") != "serve"
        port = f" {str(server['url']).rpartition(':')[2]}" if of_a_chat else ""
        lines.append(f"to have it back when there is memory: steprun climb{port}")
    if waits := server.get("waits_for"):
        lines.append(f"the engine waits for {waits}")
    found = (_folded(line) for line in lines)
    return [click.style(f"  {row}", fg="yellow") for rows in found for row in rows]


def _folded(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    text = clean(line.strip())[:_LONGEST]
    return textwrap.wrap(text, 76, initial_indent=indent, subsequent_indent=f"{indent}  ")


def _at(since: object) -> str:
    """Return the local time of a moment of the API, to be put behind a word."""
    try:
        when = datetime.fromisoformat(str(since)).astimezone()
    except ValueError:
        return ""
    today = when.date() == datetime.now(when.tzinfo).date()
    return f" at {when:%H:%M}" if today else f" on {when:%Y-%m-%d at %H:%M}"


def _row(row: dict[str, Any]) -> str:
    if row["state"] == "idle":
        return click.style(f"  {'-':16} idle", dim=True)
    figures = "".join(f"{_figure(row[f'{name}_tokens'])}" for name in _COLUMNS)
    rate = row["tokens_per_s"]
    shown = "" if rate is None else f"{rate:,.1f}"
    client = clean_name(row["client"] or "unnamed", 16)
    return f"  {client:16} {row['state']:8}{figures}{shown:>{_WIDTH}}".rstrip()


def _reading(row: dict[str, Any]) -> list[str]:
    """Return what is to say of the reading of a prompt, below its row."""
    lines = []
    if restored := row.get("restored_tokens"):
        lines.append(f"{restored:,} tokens from the disk")
    if because := row.get("reread_because"):
        lines.append(f"read again: {clean(str(because))[:200]}")
    return [click.style(f"    {line}", dim=True) for line in lines]


def _figure(count: int | None) -> str:
    return f"{'' if count is None else f'{count:,}':>{_WIDTH}}"
