"""A machine for people: `steprun machine`."""

from runner.base.units import size
from runner.cli.render.wrap import wrapped
from runner.machine.facts import Machine


def machine_text(machine: Machine) -> str:
    """Return a machine's facts, a row each, and what its owner could change."""
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
