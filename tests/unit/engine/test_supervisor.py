"""The supervisor and the guard, against the fake engine of `tests/fakes/engine.py`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from runner.base.errors import Exit, Refused, SteprunError
from runner.engine.process import guard, guarded, memory_probe, records, servers, supervisor
from runner.engine.process.guard import BoundedLog
from runner.engine.process.supervisor import EngineProcess, Where, read_key
from runner.plan.launch import LaunchSpec

FAKE = Path(__file__).parents[2] / "fakes" / "engine.py"
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def fake(mode: str, where: Where | None = None) -> EngineProcess:
    return EngineProcess([sys.executable, str(FAKE), mode], LaunchSpec(()), where)


def gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


async def test_a_self_test_lifts_the_bound_of_a_word_outside_linux(monkeypatch) -> None:
    monkeypatch.setattr("runner.engine.process.stack.sys.platform", "darwin")
    for passed, limit in ((False, 21_845), (True, 0)):
        engine = EngineProcess(["x"], LaunchSpec((), long_words=passed), Where(open_to_all=True))
        engine._listen(Path("key"))
        assert engine.endpoint.longest_word == limit


async def test_an_engine_comes_up_and_leaves_no_trace(home: Path) -> None:
    waited: list[float] = []
    async with fake("slow") as engine:
        await engine.wait_ready(waited.append)
        pid = engine.pid
        assert psutil.pid_exists(pid)
        folder = home / "state" / "engines"
        (key,) = folder.glob("*.key")
        assert key.stat().st_mode & 0o777 == 0o600 or os.name != "posix"
        assert engine.endpoint.api_key == key.read_text().strip()
        assert engine.endpoint.api_key not in repr(engine.endpoint)
        argv = " ".join(psutil.Process(pid).cmdline())
        assert engine.endpoint.api_key not in argv
        (record,) = folder.glob("*.json")
        assert json.loads(record.read_text())["pid"] == pid
    assert gone(pid)
    assert waited == sorted(waited)
    assert {path.name for path in folder.iterdir()} <= {"start.lock"}


@pytest.mark.parametrize(
    ("mode", "what", "why"),
    [
        ("crash", "exit status 7", "blk.0.x"),
        ("port", "could not listen", "uses it"),
    ],
)
async def test_an_engine_that_dies_while_loading_says_why(mode: str, what: str, why: str) -> None:
    async with fake(mode) as engine:
        with pytest.raises(SteprunError) as caught:
            await engine.wait_ready()
    assert what in caught.value.what
    assert why in caught.value.why
    assert caught.value.next


async def test_two_engines_do_not_overcommit_the_machine_together() -> None:
    whole = psutil.virtual_memory().total
    large = LaunchSpec((), total_bytes=whole * 2 // 3)
    program = [sys.executable, str(FAKE), "good"]
    async with EngineProcess(program, large) as first:
        await first.wait_ready()
        with pytest.raises(Refused, match="already running") as caught:
            async with EngineProcess(program, large):
                pass
        assert caught.value.next == "Close that one, or wait until it has ended."
        url = "http://127.0.0.1:8123"  # what clients reach, not the engine's own port
        path = servers.write_server(servers.own_record(url, 0.0, servers.Served()))
        with pytest.raises(Refused) as caught:
            async with EngineProcess(program, large):
                pass
        assert f"steprun chat --url {url} " in caught.value.next
        assert "steprun stop 8123" in caught.value.next
        path.unlink()
        async with EngineProcess(program, LaunchSpec((), total_bytes=whole // 100)) as second:
            await second.wait_ready()
    async with EngineProcess(program, large) as again:
        await again.wait_ready()


@pytest.mark.parametrize(
    ("host", "url"),
    [("::1", "http://[::1]:"), ("0.0.0.0", "http://127.0.0.1:")],  # noqa: S104 - only a flag
)
async def test_where_to_talk_to(host: str, url: str) -> None:
    where = Where(host=host, port=1)
    async with EngineProcess([sys.executable, str(FAKE), "crash"], LaunchSpec(()), where) as engine:
        assert engine.endpoint.base_url.startswith(url)


async def test_a_program_that_does_not_exist_is_a_clear_error() -> None:
    async with EngineProcess(["/does/not/exist"], LaunchSpec(())) as engine:
        with pytest.raises(SteprunError, match="could not be started"):
            await engine.wait_ready()


async def test_an_engine_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STALL_S", 0.5)
    async with fake("hang") as engine:
        pid = engine.pid
        with pytest.raises(SteprunError, match="hangs"):
            await engine.wait_ready()
    assert gone(pid)


def test_a_computer_that_sleeps_while_a_model_loads_makes_no_engine_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windows' clock counts that time; it passes between two looks."""
    clock = [1000.0]
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    engine = fake("good")  # not started: it makes no progress at all
    engine.check_moves()
    clock[0] += 8 * 3600
    engine.check_moves()
    for _ in range(int(supervisor.STALL_S)):
        clock[0] += 1
        engine.check_moves()
    clock[0] += 1
    with pytest.raises(SteprunError, match="hangs while loading"):
        engine.check_moves()


