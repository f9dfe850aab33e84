"""The machine that a plan is made for: derived here, in one pass, and nowhere else.

Four steps, each from the result of the one before. The order matters:

1. **As probed** (`probed`). Drivers and measured tables; what a llama-server on the PATH lists is
   part of a probe. The engine is chosen by this machine, so it comes first.
2. **As the engine lists its devices** (`for_engine`, for a start only: it takes a process). Its
   totals and free figures are those that the engine will allocate from, and step 3 reads them.
3. **As it is now** (for a start only). Other programs hold memory; a plan that is only shown is
   for the idle machine. Before step 4, which takes what main memory has available: the other way
   round, the free memory of the cards would become the limit of the processor.
4. **As the engine's backend computes on it.** An engine without the accelerator's backend has main
   memory alone.

A computer with several accelerators is several machines (`Machine.alternatives`): each takes these
steps by itself, with the engine that suits it, and `plan.weigh` takes the best of their plans.

Only where the model does not fit on that machine: the same without its cards (`without_cards`).
"""

from runner.engine.installed import describe, pick
from runner.engine.installed.store import InstalledEngine
from runner.machine.captures import capture
from runner.machine.facts import Backend, Machine, as_it_is_now, on_processor
from runner.machine.probe import detect
from runner.machine.probes import engine_view
from runner.plan.placement import is_split


def probed(machine_from: str | None = None) -> Machine:
    """Return this machine, or that of a preset's name or a capture's file.

    Raises `UsageError` or `BadFile` for a capture that cannot be read.
    """
    if machine_from is None:
        return detect(capture.Live())
    from runner.machine.captures import presets  # noqa: PLC0415 - only plans for others need them

    return detect(capture.Replay(presets.open_capture(machine_from)))


def for_engine(machine: Machine, engine: InstalledEngine | None, *, to_start: bool) -> Machine:
    """Return a probed machine as an engine can use it.

    `engine`: None where the engine is yet to be made; the machine stays as it is then. `to_start`:
    with no more memory than is available now.
    """
    if to_start:
        machine = as_it_is_now(_as_listed(machine, engine))
    return machine if engine is None else pick.seen_by(engine, machine)


def without_cards(machine: Machine) -> Machine | None:
    """Return the same machine for a plan that uses main memory alone; None where it has no cards.

    The last step, for a model that does not fit otherwise: a card may be too small to help at all.
    """
    return on_processor(machine) if is_split(machine) else None


def _as_listed(machine: Machine, engine: InstalledEngine | None) -> Machine:
    """Return the machine corrected by the device list of the engine itself."""
    if engine is None or engine.stamp.backend is Backend.CPU:
        return machine
    if "--list-devices" not in engine.stamp.flags:
        return machine
    return engine_view.apply(machine, describe.listing(engine.program), f"the {engine.name} engine")
