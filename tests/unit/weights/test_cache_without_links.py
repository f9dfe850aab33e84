"""A hub's cache whose names hold the bytes themselves: no links allowed, or copied with `cp -L`."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from runner.base.errors import Exit, Refused
from runner.cli.main import steprun
from runner.weights import cache_layout, hub_files, inventory, published, pull, verified
from runner.weights.verified import Verdict
from tests.fakes.hub import FakeHub

OLD, NEW = "a" * 40, "b" * 40
DATA = b"GGUF" + bytes(range(256)) * 300
TEXT = "hf:o/r/Q/m.gguf"


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    with FakeHub({"Q/m.gguf": DATA}, commit=OLD, commits={}, repo="o/r") as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        yield fake


def place(commit: str = OLD, data: bytes = DATA) -> Path:
    """Put the file there as the hub's own tools do where they cannot make links."""
    folder = cache_layout.repo_folder("o/r")
    path = folder / "snapshots" / commit / "Q/m.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    for name in ("blobs", "refs"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "refs/main").write_text(commit)
    return path


def run(*argv: str) -> int:
    try:
        result = CliRunner().invoke(
            steprun, ["models", *argv], standalone_mode=False, catch_exceptions=False
        )
    except Refused as error:
        return error.exit_code
    return int(result.return_value or 0)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(1, 1))


def no_links(monkeypatch: pytest.MonkeyPatch, *, hard: bool = False) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    if not hard:
        monkeypatch.setattr(Path, "hardlink_to", refuse)


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_pulled_verified_repaired_and_removed(hub, monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, str(tmp_path / "my cache"))
    path = place()
    assert run("pull", TEXT) == Exit.DONE
    assert hub.body_bytes == 0
    assert run("verify", TEXT) == Exit.DONE
    damage(path)
    assert run("verify", TEXT) == Exit.BAD_FILE
    assert run("repair", TEXT, "--yes") == Exit.DONE
    assert path.read_bytes() == DATA
    assert 0 < hub.body_bytes <= len(DATA)
    assert run("rm", TEXT, "--yes") == Exit.DONE
    assert not path.exists()


def test_what_was_never_asked_about_is_asked_at_its_own_commit(hub):
    hub.commits[OLD] = {"Q/m.gguf": DATA}
    hub.commits[NEW] = {"Q/m.gguf": DATA + b"newer"}
    hub.commit = NEW
    place(OLD)
    assert [file.sha256 for file in inventory.named(TEXT)] == [None]
    assert run("verify", TEXT) == Exit.DONE
    assert inventory.named(TEXT)[0].sha256 == hashlib.sha256(DATA).hexdigest()
    assert run("rm", TEXT, "--yes") == Exit.DONE


def test_it_is_removed_without_the_network(monkeypatch):
    path = place()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run("rm", TEXT, "--yes") == Exit.DONE
    assert not path.exists()


def test_one_that_is_cut_short_is_downloaded_again(hub, monkeypatch):
    hub_files.files(TEXT)
    place(data=DATA[:5000])
    assert run("verify", TEXT) == Exit.REFUSED
    no_links(monkeypatch)
    assert run("pull", TEXT) == Exit.DONE
    path = cache_layout.expected_path(hub_files.files(TEXT)[0], "")
    assert path.read_bytes() == DATA
    assert not path.is_symlink()


def test_a_cache_that_was_copied_with_its_links_followed(hub, monkeypatch, tmp_path):
    assert run("pull", TEXT) == Exit.DONE
    sent = hub.body_bytes
    shutil.copytree(cache_layout.hub_cache(), tmp_path / "moved")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "moved"))
    assert not cache_layout.expected_path(hub_files.files(TEXT)[0], "").is_symlink()
    for command in ("pull", "verify"):
        assert run(command, TEXT) == Exit.DONE
    assert hub.body_bytes == sent
    assert run("rm", TEXT, "--yes") == Exit.DONE
    assert not [path for path in (tmp_path / "moved").rglob("*") if path.suffix == ".gguf"]
    assert not list((tmp_path / "moved/models--o--r/blobs").iterdir())


@pytest.mark.parametrize("asked_before", [True, False])
@pytest.mark.parametrize("hard", [True, False])
def test_a_new_revision_with_the_same_bytes_is_not_sent(hub, monkeypatch, hard, asked_before):
    path = place()
    if asked_before:
        hub_files.files(TEXT)
    hub.commits[NEW] = {"Q/m.gguf": DATA}
    hub.commit = NEW
    no_links(monkeypatch, hard=hard)
    assert run("pull", TEXT) == Exit.DONE
    assert hub.body_bytes == 0
    (file,) = hub_files.files(TEXT)
    assert cache_layout.expected_path(file, "").read_bytes() == DATA
    assert path.exists()
    (old,) = inventory.other_revisions([file])
    gone = inventory.removals([old], "")
    assert [each.path for each in gone] == [path]
    assert (gone[0].frees == 0) is hard


def test_another_version_of_the_same_size_is_no_damage(hub):
    path = place(data=DATA[:-1] + b"x")
    hub.commits[NEW] = {"Q/m.gguf": DATA}
    hub.commit = NEW
    assert run("pull", TEXT) == Exit.DONE
    assert hub.body_bytes == len(DATA)
    assert verified.recall(path) is None


def test_links_to_the_bytes_outlive_a_new_name_where_none_can_be_made(hub, monkeypatch):
    assert run("pull", TEXT) == Exit.DONE
    (file,) = hub_files.files(TEXT)
    hub.commits[NEW] = {"Q/m.gguf": DATA}
    hub.commit = NEW
    no_links(monkeypatch)
    assert run("pull", TEXT) == Exit.DONE
    assert cache_layout.expected_path(file, "").read_bytes() == DATA
    assert cache_layout.expected_path(hub_files.files(TEXT)[0], "").read_bytes() == DATA
    assert hub.body_bytes == len(DATA)


def test_what_was_published_outlives_a_verdict(hub):
    path = place()
    (file,) = hub_files.files(TEXT)
    verified.remember(path, Verdict(file.sha256 or "", intact=False))
    damage(path)
    assert inventory.named(TEXT) == (file,)
    assert published.of(published.recall_all(), "o/r", OLD, "Q/m.gguf")
    assert pull.remaining_bytes([file]) == len(DATA)
