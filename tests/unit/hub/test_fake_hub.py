"""The fake hub, held against the real clients: what they accept of it, tests may build on."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fakes.hub import COMMIT, FakeHub, Manner

OLDER = "f" * 40
FIRST = bytes(range(256)) * 8000  # 2 MB
SECOND = os.urandom(300_000)
REPO = "owner/repo"
posix = pytest.mark.skipif(os.name == "nt", reason="its signals and paths are not these")

HF_DOWNLOAD = """
from huggingface_hub import hf_hub_download
import sys
print(hf_hub_download(sys.argv[1], sys.argv[2], revision=sys.argv[3]))
"""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def on_disk(tmp_path: Path) -> Path:
    path = tmp_path / "on-disk.gguf"
    path.write_bytes(FIRST)
    return path


@pytest.fixture
def hub(on_disk: Path) -> Iterator[FakeHub]:
    now: dict[str, bytes | Path] = {
        "IQ4/a.gguf": on_disk,
        "IQ4/b.gguf": SECOND,
        "c.gguf": b"c",
        "README.md": b"# c",
    }
    with FakeHub(now, commits={OLDER: {"IQ4/a.gguf": b"older"}}, repo=REPO) as made:
        yield made


def run(hub: FakeHub, home: Path, *words: str, **more: str) -> str:
    """Run a real client in a process of its own, as it reads its settings when it is imported."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", **more}
    done = subprocess.run(
        [sys.executable, *words], check=False, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def bodies(hub: FakeHub) -> dict[str, int]:
    return {asked.path.partition("?")[0]: asked.sent for asked in hub.asked if asked.sent}


# --- the real clients


def test_hf_download_brings_what_it_is_asked_for(hub: FakeHub, tmp_path: Path) -> None:
    code = "from huggingface_hub.cli.hf import main; main()"
    words = ("-c", code, "download", REPO, "IQ4/a.gguf", "c.gguf", "--revision", COMMIT)
    run(hub, tmp_path / "home", *words)
    assert bodies(hub) == {
        f"/{REPO}/resolve/{COMMIT}/IQ4/a.gguf": len(FIRST),
        f"/{REPO}/resolve/{COMMIT}/c.gguf": 1,
    }
    (repo,) = (tmp_path / "home/hub").glob("models--*")
    assert (repo / "snapshots" / COMMIT / "IQ4/a.gguf").read_bytes() == FIRST
    assert {blob.name for blob in (repo / "blobs").iterdir()} == {sha(FIRST), sha(b"c")}


def test_the_token_stays_with_the_hub(on_disk: Path, tmp_path: Path) -> None:
    with FakeHub() as cdn, FakeHub({"a.gguf": on_disk, "x.md": b"x"}, cdn=cdn) as hub:
        words = ("-c", HF_DOWNLOAD, REPO, "a.gguf", "main")
        place = run(hub, tmp_path / "home", *words, HF_TOKEN="hf_secret")
        assert Path(place).read_bytes() == FIRST
        assert {asked.token for asked in hub.asked} == {"hf_secret"}
        assert {asked.token for asked in cdn.asked} == {""}
        assert (hub.body_bytes, cdn.body_bytes) == (0, len(FIRST))
        unsigned = httpx2.get(f"{cdn.url}/signed/{COMMIT}/a.gguf")
        assert unsigned.status_code == 403
        assert httpx2.get(f"{hub.url}/{REPO}/resolve/main/x.md").content == b"x"
        hub.cdn = hub
        place = run(hub, tmp_path / "other home", *words)
        assert Path(place).read_bytes() == FIRST
        assert (hub.body_bytes, cdn.body_bytes) == (1 + len(FIRST), len(FIRST))


@posix
@pytest.mark.parametrize("kind", ["bytes", "path"])
def test_xet_brings_it_all(on_disk: Path, tmp_path: Path, kind: str) -> None:
    file: bytes | Path = FIRST if kind == "bytes" else on_disk
    with FakeHub({"a.gguf": file, "x.md": b"x"}, xet=tmp_path / "xet") as hub:
        place = run(hub, tmp_path / "home", "-c", HF_DOWNLOAD, REPO, "a.gguf", COMMIT)
        assert Path(place).read_bytes() == FIRST
        assert hub.body_bytes == 0
        assert any("xet-read-token" in asked.path for asked in hub.asked)
        # A client that knows no xet gets it as ever.
        place = run(
            hub, tmp_path / "b", "-c", HF_DOWNLOAD, REPO, "a.gguf", COMMIT, HF_HUB_DISABLE_XET="1"
        )
        assert Path(place).read_bytes() == FIRST
        assert hub.body_bytes == len(FIRST)


def test_the_api_lists_what_is_there(hub: FakeHub) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=hub.url, token=False)
    found = api.model_info(REPO, files_metadata=True)
    assert found.sha == COMMIT
    assert {each.rfilename for each in found.siblings or ()} == set(hub.files)
    deep = {each.path: each for each in api.list_repo_tree(REPO, recursive=True)}
    assert set(deep) == {*hub.files, "IQ4"}
    first, readme = deep["IQ4/a.gguf"], deep["README.md"]
    assert isinstance(first, RepoFile)
    assert isinstance(readme, RepoFile)
    assert first.lfs
    assert (first.lfs.sha256, first.lfs.size, first.size) == (sha(FIRST), len(FIRST), len(FIRST))
    assert (readme.lfs, readme.blob_id) == (None, "eed8646e8bf338b73bfed507d9f44754d20c23a2")
    assert {each.path for each in api.list_repo_tree(REPO)} == {"IQ4", "c.gguf", "README.md"}
    inside = api.list_repo_tree(REPO, "IQ4", revision=OLDER)
    assert [each.path for each in inside] == ["IQ4/a.gguf"]
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="v9")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("owner/other")
    hub.commits["a" * 40] = {}
    hub.commit = "a" * 40
    assert api.model_info(REPO).sha == "a" * 40


