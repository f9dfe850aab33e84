"""Servers for people: what each is, and what it does for whom."""

from typing import Any

import click

from runner.base.text import clean, clean_name
from runner.base.units import duration, size

_COLUMNS = ("prompt", "read", "cached", "written")
_WIDTH = 9  # of a figure: 262,144 tokens take seven
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
    rows = server["slots"]
    if any(row["state"] != "idle" for row in rows):
        titles = "".join(f"{title.upper():>{_WIDTH}}" for title in (*_COLUMNS, "tokens/s"))
        lines.append(click.style(f"  {'CLIENT':16} {'STATE':8}{titles}", dim=True))
        lines += [line for row in rows for line in (_row(row), *_reading(row))]
    return "\n".join(lines)


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
