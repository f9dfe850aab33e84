"""The record of running servers: private, true, and swept."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from runner.engine.process import records, servers
from runner.engine.process.servers import Served, own_record, running, write_server

URL = "http://127.0.0.1:8123"


def test_a_server_is_found_while_its_process_runs(home: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret")
    served = Served(source="step", context=4096, extras=("mtp=/x",))
    record = own_record(URL, 5.0, served, key_file=key, request_log=tmp_path / "r.jsonl")
    path = write_server(record)
    assert running() == [record]
    assert record.port == 8123
    assert record.alive()
    assert "s3cret" not in path.read_text()
    assert record.key_file == str(key)
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_none_where_none_ever_ran() -> None:
    assert running() == []
    assert not servers.folder().exists(), "looking leaves nothing behind"


def test_records_of_processes_that_ended_are_swept() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = own_record(URL, 1.0, Served())
    for record in (
        msgspec.structs.replace(mine, pid=ended.pid),
        msgspec.structs.replace(mine, started=0.0, birth="1 2"),  # the pid is used again
    ):
        write_server(record)
        assert running() == []
    (servers.folder() / "1-1.json").write_text("{")
    assert running() == []
    assert list(servers.folder().iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="only there a process stays until it is waited for")
def test_a_process_that_nobody_waited_for_has_ended() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    import psutil

    started = psutil.Process(child.pid).create_time()
    mine = own_record(URL, 1.0, Served())
    record = msgspec.structs.replace(mine, pid=child.pid, started=started, birth="")
    assert record.alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not record.alive()
    child.communicate()


def test_a_server_that_starts_is_known_until_it_listens() -> None:
    with servers.starting_here("step", ("mtp=/x",)):
        (found,) = servers.starting()
        assert (found.pid, found.source, found.extras) == (os.getpid(), "step", ("mtp=/x",))
        assert running() == []
        record = own_record(URL, 1.0, Served(source="step"))
        path = write_server(record)
        assert servers.starting() == []
        assert running() == [record]
    path.unlink()
    with pytest.raises(ValueError, match="refused"), servers.starting_here("step", ()):
        raise ValueError("refused")
    assert list(servers.folder().iterdir()) == []


def test_notices_of_processes_that_ended_are_swept() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with servers.starting_here("step", ()):
        (mine,) = servers.starting()
        other = servers.folder() / f"{ended.pid}.starting"
        other.write_bytes(msgspec.json.encode(msgspec.structs.replace(mine, pid=ended.pid)))
        assert servers.starting() == [mine]
        assert not other.exists()


def test_a_server_starts_where_no_notice_can_be_written(home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text("a file where the folder should be")
    with servers.starting_here("step", ()):
        assert servers.starting() == []


def test_the_oldest_comes_first() -> None:
    for port, since in ((8002, 2.0), (8001, 1.0)):
        write_server(own_record(f"http://127.0.0.1:{port}", since, Served()))
    assert [each.port for each in running()] == [8001, 8002]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere start times stay as they are")
def test_a_clock_that_is_set_loses_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a boot, when the clock is set from the network: start times move along."""
    mine = own_record(URL, 1.0, Served())
    write_server(mine)
    with servers.starting_here("step", ()):
        boot = psutil.boot_time()
        monkeypatch.setattr(sys.modules["psutil._pslinux"], "boot_time", lambda: boot + 3600)
        assert not records.same_process(mine.pid, mine.started)
        assert [record.url for record in running()] == [URL]
        assert [notice.source for notice in servers.starting()] == ["step"]
