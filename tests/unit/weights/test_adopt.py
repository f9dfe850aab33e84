"""Weights of other programs are found by what they are, proven by hash, and linked, not copied."""

import hashlib
import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from click.testing import CliRunner, Result

from runner.base import units
from runner.base.errors import BadFile, Exit, Refused, SteprunError, UsageError
from runner.catalog import models_toml
from runner.catalog.model import Catalog, Model, ModelFile, Quant
from runner.cli.commands.models_adopt import adopt as command
from runner.gguf import header
from runner.weights import (
    adopt,
    block_checksums,
    cache_layout,
    links,
    other_programs,
    verified,
    verify,
)
from runner.weights.adopt import Outcome
from runner.weights.other_programs import Folder
from runner.weights.verified import Verdict

REPO, REVISION = "org/Step-GGUF", "a" * 40
OLDER = "b" * 40
VARIABLES = (
    "HF_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "LLAMA_CACHE",
    "LOCALAPPDATA",
    "APPDATA",
    "MODELSCOPE_CACHE",
    "OLLAMA_MODELS",
    "JAN_DATA_FOLDER",
)


def silent(_: object) -> None:
    pass


# --- a small catalog, and its files as their makers write them


def write(
    path: Path, arch: str, tensors: list[str], *, seed: int, parts: int = 0, heads: int = 0
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, arch, split_max_tensors=parts)
    writer.add_type("model" if arch == "step35" else "mmproj")
    writer.add_block_count(2 + heads)
    writer.add_nextn_predict_layers(heads)
    writer.add_context_length(4096)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(128)
    writer.add_head_count(2)
    writer.add_token_list([b"a", b"b"])
    for number, name in enumerate(tensors):
        random = np.random.default_rng([seed, number])
        writer.add_tensor(name, random.random((64, 32), dtype=np.float32))
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