@pytest.mark.parametrize(("pause_s", "hangs"), [(60, False), (119, False), (121, True)])
def test_a_load_may_pause_for_two_minutes(
    monkeypatch: pytest.MonkeyPatch, pause_s: float, hangs: bool
) -> None:
    """Weights on a slow or busy disk: a load was seen to stand still for a minute."""
    clock = [1000.0]
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    engine = fake("good")  # not started: it makes no progress at all
    engine.check_moves()
    for _ in range(int(pause_s) - 1):
        clock[0] += 1
        engine.check_moves()
    clock[0] += 1
    if hangs:
        with pytest.raises(SteprunError, match="hangs while loading"):
            engine.check_moves()
    else:
        engine.check_moves()


def test_a_load_that_moves_is_never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    engine = fake("good")
    monkeypatch.setattr(engine, "_progress", lambda: clock[0])
    for _ in range(20):
        engine.check_moves()
        clock[0] += 119


@pytest.mark.skipif(sys.platform != "linux", reason="the score is Linux's")
async def test_a_machine_without_memory_kills_the_engine_first() -> None:
    async with fake("good") as engine:
        await engine.wait_ready()
        score = Path(f"/proc/{engine.pid}/oom_score_adj").read_text()
        own = Path("/proc/self/oom_score_adj").read_text()
    assert int(score) == 1000, "the most there is: before the desktop, before steprun"
    assert int(own) < 1000


@pytest.mark.parametrize(
    ("value", "least", "most", "why"),
    [
        (guard.GRACE_S, 2, 10, "an engine saves its slots meanwhile; a user waits for it"),
        (guarded.SLACK_S, 1, 5, "the guard must end what it guards before it is killed itself"),
        (supervisor.START_S, 5, 30, "another start may be ahead; a dead one must not block"),
        (supervisor.LOOK_S, 0.5, 5, "each look costs an engine that uses all cores"),
        (memory_probe.TIMEOUT_S, 10, 60, "an account takes half a second, on a cold disk more"),
        (guard.LOG_BYTES, 1 << 20, 8 << 20, "twice this may lie on the disk for each engine"),
    ],
)
def test_what_keeps_a_machine_alive_is_pinned(
    value: float, least: float, most: float, why: str
) -> None:
    assert least <= value <= most, why


@posix
def test_a_tree_has_time_for_all_that_its_guard_does(tmp_path: Path) -> None:
    for tree, steps in ((False, 1), (True, 3)):
        with guarded.Guarded(["true"], tmp_path / "log", tree=tree) as running:
            assert running.stop_s == steps * guard.GRACE_S + guarded.SLACK_S
            assert running.status(10) == 0


def test_a_guarded_program_finds_its_variables(tmp_path: Path) -> None:
    code = "import os; print(os.environ.get('A'), os.environ.get('B'))"
    argv = [sys.executable, "-I", "-c", code]
    base = {"A": "1", "SYSTEMROOT": os.environ.get("SYSTEMROOT", "")}
    log = tmp_path / "log"
    log.with_name("log.1").write_text("of an earlier run")
    with guarded.Guarded(argv, log, env=(("B", "2"),), base=base) as running:
        assert running.status(30) == 0
    assert running.log.tail(1000).split() == ["1", "2"]


@posix
def test_a_guarded_program_is_stopped_politely_or_at_once(tmp_path: Path) -> None:
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(3)); print(flush=True)"
    argv = [sys.executable, "-c", f"{code}; time.sleep(60)"]
    for politely, status in ((True, 3), (False, 128 + signal.SIGKILL)):
        with guarded.Guarded(argv, tmp_path / "log") as running:
            while not running.log.lines():
                assert running.status(0.02) is None
            assert running.stop(politely=politely) == status
            assert running.stop() == status, "safe to call twice"


