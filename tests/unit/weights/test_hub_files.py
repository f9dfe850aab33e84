"""A model named by `hf:` is fetched whole, with its parts, and found again without the network."""

import errno
import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runner.base.errors import BadFile, Refused, UsageError
from runner.hub import address
from runner.weights import cache_layout, hub_files, pull
from tests.fakes.hub import FakeHub

OLD, NEW = "a" * 40, "b" * 40
SHARDS = [f"Q/m-Q-{n:05d}-of-00003.gguf" for n in (1, 2, 3)]
THERE = {name: bytes([65 + n]) * (1000 + n) for n, name in enumerate(SHARDS)} | {
    "small.gguf": b"s" * 10,
    "mmproj.gguf": b"p" * 20,
    "heads.gguf": b"h" * 30,
    "R/r-00002-of-00002.gguf": b"r" * 5,
}
MODEL = f"hf:o/r/{SHARDS[0]}"


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    with FakeHub(dict(THERE), commit=OLD, commits={}, repo="o/r") as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        yield fake


def bring(text: str) -> None:
    files = hub_files.files(text)
    pull.pull(files, "m", lambda *_: None)
    hub_files.note(text, files[0])


def off(monkeypatch) -> None:
    """Whoever asks for a connection from now on fails."""

    def no(*_args, **_more):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", no)


@pytest.mark.parametrize("text", [MODEL, f"hf:o/r/{SHARDS[1]}", f"HF:o/r/{SHARDS[2]}@main"])
def test_all_parts_in_order_whichever_is_named(hub, text):
    files = hub_files.files(text)
    assert [file.path for file in files] == SHARDS
    for file in files:
        data = THERE[file.path]
        assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert (file.role, file.source, file.repo, file.revision) == ("weights", "hf", "o/r", OLD)
    assert len(hub.asked) == 1


def test_projector_and_heads_come_after(hub):
    files = hub_files.files(MODEL, "hf:o/r/mmproj.gguf", "hf:o/r/heads.gguf")
    assert [file.role for file in files] == ["weights"] * 3 + ["projector", "mtp"]
    assert [file.name for file in files[3:]] == ["mmproj.gguf", "heads.gguf"]
    assert len(hub.asked) == 1, "one repository is asked once"
    assert len(hub_files.files(MODEL, "/here/mmproj.gguf")) == 3
    assert [file.role for file in hub_files.files(None, "hf:o/r/mmproj.gguf")] == ["projector"]
    with pytest.raises(UsageError):  # it would be left out without a word
        hub_files.files(MODEL, f"{hub.url}/mmproj.gguf")


def test_a_revision_is_kept_to(hub):
    hub.commits[NEW] = {"small.gguf": b"new"}
    hub.commit = NEW
    assert hub_files.files("hf:o/r/small.gguf")[0].revision == NEW
    assert hub_files.files(f"hf:o/r/small.gguf@{OLD}")[0].bytes == 10


def test_missing_parts_are_named():
    with pytest.raises(BadFile, match="1 of 2 parts") as caught:
        hub_files.files("hf:o/r/R/r-00002-of-00002.gguf")
    assert "R/r-00001-of-00002.gguf" in caught.value.why


def test_the_name_on_a_model_card_leads_to_the_parts():
    with pytest.raises(UsageError, match="is not in o/r") as caught:
        hub_files.files("hf:o/r/m-Q.gguf")
    assert caught.value.next == f"Did you mean {MODEL}?"
    with pytest.raises(UsageError) as far:
        hub_files.files("hf:o/r/wholly-other.gguf")
    assert "list of files" in far.value.next
    with pytest.raises(UsageError) as odd:
        hub_files.files("hf:o/r/[x].gguf")
    assert "characters" in odd.value.why


def test_what_cannot_be_proven_is_refused(hub, monkeypatch):
    monkeypatch.setattr(hub.shelf, "sum", lambda _file: "")
    with pytest.raises(Refused, match="cannot be verified") as caught:
        hub_files.files(MODEL)
    assert "--model PATH" in caught.value.next


def test_two_parts_that_are_the_same_are_no_model(hub):
    hub.files[SHARDS[1]] = hub.files[SHARDS[0]]
    with pytest.raises(BadFile, match="are the same"):
        hub_files.files(MODEL)


@pytest.mark.parametrize(
    "text", ["https://x.example/a.gguf", "/a.gguf", "hf:o/r", "hf:o/../a.gguf"]
)
def test_only_files_of_the_hub_are_named(text):
    with pytest.raises(UsageError):
        hub_files.files(text)
    assert hub_files.local(text) is None