TRUNK = [f"blk.{number // 3}.t{number}.weight" for number in range(6)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the repository: quants A and B in three parts of the same sizes, and what goes by."""
    folder = tmp_path_factory.mktemp("published")
    write(folder / "A/step-A.gguf", "step35", TRUNK, seed=1, parts=2)
    write(folder / "B/step-B.gguf", "step35", TRUNK, seed=2, parts=2)
    write(folder / "mmproj.gguf", "clip", ["v.blk.0.a.weight"], seed=3)
    write(folder / "mtp.gguf", "step35", ["blk.2.nextn.eh_proj.weight"], seed=4)
    return folder


@pytest.fixture(scope="module")
def model(published: Path) -> Model:
    def file(path: str, role: str = "weights") -> ModelFile:
        data = (published / path).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        return ModelFile(role, "hf", REPO, REVISION, path, len(data), sha256)  # type: ignore[arg-type]

    def quant(name: str, quality: int) -> Quant:
        parts = [f"{name}/step-{name}-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
        return Quant(name, tuple(file(part) for part in parts), quality)

    first = header.read_header(published / "A/step-A-00001-of-00003.gguf")
    return Model(
        "step",
        "Step",
        header.geometry(first),
        (quant("A", 2), quant("B", 1)),
        projector=file("mmproj.gguf", "projector"),
        mtp=file("mtp.gguf", "mtp"),
    )


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's home with nothing in it, and no variable that leads elsewhere."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "our-hub"))
    return folder


@pytest.fixture
def disk(user: Path, published: Path, tmp_path: Path) -> Path:
    """Return an external disk with all files of the repository, under their names."""
    return Path(shutil.copytree(published, tmp_path / "disk"))


def look(model: Model, *folders: Path) -> adopt.Found:
    return adopt.find_adoptable([model], [Folder("", folder) for folder in folders], silent)


def take(model: Model, *folders: Path) -> list[Outcome]:
    found = look(model, *folders)
    return [*found.settled, *adopt.adopt(found.candidates, silent)]


def results(outcomes: list[Outcome]) -> dict[str, str]:
    return {o.target.file.path if o.target else o.path.name: o.result for o in outcomes}


def whole(model: Model) -> dict[str, str]:
    return {target.file.path: "linked" for target in adopt.targets([model])}


def state(folder: Path) -> list[tuple[str, int, int, int, int]]:
    """Return all that would show a change: names, inodes, sizes, blocks, times."""
    found = []
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        blocks = getattr(stat, "st_blocks", 0)
        found.append((str(path), stat.st_ino, stat.st_size, blocks, stat.st_mtime_ns))
    return found


# --- what is found


def test_all_of_a_disk_is_linked_and_nothing_copied(model, disk, home):
    before = state(disk)
    numbers = [{target.part for target in c.targets} for c in look(model, disk).candidates]
    assert all(len(number) == 1 for number in numbers)  # sizes leave it open, headers do not
    assert results(take(model, disk)) == whole(model)
    assert state(disk) == before
    for target in adopt.targets([model]):
        link = cache_layout.linked_path(target.file, model.name)
        assert link.is_symlink()
        assert link.samefile(disk / target.file.path)
        assert target.installed == link
        assert verified.recall(link) == Verdict(target.file.sha256 or "")
        assert block_checksums.known(target.file.sha256 or "", target.file.bytes)
    kept = sum(p.lstat().st_size for p in home.rglob("*") if p.is_file() and not p.is_symlink())
    assert kept < 8000  # marks and verdicts; the files have 50,000 bytes and more
    parts = header.read_split(cache_layout.first(model.quants[0].files, model.name))
    assert [part.shards.number for part in parts if part.shards] == [1, 2, 3]


def test_a_second_time_nothing_is_read(model, disk, home, monkeypatch):
    take(model, disk)
    (home / "state/verdicts.json").unlink()
    monkeypatch.setattr(verify, "verify_files", lambda *_, **__: pytest.fail("read again"))
    again = take(model, disk)
    assert set(results(again).values()) == {"here"}
    assert len(again) == len(whole(model))


def test_names_do_not_matter(model, disk):
    for number, path in enumerate(sorted(disk.rglob("*.gguf"))):
        path.rename(disk / f"renamed {number}")
    assert results(take(model, disk)) == whole(model)


def test_a_shard_of_another_quant_under_the_right_name(model, disk):
    one, two = (disk / f"{q}/step-{q}-00002-of-00003.gguf" for q in "AB")
    assert one.stat().st_size == two.stat().st_size  # so only the hash can tell
    kept = two.read_bytes()
    one.replace(two)
    outcomes = take(model, disk)
    (found,) = [o for o in outcomes if o.path == two]
    assert results([found]) == {"A/step-A-00002-of-00003.gguf": "linked"}
    assert "B/step-B-00002-of-00003.gguf" not in results(outcomes)
    one.write_bytes(kept)
    assert results(take(model, disk))["B/step-B-00002-of-00003.gguf"] == "linked"


def test_a_part_under_another_parts_name(model, disk):
    second, third = (disk / f"A/step-A-{n:05d}-of-00003.gguf" for n in (2, 3))
    second.rename(disk / "swap")
    third.rename(second)
    (disk / "swap").rename(third)
    assert results(take(model, disk)) == whole(model)
    assert header.read_split(cache_layout.first(model.quants[0].files, model.name))


def flip(path: Path, at: int = -5) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_wrong_bytes_of_the_right_size(model, disk):
    broken = disk / "A/step-A-00003-of-00003.gguf"
    flip(broken)
    shutil.rmtree(disk / "B")
    outcomes = take(model, disk)
    (wrong,) = [o for o in outcomes if o.result == "wrong"]
    assert (wrong.path, "sha256" in wrong.why) == (broken, True)
    assert [o.result for o in outcomes].count("linked") == 4
    assert cache_layout.locate(model.quants[0].files[2], model.name) is None
    good = disk / "good"
    shutil.copy(broken, good)
    flip(good)
    assert {o.path: o.result for o in take(model, disk)}[good] == "linked"


def test_a_damaged_copy_does_not_hide_a_good_one(model, disk):
    path = model.quants[0].files[0].path
    (disk / "copy").mkdir()
    shutil.copy(disk / path, disk / "copy/good.gguf")
    flip(disk / path)  # it has the right name, so it is tried first
    by_path = {o.path: o.result for o in take(model, disk)}
    assert by_path[disk / path] == "wrong"
    assert by_path[disk / "copy/good.gguf"] == "linked"


def watch(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that all files get into which are read from now on."""
    read: list[Path] = []
    real = verify.verify_files

    def watched(found, tell, **more):
        read.extend(path for _, path in found)
        return real(found, tell, **more)

    monkeypatch.setattr(verify, "verify_files", watched)
    return read


def test_a_copy_under_another_quants_name_is_no_damage(model, disk):
    one, two = (disk / f"{q}/step-{q}-00002-of-00003.gguf" for q in "AB")
    copy = disk / "copy" / one.name
    copy.parent.mkdir()
    shutil.copy(two, copy)
    one.unlink()
    outcomes = take(model, disk)
    (found,) = [o for o in outcomes if o.path == copy]
    assert results([found]) == {"B/step-B-00002-of-00003.gguf": "here"}


def test_something_else_of_the_right_size(model, disk):
    path = disk / model.projector.path
    path.write_bytes(path.read_bytes().replace(b"clip", b"blip"))
    (found,) = [o for o in take(model, disk) if o.path == path]
    assert (found.result, found.why) == ("wrong", "Its header belongs to another kind of file.")
    path.rename(disk / "blip.gguf")
    assert disk / "blip.gguf" not in {o.path for o in take(model, disk)}


def test_a_spare_copy_is_not_read(model, disk, monkeypatch):
    path = model.projector.path
    shutil.copy(disk / path, disk / "spare.gguf")
    read = watch(monkeypatch)
    by_path = {o.path: o.result for o in take(model, disk)}
    assert by_path[disk / "spare.gguf"] == "here"
    assert disk / "spare.gguf" not in read
    assert disk / path in read


def test_a_file_without_a_sound_header(model, disk):
    for number, start in ((1, b"<html>"), (2, bytes(8192))):
        path = disk / f"A/step-A-{number:05d}-of-00003.gguf"
        path.write_bytes(start + path.read_bytes()[len(start) :])
    outcomes = {o.path.name: o for o in take(model, disk)}
    assert outcomes["step-A-00001-of-00003.gguf"].result == "wrong"
    assert "web page" in outcomes["step-A-00001-of-00003.gguf"].why
    assert "zeros" in outcomes["step-A-00002-of-00003.gguf"].why


def test_a_broken_part_is_told_by_its_name_where_sizes_are_alike(model, disk):
    path = disk / "B/step-B-00002-of-00003.gguf"  # the parts of A have the same sizes
    path.write_bytes(b"<html>" + path.read_bytes()[6:])
    (wrong,) = [o for o in take(model, disk) if o.result == "wrong"]
    assert (wrong.path, wrong.target and wrong.target.quant) == (path, "B")


def test_a_part_that_has_not_come_whole(model, disk):
    path = disk / "B/step-B-00002-of-00003.gguf"
    path.write_bytes(path.read_bytes()[:-1000])
    outcomes = {o.path: o for o in take(model, disk)}
    assert outcomes[path].result == "wrong"


def test_files_of_other_quanters(model, disk, user):
    shutil.rmtree(disk)
    write(disk / "theirs.gguf", "step35", TRUNK[:3], seed=9)
    write(disk / "inside.gguf", "step35", [*TRUNK[:3], "blk.2.nextn.a"], seed=9, heads=1)
    write(disk / "other.gguf", "llama", TRUNK[:3], seed=9)
    write(disk / "split.gguf", "step35", TRUNK, seed=8, parts=3)
    (disk / "notes.gguf").write_text("not a model")
    outcomes = take(model, disk)
    names = ("theirs.gguf", "inside.gguf", "split-00001-of-00002.gguf")
    assert results(outcomes) == dict.fromkeys(names, "unknown")
    assert {o.model for o in outcomes} == {"step"}
    demo = replace(model, demo=True, quants=(), projector=None, mtp=None)
    assert take(demo, disk) == []


def test_no_more_strangers_are_read_than_a_bound(model, disk, monkeypatch):
    monkeypatch.setattr(adopt, "_MOST_UNKNOWN", 2)
    for number in range(4):
        (disk / f"{number}.gguf").write_text("no model")
    found = look(model, disk)
    assert found.cut
    assert len(found.candidates) == len(whole(model))
    (disk / "0.gguf").unlink()
    (disk / "1.gguf").unlink()
    assert not look(model, disk).cut


# --- other programs' layouts


def place(published: Path, root: Path, name: str = "{path}") -> None:
    for path in published.rglob("*.gguf"):
        inner = path.relative_to(published).as_posix()
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        target = root / name.format(path=inner, flat=inner.replace("/", "_"), sha256=sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def hub(published: Path, cache: Path, revision: str = REVISION, *, links_: bool = True) -> None:
    repo = cache / "models--org--Step-GGUF"
    for path in published.rglob("*.gguf"):
        blob = repo / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        shown = repo / "snapshots" / revision / path.relative_to(published)
        shown.parent.mkdir(parents=True, exist_ok=True)
        if links_:
            shown.symlink_to(os.path.relpath(blob, shown.parent))


FLAT = "org_Step-GGUF_{flat}"
LAYOUTS = [
    ("the hub's cache", "~/.cache/huggingface/hub", None),
    ("LM Studio", "~/.lmstudio/models/org/Step-GGUF", "{path}"),
    ("LM Studio", "~/.cache/lm-studio/models/org/Step-GGUF", "{path}"),
    ("llama.cpp", "~/.cache/llama.cpp", FLAT),
    ("llama.cpp", "~/Library/Caches/llama.cpp", FLAT),
    ("ModelScope", "~/.cache/modelscope/hub/models/org/Step-3___7-GGUF", "{path}"),
    ("ModelScope", "~/.cache/modelscope/hub/org/Step-3___7-GGUF", "{path}"),
    (
        "ModelScope",
        "~/.cache/modelscope/hub/models/models/org--Step/snapshots/master",
        "{path}",
    ),
    ("Ollama", "~/.ollama/models/blobs", "sha256-{sha256}"),
    ("Jan", "~/.local/share/Jan/data/llamacpp/models/org/Step", "{flat}"),
    ("Jan", "~/Library/Application Support/Jan/data/llamacpp/models/org/Step", "{flat}"),
]


@pytest.mark.parametrize(("program", "folder", "name"), LAYOUTS)
def test_each_layout(model, published, user, *, program, folder, name):
    root = user / folder.removeprefix("~/")
    if name is None:
        hub(published, root)
    else:
        place(published, root, name)
    before = state(user)
    (found,) = other_programs.folders()
    assert found.program == program
    assert results(take(model, found.path)) == whole(model)
    assert state(user) == before


@pytest.mark.parametrize(
    ("variable", "inside", "program"),
    [
        ("HF_HUB_CACHE", "", "the hub's cache"),
        ("HUGGINGFACE_HUB_CACHE", "", "the hub's cache"),
        ("HF_HOME", "hub", "the hub's cache"),
        ("XDG_CACHE_HOME", "huggingface/hub", "the hub's cache"),
        ("XDG_CACHE_HOME", "llama.cpp", "llama.cpp"),
        ("LLAMA_CACHE", "", "llama.cpp"),
        ("LOCALAPPDATA", "llama.cpp", "llama.cpp"),
        ("MODELSCOPE_CACHE", "", "ModelScope"),
        ("OLLAMA_MODELS", "blobs", "Ollama"),
        ("JAN_DATA_FOLDER", "llamacpp/models", "Jan"),
        ("XDG_DATA_HOME", "Jan/data/llamacpp/models", "Jan"),
        ("APPDATA", "Jan/data/llamacpp/models", "Jan"),
    ],
)
def test_variables_move_them(user, tmp_path, monkeypatch, *, variable, inside, program):
    root = tmp_path / "big disk"
    (root / inside).mkdir(parents=True)
    assert other_programs.folders() == []
    monkeypatch.setenv(variable, str(root))
    assert other_programs.folders() == [Folder(program, root / inside)]
    monkeypatch.setenv(variable, "")
    assert other_programs.folders() == []


def test_a_folder_with_two_names_is_one(user, monkeypatch):
    (user / ".cache/huggingface/hub").mkdir(parents=True)
    (user / "elsewhere").symlink_to(user / ".cache/huggingface")
    monkeypatch.setenv("HF_HOME", str(user / "elsewhere"))
    assert [folder.path for folder in other_programs.folders()] == [user / "elsewhere/hub"]


def test_settings_move_them(user, tmp_path):
    here, there, jan = (tmp_path / name for name in ("models", "studio", "jan"))
    for folder in (here, there / "models", jan / "llamacpp/models", user / ".lmstudio"):
        folder.mkdir(parents=True)
    settings = user / ".lmstudio/settings.json"
    settings.write_text(json.dumps({"downloadsFolder": str(here)}), "utf-8-sig")
    assert other_programs.folders() == [Folder("LM Studio", here)]
    (user / ".lmstudio-home-pointer").write_text(f"{there}\n")
    ours = user / ".local/share/Jan/settings.json"
    ours.parent.mkdir(parents=True)
    ours.write_text(json.dumps({"data_folder": str(jan)}))
    assert [folder.path for folder in other_programs.folders()] == [
        here,
        there / "models",
        jan / "llamacpp/models",
    ]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"downloadsFolder": 1}', '{"downloadsFolder": "models"}', "[" * 9999],
)
def test_settings_that_say_nothing(user, text):
    for name in (".lmstudio/settings.json", ".lmstudio-home-pointer"):
        (user / name).parent.mkdir(exist_ok=True)
        (user / name).write_text(text)
    assert other_programs.folders() == []


