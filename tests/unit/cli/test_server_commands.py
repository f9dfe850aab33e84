"""ps, stop and logs; a chat that joins. The server is a process that answers as a gateway does."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import psutil
import pytest
from click.testing import CliRunner, Result

from runner.base import paths
from runner.base.errors import SteprunError, UsageError
from runner.chat.host import reason_of
from runner.cli.commands import chat as chat_module
from runner.cli.main import steprun
from runner.cli.render.ps import server_text
from runner.cli.render.requests import RequestLines
from runner.cli.servers import asleep
from runner.engine.process.servers import Command, Served, ServerRecord, own_record, write_server
from tests.conftest import INTERRUPTIBLE

SERVED = Served(
    source="smollm2-135m",
    model="smollm2-135m",
    title="SmolLM2",
    quant="Q4_K_M",
    engine="embedded",
    context=8192,
    total_bytes=1 << 30,
    limit_bytes=2 << 30,
)
STATUS = {
    "model": "smollm2-135m",
    "state": "busy",
    "slots": [
        {
            "client": "claude-cli",
            "state": "reading",
            "prompt_tokens": 64000,
            "read_tokens": 12288,
            "cached_tokens": 43210,
            "restored_tokens": 0,
            "reread_because": "tools changed: look was added",
            "written_tokens": 0,
            "tokens_per_s": 210.04,
        }
    ],
    "waiting": 2,
    "saved_s": 42.3,
}


def run(*words: str) -> Result:
    return CliRunner().invoke(steprun, words, catch_exceptions=False, standalone_mode=False)


class Answers(BaseHTTPRequestHandler):
    """Answers `/steprun/status` to whoever has the key."""

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "Bearer s3cret"
        body = json.dumps(STATUS if allowed else {}).encode()
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[ServerRecord]:
    """Have a server that answers, in this very process."""
    (tmp_path / "key").write_text("# of the house\nlaptop s3cret\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        record = own_record(url, 1.0, SERVED, key_file=tmp_path / "key")
        write_server(record)
        yield record
        server.shutdown()


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start processes that pass for servers, and end what is left of them."""
    children = []

    def start(
        port: int,
        code: str = "import time; print(flush=True); time.sleep(60)",
        command: Command = "serve",
    ) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        began = psutil.Process(child.pid).create_time()
        mine = own_record(f"http://127.0.0.1:{port}", 1.0, SERVED, command=command)
        write_server(msgspec.structs.replace(mine, pid=child.pid, started=began, birth=""))
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


# --- ps


