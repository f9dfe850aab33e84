"""Detects the machine: runs every probe on a reader and returns the best result."""

from collections.abc import Callable
from dataclasses import replace

from runner.machine.captures.capture import Reader
from runner.machine.facts import Backend, Machine, Platform
from runner.machine.probes import amd, amd_windows, apple, cards, engine_view, nvidia, wsl
from runner.machine.probes.host import HostFacts, Notes, display_ids, read_host
from runner.machine.probes.read import stdout_of

Probe = Callable[[Reader, HostFacts, Notes], Machine | None]

# A new kind of machine is a new line here. Order decides only between equals.
PROBES: tuple[Probe, ...] = (apple.probe, nvidia.probe, amd.probe, amd_windows.probe)


def detect(reader: Reader) -> Machine:
    """Return the machine behind a reader; never raises, and names what it could not learn.

    Of several accelerators the one with most room is taken. The CPU is taken only where there is
    none: an accelerator whose memory is unknown is still one. An engine on the PATH is asked what
    it sees of it.
    """
    notes = Notes()
    host = read_host(reader, notes)
    found: list[tuple[Machine, Notes]] = []
    for probe in PROBES:
        own = Notes()
        machine = probe(reader, host, own)
        notes.unknown.extend(own.unknown)
        if machine is None:
            notes.warnings.extend(own.warnings)
            notes.advice.extend(own.advice)
        else:
            found.append((machine, own))
    machine, own = max(found, key=_room, default=(host.machine(), Notes()))
    wsl.wsl_facts(reader, host, notes)
    cards.note_unplanned(display_ids(reader, host.os) or (), notes)
    machine = replace(machine, advice=tuple(own.advice), warnings=tuple(own.warnings))
    if not host.memory_bytes and machine.unified:
        # What graphics may map of a memory of unknown size could be more than there is.
        source = "unknown: the size of this computer's memory could not be read"
        machine = replace(machine, limit_bytes=0, limit_source=source)
        if machine.platform is not Platform.APPLE:  # whose engine knows the working set itself
            machine = replace(machine, ceiling_bytes=0, reserve_bytes=0)
    if machine.backend is not Backend.CPU:
        machine = engine_view.apply(machine, stdout_of(reader, *engine_view.COMMAND))
    if not host.memory_bytes:
        notes.warnings.append("The size of this computer's memory could not be read.")
    if not machine.limit_bytes:
        notes.warnings.append("No memory is known to be free for an engine; see what is unknown.")
    return replace(
        machine,
        advice=(*machine.advice, *notes.advice),
        warnings=(*machine.warnings, *notes.warnings),
        unknown=tuple(dict.fromkeys(notes.unknown)),
    )


def _room(found: tuple[Machine, Notes]) -> int:
    return found[0].limit_bytes - found[0].reserve_bytes
