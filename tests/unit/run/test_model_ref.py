"""A request names a model of the catalog or one of the user's own, decided once."""

from pathlib import Path

import pytest

from runner.base.errors import UsageError
from runner.plan.request import PlanRequest
from runner.run.download_missing import pull_command
from runner.run.model_ref import CatalogModel, OwnFile, OwnModel, model_ref
from runner.run.prepare import Prepared
from runner.run.request import ModelRequest
from runner.weights import hub_files
from tests.unit.plan.test_choose import plan

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = f"hf:o/r/a.gguf@{COMMIT}"


def ref(model: str, projector: str | None = None, mtp: str | None = None):
    return model_ref(ModelRequest(model, PlanRequest(), projector, mtp))


def test_a_name_is_the_catalogs() -> None:
    first = ref("")
    assert isinstance(first, CatalogModel)
    assert (first.model.name, first.default) == ("step-3.7-flash", True)
    named = ref("STEP-3.7-flash")
    assert named == CatalogModel(first.model, default=False)
    demo = ref("demo")
    assert isinstance(demo, CatalogModel)
    assert demo.model.demo


@pytest.mark.parametrize("text", ["a.gguf", "A.GGUF", "folder/model", "folder\\model"])
def test_a_path_is_a_file_on_this_disk(text: str) -> None:
    assert ref(text) == OwnModel({"weights": OwnFile(Path(text))})


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    found = ref("~/a.gguf", "~/mmproj.gguf")
    assert isinstance(found, OwnModel)
    assert found.paths is not None
    assert found.paths.weights == tmp_path / "a.gguf"
    assert found.paths.projector == tmp_path / "mmproj.gguf"


def test_one_file_on_the_network_makes_a_model_of_the_hub() -> None:
    both = ref("a.gguf", HUB)
    assert both == OwnModel({"weights": OwnFile(Path("a.gguf")), "projector": OwnFile(None, HUB)})
    assert isinstance(both, OwnModel)
    assert both.remote == {"projector": HUB}
    assert both.paths is None


def test_what_is_in_the_hubs_cache_is_on_this_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address is kept: a repair downloads it from there."""
    monkeypatch.setattr(hub_files, "local", lambda _: Path("/cache/a.gguf"))
    assert ref(HUB) == OwnModel({"weights": OwnFile(Path("/cache/a.gguf"), HUB)})


def test_a_signed_link_is_not_shown_whole() -> None:
    link = "https://example.org/a.gguf?signature=secret"
    prepared = Prepared(plan(120), ref(link))
    assert pull_command(prepared) == "steprun models pull https://example.org/a.gguf"


@pytest.mark.parametrize("model", ["", "step-3.7-flash", "demo"])
def test_parts_of_the_users_own_need_a_model_of_the_users_own(model: str) -> None:
    for parts in (("mine.gguf", None), (None, "heads.gguf")):
        with pytest.raises(UsageError, match="model of your own"):
            ref(model, *parts)