def test_two_revisions_in_the_hubs_cache(model, published, user):
    cache = cache_layout.hub_cache()
    hub(published, cache, OLDER)
    for path in published.rglob("*.gguf"):  # a newer one that shares the bytes of some
        if path.parent.name == "A":
            shown = cache / "models--org--Step-GGUF/snapshots" / ("c" * 40) / path.name
            shown.parent.mkdir(parents=True, exist_ok=True)
            blob = cache / "models--org--Step-GGUF/blobs"
            shown.symlink_to(blob / hashlib.sha256(path.read_bytes()).hexdigest())
    found = look(model, cache)
    assert len(found.candidates) == len(whole(model))  # one file, however many names it has
    assert all(len(candidate.paths) >= 2 for candidate in found.candidates)
    assert all(candidate.path.suffix == ".gguf" for candidate in found.candidates)
    assert results(take(model, cache)) == whole(model)


def test_blobs_without_a_snapshot(model, published, user):
    hub(published, cache_layout.hub_cache(), links_=False)
    assert results(take(model, cache_layout.hub_cache())) == whole(model)


# --- a set that is partly here


def settle_in_hub(published: Path, file: ModelFile) -> None:
    path = cache_layout.expected_path(file, "")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(published / file.path, path)


@pytest.mark.parametrize("adopted", [0, 1, 2])
def test_parts_from_everywhere_are_one_series(model, published, disk, adopted):
    files = model.quants[0].files
    hubbed, pulled = [n for n in range(3) if n != adopted]
    settle_in_hub(published, files[hubbed])
    outcomes = take(model, disk / files[adopted].path)
    assert [o.result for o in outcomes] == ["linked"]
    assert cache_layout.locate(files[pulled], model.name) is None
    settle_in_hub(published, files[pulled])  # as a pull does, and what it calls then
    links.gather(files, model.name)
    parts = header.read_split(cache_layout.first(files, model.name))
    assert [part.shards.number for part in parts if part.shards] == [1, 2, 3]


