"""What the hub has now is told as it is, and is taken into use whole or not at all."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from runner.base import disk
from runner.base.errors import BadFile, Refused, SteprunError, UsageError
from runner.catalog import models_toml, overlay
from runner.catalog.model import ModelFile, Quant, WeightLayout
from runner.cli.commands.models_check import check, update
from runner.hub import listing
from runner.net.retry import Patience
from runner.weights import cache_layout, links, pull, verified
from runner.weights.verified import Verdict
from tests.fakes.hub import FakeHub, Manner

OLD, NEW = "a" * 40, "b" * 40
SCHEMA = "steprun.overlay/1"
QUICK = Patience(head_s=0.5, stall_s=0.5, tries=2, pause_s=0.01, wait_s=2)
ONE, TWO = "IQ4/m-IQ4-00001-of-00002.gguf", "IQ4/m-IQ4-00002-of-00002.gguf"
THERE = {
    ONE: b"first" * 1000,
    TWO: b"second" * 1000,
    "Q8/m-Q8.gguf": b"large" * 2000,
    "mmproj.gguf": b"sight" * 300,
    "heads.gguf": b"heads" * 200,
    "README.md": b"read me",
}


def row(path: str) -> str:
    data = THERE[path]
    return f'path = "{path}", bytes = {len(data)}, sha256 = "{hashlib.sha256(data).hexdigest()}"'


CATALOG = f"""
[source.hub]
repo = "o/r"
revision = "{OLD}"
[[model]]
name = "m"
title = "M"
demo = true
projector = {{ source = "hub", {row("mmproj.gguf")} }}
mtp = [{{ source = "hub", {row("heads.gguf")} }}]
[model.geometry]
arch = "x"
context = 10
embedding = 4
vocab = 3
feed_forward = 8
layers = 1
kv_heads = 1
key_length = 2
value_length = 2
[[model.quant]]
name = "IQ4"
source = "hub"
quality = 1
layout = {{ input = 4000, output = 3000, layers = [[1, 3990, 0, 0]] }}
files = [{{ {row(ONE)} }}, {{ {row(TWO)} }}]
[[model.quant]]
name = "Q8"
source = "hub"
quality = 2
files = [{{ {row("Q8/m-Q8.gguf")} }}]
"""


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch):
    path = tmp_path / "models.toml"
    path.write_text(CATALOG)
    made = models_toml.read_catalog(path)
    monkeypatch.setattr(models_toml, "as_shipped", lambda: made)
    return made


@pytest.fixture
def hub(monkeypatch):
    with FakeHub(dict(THERE), commit=OLD, commits={}, repo="o/r") as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        yield fake


def commit(hub: FakeHub, changed: dict[str, Any]) -> None:
    """Put a newer commit on the hub: files that change, and None for those that go."""
    files = {name: data for name, data in (THERE | changed).items() if data is not None}
    hub.commits[NEW] = files
    hub.commit = NEW


def quant(name: str = "IQ4") -> Quant:
    return models_toml.load_catalog().models[0].quant(name)


def projector() -> ModelFile:
    found = models_toml.load_catalog().models[0].projector
    assert found is not None
    return found


def at(file: ModelFile) -> Path:
    """Return where a file is, which must be here."""
    found = cache_layout.locate(file, "m")
    assert found is not None, file
    return found


def have(*names: str) -> None:
    """Bring quants, or the projector, as `models pull` does."""
    for name in names:
        files = (projector(),) if name == "projector" else quant(name).files
        pull.pull(files, "m", lambda *_: None, QUICK)


def run(command: click.Command, *words: str) -> Result:
    done = CliRunner().invoke(command, words)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def told() -> Any:
    (repo,) = json.loads(run(check, "--json").stdout)["repos"]
    return repo


def states() -> dict[str, str]:
    return {each["quant"] or each["role"]: each["result"] for each in told()["catalog"]}


# --- the listing


def test_a_listing_has_the_commit_and_each_gguf(hub):
    found = listing.list_repository("o/r", "main", QUICK)
    assert (found.repo, found.commit, found.skipped) == ("o/r", OLD, 0)
    assert set(found.by_path) == {name for name in THERE if name.endswith(".gguf")}
    first = found.by_path[ONE]
    assert (first.bytes, first.sha256) == (5000, hashlib.sha256(THERE[ONE]).hexdigest())
    assert hub.body_bytes == 0
    commit(hub, {ONE: b"x"})
    assert listing.list_repository("o/r", "main", QUICK).by_path[ONE].bytes == 1
    assert listing.list_repository("o/r", OLD, QUICK).by_path[ONE].bytes == 5000


def test_the_token_goes_along(hub, monkeypatch):
    hub.manners["api"] = Manner(token="hf_secret")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert listing.list_repository("o/r", "main", QUICK).commit == OLD
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(Refused, match="o/r") as caught:
        listing.list_repository("o/r", "main", QUICK)
    assert "hf auth login" in caught.value.next


def test_a_repository_that_is_gone_or_was_never_there(hub):
    with pytest.raises(Refused) as caught:
        listing.list_repository("o/other", "main", QUICK)
    assert "The repository may not exist" in caught.value.why
    with pytest.raises(SteprunError, match="o/r") as missing:
        listing.list_repository("o/r", "no/such", QUICK)
    assert "'no/such'" in missing.value.why


@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_is_waited_for_and_then_told(hub, status):
    hub.turns["api"] = [Manner(status=status), Manner()]
    assert listing.list_repository("o/r", "main", QUICK).commit == OLD
    hub.manners["api"] = Manner(status=status, headers=(("Retry-After", "3600"),))
    hub.asked.clear()
    with pytest.raises(SteprunError) as caught:
        listing.list_repository("o/r", "main", QUICK)
    assert f"status {status}" in caught.value.why
    assert "3600 seconds" in caught.value.why
    assert len(hub.asked) == 1, "nobody waits for an hour here"


def test_a_silent_server_has_an_end(hub, monkeypatch):
    hub.manners["api"] = Manner(silent=True)
    with pytest.raises(SteprunError, match="not looked up") as caught:
        listing.list_repository("o/r", "main", QUICK)
    assert "No answer" in caught.value.why
    monkeypatch.setattr(listing, "TOTAL_S", 0.2)
    began = time.monotonic()
    with pytest.raises(SteprunError, match="not looked up"):
        listing.list_repository("o/r", "main", Patience(tries=1))
    assert time.monotonic() - began < 10, "its own limit between two pieces is 30 seconds"


def test_a_page_or_anything_else_is_no_listing(hub):
    hub.manners["api"] = Manner(page=True)
    with pytest.raises(BadFile) as caught:
        listing.list_repository("o/r", "main", QUICK)
    assert "sign in" in caught.value.next
    for data in (b"", b"[]", b"{}", b'{"sha": 1, "siblings": []}', b"[" * 100_000, b"\xff"):
        with pytest.raises(BadFile):
            listing.read("o/r", data)
    assert listing.read("o/r", answer([], commit=OLD)).files == ()
    with pytest.raises(BadFile):
        listing.read("o/r", answer([], commit="../" * 13 + "x"))


def test_an_answer_has_bounds(hub, monkeypatch):
    entries = [{"rfilename": f"f{n}.gguf", "size": 1} for n in range(20_000)]
    with pytest.raises(BadFile) as caught:
        listing.read("o/r", answer(entries))
    assert "20,000 files" in caught.value.why
    monkeypatch.setattr(listing, "MOST_BYTES", 100)
    with pytest.raises(BadFile, match="list of files") as much:
        listing.list_repository("o/r", "main", QUICK)
    assert "more than" in much.value.why


def answer(entries: list[Any], commit: str = OLD) -> bytes:
    return json.dumps({"sha": commit, "siblings": entries}).encode()


@pytest.mark.parametrize(
    "path",
    ["../x.gguf", "/x.gguf", "a/../../x.gguf", "C:\\x.gguf", "a//x.gguf", "a b.gguf", "\n.gguf"],
)
def test_odd_paths_are_left_out_and_counted(path):
    entries = [{"rfilename": path, "size": 5}, {"rfilename": "good.gguf", "size": 5}]
    found = listing.read("o/r", answer(entries))
    assert [file.path for file in found.files] == ["good.gguf"]
    assert found.skipped == 1


def test_odd_entries_are_left_out():
    odd = [None, 5, {}, {"rfilename": 5}, {"rfilename": "README.md"}]
    sizes = [
        {"rfilename": "a.gguf", "size": size} for size in (None, -1, 0, "5", 1.5, True, 1 << 60)
    ]
    found = listing.read("o/r", answer([*odd, *sizes]))
    assert (found.files, found.skipped) == ((), len(sizes))
    lfs: list[Any] = [{}, [], {"sha256": "zz"}, {"sha256": None}, None, "x"]
    entries = [{"rfilename": f"{n}.gguf", "size": 1, "lfs": each} for n, each in enumerate(lfs)]
    assert {file.sha256 for file in listing.read("o/r", answer(entries)).files} == {None}


def test_offline_mode_asks_nothing(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Refused, match="not looked up"):
        run(check)
    assert hub.asked == []


# --- check


def test_nothing_new(hub):
    assert set(states().values()) == {"same"}
    assert "still at aaaaaaaa" in run(check).stdout
    commit(hub, {"README.md": b"other words"})
    assert set(states().values()) == {"same"}
    assert told()["commit"] == NEW
    assert "all files that steprun uses are unchanged" in run(check).stdout
    assert hub.body_bytes == 0


def test_check_tells_what_changed_and_fetches_nothing(hub):
    have("IQ4")
    sent = hub.body_bytes
    split = [f"Q8/m-Q8-0000{n}-of-00002.gguf" for n in (1, 2)]
    commit(
        hub,
        {
            TWO: b"third" * 900,
            "Q8/m-Q8.gguf": None,
            split[0]: b"1" * 50,
            split[1]: b"2" * 60,
            "mmproj.gguf": None,
            "vision/mmproj.gguf": THERE["mmproj.gguf"],
            "heads.gguf": None,
            "Q5/m-Q5-00001-of-00003.gguf": b"5" * 70,
            "Q5/m-Q5-00003-of-00003.gguf": b"5" * 7,
        },
    )
    assert states() == {"IQ4": "changed", "Q8": "moved", "projector": "moved", "mtp": "gone"}
    found = {each["quant"] or each["role"]: each for each in told()["catalog"]}
    assert (found["IQ4"]["new_bytes"], found["IQ4"]["on_disk"]) == (4500, True)
    assert found["IQ4"]["files"][1]["sha256"] == hashlib.sha256(b"third" * 900).hexdigest()
    assert [each["path"] for each in found["Q8"]["files"]] == split
    assert found["projector"]["new_bytes"] == 0, "the same bytes under another name"
    (beside,) = told()["beside"]
    assert beside == {"name": "Q5/m-Q5", "files": 2, "total_bytes": 77, "whole": False}
    out = run(check)
    assert "1 of 2 files new" in out.stdout
    assert "Q5/m-Q5" in out.stdout
    assert "steprun models update" in out.stderr
    assert hub.body_bytes == sent
    assert not overlay.path().exists()


def test_a_series_on_its_way_is_not_taken(hub):
    have("IQ4")
    commit(hub, {TWO: None})
    assert states()["IQ4"] == "partial"
    assert "Nothing to update" in run(update, "IQ4", "--yes").stderr
    commit(hub, {TWO: None, ONE: None, "IQ4/m-IQ4-00002-of-00003.gguf": b"x"})
    assert states()["IQ4"] == "partial"
    commit(hub, {TWO: None, ONE: None})
    assert states()["IQ4"] == "gone"


def test_one_repository_in_trouble_does_not_hide_the_others(hub, shipped, monkeypatch):
    other = dataclasses.replace(shipped.models[0].quants[0].files[0], repo="gone/gone")
    quants = (
        *shipped.models[0].quants,
        dataclasses.replace(shipped.models[0].quants[0], files=(other,), name="G"),
    )
    both = dataclasses.replace(
        shipped, models=(dataclasses.replace(shipped.models[0], quants=quants),)
    )
    monkeypatch.setattr(models_toml, "as_shipped", lambda: both)
    done = CliRunner().invoke(check, ["--json"])
    assert isinstance(done.exception, Refused)
    assert [each["repo"] for each in json.loads(done.stdout)["repos"]] == ["o/r"]


# --- update


def test_only_what_changed_is_fetched_and_the_old_stays(hub):
    have("IQ4")
    old = [at(file) for file in quant().files]
    sent = hub.body_bytes
    commit(hub, {TWO: b"third" * 1200})
    done = run(update, "--yes")
    assert "Now in use: IQ4" in done.stderr
    assert hub.body_bytes - sent == 6000
    new = [at(file) for file in quant().files]
    assert [path.parent.parent.name for path in new] == [NEW, NEW]
    assert new[0].samefile(old[0]), "the same bytes are there once"
    assert new[1].read_bytes() == b"third" * 1200
    assert [path.read_bytes() for path in old] == [THERE[ONE], THERE[TWO]]
    assert states()["IQ4"] == "same", "it is what is in use"
    assert quant("Q8").files[0].revision == OLD, "which was not here"
    assert "Nothing to update" in run(update, "--yes").stderr
    assert links.gather(quant().files, "m") == new[0]


def test_back(hub):
    have("IQ4")
    commit(hub, {TWO: b"third" * 1000})
    run(update, "--yes")
    assert quant().files[1].bytes == 5000
    assert "reset to what this steprun ships" in run(update, "--back").stderr
    assert quant().files[1].bytes == 6000
    assert all(at(file) for file in quant().files), "the old ones are still here"
    assert "already" in run(update, "--back").stderr
    with pytest.raises(UsageError):
        run(update, "IQ4", "--back")


def test_a_series_in_another_number_of_parts(hub):
    have("IQ4")
    parts = {f"IQ4/m-IQ4-0000{n}-of-00003.gguf": bytes([n]) * 100 * n for n in (1, 2, 3)}
    commit(hub, {ONE: None, TWO: None} | parts)
    run(update, "iq4", "--yes")
    assert [file.path for file in quant().files] == list(parts)
    assert [at(f).read_bytes() for f in quant().files] == list(parts.values())
    assert quant().layout is None, "nobody knows it of these"


def test_the_same_bytes_under_other_names_are_not_fetched(hub):
    have("IQ4", "projector")
    sent = hub.body_bytes
    names = {f"v2/{name}": THERE[name] for name in (ONE, TWO, "mmproj.gguf")}
    commit(hub, dict.fromkeys((ONE, TWO, "mmproj.gguf")) | names)
    run(update, "--yes")
    assert hub.body_bytes == sent
    files = (*quant().files, projector())
    assert [file.path for file in files] == list(names)
    assert all(at(file) for file in files)
    assert quant().layout is not None, "the same bytes lie in the same way"


def test_a_projector_alone(hub):
    have("projector")
    commit(hub, {"mmproj.gguf": b"more sight"})
    run(update, "--yes")
    assert at(projector()).read_bytes() == b"more sight"
    halves = {f"mmproj-0000{n}-of-00002.gguf": bytes([n]) for n in (1, 2)}
    commit(hub, {"mmproj.gguf": None} | halves)
    assert states()["projector"] == "gone", "the engine takes one file"


def test_a_quant_that_is_not_here_comes_when_it_is_named(hub):
    commit(hub, {"Q8/m-Q8.gguf": b"larger" * 2000, ONE: b"x"})
    with pytest.raises(Refused, match="Nothing to update"):
        run(update, "--yes")
    run(update, "Q8", "--yes")
    assert at(quant("Q8").files[0]).stat().st_size == 12_000
    assert quant("IQ4").files[0].revision == OLD
    with pytest.raises(UsageError, match="no quant"):
        run(update, "Q9", "--yes")


@pytest.mark.parametrize(
    ("manner", "error"),
    [
        (Manner(status=404), SteprunError),
        (Manner(flip=100), BadFile),
        (Manner(etag="f" * 64), BadFile),
    ],
)
def test_an_update_that_is_interrupted_switches_nothing(hub, manner, error):
    have("IQ4")
    commit(hub, {ONE: b"other" * 1000, TWO: b"third" * 1000})
    hub.manners[TWO] = manner
    with pytest.raises(error):
        run(update, "--yes")
    assert not overlay.path().exists()
    assert {file.revision for file in quant().files} == {OLD}
    assert all(at(file) for file in quant().files)
    hub.manners.clear()
    run(update, "--yes")
    assert {file.revision for file in quant().files} == {NEW}


def test_ctrl_c_switches_nothing(hub, monkeypatch):
    have("IQ4")
    commit(hub, {ONE: b"other" * 1000})

    def stop(*_words, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr(pull, "transfer_all", stop)
    done = CliRunner().invoke(update, ["--yes"])
    assert done.exit_code != 0
    assert not overlay.path().exists()


def test_nothing_happens_unasked(hub):
    have("IQ4")
    commit(hub, {ONE: b"other" * 1000})
    sent = hub.body_bytes
    with pytest.raises(Refused) as caught:
        run(update, "IQ4")
    assert caught.value.next == "steprun models update IQ4 --yes"
    assert hub.body_bytes == sent
    assert not overlay.path().exists()


def test_files_without_a_sha256_are_not_taken(hub, monkeypatch):
    have("IQ4")
    commit(hub, {ONE: b"other" * 1001})
    told = listing.list_repository("o/r", "main", QUICK)
    bare = dataclasses.replace(
        told, files=tuple(dataclasses.replace(f, sha256=None) for f in told.files)
    )
    monkeypatch.setattr(listing, "list_repository", lambda *_: bare)
    assert states() | {"IQ4": ""} == dict.fromkeys(states(), "same") | {"IQ4": ""}, "sizes agree"
    with pytest.raises(Refused, match="cannot be verified"):
        run(update, "--yes")
    twice = tuple(dataclasses.replace(f, sha256="c" * 64) for f in told.files)
    monkeypatch.setattr(
        listing, "list_repository", lambda *_: dataclasses.replace(told, files=twice)
    )
    with pytest.raises(BadFile, match="are the same"):
        run(update, "--yes")


def test_shards_that_lie_in_another_program_s_folder_come_along(hub, tmp_path):
    first, second = quant().files
    mine = tmp_path / "elsewhere.gguf"
    mine.write_bytes(THERE[ONE])
    links.link_adopted(first, "m", mine)
    have("IQ4")
    sent = hub.body_bytes
    assert sent == second.bytes
    commit(hub, {TWO: b"third" * 1000})
    run(update, "--yes")
    assert hub.body_bytes - sent == 5000
    together(mine, b"third" * 1000)


def together(mine: Path, second: bytes) -> None:
    """The engine opens the first part, and looks for the second beside it."""
    found = cache_layout.first(quant().files, "m")
    assert found.samefile(mine)
    assert found.with_name(quant().files[1].name).read_bytes() == second


def test_shards_are_brought_together_where_nothing_is_left_to_fetch(hub, tmp_path):
    mine = tmp_path / "elsewhere.gguf"
    mine.write_bytes(THERE[ONE])
    links.link_adopted(quant().files[0], "m", mine)
    have("IQ4")
    commit(hub, {TWO: b"third" * 1000})
    there = listing.list_repository("o/r", "main", QUICK).by_path[TWO]
    new = dataclasses.replace(
        quant().files[1], revision=NEW, bytes=there.bytes, sha256=there.sha256
    )
    pull.pull([dataclasses.replace(new, role="mtp")], "m", lambda *_: None, QUICK)
    run(update, "--yes")
    together(mine, b"third" * 1000)


def test_a_shard_that_is_known_to_be_damaged_does_not_come_along(hub, tmp_path):
    first = quant().files[0]
    mine = tmp_path / "elsewhere.gguf"
    mine.write_bytes(THERE[ONE][::-1])
    verified.remember(
        links.link_adopted(first, "m", mine), Verdict(str(first.sha256), intact=False)
    )
    have("IQ4")
    commit(hub, {TWO: b"third" * 1000})
    run(update, "--yes")
    assert at(quant().files[0]).read_bytes() == THERE[ONE]


def test_room_is_looked_for_before_anything_comes(hub, monkeypatch):
    have("IQ4", "Q8")
    sent = hub.body_bytes
    commit(hub, {ONE: b"other" * 100_000, "Q8/m-Q8.gguf": b"larger" * 100})
    usage = SimpleNamespace(free=disk.MARGIN_BYTES + 300_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: usage)
    with pytest.raises(Refused, match="too full"):
        run(update, "--yes")
    assert hub.body_bytes == sent, "the quant that there is room for is not begun either"


def test_a_second_update_keeps_the_first(hub):
    have("IQ4", "Q8")
    commit(hub, {ONE: b"other" * 1000})
    run(update, "IQ4", "--yes")
    hub.commits["c" * 40] = hub.files | {"Q8/m-Q8.gguf": b"larger" * 1000}
    hub.commit = "c" * 40
    run(update, "--yes")
    assert {file.revision for file in quant().files} == {NEW}
    assert quant("Q8").files[0].revision == "c" * 40


# --- the overlay


def write(text: str | bytes) -> None:
    path = overlay.path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def document(**changed: Any) -> dict[str, Any]:
    entry = {
        "repo": "o/r",
        "replaces": OLD,
        "first": ONE,
        "revision": NEW,
        "files": [{"path": "IQ4/new.gguf", "bytes": 11_000, "sha256": "d" * 64}],
    }
    return {"schema": SCHEMA, "series": [entry | changed]}


def test_an_overlay_is_laid_over_the_catalog(shipped):
    assert models_toml.load_catalog() is shipped, "none is there"
    write(json.dumps(document()))
    (file,) = quant().files
    assert (file.path, file.revision, file.sha256) == ("IQ4/new.gguf", NEW, "d" * 64)
    assert quant().layout == shipped.models[0].quant("IQ4").layout
    assert quant("Q8") == shipped.models[0].quant("Q8")


def test_a_layout_goes_where_the_size_no_longer_suits_it():
    layout = WeightLayout(4000, 3000, (3990,), (0,))
    file = models_toml.load_catalog().models[0].quant("IQ4").files[0]
    for size, suits in ((10_989, False), (10_990, True), (11_012, True), (11_013, False)):
        assert overlay.in_step(layout, [dataclasses.replace(file, bytes=size)]) is suits
    write(json.dumps(document(files=[{"path": "a.gguf", "bytes": 11_013, "sha256": "d" * 64}])))
    assert quant().layout is None


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"[" * 200_000,
        json.dumps({"schema": SCHEMA, "series": []}).encode() + b" " * (1 << 21),
        b'{"schema": "steprun.overlay/2", "series": []}',
        document(revision="main"),
        document(files=[]),
        document(files=[{"path": "../../x.gguf", "bytes": 5, "sha256": "d" * 64}]),
        document(files=[{"path": "x.gguf", "bytes": True, "sha256": "d" * 64}]),
        document(files=[{"path": "x.gguf", "bytes": 5, "sha256": None}]),
        document(files=[{"path": "x-00001-of-00002.gguf", "bytes": 5, "sha256": "d" * 64}]),
        document(more=1),
    ],
    ids=range(13),
)
def test_a_damaged_overlay_stops_nothing_and_is_told(hub, shipped, damaged):
    write(damaged if isinstance(damaged, bytes) else json.dumps(damaged))
    assert overlay.read() == ()
    assert overlay.is_damaged()
    assert models_toml.load_catalog() is shipped
    assert "is damaged" in run(check).stderr
    have("IQ4")
    commit(hub, {ONE: b"other" * 1000})
    run(update, "--yes")
    assert quant().files[0].revision == NEW


def test_an_overlay_that_cannot_be_read_stops_nothing(shipped):
    overlay.path().mkdir(parents=True)
    assert models_toml.load_catalog() is shipped


def test_an_overlay_for_an_older_catalog_is_left_out_and_dropped(hub, shipped):
    write(json.dumps(document(replaces="e" * 40)))
    assert models_toml.load_catalog() == shipped
    have("Q8")
    commit(hub, {"Q8/m-Q8.gguf": b"larger" * 1000})
    run(update, "--yes")
    assert [each.replaces for each in overlay.read()] == [OLD]


def test_a_projector_stays_one_file(shipped):
    files = [
        {"path": f"v-0000{n}-of-00002.gguf", "bytes": 5, "sha256": str(n) * 64} for n in (1, 2)
    ]
    write(json.dumps(document(first="mmproj.gguf", files=files)))
    assert models_toml.load_catalog() == shipped


def test_reading_it_needs_no_heavy_import(home):
    write(json.dumps(document()))
    code = (
        "import sys, runner.catalog.models_toml as c; c.load_catalog()\n"
        "print([n for n in ('huggingface_hub', 'httpx2', 'asyncio') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
