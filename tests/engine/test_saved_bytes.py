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
    near_the_end = (tokens - 4 - case.config.ubatch, tokens - 4)
    told = saved_bytes(geometry, case.config, tokens, near_the_end)
    assert found.tokens == tokens
    assert found.checkpoints == len(near_the_end)
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
    for tokens in (config.ubatch + 100, 1200):  # less than a window before a checkpoint, and more
        assert_as_planned(grid.Case(grid.tiny(tiny), config), tokens, tmp_path)


@pytest.mark.twin
@pytest.mark.timeout(3600)
@pytest.mark.skipif(psutil.virtual_memory().total < 20 << 30, reason="needs about 11 GB of memory")
def test_the_full_size_models_is_too(twin: Path, tmp_path: Path) -> None:
    """Few tokens: on two busy cores 40 took two minutes, as all weights are paged in for them."""
    config = Config(32_768, "q8_0", 32, projector=True, spare=1)
    assert_as_planned(grid.Case(grid.twin(twin), config), 40, tmp_path)
