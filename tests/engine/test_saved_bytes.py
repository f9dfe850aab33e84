"""The file of a saved prompt against the ledger: the cache's own bytes for these tokens."""

import sys
from pathlib import Path

import psutil
import pytest

from runner.plan.memory.kv_cache import Config, saved_bytes
from truth import grid, saved

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard's own figures are Linux'"),
]
BESIDE = 8192  # bytes: sizes and types, for each layer


def assert_as_planned(case: grid.Case, tokens: int, folder: Path) -> saved.Saved:
    found = saved.save_and_restore(case, tokens, folder)
    geometry = case.model.model_spec.geometry
    told = saved_bytes(geometry, case.config, found.tokens, found.checkpoints)
    assert found.tokens == tokens
    assert found.checkpoints == 2, "near the end of the prompt"
    assert 0 <= found.bytes - told <= BESIDE, (found, told)
    assert found.cached >= tokens - 5, found
    return found


@pytest.mark.parametrize(
    "config",
    [
        Config(4096, "f16", 512),
        Config(4096, "q8_0", 256, projector=True, spare=1),
        Config(4096, "q8_0", 256, mtp=True),
    ],
)
def test_a_saved_prompt_is_what_the_ledger_says(tiny: Path, config: Config, tmp_path: Path) -> None:
    # So many that the earlier of two checkpoints, a micro-batch before the end, is a whole window.
    assert_as_planned(grid.Case(grid.tiny(tiny), config), 512 + config.ubatch + 8, tmp_path)


@pytest.mark.twin
@pytest.mark.timeout(3600)
@pytest.mark.skipif(psutil.virtual_memory().total < 20 << 30, reason="needs about 11 GB of memory")
def test_the_full_size_models_is_too(twin: Path, tmp_path: Path) -> None:
    """Minutes on two cores: its weights are zeros, but are multiplied."""
    config = Config(32_768, "q8_0", 64, projector=True, spare=1)
    found = assert_as_planned(grid.Case(grid.twin(twin), config), 600, tmp_path)
    assert found.again_s < found.read_s / 20
