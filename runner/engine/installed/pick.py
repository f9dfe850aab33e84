"""Which engine runs a model on a machine, and how the machine looks to it. Pure."""

from collections.abc import Container, Sequence
from typing import Final

from runner.engine.installed.stamp import FEATURES, RESUMING, Kind, Stamp
from runner.engine.installed.store import InstalledEngine
from runner.machine.facts import Backend, Machine, with_backend
from runner.plan.model_spec import ModelSpec

# Which backends can use a machine's accelerator, the best first. Any engine computes on the
# processor; what it cannot use stands idle.
USES: Final = {
    Backend.METAL: (Backend.METAL,),
    Backend.CUDA: (Backend.CUDA, Backend.VULKAN),
    Backend.ROCM: (Backend.ROCM, Backend.VULKAN),
    Backend.VULKAN: (Backend.VULKAN, Backend.ROCM),
    Backend.CPU: (),
}
# Features that a plan leaves out by itself; of the others it can only warn.
PLANNED: Final = {"picture", "mtp", "mtp_picture", *RESUMING}

# Two runs of one engine's self-test on a quiet machine differ by less.
_ALIKE: Final = 1.1


def rank(engine: InstalledEngine, machine: Machine) -> int:
    """Return how well an engine's backend suits a machine: 0 is best."""
    backend = engine.stamp.backend
    uses = (*USES[machine.backend], Backend.CPU)
    return uses.index(backend) if backend in uses else len(uses)


def pick(engines: Sequence[InstalledEngine], current: str, machine: Machine) -> InstalledEngine:
    """Return the engine that `chat` and `serve` take on this machine.

    `engines`: the embedded one first, which needs no canary. The current one, if it passed its
    canary and can run here; else of those that passed the one with the best backend, llama-server
    before llama-cpp-python, which can do less.
    """
    embedded, *others = engines
    able = [e for e in others if e.stamp.passed and rank(e, machine) <= rank(embedded, machine)]
    return min(
        (embedded, *able),
        key=lambda e: (e.name != current, rank(e, machine), e.stamp.kind is Kind.PYTHON),
    )


def better(first: InstalledEngine, second: InstalledEngine) -> tuple[InstalledEngine, str]:
    """Return the better of two engines that were self-tested on one machine, and why, in a line.

    One that passes before one that does not; then the one in which more works; then the one whose
    self-test took less time over what works in both. Within `_ALIKE` of each other the first stays.
    """
    both = (first, second)
    passed = [each for each in both if each.stamp.passed]
    if len(passed) == 1:
        lost = second if passed[0] is first else first
        return passed[0], f"{passed[0].name} is taken: {lost.name} fails its self-test."
    works = [{n for n in FEATURES if each.stamp.features and _works(each, n)} for each in both]
    if len(works[0]) != len(works[1]):
        best, lost, more = (
            (first, second, works[0] - works[1])
            if len(works[0]) > len(works[1])
            else (second, first, works[1] - works[0])
        )
        names = ", ".join(FEATURES[n] for n in FEATURES if n in more)
        return best, f"{best.name} is taken: it passes at {names}, and {lost.name} does not."
    took = [sum(each.stamp.features[n].seconds_s for n in works[0] & works[1]) for each in both]
    times = "its self-test took {:.1f} s, that of {} {:.1f} s"
    if took[1] * _ALIKE < took[0]:
        return second, f"{second.name} is taken: {times.format(took[1], first.name, took[0])}."
    same = "" if took[0] * _ALIKE < took[1] else ", which is about the same"
    return first, f"{first.name} is taken: {times.format(took[0], second.name, took[1])}{same}."


def _works(engine: InstalledEngine, feature: str) -> bool:
    found = engine.stamp.features.get(feature)
    return found is not None and found.result == "pass"


def seen_by(engine: InstalledEngine, machine: Machine) -> Machine:
    """Return the machine as an engine of another backend can use it."""
    backend = engine.stamp.backend
    return with_backend(machine, backend if backend in USES[machine.backend] else Backend.CPU)


def shortfalls(stamp: Stamp, known: Container[str] = ()) -> str:
    """Describe what failed or was missing in an engine's self-test, except what is `known`.

    Empty where all works.
    """
    off = [(FEATURES[n], stamp.features[n].result) for n in stamp.broken if n not in known]
    parts = [
        f"{verb} {', '.join(names)}"
        for verb, result in (("fails at", "fail"), ("lacks", "absent"))
        if (names := [name for name, found in off if found == result])
    ]
    return " and ".join(parts)


def in_words(engine: InstalledEngine, lost: str = "") -> str:
    """Describe an engine in one line, with what does not work in it.

    `lost`: the engine that should be used and cannot be, which is named first.
    """
    stamp = engine.stamp
    before = f"The engine {lost} is missing or cannot be used. " if lost else ""
    state = shortfalls(stamp)
    if not stamp.tested and stamp.kind is not Kind.EMBEDDED:
        state = f"not tested yet: steprun engine test {engine.name}"
    return f"{before}Engine: {engine.name}, {stamp.backend}" + (f"; {state}." if state else ".")


def fails_beyond(engine: InstalledEngine, model_spec: ModelSpec) -> str:
    """Describe what fails in an engine and no plan can avoid; empty where all works."""
    known = PLANNED if model_spec.projector_bytes else {*PLANNED, "two_pictures"}
    missing = shortfalls(engine.stamp, known)
    return f"The engine {engine.name} {missing}." if missing else ""