def test_the_last_part_makes_a_series_at_once(model, published, disk):
    files = model.quants[0].files
    for file in files[:2]:
        settle_in_hub(published, file)
    take(model, disk / files[2].path)
    assert len(header.read_split(cache_layout.first(files, model.name))) == 3


def test_what_the_other_program_deletes_is_missing_again(model, disk):
    files = model.quants[0].files
    take(model, disk)
    (disk / files[1].path).unlink()
    assert cache_layout.locate(files[1], model.name) is None
    assert cache_layout.locate(files[0], model.name)


# --- disks that misbehave


def test_links_in_a_circle_and_into_nowhere(model, disk):
    (disk / "again").symlink_to(disk)
    (disk / "A/up").symlink_to("..")
    (disk / "loop.gguf").symlink_to(disk / "loop.gguf")
    (disk / "gone.gguf").symlink_to(disk / "nothing")
    found = look(model, disk)
    assert (found.skipped, found.cut) == (2, False)
    assert len(found.candidates) == len(whole(model))
    assert found.entries < 30


def test_a_folder_that_cannot_be_read(model, disk, monkeypatch):
    real = os.scandir

    def closed(folder):
        if Path(folder).name == "B":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", closed)
    found = look(model, disk)
    assert found.skipped == 1
    assert len(found.candidates) == len(whole(model)) - 3


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_files_and_folders_closed_to_us(model, disk):
    (disk / "B").chmod(0)
    closed = disk / model.projector.path
    closed.chmod(0)
    try:
        outcomes = {o.path: o.result for o in take(model, disk)}
    finally:
        (disk / "B").chmod(0o700)
    assert outcomes[closed] == "unreadable"
    assert list(outcomes.values()).count("linked") == 4


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
def test_what_is_no_regular_file_is_not_opened(model, disk):
    os.mkfifo(disk / "pipe.gguf")
    (disk / "zero.gguf").symlink_to("/dev/zero")
    names = {path.name for path, _ in other_programs.Walk().files(disk)}
    assert names.isdisjoint({"pipe.gguf", "zero.gguf"})
    assert results(take(model, disk)) == whole(model)