@posix
async def test_a_crash_after_ready_is_told_apart(home: Path) -> None:
    async with fake("good") as engine:
        await engine.wait_ready()
        with pytest.raises(OSError):  # noqa: PT011 - whichever way the line breaks
            urllib.request.urlopen(engine.endpoint.base_url + "/die", timeout=5)
        while engine.alive():
            await asyncio.sleep(0.01)
        error = engine.verdict()
    assert "while it was answering" in error.what
    assert "SIGSEGV" in error.what
    assert error.exit_code is Exit.FAILED


async def test_a_flood_of_log_stays_bounded(home: Path) -> None:
    async with fake("flood") as engine:
        await engine.wait_ready()
        older = engine.log_path.with_name(engine.log_path.name + ".1")
        while not older.exists():
            await asyncio.sleep(0.02)
    # Measured at rest: while it runs, the log is missing for the moment in which it is moved.
    assert "xxx" in engine.log_tail()
    assert all(path.stat().st_size <= 5 << 20 for path in engine.log_path.parent.iterdir())
    assert len(list(engine.log_path.parent.iterdir())) == 2


@posix
async def test_an_engine_that_will_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake("stubborn") as engine:
        await engine.wait_ready()
        pid = engine.pid
        began = time.monotonic()
    assert gone(pid)
    assert time.monotonic() - began < guard.GRACE_S + guarded.SLACK_S + 1


@posix
async def test_stop_ends_an_engine_whose_guard_died_first(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there is no parent-death signal (macOS, Windows), nobody else would."""
    copy = tmp_path / "guard.py"
    text = guarded.GUARD.read_text("utf-8")
    assert 'if sys.platform == "linux"' in text
    copy.write_text(text.replace('if sys.platform == "linux"', "if False"))
    monkeypatch.setattr(guarded, "GUARD", copy)
    async with fake("good") as engine:
        await engine.wait_ready()
        pid = engine.pid
        parent = psutil.Process(pid).parent()
        assert parent is not None
        parent.kill()
        while engine.alive():
            await asyncio.sleep(0.01)
        assert psutil.pid_exists(pid), "it is still there, and nobody watches it"
    assert gone(pid)


OWNER = """
import asyncio, sys
from runner.engine.process.supervisor import EngineProcess
from runner.plan.launch import LaunchSpec
async def main():
    async with EngineProcess([sys.executable, {fake!r}, "good"], LaunchSpec(())) as engine:
        await engine.wait_ready()
        print(engine.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def owner() -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(fake=str(FAKE))], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    return process, pid


@posix
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_no_engine_outlives_its_owner(number: str) -> None:
    process, pid = owner()
    with process:
        process.send_signal(getattr(signal, number))
        process.wait()
    assert gone(pid, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_an_engine_dies_with_its_guard() -> None:
    process, pid = owner()
    with process:
        psutil.Process(pid).parent().kill()  # type: ignore[union-attr]  # the guard
        assert gone(pid, 2)
        process.kill()


@posix
def test_what_a_double_crash_left_behind_is_swept(home: Path) -> None:
    """Owner and guard both killed, the engine's death signal switched off: the record finds it."""
    folder = home / "state" / "engines"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as orphan:
        started = psutil.Process(orphan.pid).create_time()
        folder.mkdir(parents=True)
        record = {"pid": orphan.pid, "started": started, "owner": 1 << 22, "owner_started": 1.0}
        (folder / "a.json").write_text(json.dumps({**record, "total_bytes": 0}))
        (folder / "b.json").write_text("{ not json")
        assert records.sweep(folder) == []
        assert orphan.wait(5) == -signal.SIGKILL
    assert list(folder.iterdir()) == []


def test_a_pid_that_was_used_again_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        record = {"pid": bystander.pid, "started": 1.0, "owner": 1 << 22, "owner_started": 1.0}
        (tmp_path / "a.json").write_text(json.dumps({**record, "total_bytes": 0}))
        records.sweep(tmp_path)
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(Refused, match="holds no key"):
        read_key(path)


def test_the_log_turns_its_page(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log", limit=10)
    for _ in range(5):
        log.write(b"1234")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"1234"
    assert (tmp_path / "log.1").read_bytes() == b"12341234"


async def test_a_folder_that_cannot_be_written_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(Refused, match="cannot be written"):
        async with fake("good"):
            pass
