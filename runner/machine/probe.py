"""Detects the machine: runs every probe on a reader and returns the best result."""

from collections.abc import Callable
from dataclasses import replace

from runner.base.units import GIB, size
from runner.machine.captures.capture import Reader
from runner.machine.facts import IDLE_SYSTEM_BYTES, Advice, Backend, Machine, Platform
from runner.machine.probes import amd, amd_windows, apple, cards, engine_view, nvidia, wsl
from runner.machine.probes.host import HostFacts, Notes, display_ids, read_host
from runner.machine.probes.read import stdout_of, strip_codes

Probe = Callable[[Reader, HostFacts, Notes], Machine | None]

# A new kind of machine is a new line here. Order decides only between equals.
_MUCH_BYTES = 8 * GIB  # in use beyond what an idle system has: worth a word
PROBES: tuple[Probe, ...] = (apple.probe, nvidia.probe, amd.probe, amd_windows.probe)


def detect(reader: Reader) -> Machine:
    """Return the machine behind a reader; never raises, and names what it could not learn.

    Of several accelerators the one with most room is taken, and the others are its `alternatives`:
    which of them suits a model best only a plan can tell. The CPU is taken only where there is
    none: an accelerator whose memory is unknown is still one. An engine on the PATH is asked what
    it sees of it.
    """
    notes = Notes()
    host = read_host(reader, notes)
    found: list[Machine] = []
    for probe in PROBES:
        own = Notes()
        machine = probe(reader, host, own)
        notes.unknown.extend(own.unknown)
        if machine is None:
            notes.warnings.extend(own.warnings)
            notes.advice.extend(own.advice)
        else:
            others = machine.alternatives
            noted = replace(machine, advice=tuple(own.advice), warnings=tuple(own.warnings))
            found += [replace(noted, alternatives=()), *others]
    wsl.wsl_facts(reader, host, notes)
    cards.note_unplanned(display_ids(reader, host.os) or (), notes)
    if not host.memory_bytes:
        notes.warnings.append("The size of this computer's memory could not be read.")
    ways = [_finished(reader, host, each, notes) for each in found or [host.machine()]]
    main = max(ways, key=_room)
    return replace(main, alternatives=tuple(way for way in ways if way is not main))


def _finished(reader: Reader, host: HostFacts, machine: Machine, notes: Notes) -> Machine:
    """Return one way to use this computer with all that holds for the computer as a whole."""
    if not host.memory_bytes and machine.unified:
        # What graphics may map of a memory of unknown size could be more than there is.
        source = "unknown: the size of this computer's memory could not be read"
        machine = replace(machine, limit_bytes=0, limit_source=source)
        if machine.platform is not Platform.APPLE:  # whose engine knows the working set itself
            machine = replace(machine, ceiling_bytes=0, reserve_bytes=0)
    if machine.backend is not Backend.CPU:
        machine = engine_view.apply(machine, stdout_of(reader, *engine_view.COMMAND))
    warnings, advice = [*machine.warnings], [*machine.advice]
    if host.group is not None and machine.group_bytes is None:
        warnings.append(host.group.warning())
        if not (host.group.whole and machine.platform is Platform.STRIX_HALO and advice):
            proxmox = "-pve" in strip_codes(reader.file("/proc/sys/kernel/osrelease"))
            whole = host.group.whole
            raised = host.group.advice(proxmox=proxmox, wanted=0 if whole else host.memory_bytes)
            if not whole and machine.backend is Backend.CPU:
                raised = replace(raised, limit_after=host.system_bytes)
            elif not whole:
                raised = replace(raised, ram_after=replace(host, group=None).idle_bytes)
            advice.append(raised)
    advice += _to_stop(host, machine)
    if not machine.limit_bytes:
        warnings.append("No memory is known to be free for an engine; see what is unknown.")
    return replace(
        machine,
        advice=(*advice, *notes.advice),
        warnings=(*warnings, *notes.warnings),
        unknown=tuple(dict.fromkeys(notes.unknown)),
    )


def _to_stop(host: HostFacts, machine: Machine) -> list[Advice]:
    """Return the advice to end programs, where a limit is what they leave and they hold much."""
    as_now = machine.limit_bytes == machine.available_bytes and host.os == "linux"
    idle = host.memory_bytes - IDLE_SYSTEM_BYTES
    if not as_now or host.group or idle < machine.limit_bytes + _MUCH_BYTES:
        return []
    if any(each.restart for each in machine.advice):  # no program holds it
        return []
    return [
        Advice(
            "Stop the programs that hold memory; the command lists the largest. About "
            f"{size(idle)} are available then",
            "ps -eo rss,comm --sort=-rss | head",
            limit_after=idle,
        )
    ]


def _room(machine: Machine) -> int:
    return machine.limit_bytes - machine.reserve_bytes