def test_each_commit_has_files_of_its_own(hub: FakeHub) -> None:
    for revision, commit, data in (("main", COMMIT, FIRST), (OLDER, OLDER, b"older")):
        answer = httpx2.get(f"{hub.url}/{REPO}/resolve/{revision}/IQ4/a.gguf")
        assert answer.headers["X-Repo-Commit"] == commit
        assert answer.headers["X-Linked-ETag"] == f'"{sha(data)}"'
        assert answer.content == data
    gone = httpx2.get(f"{hub.url}/{REPO}/resolve/{OLDER}/c.gguf")
    assert (gone.status_code, gone.headers["X-Error-Code"]) == (404, "EntryNotFound")


def test_a_hub_goes_and_comes_back() -> None:
    with httpx2.Client() as client:
        with FakeHub({"a.gguf": b"1"}) as hub:
            assert client.get(f"{hub.url}/a.gguf").content == b"1"
        with pytest.raises(httpx2.TransportError):  # the open connection is of no use either
            client.get(f"{hub.url}/a.gguf")
        with FakeHub({"a.gguf": b"2"}, port=int(hub.url.rpartition(":")[2])) as again:
            assert client.get(f"{hub.url}/a.gguf").content == b"2"
            assert again.body_bytes == 1


# --- manners


def ask(hub: FakeHub, name: str = "IQ4/a.gguf", method: str = "GET", **headers: str) -> Any:
    url = f"{hub.url}/{REPO}/resolve/{COMMIT}/{name}"
    return httpx2.request(method, url, headers={"Accept-Encoding": "identity", **headers})


def test_the_api_has_manners_of_its_own(hub: FakeHub) -> None:
    api = f"{hub.url}/api/models/{REPO}"
    hub.manner = Manner(status=503)
    hub.turns["*"] = [Manner(status=500)]
    assert httpx2.get(api).status_code == 200
    hub.turns["api"] = [Manner(status=429, headers=(("Retry-After", "1"),)), Manner()]
    asked = [httpx2.get(api) for _ in range(3)]
    assert [each.status_code for each in asked] == [429, 200, 200]
    assert asked[0].headers["Retry-After"] == "1"