def test_it_is_found_again_without_the_network(hub, monkeypatch):
    assert hub_files.local(MODEL) is None
    bring(MODEL)
    off(monkeypatch)
    first = cache_layout.repo_folder("o/r") / "snapshots" / OLD / SHARDS[0]
    for text in (MODEL, f"hf:o/r/{SHARDS[2]}", f"{MODEL}@main", f"{MODEL}@{OLD}"):
        assert hub_files.local(text) == first
    assert hub_files.local(f"{MODEL}@{NEW}") is None
    assert hub_files.local(f"{MODEL}@dev") is None
    assert hub_files.local("hf:o/r/small.gguf") is None
    first.with_name(SHARDS[1].rpartition("/")[2]).unlink()
    assert hub_files.local(MODEL) is None, "a part is missing"


def test_a_branch_moves_with_what_was_fetched(hub):
    bring("hf:o/r/small.gguf")
    hub.commits[NEW] = {"small.gguf": b"new", "pr.gguf": b"pr"}
    hub.commit = NEW
    found = hub_files.local("hf:o/r/small.gguf")
    assert found is not None
    assert found.read_bytes() == THERE["small.gguf"], "until it is fetched again"
    bring("hf:o/r/small.gguf")
    found = hub_files.local("hf:o/r/small.gguf")
    assert found is not None
    assert found.read_bytes() == b"new"
    (small,) = hub_files.files("hf:o/r/small.gguf")
    hub_files.note("hf:o/r/pr.gguf@refs/pr/1", small)
    refs = cache_layout.repo_folder("o/r") / "refs"
    assert (refs / "main").read_text() == NEW, "as huggingface_hub writes it"
    assert (refs / "refs/pr/1").read_text() == NEW
    assert sorted(p.name for p in refs.parent.iterdir()) == ["blobs", "refs", "snapshots"]


def test_a_half_written_note_is_no_branch(hub, monkeypatch):
    (small,) = hub_files.files("hf:o/r/small.gguf")

    refs = cache_layout.repo_folder("o/r") / "refs"
    seen: list[Path] = []

    def full(_file):
        seen.extend(refs.rglob("*"))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match="too full"):
        hub_files.note("hf:o/r/small.gguf", small)
    assert seen == []
    assert [path.name for path in refs.parent.iterdir()] == ["refs"]


def test_a_note_is_of_its_own_repository_and_branch_only(hub):
    (small,) = hub_files.files("hf:o/r/small.gguf")
    hub_files.note("hf:o/other/small.gguf", small)
    hub_files.note(f"hf:o/r/small.gguf@{NEW}", small)
    hub_files.note("/here/small.gguf", small)
    assert not (cache_layout.repo_folder("o/r") / "refs").exists()
    assert not cache_layout.repo_folder("o/other").exists()


@pytest.mark.parametrize("told", [b"", b"../x", b"\xff" * 40, b"a" * 39, b"A" * 40, b"a" * 5000])
def test_a_damaged_note_is_none(told):
    bring("hf:o/r/small.gguf")
    ref = cache_layout.repo_folder("o/r") / "refs" / "main"
    assert hub_files.local("hf:o/r/small.gguf")
    other = cache_layout.repo_folder("o/r") / "x" / "small.gguf"
    other.parent.mkdir()
    other.write_bytes(b"no commit's")
    ref.write_bytes(told)
    assert hub_files.local("hf:o/r/small.gguf") is None
    ref.write_bytes(OLD.encode() + b"\n")
    assert hub_files.local("hf:o/r/small.gguf")


def test_what_hf_download_brought_is_found(monkeypatch):
    """The real `huggingface_hub` fetches; the layout is its own."""
    code = (
        "import sys, huggingface_hub as h\nfor name in sys.argv[1:]: h.hf_hub_download('o/r', name)"
    )
    subprocess.run([sys.executable, "-c", code, *SHARDS], check=True, timeout=120)
    off(monkeypatch)
    found = hub_files.local(MODEL)
    assert found is not None
    assert found.read_bytes() == THERE[SHARDS[0]]


def test_looking_needs_no_heavy_import():
    code = (
        "import sys, runner.weights.hub_files as n; n.local('hf:o/r/a.gguf')\n"
        "print([n for n in ('huggingface_hub', 'httpx2', 'asyncio') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_names_are_taken_apart():
    assert address.hub_name("hf:o/r/a/b.gguf@v1") == address.HubName("o/r", "a/b.gguf", "v1")
    assert address.hub_name("hf:o/r/b.gguf") == address.HubName("o/r", "b.gguf", "main")
    for text in ("hf:o/r/b.gguf@../x", "hf:../r/b.gguf", "hf:o/r/\x1b.gguf", "hf:o/r/b.bin"):
        assert address.hub_name(text) is None
