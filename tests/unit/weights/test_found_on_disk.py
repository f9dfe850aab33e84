"""Files are found where the hub and steprun put them, and a wrong path is told what it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.base.errors import BadFile, Refused, SteprunError, UsageError
from runner.catalog import models_toml
from runner.catalog.model import ModelFile
from runner.gguf import local_file
from runner.weights import cache_layout, model_headers

HUB_NAMES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch):
    for name in HUB_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path / "steprun"))


def sparse(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        out.truncate(size)


FILE = ModelFile("weights", "hf", "org/model", "abc", "Q/m.gguf", 1000, "0" * 64)


def test_a_file_in_the_hub_cache_is_found_by_its_size(tmp_path):
    place = tmp_path / "hf/hub/models--org--model/snapshots/abc/Q/m.gguf"
    assert cache_layout.locate(FILE, "m") is None
    sparse(place, 999)
    assert cache_layout.locate(FILE, "m") is None
    sparse(place, 1000)
    assert cache_layout.locate(FILE, "m") == place


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_into_the_blobs_are_followed(tmp_path):
    folder = tmp_path / "hf/hub/models--org--model"
    place = folder / "snapshots/abc/Q/m.gguf"
    place.parent.mkdir(parents=True)
    place.symlink_to(folder / "blobs/0")
    assert cache_layout.locate(FILE, "m") is None  # a link into nowhere
    sparse(folder / "blobs/0", 1000)
    assert cache_layout.locate(FILE, "m") == place


def test_find_lists_all_that_a_quant_needs(tmp_path):
    step = models_toml.load_catalog().model("step-3.7-flash")
    found = cache_layout.find(step, step.quant("IQ4_XS"))
    assert [each.file.role for each in found] == ["weights"] * 3 + ["projector", "mtp"]
    assert all(each.path is None for each in found)
    assert len(cache_layout.find(step, step.quant("IQ4_XS"), projector=False, mtp=False)) == 3
    demo = models_toml.load_catalog().demo
    (wanted,) = cache_layout.find(demo, demo.quants[0])
    place = cache_layout.expected_path(wanted.file, demo.name)
    assert place == tmp_path / "steprun/cache/models/smollm2-135m" / wanted.file.name
    sparse(place, wanted.file.bytes)
    assert cache_layout.find(demo, demo.quants[0])[0].path == place


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HOME": "/a/b"},
        {"HF_HOME": "~/b"},
        {"HF_HOME": "$HERE/b"},
        {"HF_HOME": "/a", "HF_HUB_CACHE": "~/$HERE/c"},
        {"HF_HOME": "/a", "HUGGINGFACE_HUB_CACHE": "/old"},
        {"HF_HUB_CACHE": "/new", "HUGGINGFACE_HUB_CACHE": "/old"},
        {"XDG_CACHE_HOME": "/x"},
        {"XDG_CACHE_HOME": ""},
    ],
)
def test_the_cache_is_where_the_hub_says(monkeypatch, variables):
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("HERE", "there")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code = "from huggingface_hub.constants import HF_HUB_CACHE as c; print(c)"
    theirs = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert os.path.normpath(cache_layout.hub_cache()) == os.path.normpath(theirs)


def test_finding_needs_no_heavy_import():
    code = (
        "import sys, runner.catalog.models_toml as c, runner.weights.cache_layout as l\n"
        "m = c.load_catalog().models[0]; l.find(m, m.quants[0])\n"
        "print([n for n in ('huggingface_hub', 'numpy', 'gguf', 'asyncio') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# --- --model PATH


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a folder with models written by the gguf package itself: whole, and in parts."""
    import gguf
    import numpy as np

    folder = tmp_path_factory.mktemp("models")

    def write(name: str, arch: str = "llama", parts: int = 0) -> None:
        writer = gguf.GGUFWriter(folder / name, arch, split_max_tensors=parts)
        writer.add_block_count(2)
        writer.add_token_list([b"a", b"b"])
        for number in range(5):
            data = np.ones((4, 32), dtype=np.float32)
            writer.add_tensor(f"blk.{number // 3}.t{number}.weight", data)
        writer.write_header_to_file(folder / name)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    write("whole.gguf")
    write("parts.gguf", parts=2)
    write("vision.gguf", "clip")
    return folder


@pytest.fixture
def models(written, tmp_path):
    """Return a copy of that folder, free to break."""
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_whole_model_is_one_path(models):
    assert [h.path for h in local_file.read_model(models / "whole.gguf")] == [models / "whole.gguf"]


