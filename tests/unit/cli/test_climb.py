"""`steprun climb`, and what `ps` and `logs` say of what was given up."""

from datetime import UTC, datetime
from typing import Any

import click
import pytest
from click.testing import CliRunner

from runner.base.errors import SteprunError
from runner.cli.main import steprun as steprun_group
from runner.cli.render.ps import server_text
from runner.cli.render.requests import RequestLines
from runner.engine.process.servers import Served, own_record
from runner.gateway import asking

SERVER: dict[str, Any] = {
    "url": "http://127.0.0.1:8080",
    "model": "fake",
    "quant": "Q8_0",
    "state": "ready",
    "engine": "embedded",
    "context": 4096,
    "memory_bytes": 1 << 30,
    "limit_bytes": 2 << 30,
    "waiting": 0,
    "slots": [],
}
LOWERED = {
    "rung": 1,
    "of": 3,
    "gave_up": ["context: 8,192 tokens in place of 16,384"],
    "since": datetime.now(UTC).isoformat(timespec="seconds"),
    "because": "Other programs took more than was free: 400 MiB of memory were left, and 512 must "
    "stay. The largest now: chrome (6.10 GiB).",
}


def test_ps_says_what_was_given_up_within_80_columns() -> None:
    text = click.unstyle(server_text({**SERVER, "lowered": LOWERED}))
    assert "memory was short at " in text
    assert "    context: 8,192 tokens in place of 16,384" in text
    assert "chrome (6.10 GiB)" in text
    assert "steprun climb" in text
    assert max(map(len, text.splitlines())) <= 80


def test_ps_says_what_an_engine_waits_for() -> None:
    text = click.unstyle(server_text({**SERVER, "waits_for": "2 GiB more of memory to come free."}))
    assert "the engine waits for 2 GiB more of memory to come free." in text


@pytest.mark.parametrize(
    "odd", [{"lowered": 7}, {"lowered": {}}, {"lowered": {"gave_up": "x", "since": "never"}}]
)
def test_ps_stands_a_server_of_another_version(odd: dict[str, Any]) -> None:
    assert "8080" in server_text({**SERVER, **odd})


def test_logs_show_what_memory_did() -> None:
    line = {"time": "2026-11-27T21:04:05+00:00", "event": "lowered", "words": "Less\x1b[2J now."}
    rows = [click.unstyle(row) for row in RequestLines().rows(line)]
    assert rows[-1].endswith("Less now.") or "Less" in rows[-1]
    assert "\x1b" not in rows[-1]


def test_without_a_server_it_says_so() -> None:
    result = CliRunner().invoke(steprun_group, ["climb"], standalone_mode=False)
    assert (result.exception, result.return_value) == (None, 0)
    assert "No server is running" in result.stderr


def test_a_server_that_does_not_answer_is_named() -> None:
    record = own_record("http://127.0.0.1:9", 0.0, Served())
    with pytest.raises(SteprunError, match="stays as it is") as raised:
        asking.ask_to_climb(record)
    assert "steprun ps" in raised.value.next
