"""The canary on engines that were broken on purpose: each fails by meaning, and is told what by.

The engine is the embedded one; what breaks it is a changed file, or the type of its KV cache.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf.gguf_reader import GGUFReader

from runner import canary
from runner.canary import checks, meaning, model, rounds
from runner.engine.installed import store
from runner.engine.installed.stamp import Feature
from runner.plan.launch import EngineFiles

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

COARSE = """
import os, sys
argv = sys.argv[1:]
for flag in ("--cache-type-k", "--cache-type-v"):
    argv[argv.index(flag) + 1] = "q4_0"
os.execv(sys.executable, [sys.executable, "-P", "-m", "runner.engine.process.embedded", *argv])
"""


def changed(path: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Copy a file and change its tensors in place: arrays by name, shapes back to front."""
    copy = folder / path.name
    shutil.copyfile(path, copy)
    reader = GGUFReader(copy, "r+")
    change({tensor.name: tensor.data for tensor in reader.tensors})
    reader.data.flush()
    return copy


def swap_pixels(tensors: dict[str, Any]) -> None:
    """Let each patch be read column by column, as a converter that forgot the order would."""
    patches = tensors["v.patch_embd.weight"]
    patches[:] = patches.swapaxes(-1, -2).copy()


def swap_channels(tensors: dict[str, Any]) -> None:
    patches = tensors["v.patch_embd.weight"]
    patches[:] = patches[:, ::-1].copy()


def swap_heads(tensors: dict[str, Any]) -> None:
    """Put the first draft head in the second one's place, and the reverse."""
    for name, first in tensors.items():
        if name.startswith("blk.6."):
            second = tensors[name.replace("blk.6.", "blk.7.")]
            kept = first.copy()
            first[:], second[:] = second, kept


def swap_attention(tensors: dict[str, Any]) -> None:
    queries = tensors["blk.1.attn_q.weight"]
    queries[:64] = queries[[*range(32, 64), *range(32)]]


@pytest.fixture
def files(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> EngineFiles:
    names = ("tiny-step-trunk.gguf", "mmproj-tiny-step.gguf", "tiny-step-mtp.gguf")
    made = EngineFiles(*(tiny / name for name in names))
    monkeypatch.setattr(model, "files", lambda: made)
    return meaning.files()


def ask(
    monkeypatch: pytest.MonkeyPatch, files: EngineFiles, feature: str, program: tuple[str, ...] = ()
) -> Feature:
    """Ask one feature, as far as it is about trained weights."""
    steps = [step for step in checks.STEPS if step.feature == feature and step.start.trained]
    monkeypatch.setattr(rounds, "STEPS", steps)
    monkeypatch.setattr(meaning, "files", lambda: files)
    engine = store.embedded()
    if program:
        engine = replace(engine, stamp=replace(engine.stamp, program=program))
    found, _ = canary.run(engine, ())
    return found[feature]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("projector", swap_pixels, "picture"), "parts are in a wrong order"),
        (("projector", swap_channels, "picture"), "colours are mixed up"),
        (("weights", swap_attention, "text"), "answers are wrong"),
        (("mtp", swap_heads, "mtp"), "heads are swapped"),
    ],
)
def test_a_changed_file_fails_by_meaning(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    files: EngineFiles,
    change: tuple[str, Callable[[dict[str, Any]], None], str],
    why: str,
) -> None:
    part, apply, feature = change
    broken = changed(getattr(files, part), tmp_path, apply)
    found = ask(monkeypatch, replace(files, **{part: broken}), feature)
    assert found.result == "fail"
    assert why in found.why


def test_a_cache_of_four_bits_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: EngineFiles
) -> None:
    script = tmp_path / "coarse.py"
    script.write_text(COARSE)
    found = ask(monkeypatch, files, "picture", (sys.executable, str(script)))
    assert found.result == "fail"
    assert "a cache of 4 bits does that" in found.why
