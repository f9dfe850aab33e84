"""What an operator reads of `steprun serve`, and where it goes."""

import asyncio
import errno
import gc
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from runner.base.errors import Exit, Refused, SteprunError, UsageError
from runner.base.shell import set_from
from runner.cli.commands.serve import _serve
from runner.cli.main import _from_os
from runner.cli.main import steprun as steprun_group
from runner.cli.options import typed_again
from runner.cli.render.common import TransientLine
from runner.cli.render.serving import ServeReport
from runner.engine.process.servers import Served
from runner.gateway.settings import Settings
from runner.net import listening
from runner.plan.launch import LaunchSpec

EVERY = "0.0.0.0"  # noqa: S104 - nothing listens on it
TINY = Settings(port=8080, model="step-3.7-flash", title="Step-3.7-Flash", context=65536)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a plan that fits, whose files are there."""
    config = SimpleNamespace(context=8192, parallel=1, projector=False)
    geometry = SimpleNamespace(arch="step35", embedding_length=64)
    plan = SimpleNamespace(
        model_spec=SimpleNamespace(name="tiny", geometry=geometry),
        variant=SimpleNamespace(name="F16", weights_bytes=1),
        config=config,
        machine=SimpleNamespace(backend="cpu"),
    )
    spec = LaunchSpec((), long_words=True)
    made = SimpleNamespace(title="Tiny", engine=SimpleNamespace(program=()), spec=spec, plan=plan)
    monkeypatch.setattr("runner.gateway.model_settings.served_of", lambda *_: Served())
    monkeypatch.setattr("runner.run.saved_prompts.kept", lambda *_: None)
    monkeypatch.setattr("runner.run.prepare.make_plan", lambda *_, **__: made)
    monkeypatch.setattr("runner.run.prepare.engine_notice", lambda _: "Engine: any.")
    monkeypatch.setattr("runner.cli.terminal.must_fit", lambda _: None)
    monkeypatch.setattr("runner.cli.terminal.make_ready", lambda _: made)
    monkeypatch.setattr("runner.net.listening.check_listen", lambda *_: None)


def told(settings: Settings, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is said from the start until the model answers."""
    report = ServeReport(settings, TransientLine())
    report.listening(settings.port)
    report.loading(3.0, None)
    report.ready("/var/log/engine.log")
    said = capsys.readouterr()
    assert said.out == "", "stdout is for data"
    return said.err


def test_on_the_loopback(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(TINY, capsys)
    assert said == (
        "Step-3.7-Flash is loading; requests wait until it is ready.\n"
        "  model id   step-3.7-flash\n"
        "  web page   http://127.0.0.1:8080/\n"
        "  OpenAI     http://127.0.0.1:8080/v1\n"
        "  Anthropic  http://127.0.0.1:8080\n"
        "  Ollama     http://127.0.0.1:8080\n"
        "  API key    none needed; a client that insists on one takes any word\n"
        "Serving Step-3.7-Flash: http://127.0.0.1:8080/ - stop with Ctrl-C.\n"
        "  engine log /var/log/engine.log\n"
    )
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("text", ["one-long-key\n", "ada key-of-ada\nbob key-of-bob\n"])
def test_off_it_as_another_machine_types_it_with_a_notice_for_any_key_file(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "own_addresses", lambda _: ("192.0.2.7", "198.51.100.7"))
    key_file = tmp_path / "key"
    key_file.write_text(text)
    said = told(Settings(host=EVERY, port=9000, key_file=key_file), capsys)
    assert "  OpenAI     http://192.0.2.7:9000/v1\n" in said
    assert "  also at    http://198.51.100.7:9000\n" in said
    assert "127.0.0.1" not in said
    assert EVERY not in said
    assert "Other machines can reach it; clients need the API key." in said
    assert "TLS" in said
    assert f'    export OPENAI_API_KEY="$(steprun key show --file {key_file})"\n' in said
    assert "long-key" not in said
    assert "key-of" not in said


def test_a_restart_and_a_stop_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    report = ServeReport(TINY, TransientLine())
    report.listening(8080)
    capsys.readouterr()
    report.ready("/var/log/first.log")
    report.restarting(SteprunError("The engine stopped while it was answering (SIGKILL)."), 2.0)
    report.ready("/var/log/second.log")
    report.draining(1, 30.0)
    report.draining(3, 30.0)
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "Serving Step-3.7-Flash: http://127.0.0.1:8080/ - stop with Ctrl-C.",
        "  engine log /var/log/first.log",
        "The engine stopped while it was answering (SIGKILL). It is started again in 2 s; requests "
        "wait for it.",
        "Step-3.7-Flash answers again.",
        "  engine log /var/log/second.log",
        "Stopping: 1 answer may take 30 s more. Ctrl-C once more stops now.",
        "Stopping: 3 answers may take 30 s more. Ctrl-C once more stops now.",
    ]


