"""The model that ships with steprun: here from the start, and neither fetched nor taken away."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runner.base.errors import BadFile, Exit, Refused
from runner.catalog import models_toml
from runner.catalog.model import Catalog
from runner.cli.commands.models import models
from runner.plan.request import PlanRequest
from runner.run import download_missing
from runner.run.download_missing import Frontend
from runner.run.prepare import make_plan
from runner.run.request import ModelRequest
from runner.weights import adopt, inventory
from runner.weights.other_programs import Folder

NAME = "tiny-step"


def shipped() -> Any:
    return models_toml.load_catalog().model(NAME)


def run(*words: str) -> Any:
    return CliRunner().invoke(models, words, standalone_mode=False)


def unasked(*_: object) -> Any:
    raise AssertionError("nothing is to be downloaded")


def test_it_is_listed_as_what_it_is() -> None:
    text = run().output
    block = text[text.index("Tiny Step  (tiny-step)") :]
    assert block.count("ships with steprun") >= 5, "the note, two quants, the encoder, the heads"
    assert "Space used by weights: 0 bytes." in text
    document = json.loads(run("--json").output)
    told = next(model for model in document["models"] if model["name"] == NAME)
    assert [quant["on_disk"] for quant in told["quants"]] == [True, True]
    files = [file for quant in told["quants"] for file in quant["files"]]
    assert {(file["source"], file["disk_bytes"]) for file in files} == {("file", 0)}
    assert all(Path(file["path"]).is_file() for file in files)


def test_it_is_not_offered_the_image_tools_unless_the_user_wants_them() -> None:
    assert not shipped().picture_tools
    others = (model for model in models_toml.load_catalog().models if model.name != NAME)
    assert all(model.picture_tools for model in others)


def test_it_can_be_started_at_once() -> None:
    prepared = make_plan(ModelRequest(NAME, PlanRequest()), to_run=True)
    ready = download_missing.ensure_files(prepared, Frontend(lambda _: None, unasked, unasked))
    assert ready.files.weights == Path(shipped().quant("F16").files[0].path)
    assert prepared.plan.config.projector
    assert ready.spec.argv[(at := ready.spec.argv.index("--temp")) : at + 2] == ("--temp", "0")


@pytest.mark.parametrize(
    "words", [("pull",), ("pull", "Q8_0"), ("rm", "F16", "--yes"), ("rm", "--all", "--yes")]
)
def test_there_is_nothing_to_pull_or_to_delete(words: tuple[str, ...]) -> None:
    result = run(*words, "--model", NAME)
    assert isinstance(result.exception, Refused)
    assert "ships with steprun" in result.exception.what
    assert all(Path(file.path).is_file() for file in shipped().files)
    assert inventory.removals(shipped().files, NAME) == []


def test_it_is_verified_like_any_other() -> None:
    result = run("verify", "--model", NAME)
    assert result.return_value == Exit.DONE
    assert result.output.count("intact") == 4
    assert isinstance(run("repair", "--model", NAME).exception, Refused)


def test_a_broken_installation_is_told_apart_from_a_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (quant, *_) = shipped().quants
    lost = replace(quant, files=(replace(quant.files[0], path=str(tmp_path / "gone.gguf")),))
    made = Catalog((replace(shipped(), quants=(lost,)),))
    monkeypatch.setattr(models_toml, "load_catalog", lambda: made)
    prepared = make_plan(ModelRequest(NAME, PlanRequest()), to_run=True)
    with pytest.raises(BadFile, match=r"gone\.gguf is missing or cut short") as caught:
        download_missing.ensure_files(prepared, Frontend(lambda _: None, unasked, unasked))
    assert caught.value.next == "Install steprun again."


def test_adopting_leaves_it_alone() -> None:
    folder = Folder("its own", Path(shipped().files[0].path).parent)
    found = adopt.find_adoptable([shipped()], [folder], lambda *_: None)
    assert (found.candidates, found.settled) == ((), ())
