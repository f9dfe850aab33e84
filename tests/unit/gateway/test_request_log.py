"""The request log on a disk: private, bounded, and followed through its moves."""

import json
import os
import time
from pathlib import Path

import pytest

from runner.engine.process.log import LogReader
from runner.gateway.watching.account import Account
from runner.gateway.watching.request_log import RequestLog, request_log_path


def account(number: int) -> Account:
    return Account(time="t", client=f"c{number}", api="openai", path="/v1/x", status=200)


def test_a_line_a_request_for_this_user_only(home: Path) -> None:
    path = request_log_path(8080)
    for run in range(2):  # it continues when the server is started again
        log = RequestLog(path)
        log.write(account(run))
        log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["client"] for line in lines] == ["c0", "c1"]
    assert list(lines[0])[:5] == ["time", "client", "api", "path", "status"]
    assert lines[0]["reread_because"] is None
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_it_is_bounded_and_a_reader_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    reader, seen = LogReader(path), []
    for number in range(40):  # each closes the log, so that the reader sees every state of it
        log = RequestLog(path, limit=2000)
        log.write(account(number))
        log.close()
        seen += reader.lines() if number % 3 == 0 else []
    seen += reader.lines()
    while more := reader.lines():
        seen += more
    assert [json.loads(line)["client"] for line in seen] == [f"c{n}" for n in range(40)]
    whole = sum(each.stat().st_size for each in tmp_path.iterdir())
    assert 2000 < whole <= 4000


def test_a_full_disk_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    log = RequestLog(tmp_path / "file" / "requests.jsonl")
    log.write(account(1))
    log.close()
    assert "cannot be written" in caplog.text


def test_the_thread_is_not_woken_for_each_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.gateway.watching.request_log.REST_S", 600.0)
    path = tmp_path / "requests.jsonl"
    log = RequestLog(path)
    log.write(account(0))
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    for number in (1, 2):
        log.write(account(number))
    time.sleep(0.05)
    assert len(path.read_text().splitlines()) == 1
    log.close()
    assert len(path.read_text().splitlines()) == 3
