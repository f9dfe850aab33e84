"""How answers look: JSON for programs, plain coloured text for people."""

import json
import sys
from typing import Any, Self

import click

from runner.machine.facts import Machine
from runner.plan.cache import GIB, MIB
from runner.plan.choose import Plan
from runner.plan.ledger import Entry, Item
from runner.wrap import wrapped

BAR_CELLS = 60
# One colour for each kind of memory: what is loaded, what grows with use, what is kept free.
COLOURS = {
    Entry.WEIGHTS: "blue",
    Entry.PROJECTOR: "cyan",
    Entry.MTP: "bright_blue",
    Entry.KV_FULL: "green",
    Entry.KV_SLIDING: "bright_green",
    Entry.CHECKPOINTS: "yellow",
    Entry.PROMPT_CACHE: "bright_yellow",
    Entry.COMPUTE: "magenta",
    Entry.VISION_COMPUTE: "bright_magenta",
    Entry.OVERHEAD: "white",
    Entry.RESERVE: "bright_black",
}


def emit_json(document: dict[str, Any]) -> None:
    """Print one document on stdout."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def size(count: int) -> str:
    """Return a size for people: GiB, or MiB below one."""
    return f"{count / GIB:.2f} GiB" if abs(count) >= GIB else f"{count / MIB:.0f} MiB"


def bar(items: tuple[Item, ...], limit: int) -> str:
    """Return the ledger as a bar; a mark shows the limit where the ledger passes it."""
    whole = max(sum(item.bytes for item in items), limit, 1)
    cells: list[str] = []
    used = 0
    for item in items:
        used += item.bytes
        upto = round(used / whole * BAR_CELLS)
        cells += [click.style("█", fg=COLOURS[item.item])] * (upto - len(cells))
    cells += [click.style("░", fg="bright_black")] * (BAR_CELLS - len(cells))
    if used > limit:
        cells.insert(round(limit / whole * BAR_CELLS), click.style("┃", fg="red", bold=True))
    return "".join(cells)


def plan_text(plan: Plan, argv: tuple[str, ...]) -> str:
    """Return a plan for people: the verdict, the bar with its items, then what and why."""
    c = plan.config
    word, colour = ("fits", "green") if plan.fits else ("does not fit", "red")
    if plan.fits and plan.total_bytes > plan.machine.limit_bytes:
        word, colour = "starts, its weights on the disk,", "yellow"
    verdict = click.style(word, fg=colour, bold=True)
    extras = ["pictures"] * c.projector + ["draft heads"] * c.mtp
    lines = [
        click.style(f"{plan.subject.name} {plan.variant.name}", bold=True)
        + f" {verdict} on {plan.machine.name}",
        f"context {c.context:,}"
        + (f" in each of {c.parallel} slots" if c.parallel > 1 else "")
        + f", {c.kv_type} cache, {' and '.join(extras) or 'text only'}, {plan.machine.backend}",
        "",
        bar(plan.items, plan.machine.limit_bytes),
    ]
    lines += [
        click.style("■", fg=COLOURS[i.item])
        + wrapped(f" {i.item.replace('_', ' '):15}{size(i.bytes):>12}   {i.why}", 32)
        for i in plan.items
    ]
    lines += [
        f"  {'together':15}{size(plan.total_bytes):>12}",
        f"  {'limit':15}{size(plan.machine.limit_bytes):>12}   {plan.machine.limit_source}",
        "",
        *(wrapped(f"- {reason}", 2) for reason in plan.reasons),
    ]
    if plan.fixes:
        lines += ["", "What would help, the cheapest first:"]
        for fix in plan.fixes:
            lines += [wrapped(f"- {fix.what}", 2), f"    {click.style(fix.command, bold=True)}"]
    if argv:
        lines += ["", "launch line: " + " ".join(argv)]
    return "\n".join(lines)


def machine_text(machine: Machine) -> str:
    """Return a machine for people."""
    rows = [
        ("machine", machine.name),
        ("kind", f"{machine.platform} ({machine.os}, {machine.arch}, {machine.cores} cores)"),
        (
            "memory",
            size(machine.memory_bytes)
            + (", shared with the GPU" if machine.unified else "")
            + (
                f"; {size(machine.available_bytes)} available now"
                if machine.available_bytes is not None
                else ""
            ),
        ),
        ("backend", str(machine.backend)),
        ("limit", f"{size(machine.limit_bytes)}: {machine.limit_source}"),
        ("kept free", f"{size(machine.reserve_bytes)}: {machine.reserve_why}"),
    ]
    rows += [
        (
            "device",
            device.name + (f", {size(device.memory_bytes)}" if device.memory_bytes else ""),
        )
        for device in machine.devices
    ]
    rows += [("warning", warning) for warning in machine.warnings]
    rows += [("unknown", ", ".join(machine.unknown))] if machine.unknown else []
    lines = [wrapped(f"{name:10} {value}", 11) for name, value in rows]
    for advice in machine.advice:
        lines += ["", advice.what, f"    {advice.command}"]
        lines += [f"    undo: {advice.undo}"] if advice.undo else []
    return "\n".join(lines)


class Status:
    """One line on stderr that is overwritten; nothing where stderr is not a terminal.

    A context manager: leaving takes the line away.
    """

    def __init__(self) -> None:
        self._on = sys.stderr is not None and sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> Self:
        """Begin without a line."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the line away."""
        self.clear()

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._on:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
