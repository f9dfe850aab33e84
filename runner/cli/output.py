"""How answers look: JSON for programs, plain coloured text for people."""

import json
import shlex
import sys
from typing import Any, Self

import click

from runner.base.units import GIB, MIB
from runner.cli.wrap import columns, wrapped
from runner.machine.facts import Machine
from runner.plan.candidates import ORDER
from runner.plan.choose import Plan
from runner.plan.launch import LaunchSpec
from runner.plan.memory.ledger import Item, LedgerEntry
from runner.speed.estimate import Speed

BAR_CELLS = 60
NARROW = 70  # columns; below, a reason stands on a line of its own
# One colour for each kind of memory: what is loaded, what grows with use, what is kept free.
COLOURS = {
    LedgerEntry.WEIGHTS: "blue",
    LedgerEntry.PROJECTOR: "cyan",
    LedgerEntry.MTP: "bright_blue",
    LedgerEntry.KV_FULL: "green",
    LedgerEntry.KV_SLIDING: "bright_green",
    LedgerEntry.CHECKPOINTS: "yellow",
    LedgerEntry.PROMPT_CACHE: "bright_yellow",
    LedgerEntry.COMPUTE: "magenta",
    LedgerEntry.VISION_COMPUTE: "bright_magenta",
    LedgerEntry.OVERHEAD: "white",
    LedgerEntry.RESERVE: "bright_black",
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
    width = min(BAR_CELLS, columns() - 1)
    cells: list[str] = []
    used = 0
    for item in items:
        used += item.bytes
        upto = round(used / whole * width)
        cells += [click.style("█", fg=COLOURS[item.item])] * (upto - len(cells))
    cells += [click.style("░", fg="bright_black")] * (width - len(cells))
    if used > limit:
        cells.insert(round(limit / whole * width), click.style("┃", fg="red", bold=True))
    return "".join(cells)


def plan_text(plan: Plan, spec: LaunchSpec, speed: Speed | None = None) -> str:
    """Return a plan for people: the verdict, the bars with their items, then what and why."""
    c = plan.config
    word, colour = ("fits", "green") if plan.fits else ("does not fit", "red")
    if plan.paged:
        word, colour = "starts, its weights on the disk,", "yellow"
    verdict = click.style(word, fg=colour, bold=True)
    extras = ["pictures"] * c.projector + ["draft heads"] * c.mtp
    lines = [
        click.style(f"{plan.model_spec.name} {plan.variant.name}", bold=True)
        + f" {verdict} on {plan.machine.name}",
        f"context {c.context:,}"
        + (f" in each of {c.parallel} slots" if c.parallel > 1 else "")
        + f", {c.kv_type} cache, {' and '.join(extras) or 'text only'}, {plan.machine.backend}",
        "",
        *_bars(plan),
    ]
    lines += [
        click.style("■", fg=COLOURS[i.item])
        + wrapped(f" {i.item.replace('_', ' '):15}{size(i.bytes):>12}   {i.why}", 32)
        for i in plan.items
    ]
    lines += [
        f"  {'together':15}{size(plan.total_bytes):>12}",
        wrapped(f"  {'limit':15}{size(plan.limit_bytes):>12}   {plan.limit_source}", 32),
        "",
    ]
    if plan.fits:
        lines += _table(plan)
    else:
        lines += [wrapped(f"- {reason}", 2) for reason in plan.reasons]
    if speed:
        lines += ["", *(wrapped(line, 0) for line in speed_lines(speed))]
        if c.mtp:
            lines.append("Draft heads make writing faster than that; the text decides by how much.")
        if speed.warning:
            lines.append(click.style(wrapped(f"Slow: {speed.warning}", 0), fg="yellow"))
    warnings = [f"! {warning}" for warning in (*plan.warnings, *plan.machine.warnings)]
    if plan.machine.unknown:
        warnings.append(f"? not known: {', '.join(plan.machine.unknown)}")
    if warnings:
        lines += ["", *(click.style(wrapped(text, 2), fg="yellow") for text in warnings)]
    if plan.fixes:
        head = "What the host could give:" if plan.fits else "What would help, the cheapest first:"
        lines += ["", head]
        for fix in plan.fixes:
            lines += [wrapped(f"- {fix.what}", 2), f"    {click.style(fix.command, bold=True)}"]
            lines += [f"    undo: {fix.undo}"] if fix.undo else []
    if spec.argv:
        env = [f"{name}={value}" for name, value in spec.env]
        lines += ["", f"launch line: {shlex.join((*env, *spec.argv))}"]
    return "\n".join(lines)


def _bars(plan: Plan) -> list[str]:
    """Return a bar for each memory, with its name where there are several."""
    held = plan.placement.held
    if len(held) == 1:
        return [bar(plan.items, plan.limit_bytes)]
    lines = []
    for number, part in enumerate(held, 1):
        full = sum(item.bytes for item in part.items)
        name = f"{number}. {part.pool.name}" if number < len(held) else part.pool.name
        lines += [
            f"{name}: {size(full)} of {size(part.pool.limit_bytes)}",
            bar(part.items, part.pool.limit_bytes),
        ]
    return lines


def speed_lines(speed: Speed) -> list[str]:
    """Return how fast it should be, and where that comes from, in sentences."""
    first = f"{speed.decode_tps_empty:.3g}"
    first += f" to {speed.decode_tps_fast:.3g}" if speed.decode_tps_fast else ""
    less = "less than " if speed.decode_full_less else ""
    lines = [
        f"Expect about {first} tokens a second, and {less}{speed.decode_tps_full:.3g} with the "
        "context full."
    ]
    if speed.prefill:
        read = ", ".join(
            f"{r.tokens // 1024}K in {'more than ' * r.more}{duration(r.prefill_s)}"
            for r in speed.prefill
        )
        lines.append(f"It reads prompts of {read}.")
    return [*lines, f"({speed.source})"]


def duration(seconds: float) -> str:
    """Return a time for people: seconds, minutes above two of them, hours above three, days."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 3 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def rate(count: float) -> str:
    """Return bytes a second for people; a slow network's in KiB, so that it is not 0."""
    return f"{count / 1024:.0f} KiB/s" if count < MIB else f"{size(round(count))}/s"


def _table(plan: Plan) -> list[str]:
    """Return what was asked, what is planned, and why."""
    rows = [("", "asked", "planned", "why")]
    rows += [(c.what, c.asked, c.planned, c.why) for c in plan.choices]
    wide = [max(len(row[column]) for row in rows) + 2 for column in range(3)]
    narrow = columns() < NARROW
    lines: list[str] = []
    for *texts, why in rows:
        row = "".join(text.ljust(width) for text, width in zip(texts, wide, strict=True))
        text = f"{row.rstrip()}\n    {why}" if narrow and lines else row + why
        lines.append(wrapped(text, 4 if narrow else sum(wide)))
    lines[0] = click.style(lines[0], dim=True)
    order = f"When memory is short, this gives way, in this order: {', '.join(ORDER)}."
    return [*lines, "", wrapped(order, 0)]


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


class StatusLine:
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