def test_data_sets_in_the_hubs_cache_are_passed_by(model, published, user):
    hub(published, cache_layout.hub_cache())
    place(published, cache_layout.hub_cache() / "datasets--org--many/blobs", "{sha256}")
    found = look(model, cache_layout.hub_cache())
    assert all(len(candidate.paths) == 2 for candidate in found.candidates)
    assert found.entries < 40


def test_a_search_has_bounds(model, disk, monkeypatch):
    deep = disk / "/".join("abcdefgh")
    deep.mkdir(parents=True)
    (disk / model.projector.path).rename(deep / "within.gguf")
    (deep / "i").mkdir()
    (disk / model.mtp.path).rename(deep / "i/beyond.gguf")
    found = look(model, disk)
    names = {candidate.path.name for candidate in found.candidates}
    assert "within.gguf" in names
    assert "beyond.gguf" not in names
    assert found.cut
    monkeypatch.setattr(other_programs, "MOST_ENTRIES", 3)
    found = look(model, disk)
    assert found.cut
    assert found.entries == 3


def disturb(monkeypatch: pytest.MonkeyPatch, name: str, what) -> None:
    """Let something befall the file of that name when its first bytes are read."""
    real = verify._Verification._read_block

    def block(self, stream, room):
        if self._path.name == name:
            what(self._path)
        return real(self, stream, room)

    monkeypatch.setattr(verify._Verification, "_read_block", block)


