"""The model of `scripts/soak_memory`: its catalog can be read, and its ladder has every rung."""

from dataclasses import replace
from pathlib import Path

import pytest

from memory_attacks import hour, wide_step
from runner.catalog import models_toml
from runner.testbed.geometry import VisionGeometry


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the model with small files: its caches alone are wide."""
    monkeypatch.setattr(wide_step, "WIDE", replace(wide_step.WIDE, experts=16, expert_ffn=64))
    eyes = VisionGeometry(width=64, ffn=128, heads=4, layers=1, text_hidden=wide_step.WIDE.hidden)
    monkeypatch.setattr(wide_step, "VISION", eyes)
    for name in ("packaged", "as_shipped"):  # which it replaces
        monkeypatch.setattr(models_toml, name, getattr(models_toml, name))
    return wide_step.ensure(tmp_path)


def test_its_catalog_and_its_ladder(small: Path) -> None:
    known = hour.known(small)
    (model,) = models_toml.load_catalog().models
    assert [quant.name for quant in model.quants] == ["F16", "Q8_0"]
    for file in (*(quant.files[0] for quant in model.quants), model.projector):
        assert file is not None
        assert Path(file.path).stat().st_size == file.bytes
    given_up = [rung.gives_up.partition(":")[0] for rung in known.rungs]
    assert given_up[:2] == ["", "checkpoints"]
    assert given_up.count("context") == 3
    assert known.floors.least < known.floors.low