def test_a_server_that_sleeps_is_known(
    home: Path, answering: ServerRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asleep() == []
    monkeypatch.setitem(STATUS, "state", "asleep")
    assert asleep() == [answering]
    assert "asleep: loads when asked" in run("ps").output
    Path(answering.key_file).unlink()
    assert asleep() == [], "a key that cannot be read fails nobody else"


def test_ps_without_a_server(home: Path) -> None:
    ran = run("ps")
    assert (ran.return_value, ran.stdout) == (0, "")
    assert "steprun serve" in ran.stderr
    assert json.loads(run("ps", "--json").stdout) == {"schema": "steprun.ps/1", "servers": []}


def test_ps_asks_with_the_key_of_the_record(answering: ServerRecord) -> None:
    (server,) = json.loads(run("ps", "--json").stdout)["servers"]
    assert (server["url"], server["pid"]) == (answering.url, os.getpid())
    assert (server["state"], server["waiting"], server["context"]) == ("busy", 2, 8192)
    assert server["slots"] == STATUS["slots"]
    text = run("ps").stdout
    assert "42 s of reading saved" in text
    assert "    read again: tools changed: look was added\n" in text
    assert re.search(r"claude-cli +reading +64,000 +12,288 +43,210 +0 +210\.0", text)
    assert "2 waiting" in text
    assert max(map(len, text.splitlines())) <= 80


def test_ps_shows_a_server_that_does_not_answer(
    started: Callable[..., subprocess.Popen[bytes]],
) -> None:
    started(1)
    (server,) = json.loads(run("ps", "--json").stdout)["servers"]
    assert (server["state"], server["slots"], server["quant"]) == ("unreachable", [], "Q4_K_M")
    assert (server["memory_bytes"], server["limit_bytes"]) == (1 << 30, 2 << 30)


def test_a_wide_row_still_fits_80_columns() -> None:
    row = {
        "client": "a-name-that-is-very-long-indeed",
        "state": "writing",
        **{f"{name}_tokens": 262_144 for name in ("prompt", "read", "cached", "written")},
        "tokens_per_s": 12345.6,
        "restored_tokens": 262_144,
        "reread_because": "tools changed: a, b, c and 2 more were added",
    }
    server = {
        "url": "http://127.0.0.1:65535",
        "model": "step-3.7-flash",
        "quant": "UD-Q4_K_M",
        "engine": "upstream-cuda-b11549",
        "state": "restarting",
        "context": 262_144,
        "slots": [row, {**row, "state": "idle"}],
        "waiting": 3,
        "memory_bytes": 118 << 30,
        "limit_bytes": 120 << 30,
        "uptime_s": 1e6,
        "restarts": 12,
    }
    plain = re.sub(r"\x1b\[[0-9;]*m", "", server_text(server))
    assert max(map(len, plain.splitlines())) <= 80, plain


# --- stop


def test_stop_without_a_server_has_nothing_to_do(home: Path) -> None:
    ran = run("stop")
    assert ran.return_value == 0
    assert "No server is running." in ran.stderr
    assert run("stop", "8123").return_value == 1


def test_stop_ends_it_and_waits(started: Callable[..., subprocess.Popen[bytes]]) -> None:
    drains = (
        "import signal, sys, time\n"
        "def end(*_): time.sleep(0.5); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print(flush=True)\n"
        "while True: time.sleep(0.05)"
    )
    child = started(8123, drains)
    ran = run("stop")
    assert ran.return_value == 0
    assert child.wait(5) == (0 if os.name == "posix" else 15)
    assert "Stopped SmolLM2 at http://127.0.0.1:8123." in ran.stderr
    assert run("ps").stdout == ""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no polite end")
def test_stop_now_asks_twice(started: Callable[..., subprocess.Popen[bytes]]) -> None:
    second = (
        "import signal, sys, time\n"
        "asked = []\n"
        "def end(*_): asked.append(1); len(asked) > 1 and sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print(flush=True)\n"
        "while True: time.sleep(0.05)"
    )
    child = started(8123, second)
    assert run("stop", "--now").return_value == 0
    assert child.wait(5) == 7


def test_of_several_one_has_to_be_named(started: Callable[..., subprocess.Popen[bytes]]) -> None:
    first, second = started(8123), started(8124)
    with pytest.raises(UsageError, match="2 servers are running") as caught:
        run("stop")
    assert "http://127.0.0.1:8124 (SmolLM2 Q4_K_M)" in caught.value.why
    with pytest.raises(SteprunError, match="No server of yours runs at"):
        run("stop", "9")
    with pytest.raises(UsageError, match="neither an address nor a port"):
        run("stop", "http://[bad")
    assert run("stop", "http://127.0.0.1:8124/v1").return_value == 0
    assert second.wait(5) is not None
    assert first.poll() is None
    assert run("stop", "8123").return_value == 0


# --- logs


def line(number: int, **more: object) -> str:
    request = {
        "time": f"2026-11-27T09:30:{number:02}.173+00:00",
        "client": f"client-{number}",
        "api": "anthropic",
        "path": "/v1/messages",
        "status": 200,
        "prompt_tokens": 64000,
        "cached_tokens": 43210,
        "first_token_s": 12.3456,
        "tokens": 312,
        "tokens_per_s": 31.44,
    }
    return json.dumps({**request, **more}) + "\n"


@pytest.fixture
def request_log(home: Path) -> Path:
    """Have the log of a server that has ended."""
    path = paths.state_dir() / "logs" / "requests-8123.jsonl"
    path.parent.mkdir(parents=True)
    path.with_name("requests-8123.jsonl.1").write_text(line(0) + line(1))
    refused = {"status": 401, "prompt_tokens": None, "cached_tokens": None, "tokens": None}
    path.write_text(line(2) + line(3, first_token_s=None, tokens_per_s=None, **refused))
    return path


def test_logs_of_the_last_server_that_ran(request_log: Path) -> None:
    shown = run("logs", "-n", "3").stdout.splitlines()
    assert shown[0] == "2026-11-27"
    assert " ".join(shown[1].split()) == "TIME CLIENT API HTTP PROMPT CACHED FIRST TOKENS TOK/S"
    assert re.fullmatch(
        r"\d\d:\d\d:01 client-1 +anthropic +200 +64,000 +43,210 +12\.35s +312 +31\.4", shown[2]
    )
    assert re.fullmatch(r"\d\d:\d\d:03 client-3 +anthropic +401 /v1/messages", shown[4])
    assert max(map(len, shown)) <= 80
    assert run("logs", "8123", "--json").stdout.splitlines()[0] == line(0).strip()


def test_logs_say_what_was_restored_and_why_it_was_read_again(request_log: Path) -> None:
    with request_log.open("a") as file:
        file.write(line(4, restored_tokens=43_000, saved_s=86.4, reread_because=None))
        file.write(line(5, restored_tokens=0, reread_because="tools changed: look was added"))
    shown = run("logs", "-n", "2").stdout.splitlines()
    assert shown[3].strip() == "43,000 tokens from the disk, 86 s saved"
    assert shown[5].strip() == "read again: tools changed: look was added"


def test_columns_of_the_log_hold_whatever_is_fast_or_slow(request_log: Path) -> None:
    with request_log.open("a") as file:
        file.write(line(4, first_token_s=999.994, tokens_per_s=999.94))
        file.write(line(5, first_token_s=1234.5, tokens_per_s=12_345.6))
    _, heads, *rows = run("logs", "-n", "3").stdout.splitlines()
    assert rows[1].split()[-3:] == ["999.99s", "312", "999.9"]
    assert rows[2].split()[-3:] == ["1,234s", "312", "12,346"]
    assert {len(row) for row in rows[1:]} == {len(heads)}


def test_logs_of_no_server(home: Path) -> None:
    with pytest.raises(SteprunError, match="No server has run here yet"):
        run("logs")
    with pytest.raises(SteprunError, match="no request log of a server on port 8123"):
        run("logs", "8123")


def test_a_line_of_the_log_is_shown_whatever_is_in_it() -> None:
    lines = RequestLines()
    strange: list[dict[str, Any]] = [
        {},
        {"time": 3, "client": None, "status": "x", "tokens": [], "path": "\x1b[2J"},
    ]
    for request in strange:
        assert "\x1b[2J" not in "".join(lines.rows(request))


def test_the_engine_s_own_log(started: Callable[..., subprocess.Popen[bytes]]) -> None:
    child = started(8123)
    folder = paths.state_dir() / "logs"
    folder.mkdir()
    (folder / f"engine-{child.pid}-abc.log").write_text("of this one\n")
    (folder / "engine-1-abc.log").write_text("of another\n")
    assert run("logs", "--engine").stdout == "of this one\n"


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_logs_follow_through_a_move_and_end_quietly(request_log: Path) -> None:
    with subprocess.Popen(
        [*INTERRUPTIBLE, "logs", "-f", "-n", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["client"] == "client-3"
        with request_log.open("a") as log:
            log.write(line(4))
        request_log.replace(request_log.with_name("requests-8123.jsonl.1"))
        request_log.write_text(line(5))
        for client in ("client-4", "client-5"):
            assert json.loads(follower.stdout.readline())["client"] == client
        time.sleep(0.1)
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130
        assert follower.stderr is not None
        assert follower.stderr.read() == ""


# --- ps --watch


def test_ps_is_shown_anew_until_it_is_interrupted(
    answering: ServerRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    ran = run("ps", "--watch")
    assert ran.stdout.count(answering.url) == 2
    assert "\x1b" not in ran.stdout
    assert ran.return_value == 130
    with pytest.raises(UsageError, match="one document"):
        run("ps", "--watch", "--json")


# --- a chat that joins


class Asked(Exception):  # noqa: N818 - not an error
    """What a chat was about to begin with."""


@pytest.fixture
def setups(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the set-up of each chat instead of running it; a plan is not joined."""
    found: list[Any] = []

    async def ask_once(setup: Any, _: str) -> int:
        found.append(setup)
        return 0

    def local(*_: Any, **__: Any) -> str:
        return "an engine of its own"

    monkeypatch.setattr("runner.cli.one_answer.ask_once", ask_once)
    monkeypatch.setattr("runner.cli.chat_here._local", local)
    monkeypatch.setattr("runner.run.prepare.make_plan", lambda *_, **__: None)
    monkeypatch.setattr(chat_module, "read_prompt", lambda given: given)
    return found


@pytest.mark.parametrize("words", [(), ("--quant", "q4_k_m"), ("--ctx", "4096")])
def test_a_chat_joins_a_server_of_its_model(
    answering: ServerRecord, setups: list[Any], words: tuple[str, ...]
) -> None:
    run("chat", "--demo", "-p", "Hi", *words)
    (setup,) = setups
    assert f"Joined the server at {answering.url}" in setup.greeting
    assert (setup.context, setup.sees, setup.words) == (8192, False, ("--demo",))
    host = setup.open_host()
    assert host.alive()
    assert host.endpoint.api_key == "s3cret"
    assert host.endpoint.base_url == answering.url


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--demo", "--own"), ""),
        ((), "it serves SmolLM2"),
        (("--demo", "--ctx", "16384"), "its context is 8,192 tokens"),
        (("--demo", "--profile", "fast"), "its profile is"),
        (("--demo", "--engine", "other"), "its engine is embedded"),
    ],
)
def test_a_chat_that_asks_for_something_else_has_its_own_engine(
    answering: ServerRecord, setups: list[Any], words: tuple[str, ...], why: str
) -> None:
    ran = run("chat", "-p", "Hi", *words)
    assert setups == ["an engine of its own"]
    assert (why in ran.stderr) if why else (ran.stderr == "")


def test_without_a_record_nobody_is_asked(
    home: Path, setups: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    assert run("chat", "--demo", "-p", "Hi").stderr == ""
    assert setups == ["an engine of its own"]


async def test_a_server_that_ends_is_named_in_words(
    started: Callable[..., subprocess.Popen[bytes]], setups: list[Any]
) -> None:
    child = started(8123)
    await asyncio.to_thread(run, "chat", "--demo", "-p", "Hi")
    host = setups[0].open_host()
    child.kill()
    child.wait()
    assert not host.alive()
    why = await reason_of(host, SteprunError("The connection broke."))
    assert "has ended" in why.what
    assert why.next.endswith("steprun chat --demo --resume")
    for enter in (host.__aenter__, lambda: host.wait_ready(lambda _: None)):
        with pytest.raises(SteprunError, match=r"The server at \S+:8123 has ended"):
            await enter()


def test_a_server_that_begins_to_listen_while_the_chat_plans_is_joined(
    home: Path, setups: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(*_: Any, **__: Any) -> None:
        write_server(own_record("http://127.0.0.1:8123", 0.0, SERVED))

    monkeypatch.setattr("runner.run.prepare.make_plan", plan)
    run("chat", "--demo", "-p", "Hi")
    run("chat", "--demo", "-p", "Hi", "--own")
    joined, own = setups
    assert "Joined the server at http://127.0.0.1:8123" in joined.greeting
    assert not joined.own
    assert own == "an engine of its own"


STARTING = """
import sys, time
from runner.engine.process.servers import Served, own_record, starting_here, write_server
with starting_here(sys.argv[1], ()):
    print(flush=True)
    if sys.stdin.readline() == "listen\\n":
        write_server(own_record("http://127.0.0.1:8123", 0.0, Served(source=sys.argv[1])))
        print(flush=True)
        time.sleep(60)
"""


class StartingChild:
    """A server that was started: it listens or ends while a chat sleeps for the first time."""

    def __init__(self, source: str, then: str) -> None:
        self._then = then
        self.slept = 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTING, source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def sleep(self, _: float) -> None:
        self.slept += 1
        if self.slept == 1:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(f"{self._then}\n")
            self.process.stdin.flush()
            self.process.stdout.readline()


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., StartingChild]]:
    """Start a server that does not listen before a chat waits for it."""
    children = []

    def start(source: str, then: str = "listen") -> StartingChild:
        child = StartingChild(source, then)
        children.append(child)
        monkeypatch.setattr("time.sleep", child.sleep)
        return child

    yield start
    for child in children:
        child.process.kill()
        child.process.communicate()


@pytest.mark.parametrize("then", ["listen", "end"])
def test_a_chat_waits_for_a_server_of_its_model_that_is_being_started(
    home: Path, setups: list[Any], starting: Callable[..., StartingChild], then: str
) -> None:
    child = starting("smollm2-135m", then)
    ran = run("chat", "--demo", "-p", "Hi")
    assert child.slept >= 1
    assert f"being started (process {child.process.pid})" in ran.stderr
    assert "steprun chat --demo --own" in ran.stderr
    if then == "listen":
        assert "Joined the server at http://127.0.0.1:8123" in setups[0].greeting
    else:
        assert setups == ["an engine of its own"]


@pytest.mark.parametrize(
    ("source", "words"), [("step-3.7-flash", ()), ("smollm2-135m", ("--own",))]
)
def test_a_chat_waits_for_no_other_server(
    home: Path,
    setups: list[Any],
    starting: Callable[..., StartingChild],
    source: str,
    words: tuple[str, ...],
) -> None:
    child = starting(source)
    run("chat", "--demo", "-p", "Hi", *words)
    assert setups == ["an engine of its own"]
    assert child.slept == 0


async def test_a_server_that_was_started_again_is_joined_again_with_its_new_key(
    home: Path, tmp_path: Path, setups: list[Any]
) -> None:
    keys = [tmp_path / "old.key", tmp_path / "new.key"]
    for path in keys:
        path.write_text(f"{path.stem} {path.stem}-0123456789abcdef\n")
        path.chmod(0o600)
    url = "http://127.0.0.1:8123"
    old = write_server(own_record(url, 0.0, SERVED, key_file=keys[0]))
    await asyncio.to_thread(run, "chat", "--demo", "-p", "Hi")
    host = setups[0].open_host()
    old.unlink()
    # Less memory is free than before: it is the same server all the same.
    again = msgspec.structs.replace(SERVED, limit_bytes=SERVED.limit_bytes // 2)
    write_server(own_record(url, 1.0, again, key_file=keys[1]))
    async with host:
        assert host.endpoint.api_key == "new-0123456789abcdef"


def test_a_server_with_a_certificate_is_joined_by_that_certificate(
    home: Path, tmp_path: Path, setups: list[Any]
) -> None:
    certificate = tmp_path / "cert.pem"
    write_server(own_record("https://127.0.0.1:8123", 0.0, SERVED, certificate=certificate))
    run("chat", "--demo", "-p", "Hi")
    assert setups[0].open_host().endpoint.certificate == str(certificate)


# --- a refusal


def test_a_plan_that_does_not_fit_names_the_server_that_holds_the_memory(
    answering: ServerRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    from runner.cli.terminal import must_fit
    from runner.plan.request import PlanRequest
    from runner.run.prepare import make_plan
    from runner.run.request import ModelRequest

    refused = make_plan(ModelRequest("", PlanRequest()), "cpu-24")
    with pytest.raises(SteprunError, match="does not fit"):
        must_fit(refused)
    said = f"SmolLM2 Q4_K_M runs at {answering.url} and holds 1.00 GiB."
    assert said in capsys.readouterr().err


# --- the engine of a chat


def of_a_chat(command: Command, **more: Any) -> None:
    write_server(own_record("http://127.0.0.1:8123", 0.0, SERVED, command=command, **more))


def test_ps_says_that_an_engine_is_a_chat_s(home: Path) -> None:
    of_a_chat("chat -p")
    assert "engine embedded, of steprun chat -p, 8,192 tokens" in run("ps").stdout
    (found,) = json.loads(run("ps", "--json").stdout)["servers"]
    assert found["command"] == "chat -p"


def test_a_chat_is_ended_only_by_its_name(
    started: Callable[..., subprocess.Popen[bytes]],
) -> None:
    child = started(8123, command="chat")
    ran = run("stop")
    assert ran.return_value == 0
    assert "No server is running." in ran.stderr
    assert "steprun stop 8123" in " ".join(ran.stderr.split())
    assert child.poll() is None
    server = started(8124)
    assert run("stop").return_value == 0
    assert server.wait(5) is not None
    assert child.poll() is None
    assert run("stop", "8123").return_value == 0
    assert child.wait(5) is not None


def test_logs_of_a_chat_by_its_port_and_where_no_server_ran(home: Path) -> None:
    path = paths.state_dir() / "logs" / "requests-chat.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(line(1, client="chat"))
    of_a_chat("chat", request_log=path)
    assert run("logs", "8123", "--json").stdout == line(1, client="chat")
    assert run("logs", "--json").stdout == line(1, client="chat")
    path.with_name("requests-8080.jsonl").write_text(line(2))
    assert run("logs", "--json").stdout == line(2)


@pytest.mark.parametrize(("command", "joins"), [("chat", True), ("chat -p", False)])
def test_a_chat_joins_another_one_but_no_single_answer(
    home: Path, setups: list[Any], command: Command, joins: bool
) -> None:
    of_a_chat(command)
    ran = run("chat", "--demo", "-p", "Hi")
    (setup,) = setups
    if joins:
        assert "Joined the chat at http://127.0.0.1:8123" in setup.greeting
        why = setup.open_host().verdict()
        assert why.next.startswith("Resume this chat with an engine of its own: steprun chat")
    else:
        assert (setup, ran.stderr) == ("an engine of its own", "")