def test_with_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(host="fd00::7", certificate=tmp_path / "c.pem", key_file=tmp_path / "key")
    said = told(settings, capsys)
    assert "  web page   https://[fd00::7]:8080/\n" in said
    assert "listen in" not in said


def test_a_key_is_handed_over_by_a_command_that_works() -> None:
    assert set_from("KEY", "steprun key show", "posix") == 'export KEY="$(steprun key show)"'
    assert set_from("KEY", "steprun key show", "nt") == "$env:KEY = steprun key show"


def test_advice_repeats_what_was_typed() -> None:
    seen: list[str] = []

    @click.command("serve")
    @click.option("--model", "-m")
    @click.option("--port", type=int, default=8080)
    @click.option("--demo", is_flag=True)
    @click.option("--allow-host", multiple=True)
    @click.option("--parallel", default=1)
    def serve(**_: Any) -> None:
        seen.append(typed_again(click.get_current_context(), "--port", "8081"))

    words = ["-m", "my model.gguf", "--port", "80", "--demo", "--allow-host", "a"]
    CliRunner().invoke(serve, [*words, "--allow-host", "b"], catch_exceptions=False)
    assert seen == [
        "steprun serve --model 'my model.gguf' --demo --allow-host a --allow-host b --port 8081"
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])  # the latter at a question
@pytest.mark.parametrize("while_", ["asyncio.run", "runner.cli.terminal.make_ready"])
def test_it_says_that_it_stopped(
    while_: str, error: type[BaseException], planned: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(called_with: Any) -> int:
        if asyncio.iscoroutine(called_with):
            called_with.close()
        raise error

    monkeypatch.setattr(while_, interrupt)
    result = CliRunner().invoke(steprun_group, ["serve"], standalone_mode=False)
    assert result.return_value == Exit.INTERRUPTED
    assert result.stderr.endswith("Stopped.\n")


def test_a_port_that_was_taken_after_the_check_is_refused_like_any_other(
    planned: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two serves that start at once both find it free."""

    def race(coroutine: Coroutine[None, None, int]) -> int:
        coroutine.close()
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(asyncio, "run", race)
    result = CliRunner().invoke(steprun_group, ["serve", "--port", "9199"], standalone_mode=False)
    assert isinstance(result.exception, Refused)
    assert result.exception.what == "Port 9199 on 127.0.0.1 cannot be used."
    assert "steprun serve --port 92" in result.exception.next


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_matter_of_rights(number: int) -> None:
    error = _from_os(OSError(number, "No space left on device", "/x/start.lock"))
    assert error.next.startswith("Free some space")


def test_what_is_there_at_the_start_is_never_looked_through_for_garbage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frozen: list[int] = []

    async def run(*_: object, **__: object) -> None:
        frozen.append(gc.get_freeze_count())

    def no_engine() -> Any:
        raise AssertionError

    monkeypatch.setattr("runner.gateway.run.run", run)
    try:
        assert asyncio.run(_serve(TINY, no_engine, list)) == Exit.DONE
    finally:
        gc.unfreeze()
    assert frozen[0] > 10_000


def test_an_engine_that_sleeps_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    report = ServeReport(replace(TINY, on_demand=True, idle_unload_s=1800), TransientLine())
    report.listening(8080)
    report.ready("/log")
    report.asleep(None)
    report.ready("/log")
    report.asleep(Refused("Another engine runs.", why="It holds 9 GiB."))
    report.resumed(3600)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Step-3.7-Flash is asleep: the first request loads it")
    assert [line for line in said if not line.startswith("  ")][1:] == [
        "Step-3.7-Flash is loaded.",
        "Step-3.7-Flash is unloaded after 30 min without a request. The next one loads it.",
        "Step-3.7-Flash is loaded.",
        "Step-3.7-Flash cannot be loaded now. Another engine runs. It holds 9 GiB. The next "
        "request tries again.",
        "The computer slept for 60 min. The engine answers.",
    ]


@pytest.mark.parametrize("typed", ["0m", "soon", "30"])
def test_a_time_that_is_none(typed: str) -> None:
    done = CliRunner().invoke(steprun_group, ["serve", "--idle-unload", typed])
    assert isinstance(done.exception, UsageError)
    assert done.exception.next == "Such as: --idle-unload 30m"
