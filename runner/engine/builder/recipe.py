"""The recipes in `builds/`: what steprun knows of each backend, as data."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.base.errors import BadFile
from runner.base.paths import shipped
from runner.base.tables import Table
from runner.engine.builder.recipe_rows import Build, read_rows
from runner.machine.facts import Backend
from runner.plan.devices import Cards
from runner.plan.launch import RunDefaults
from runner.plan.memory.compute_buffers import Costs

_KEYS = {"backend", "title", "run", "cards", "memory", "build"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One backend: its name for people, how it is best run, and how it is built.

    `build` is what is its own; `common` holds for every backend, and comes after it.
    """

    backend: Backend
    title: str
    run: RunDefaults
    build: Build
    common: Build

    @property
    def safe_flags(self) -> tuple[str, ...]:
        """Flags that may mend an engine that crashes, for its canary to try."""
        return (*self.build.safe_flags, *self.common.safe_flags)


def load_recipe(backend: Backend) -> Recipe:
    """Read one backend's recipe. Raises `BadFile` where the shipped data is damaged."""
    path = shipped("builds") / f"{backend}.toml"
    try:
        data = _read(path, _KEYS)
        costs = Costs(**data["memory"])
        cards = _cards(**data["cards"]) if "cards" in data else None
        run = RunDefaults(**data["run"], costs=costs, cards=cards)
        common = _read(path.with_name("common.toml"), {"build"})
        return Recipe(
            Backend(data["backend"]),
            data["title"],
            run,
            read_rows(Table(data["build"], path.name, "the build recipe")),
            read_rows(Table(common["build"], "common.toml", "the build recipe")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(
            f"The recipe {path} cannot be read.", why=str(error), next="Install steprun again"
        ) from error


def _read(path: Path, keys: set[str]) -> dict[str, Any]:
    data = tomllib.loads(path.read_text("utf-8"))
    if not keys.issuperset(data):
        raise ValueError(f"unknown key {min(data.keys() - keys)}")
    return data


def _cards(env: str, device: str, also: dict[str, str]) -> Cards:
    return Cards(env, device, tuple(also.items()))