def fail(path: Path) -> None:
    raise OSError(5, "Input/output error")


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


@pytest.mark.parametrize("what", [Path.unlink, fail, grow])
def test_a_disk_that_goes_away_while_it_is_read(model, disk, monkeypatch, what):
    name = "mmproj.gguf"
    disturb(monkeypatch, name, what)
    found = results(take(model, disk))
    assert found == whole(model) | {name: "unreadable"}
    assert cache_layout.locate(model.projector, model.name) is None
    assert not cache_layout.linked_path(model.projector, model.name).is_symlink()


def test_an_interruption_keeps_what_was_proven(model, disk, monkeypatch):
    candidates = look(model, disk).candidates
    before = threading.active_count()
    slow = "mmproj.gguf"

    def stop(_: object) -> None:
        proven = sum(verified.recall(c.path) is not None for c in candidates)
        if proven >= len(candidates) - 1:
            raise KeyboardInterrupt

    real = verify._Verification._read_block

    def block(self, stream, room):
        while self._path.name == slow and not self._stop.is_set():
            self._stop.wait(1)
        return real(self, stream, room)

    with monkeypatch.context() as patch:
        patch.setattr(verify._Verification, "_read_block", block)
        with pytest.raises(KeyboardInterrupt):
            adopt.adopt(candidates, stop)
    assert threading.active_count() == before
    read = watch(monkeypatch)
    assert results(take(model, disk)) == whole(model)
    assert read == [disk / slow]


