"""A plan for people: the verdict, the memory as bars and items, what was chosen and why."""

from collections.abc import Sequence

import click

from runner.base.shell import as_typed, shell_line
from runner.base.units import size
from runner.cli.render.wrap import columns, wrapped
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
    LedgerEntry.KV_STATE: "bright_green",
    LedgerEntry.CHECKPOINTS: "yellow",
    LedgerEntry.PROMPT_CACHE: "bright_yellow",
    LedgerEntry.COMPUTE: "magenta",
    LedgerEntry.VISION_COMPUTE: "bright_magenta",
    LedgerEntry.OVERHEAD: "white",
    LedgerEntry.LESSON: "red",
    LedgerEntry.RESERVE: "bright_black",
}


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


def plan_text(
    plan: Plan, spec: LaunchSpec, speed: Speed | None = None, prompts: Sequence[str] = ()
) -> str:
    """Return a plan; `spec`: the launch line, empty for a refusal.

    `prompts`: whether those that were read are kept, and where.
    """
    lines = [*_verdict(plan), "", *_bars(plan), *_ledger(plan), ""]
    if plan.fits:
        lines += _table(plan)
    else:
        lines += [wrapped(f"- {reason}", 2) for reason in plan.reasons]
    if speed:
        lines += ["", *(wrapped(line, 0) for line in speed_lines(speed))]
        if plan.config.mtp:
            lines.append(wrapped(drafts_line(speed), 0))
        if speed.warning:
            lines.append(click.style(wrapped(f"Slow: {speed.warning}", 0), fg="yellow"))
    if kept := " ".join(filter(None, prompts)):
        lines += ["", wrapped(kept, 0)]
    lines += [*_warnings(plan), *_fixes(plan)]
    if spec.argv:
        lines += ["", f"launch line: {shell_line(spec.argv, spec.env)}"]
    return "\n".join(lines)


def _verdict(plan: Plan) -> list[str]:
    c = plan.config
    word, colour = ("fits", "green") if plan.fits else ("does not fit", "red")
    if plan.paged:
        word, colour = "runs with weights paged from the disk", "yellow"
    if plan.fits and plan.model_spec.geometry.unverified:
        word, colour = f"{word}, not verified,", "yellow"
    extras = ["image input"] * c.projector + ["draft heads (MTP)"] * c.mtp
    return [
        click.style(f"{plan.model_spec.name} {plan.variant.name}", bold=True)
        + f" {click.style(word, fg=colour, bold=True)} on {plan.machine.name}",
        f"context {c.context:,}"
        + (f" {'shared by' if c.shared else 'in each of'} {c.parallel} slots" * (c.parallel > 1))
        + f", {c.kv_type} KV cache, {' and '.join(extras) or 'text only'}, {plan.machine.backend}",
    ]


def _ledger(plan: Plan) -> list[str]:
    return [
        *(
            click.style("■", fg=COLOURS[i.item])
            + wrapped(f" {i.item.replace('_', ' '):15}{size(i.bytes):>12}   {i.why}", 32)
            for i in plan.items
        ),
        f"  {'total':15}{size(plan.total_bytes):>12}",
        wrapped(f"  {'limit':15}{size(plan.limit_bytes):>12}   {plan.limit_source}", 32),
    ]


def _warnings(plan: Plan) -> list[str]:
    lines = [f"! {warning}" for warning in (*plan.warnings, *plan.machine.warnings)]
    if plan.machine.unknown:
        lines.append(f"? unknown: {', '.join(plan.machine.unknown)}")
    return ["", *(click.style(wrapped(text, 2), fg="yellow") for text in lines)] if lines else []


def _fixes(plan: Plan) -> list[str]:
    if not plan.fixes:
        return []
    head = "What the host could change:" if plan.fits else "What would help, cheapest first:"
    lines = ["", head]
    for fix in plan.fixes:
        lines += [
            wrapped(f"- {fix.what}", 2),
            f"    {click.style(as_typed(fix.command), bold=True)}",
        ]
        lines += [f"    undo: {fix.undo}"] if fix.undo else []
    return lines


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
    """Return how fast it should be, where that comes from and why it is a range, in sentences."""
    less = "less than " if speed.decode_full_less else ""
    full = speed.full
    upto = f"{full.low:.3g}" if less else full.text()
    line = f"Decode: about {speed.empty.text()} tokens/s ({less}{upto} with a full context)."
    if speed.prefill:
        times = ", ".join(f"{r.tokens // 1024}K tokens in {r.text}" for r in speed.prefill)
        line += f" Prefill: {times}."
    else:
        line += " Prefill: unknown."
    return [line, f"({speed.source})", *speed.notes]


def drafts_line(speed: Speed) -> str:
    """Return what draft heads add to decoding, in a sentence."""
    drafts = speed.decode_tps_drafts
    if drafts is None:
        return "Draft heads (MTP) usually decode faster than that; by how much is unknown here."
    return (
        f"With draft heads (MTP) about {drafts.text()} tokens/s at an empty context: owners of "
        "this machine report 16 to 52 % more. With much context they may decode slower."
    )


def _table(plan: Plan) -> list[str]:
    """Return what was requested, what is planned, and why."""
    rows = [("", "requested", "planned", "why")]
    rows += [(c.what, c.asked, c.planned, c.why) for c in plan.choices]
    wide = [max(len(row[column]) for row in rows) + 2 for column in range(3)]
    narrow = columns() < NARROW
    lines: list[str] = []
    for *texts, why in rows:
        row = "".join(text.ljust(width) for text, width in zip(texts, wide, strict=True))
        text = f"{row.rstrip()}\n    {why}" if narrow and lines else row + why
        lines.append(wrapped(text, 4 if narrow else sum(wide)))
    lines[0] = click.style(lines[0], dim=True)
    order = f"When memory is tight, these are reduced first: {', '.join(ORDER)}."
    return [*lines, "", wrapped(order, 0)]
