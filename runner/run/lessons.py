"""What running has shown beyond the ledger: recalled for a plan, and set down for a start."""

import platform
from dataclasses import replace

from runner.base.units import GIB
from runner.engine.installed.store import InstalledEngine
from runner.engine.process import lesson_book
from runner.engine.process.memory_probe import Breakdown, counted_bytes
from runner.machine.facts import Backend, Machine
from runner.machine.probes.driver import driver
from runner.plan.choose import Plan
from runner.plan.launch import Expected, LaunchSpec
from runner.plan.memory.ledger import LedgerEntry
from runner.plan.memory.lessons import Lesson, lesson
from runner.run.memory_check import build_of


def recall(machine: Machine, engine: InstalledEngine | None) -> Lesson | None:
    """Return what is to be counted beside the ledger of any plan for a machine and an engine."""
    if engine is None:
        return None
    misses = lesson_book.recall(_key(machine, engine))
    return lesson(misses, machine.memory_bytes) if misses else None


def expected(plan: Plan, engine: InstalledEngine) -> Expected:
    """Return what a run of a plan is compared with."""
    beside = {LedgerEntry.RESERVE, LedgerEntry.LESSON}
    items, drives = plan.placement.held[-1].items, plan.machine.backend is not Backend.CPU
    counted = sum(item.bytes for item in items if item.item not in beside)
    return Expected(_key(plan.machine, engine), counted, plan.model_spec.name, driver=drives)


def with_account(spec: LaunchSpec, plan: Plan, account: Breakdown | None) -> LaunchSpec:
    """Return a launch that is also compared with the engine's own account of it.

    Not beside cards: they are compared one by one, before the start.
    """
    if account is None or spec.expected is None or plan.placement.cards:
        return spec
    beside = sum(item.bytes for item in plan.items) - counted_bytes(plan.items)
    beside -= sum(
        item.bytes for item in plan.items if item.item in {LedgerEntry.RESERVE, LedgerEntry.LESSON}
    )
    whole = account.total + beside
    return replace(spec, expected=replace(spec.expected, account=whole))


def notice() -> str:
    """Return a sentence where what was kept cannot be read, empty else."""
    if not lesson_book.damaged():
        return ""
    return (
        f"What earlier runs have shown of memory cannot be read and is ignored: "
        f"{lesson_book.path()} is damaged. To start it again: steprun plan --forget"
    )


def forget() -> str:
    """Forget it all, and say so. Raises `Refused` where the file cannot be written."""
    runs = lesson_book.forget()
    if not runs:
        return "Nothing was kept of earlier runs."
    return f"Forgotten: what {runs} run{'s' * (runs > 1)} had shown of memory."


def _key(machine: Machine, engine: InstalledEngine) -> str:
    memory = round(machine.memory_bytes / GIB)  # what the kernel keeps of it changes with its build
    place = f"{machine.name}, {memory} GiB, {machine.backend}"
    return " | ".join((place, build_of(engine), driver(machine.backend, platform.release())))