# --- links


def no_symlinks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_, **__):
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refused)


def test_a_hard_link_where_others_are_refused(model, disk, monkeypatch):
    no_symlinks(monkeypatch)
    assert results(take(model, disk)) == whole(model)
    link = cache_layout.linked_path(model.projector, model.name)
    assert not link.is_symlink()
    assert link.stat().st_ino == (disk / model.projector.path).stat().st_ino
    assert verified.recall(link) == Verdict(model.projector.sha256)
    assert set(results(take(model, disk)).values()) == {"here"}


def test_no_link_at_all(model, disk, monkeypatch):
    no_symlinks(monkeypatch)

    def crossing(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", crossing)
    outcomes = take(model, disk)
    assert {o.result for o in outcomes} == {"refused"}
    assert all(isinstance(o.error, Refused) for o in outcomes)
    assert not list(cache_layout.linked_path(model.projector, model.name).parent.glob("*.gguf"))


# --- the command


@pytest.fixture
def catalog(model, monkeypatch) -> None:
    monkeypatch.setattr(models_toml, "load_catalog", lambda: Catalog((model,)))


def run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], standalone_mode=False)


def test_the_command_says_what_became_of_each(catalog, model, disk):
    (disk / "A/step-A-00003-of-00003.gguf").unlink()
    write(disk / "their own.gguf", "step35", TRUNK[:3], seed=9)
    flip(disk / "mtp.gguf")
    ran = run(disk)
    assert ran.exception is None
    lines = ran.stdout.splitlines()
    assert sum(line.startswith("linked ") for line in lines) == 6
    (own,) = [line for line in lines if line.startswith("unknown to the catalog")]
    assert f"steprun chat --model '{disk}/their own.gguf'" in own
    assert "no sha256 for it" in own
    assert any(line.startswith(f"MISMATCH {disk / 'mtp.gguf'} ") for line in lines)
    (lacking,) = [line for line in lines if line.startswith("Step A lacks")]
    assert "step-A-00003-of-00003.gguf" in lacking
    assert lacking.endswith("steprun models pull A")
    assert any(line.startswith("Step B is complete") for line in lines)
    assert lines[-1] == "bytes copied: 0"
    read = sum(t.file.bytes for t in adopt.targets([model])) - model.quants[0].files[2].bytes
    assert f"reading {units.size(read)} in 7 files" in ran.stderr