def test_any_part_gives_all_parts_in_order(models):
    parts = [models / f"parts-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
    for part in parts:
        assert [h.path for h in local_file.read_model(str(part))] == parts


def test_a_path_may_be_relative_or_at_home(models, monkeypatch):
    monkeypatch.chdir(models)
    assert [h.path for h in local_file.read_model("whole.gguf")] == [models / "whole.gguf"]
    monkeypatch.setenv("HOME", str(models))
    monkeypatch.setenv("USERPROFILE", str(models))
    assert [h.path for h in local_file.read_model("~/whole.gguf")] == [models / "whole.gguf"]
    with pytest.raises(UsageError):
        local_file.read_model("~nobody-of-this-name/whole.gguf")


def fault(kind: type[SteprunError], path: Path) -> str:
    with pytest.raises(kind) as caught:
        local_file.read_model(path)
    assert caught.value.why
    assert caught.value.next
    return str(caught.value)


def test_a_missing_path(models):
    assert "does not exist" in fault(UsageError, models / "no.gguf")
    assert "does not exist" in fault(UsageError, models / "no" / "no.gguf")
    # the name on a model card, where the repository holds parts
    text = fault(UsageError, models / "parts.gguf")
    assert f"--model {models / 'parts-00001-of-00003.gguf'}" in text


def test_a_folder(models, tmp_path):
    text = fault(UsageError, models)
    assert "is a folder" in text
    assert "3 models" in text
    (tmp_path / "empty").mkdir()
    assert "no .gguf file" in fault(UsageError, tmp_path / "empty")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "empty"),
        (b"<html><body>Sign in</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "Git LFS pointer"),
        (b"no model", "does not begin with the letters GGUF"),
    ],
)
def test_what_is_no_gguf_file(models, data, name):
    (models / "whole.gguf").write_bytes(data)
    assert name in fault(BadFile, models / "whole.gguf")


def test_a_file_that_is_cut_off(models):
    for name in ("whole.gguf", "parts-00002-of-00003.gguf"):
        path = models / name
        path.write_bytes(path.read_bytes()[:-300])
    assert "cut off" in fault(BadFile, models / "whole.gguf")
    text = fault(BadFile, models / "parts-00001-of-00003.gguf")
    assert "cut off" in text
    assert "parts-00002-of-00003.gguf" in text


def test_a_part_that_is_missing(models):
    (models / "parts-00003-of-00003.gguf").unlink()
    assert "parts-00003-of-00003.gguf" in fault(BadFile, models / "parts-00001-of-00003.gguf")


def test_what_goes_with_a_model_is_none(models):
    assert "projector" in fault(BadFile, models / "vision.gguf")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(models):
    (models / "whole.gguf").chmod(0)
    assert "cannot be read" in fault(Refused, models / "whole.gguf")


def test_a_disk_that_fails(models, monkeypatch):
    def failing(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(local_file, "read_split", failing)
    assert "Input/output error" in fault(Refused, models / "whole.gguf")


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "not a regular file" in fault(UsageError, tmp_path / "pipe.gguf")
    assert "not a regular file" in fault(UsageError, Path("/dev/zero"))


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_to_itself(tmp_path):
    (tmp_path / "a.gguf").symlink_to(tmp_path / "b.gguf")
    (tmp_path / "b.gguf").symlink_to(tmp_path / "a.gguf")
    assert "does not exist" in fault(UsageError, tmp_path / "a.gguf")


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
def test_a_pipe_beside_a_model_is_no_projector(tiny, tmp_path):
    for name in ("tiny-step.gguf", "mmproj-tiny-step.gguf"):
        (tmp_path / name).symlink_to(tiny / name)
    os.mkfifo(tmp_path / "a-mmproj.gguf")
    model_spec, files = model_headers.read_local(tmp_path / "tiny-step.gguf", None, None, see=True)
    assert files.projector == tmp_path / "mmproj-tiny-step.gguf"
    for wrong, why in (("a-mmproj.gguf", "not a regular file"), ("no.gguf", "does not exist")):
        with pytest.raises(UsageError, match=why):
            model_headers.read_local(tmp_path / "tiny-step.gguf", tmp_path / wrong, None, see=True)
    layout = model_spec.variants[0].layout
    assert layout
    assert layout.total == model_spec.variants[0].weights_bytes
    assert len(layout.resident) == len(model_spec.geometry.layers) == 4
    assert layout.experts[0] == 0 < layout.experts[1]