@pytest.mark.parametrize("name", ["IQ4/a.gguf", "IQ4/b.gguf"])
def test_a_flip_is_of_one_byte(hub: FakeHub, name: str) -> None:
    good = ask(hub, name).content
    hub.manners[name] = Manner(flip=200_000)
    bad = ask(hub, name).content
    assert len(bad) == len(good)
    assert [i for i, pair in enumerate(zip(good, bad, strict=True)) if len({*pair}) == 2] == [
        200_000
    ]
    assert ask(hub, name, Range="bytes=200000-200000").content != good[200_000:200_001]
    assert ask(hub, name, Range="bytes=200001-200010").content == good[200_001:200_011]


@pytest.mark.parametrize(
    ("text", "status", "part"),
    [
        ("bytes=5-9", 206, slice(5, 10)),
        ("bytes=2047990-", 206, slice(-10, None)),
        ("bytes=-10", 206, slice(-10, None)),
        ("bytes=2047999-9999999", 206, slice(-1, None)),
        ("bytes=9-5", 200, slice(None)),
        ("bytes=2048000-", 416, slice(0, 0)),
    ],
)
def test_ranges_are_exact(hub: FakeHub, text: str, status: int, part: slice) -> None:
    answer = ask(hub, Range=text)
    assert answer.status_code == status
    assert hub.body_bytes == len(FIRST[part])
    assert status == 416 or answer.content == FIRST[part]


def test_turns_are_taken_by_requests_they_are_for(hub: FakeHub) -> None:
    hub.turns["*"] = [Manner(only="GET", status=503)] * 2 + [Manner()]
    assert [ask(hub, method=m).status_code for m in ("HEAD", "GET", "HEAD", "GET", "GET")] == [
        *(200, 503, 200, 503, 200)
    ]
    hub.manner = Manner(head=False)
    assert (ask(hub, method="HEAD").status_code, ask(hub).status_code) == (405, 200)
    hub.manner = Manner(etag="other", size_lie=7)
    told = ask(hub, method="HEAD").headers
    assert told["X-Linked-ETag"] == told["ETag"] == '"other"'
    assert told["X-Linked-Size"] == str(len(FIRST) + 7)


def test_what_was_sent_counts_when_the_client_hangs_up(hub: FakeHub, tmp_path: Path) -> None:
    with (tmp_path / "zeros").open("wb") as sparse:
        sparse.truncate(600 << 20)
    hub.shelf.sums[tmp_path / "zeros"] = "0" * 64
    hub.files["zeros.gguf"] = tmp_path / "zeros"
    url = f"{hub.url}/{REPO}/resolve/main/zeros.gguf"
    with httpx2.stream("GET", url) as answer:
        assert answer.headers["X-Linked-ETag"] == f'"{"0" * 64}"'
        read = len(next(answer.iter_raw()))
    assert read <= hub.body_bytes < 100 << 20  # what lay in buffers


def test_a_rate_is_that_of_all_together(hub: FakeHub) -> None:
    hub.manner = Manner(rate=1_000_000)
    start = time.monotonic()
    assert ask(hub, "IQ4/b.gguf").content == SECOND
    assert time.monotonic() - start > 0.25


# --- as a program


@posix
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_program_says_what_was_asked(tmp_path: Path, stop: signal.Signals) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f/a.gguf").write_bytes(FIRST)
    (tmp_path / "sums.json").write_text(json.dumps({"a.gguf": "1" * 64}))
    words = [sys.executable, "-m", "tests.fakes.hub", str(tmp_path / "f"), "--commit", OLDER]
    words += ["--sums", str(tmp_path / "sums.json")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        try:
            url = f"{program.stdout.readline().strip()}/{REPO}/resolve/main/a.gguf"
            answer = httpx2.get(url, headers={"Range": "bytes=0-99"})
            assert (answer.headers["X-Repo-Commit"], len(answer.content)) == (OLDER, 100)
            assert answer.headers["ETag"] == f'"{"1" * 64}"'
            program.send_signal(stop)
            said = json.loads(program.stdout.read())
        finally:
            program.kill()
    path = f"/{REPO}/resolve/main/a.gguf"
    assert said == {"body_bytes": 100, "asked": [["GET", path, "bytes=0-99", 100]]}