def test_the_next_command_names_a_model_that_is_not_the_first(model, disk, monkeypatch):
    first = replace(model, name="first", quants=(), projector=None, mtp=None)
    monkeypatch.setattr(models_toml, "load_catalog", lambda: Catalog((first, model)))
    assert "Step A is complete: steprun chat --quant A --model step\n" in run(disk).stdout


def test_the_command_as_json(catalog, model, published, user):
    place(published, user / ".lmstudio/models/org/Step-GGUF")
    place(published, user / ".ollama/models/blobs", "sha256-{sha256}")
    ran = run("--json")
    assert ran.exception is None
    document = json.loads(ran.stdout)
    assert document["schema"] == "steprun.adopt/1"
    assert document["copied_bytes"] == 0
    assert [folder["program"] for folder in document["folders"]] == ["LM Studio", "Ollama"]
    files = document["files"]
    assert [file["result"] for file in files] == ["linked"] * 8 + ["here"] * 8
    assert {file["bytes"] for file in files} == {t.file.bytes for t in adopt.targets([model])}
    assert {file["role"] for file in files} == {"weights", "projector", "mtp"}
    assert {file["quant"] for file in files} == {"A", "B", None}
    assert [(q["name"], q["complete"], q["command"]) for q in document["quants"]] == [
        ("A", True, None),
        ("B", True, None),
    ]


def test_what_is_here_by_a_pull_is_said_to_be(catalog, published, user):
    hub(published, cache_layout.hub_cache())
    ran = run("--json")
    assert ran.exception is None
    assert {file["result"] for file in json.loads(ran.stdout)["files"]} == {"here"}


def refusal(*words: object) -> SteprunError:
    ran = run(*words)
    assert isinstance(ran.exception, SteprunError)
    assert ran.exception.why
    assert ran.exception.next
    return ran.exception


def test_nothing_but_wrong_files(catalog, disk):
    for path in disk.rglob("*.gguf"):
        flip(path)
    error = refusal(disk)
    assert isinstance(error, BadFile)
    assert error.exit_code == Exit.BAD_FILE


def test_nothing_at_all(catalog, user, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").exit_code == Exit.FAILED
    assert refusal().exit_code == Exit.FAILED
    assert isinstance(refusal(tmp_path / "no"), UsageError)


def test_only_what_the_catalog_does_not_know(catalog, user, tmp_path):
    write(tmp_path / "own/theirs.gguf", "step35", TRUNK[:3], seed=9)
    ran = run(tmp_path / "own")
    assert ran.exception is None
    assert ran.stdout.startswith("unknown to the catalog ")


def test_nothing_that_can_be_linked(catalog, disk, monkeypatch):
    no_symlinks(monkeypatch)
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: fail(disk))
    assert refusal(disk).exit_code == Exit.REFUSED


def test_nothing_that_can_be_read(catalog, model, disk, monkeypatch):
    disturb(monkeypatch, "mmproj.gguf", fail)
    error = refusal(disk / "mmproj.gguf")
    assert error.exit_code == Exit.FAILED
    assert "Input/output error" in error.why


def test_a_file_by_its_name(catalog, disk, monkeypatch):
    monkeypatch.chdir(disk)
    ran = run("mmproj.gguf")
    assert f"searched {disk / 'mmproj.gguf'}\n" in ran.stderr
    assert " in 1 file;" in ran.stderr
    assert ran.stdout.startswith(f"linked {disk / 'mmproj.gguf'} ")


def test_names_cannot_speak_to_the_terminal(catalog, disk):
    (disk / "mmproj.gguf").rename(disk / "mm\a\u202eproj.gguf")
    ran = run(disk)
    for text in (ran.stdout, ran.stderr):
        assert "mmproj.gguf" in text
        assert text.isascii()
        assert "\a" not in text


def test_the_table_has_absolute_places_only():
    for program in other_programs.programs():
        files = [moved.file for moved in program.moved]
        assert all(text[0] in "~$/" for text in [*program.folders, *files])
