"""The recipes in `builds/`: what steprun knows of each backend, as data."""

from dataclasses import dataclass

from runner.base.paths import shipped
from runner.base.toml import Strict, read_toml
from runner.engine.builder.recipe_rows import Build
from runner.machine.facts import Backend
from runner.plan.devices import Cards
from runner.plan.launch import RunDefaults
from runner.plan.memory.compute_buffers import Costs


class _Run(Strict, frozen=True):
    """The `[run]` of a recipe; `RunDefaults` says what each key means."""

    load_mode: str
    ubatch: int
    repack: bool = True


class _Common(Strict, frozen=True):
    build: Build


class _Backend(Strict, frozen=True):
    backend: Backend
    title: str
    run: _Run
    memory: Costs
    build: Build
    cards: Cards | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """One backend: its name for people, how it is best run, and how it is built.

    `build` is the backend's own part; `common` holds for every backend, and is applied after it.
    """

    backend: Backend
    title: str
    run: RunDefaults
    build: Build
    common: Build

    @property
    def safe_flags(self) -> tuple[str, ...]:
        """Flags that may keep an engine from crashing, which its self-test tries."""
        return (*self.build.safe_flags, *self.common.safe_flags)


def load_recipe(backend: Backend) -> Recipe:
    """Read one backend's recipe. Raises `BadFile` where the shipped data is damaged."""
    folder = shipped("builds")
    own = read_toml(folder / f"{backend}.toml", _Backend, "The build recipe")
    common = read_toml(folder / "common.toml", _Common, "The build recipe")
    run = RunDefaults(own.run.load_mode, own.run.ubatch, own.run.repack, own.memory, own.cards)
    return Recipe(own.backend, own.title, run, own.build, common.build)
