"""The command lines of a build, from its recipe, the machine and the tools. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from runner.base.shell import shell_line
from runner.base.units import MIB
from runner.engine.builder.recipe import Recipe
from runner.engine.builder.recipe_rows import Setting, Tools, chosen
from runner.machine.facts import Machine

# What cmake calls the programs that run the compiler. Where none is requested (Windows), cmake
# takes Visual Studio, which finds its own compiler.
GENERATORS: Final = {
    "ninja": "Ninja",
    "ninja-build": "Ninja",
    "make": "Unix Makefiles",
    "gmake": "Unix Makefiles",
}
NOTHING: Final = Tools()


@dataclass(frozen=True, slots=True)
class BuildCommands:
    """What is to be run: cmake twice, with more variables in its environment."""

    configure: tuple[str, ...]
    build: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()

    def lines(self) -> list[str]:
        """Return the commands as one types them in a shell."""
        return [shell_line(step, self.env) for step in (self.configure, self.build)]


def configure(
    recipe: Recipe, machine: Machine, tools: Tools, source: Path, out: Path, *, number: int = 0
) -> BuildCommands:
    """Return the commands that build `source` in the folder `out`.

    `number`: which of llama.cpp's builds the source is: what `--version` says of it, and which web
    page belongs to it. 0: llama.cpp asks git.
    """
    cmake = tools.values["cmake"]
    return BuildCommands(
        configure=(
            *(cmake, "-S", str(source), "-B", str(out)),
            *arguments(recipe, machine, tools),
            *([f"-DLLAMA_BUILD_NUMBER={number}"] if number else []),
        ),
        build=(
            *(cmake, "--build", str(out), "--config", "Release"),
            *("--parallel", str(jobs(recipe, machine))),
            *("--target", *targets(recipe)),
        ),
        env=environment(recipe, machine, tools, source),
    )


def arguments(recipe: Recipe, machine: Machine, tools: Tools) -> tuple[str, ...]:
    """Return what cmake is given beside the two folders: what is built, and how."""
    runner = tools.values.get("ninja", "")
    generator = GENERATORS.get(PurePath(runner).stem, "")
    return (
        *(("-G", generator, f"-DCMAKE_MAKE_PROGRAM={runner}") if generator else ()),
        *definitions(recipe, machine, tools),
        *_defined(recipe.common.define, machine, tools),
    )


def definitions(recipe: Recipe, machine: Machine, tools: Tools = NOTHING) -> list[str]:
    """Return the `-DNAME=VALUE` of a backend on a machine: how ggml is compiled, in any build.

    What depends on a tool that is not among `tools` is left out.
    """
    return _defined(recipe.build.define, machine, tools)


def environment(
    recipe: Recipe, machine: Machine, tools: Tools, source: Path
) -> tuple[tuple[str, str], ...]:
    """Return the variables that cmake and the compilers are to find."""
    return (
        *_filled(recipe.build.environment, machine, tools),
        # The source may lie in somebody's own repository: its commit must not be taken for ours.
        ("GIT_CEILING_DIRECTORIES", str(source.parent)),
    )


def targets(recipe: Recipe) -> tuple[str, ...]:
    """Return the programs that are built; the first is the engine."""
    return (*recipe.common.targets, *recipe.build.targets)


def jobs(recipe: Recipe, machine: Machine) -> int:
    """Return how many compilers may run at once: one a core, as far as the memory goes."""
    room = machine.available_bytes or machine.memory_bytes
    return max(1, min(machine.cores, room // (max(1, recipe.build.job_mib) * MIB)))


def _defined(rows: Iterable[Setting], machine: Machine, tools: Tools) -> list[str]:
    return [f"-D{name}={value}" for name, value in _filled(rows, machine, tools)]


def _filled(rows: Iterable[Setting], machine: Machine, tools: Tools) -> Iterator[tuple[str, str]]:
    """Yield each setting for a machine; what depends on a tool that is missing is left out."""
    for row in chosen(rows, machine):
        value = tools.fill(row.value)
        if value is not None:
            yield row.name, value
