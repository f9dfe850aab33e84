"""The recipes in `builds/`: what steprun knows of each backend, as data."""

import tomllib
from dataclasses import dataclass

from runner.errors import BadFile
from runner.machine.facts import Backend
from runner.paths import shipped
from runner.plan.launch import RunDefaults
from runner.plan.scratch import Costs


@dataclass(frozen=True, slots=True)
class Recipe:
    """One backend: its name for people, and how it is best run."""

    backend: Backend
    title: str
    run: RunDefaults


def load(backend: Backend) -> Recipe:
    """Read one backend's recipe. Raises `BadFile` where the shipped data is damaged."""
    path = shipped("builds") / f"{backend}.toml"
    try:
        data = tomllib.loads(path.read_text("utf-8"))
        costs = Costs(**data["memory"])
        run = RunDefaults(**data["run"], costs=costs)
        return Recipe(Backend(data["backend"]), data["title"], run)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(
            f"The recipe {path} cannot be read.", why=str(error), next="Install steprun again"
        ) from error
