"""What `steprun engine build` does: one engine from a source, or two to choose the better from."""

from collections.abc import Callable
from typing import Final

import click

from runner.base.errors import SteprunError
from runner.base.progress import OnProgress
from runner.base.units import MIB, size
from runner.cli.progress import shown
from runner.cli.render.wrap import say
from runner.engine.builder import build as building
from runner.engine.builder import needs, sources, sources_toml
from runner.engine.builder.configure import jobs
from runner.engine.builder.recipe import Recipe
from runner.engine.builder.recipe_rows import Tools
from runner.engine.installed.pick import better
from runner.engine.installed.store import InstalledEngine
from runner.machine.facts import Machine

# Built where no source is named: StepFun's own branch, and upstream, which has got this model's
# kernels since. Of each the first source that can be had: a package needs no git host.
BOTH: Final = (("stepfun",), ("upstream", "xllamacpp"))
# Eight programs took 11 min 19 s on 2 cores, for the processor alone: an upper bound for the two
# that are built. GPU kernels come on top.
CORE_MINUTES: Final = 23
WEB_PAGE: Final = "llama.cpp's web page is downloaded from huggingface.co, where that is reached."


def commands(
    recipe: Recipe, machine: Machine, source: str, at: str, *, as_python: bool
) -> list[str]:
    """Return what a build would run. Raises `Refused` that names what is missing for it."""
    from runner.engine.llama_cpp_python.install import plan_install

    tools = needs.find_tools(recipe, machine)
    if as_python:
        return plan_install(recipe, machine, tools)
    tree, lines = sources.plan_source(source, at=at)
    _, steps = building.plan_build(recipe, machine, tools, tree)
    return lines + steps.lines()


def build_from(
    source: str, recipe: Recipe, machine: Machine, tools: Tools, report: OnProgress, *, at: str = ""
) -> InstalledEngine:
    """Build an engine from a source, which is downloaded where it is missing."""
    tree = sources.fetch_source(source, report, at=at)
    with sources.held(tree, report):
        return building.build(recipe, machine, tools, tree, report)


def announcement(recipe: Recipe, machine: Machine) -> str:
    """Return what a build of both will take, before anything is done."""
    minutes = max(1, round(CORE_MINUTES / jobs(recipe, machine)))
    kernels = "" if recipe.backend == "cpu" else f", and more for {recipe.title}'s kernels"
    room = len(BOTH) * (recipe.build.room_mib * MIB + sources.ROOM_BYTES)
    upstream = sources_toml.sources()["upstream"]
    tag = f" {upstream.origin().version}"
    return (
        f"Building two engines for {machine.name}, with {recipe.title}: StepFun's branch and "
        f"upstream{tag}. Each takes about {minutes} min with this computer's cores{kernels}; both "
        f"need up to {size(room)} of disk. {WEB_PAGE} Then both are self-tested, and the better "
        "one becomes active. To build one only: --source stepfun or --source upstream."
    )


def build_both(recipe: Recipe, machine: Machine) -> tuple[list[InstalledEngine], list[str]]:
    """Build an engine from each of `BOTH`; return those that were made, and why one was not.

    Raises what the last one failed of where none was made, and `Refused` where something that
    every build needs is missing.
    """
    tools = needs.find_tools(recipe, machine)
    made: list[InstalledEngine] = []
    failed: list[SteprunError] = []
    lines: list[str] = []
    for choices in BOTH:
        for source in choices:
            click.echo(f"Building llama-server from {source}.", err=True)
            try:
                with shown() as report:
                    made.append(build_from(source, recipe, machine, tools, report))
                break
            except SteprunError as error:
                failed.append(error)
                lines.append(f"There is no engine from {source}: {error.what} {error.why}".strip())
                say(lines[-1], err=True)
    if not made:
        raise failed[-1]
    return made, lines


def best_of(
    made: list[InstalledEngine], self_test: Callable[[InstalledEngine], InstalledEngine]
) -> InstalledEngine:
    """Self-test engines and return the better one, having said why in a line."""
    best, *others = [self_test(each) for each in made]
    for other in others:
        best, why = better(best, other)
        say(why, err=True)
    if not others:
        click.echo(f"{best.name} is the only one that could be built.", err=True)
    return best
