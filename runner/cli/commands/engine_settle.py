"""Self-tests an engine, shows the results, and decides which engine chat and serve use."""

from dataclasses import replace
from pathlib import Path

import click

from runner.base.errors import Exit, Refused, SteprunError
from runner.base.units import size
from runner.cli.render.wrap import say, wrapped
from runner.engine.installed import store
from runner.engine.installed.pick import better, pick, rank, shortfalls
from runner.engine.installed.stamp import FEATURES, Feature, Kind, Stamp
from runner.engine.installed.store import InstalledEngine
from runner.machine.facts import Machine

MARKS = {"pass": ("pass", "green"), "fail": ("FAIL", "red"), "absent": ("none", "yellow")}


def active_engine(here: list[InstalledEngine], machine: Machine) -> str:
    """Return the name of the engine that chat and serve take."""
    return pick(here, store.current().name, machine).name


def result_of(stamp: Stamp) -> str:
    """Describe the result of an engine's self-test, or why there is none."""
    if is_gone(stamp):
        return f"its program is gone: steprun engine rm {stamp.name}"
    if not stamp.tested:
        when = "since its files changed" if stamp.content else "yet"
        return f"not run {when}: steprun engine test {stamp.name}"
    if stamp.blind:
        no_device = f"it lists no {stamp.backend} device, so it would compute on the CPU"
        return f"{no_device}. {stamp.no_device.rstrip('.')}" if stamp.no_device else no_device
    safe = f", with {' '.join(stamp.safe_flags)}" if stamp.safe_flags else ""
    verdict = ("passed" if stamp.passed else "failed") + safe
    return "; ".join(filter(None, (verdict, shortfalls(stamp))))


def is_gone(stamp: Stamp) -> bool:
    """Whether an adopted engine was removed or moved."""
    return stamp.adopted and not Path(stamp.program[0]).is_file()


def gone_error(engine: InstalledEngine) -> Refused:
    """Return that an adopted engine was removed or moved, and what to type."""
    return Refused(
        f"The program of {engine.name} is gone.",
        why=f"{engine.program[0]} was removed or moved.",
        next=f"steprun engine rm {engine.name}",
    )


def settle(made: InstalledEngine, machine: Machine, *, no_test: bool) -> int:
    """Self-test a new engine; activate it if it passes and suits the machine no worse.

    `machine`: as it was detected, whatever backend the engine was built for.
    """
    if made.stamp.adopted:
        click.echo(f"Adopted {made.program[0]} as {made.name}.", err=True)
    else:
        click.echo(f"Installed {made.name} ({size(store.size(made.folder))}).", err=True)
    if no_test:
        say(
            f"Not active before its self-test: steprun engine test {made.name}, "
            f"then steprun engine use {made.name}",
            err=True,
        )
        return Exit.DONE
    return activate(self_test(made), machine)


def activate(tested: InstalledEngine, machine: Machine) -> int:
    """Make an engine the active one if it passed its self-test and is no worse than that one.

    Of two with the same backend the self-tests decide.
    """
    if not tested.stamp.passed:
        click.echo("It is not activated; the engine used before stays active.", err=True)
        return Exit.FAILED
    before = store.find_engine(active_engine(store.engines(), machine))
    if rank(tested, machine) > rank(before, machine):
        click.echo(f"{before.name} stays active: it suits this machine better.", err=True)
        return Exit.DONE
    if rank(tested, machine) == rank(before, machine) and not _wins(tested, before):
        line = f"steprun engine use {tested.name}"
        say(f"{before.name} stays active. To use the new one all the same: {line}", err=True)
        return Exit.DONE
    store.use(tested.name)
    back = store.current().previous
    undo = f" (to go back: steprun engine use {back})" if back else ""
    say(f"Now active: {tested.name}{undo}", err=True)
    return Exit.DONE


def _wins(tested: InstalledEngine, active: InstalledEngine) -> bool:
    """Say which of two engines is better; where the new one would lose, after another self-test.

    The active one's times are of another day, when the machine may have been less busy.
    """
    if active.name == tested.name or not active.stamp.tested:
        return True
    best, why = better(tested, active)
    if best is active:
        click.echo(f"To compare it with {active.name}, which is active:", err=True)
        try:
            best, why = better(tested, self_test(active))
        except SteprunError as error:
            click.echo(f"{active.name} cannot be tested: {error.what} {error.why}", err=True)
            return True
    click.echo(why, err=True)
    return best is tested


def self_test(engine: InstalledEngine, *, quiet: bool = False) -> InstalledEngine:
    """Self-test an engine, record the results, and show them."""
    from runner import canary
    from runner.engine.builder import recipe
    from runner.engine.installed import describe

    if is_gone(engine.stamp):
        raise gone_error(engine)
    if engine.stamp.kind is not Kind.EMBEDDED:
        content = store.content(engine.program[0]) if engine.stamp.adopted else ""
        stamp = describe.describe(engine.program).complete(engine.stamp)
        engine = replace(engine, stamp=replace(stamp, content=content))
    safe = recipe.load_recipe(engine.stamp.backend).safe_flags
    click.echo(f"Self-testing {engine.name}:", err=True)

    def report(feature: str, found: Feature) -> None:
        mark, colour = MARKS[found.result]
        head = f"  {feature:16}{click.style(mark, fg=colour)}  {found.seconds_s:5.1f} s  "
        click.echo(wrapped(head + found.why, 31).rstrip(), err=True)

    features, safe_flags = canary.run(engine, safe, report)
    ordered = {name: features[name] for name in FEATURES if name in features}
    tested = store.update(engine, engine.stamp.with_results(ordered, safe_flags))
    if not quiet:
        click.echo(f"{tested.name}: {result_of(tested.stamp)}.", err=True)
    return tested
