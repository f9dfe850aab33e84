"""What a real server says of itself while it works, and a chat that joins it."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import Served
from tests.unit.docs.test_reference import DOCUMENTS, _pattern, paths_of

pytestmark = pytest.mark.engine


def steprun(served: Served, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the home of the server."""
    return subprocess.run(
        [sys.executable, "-m", "runner", *words],
        env={**os.environ, "STEPRUN_HOME": str(served.home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def ps(served: Served) -> dict[str, Any]:
    """Return the one server as `ps --json` has it."""
    document = json.loads(steprun(served, "ps", "--json").stdout)
    known = [_pattern(name) for name in DOCUMENTS[document.pop("schema")]]
    unknown = {path for path in paths_of(document) if not any(p.fullmatch(path) for p in known)}
    assert unknown == set()
    (server,) = document["servers"]
    return dict(server)


def test_a_request_is_seen_while_it_runs_and_logged_when_it_is_over(served: Served) -> None:
    import httpx2

    body = {
        "messages": [{"role": "user", "content": "one two three " * 30}],
        "max_tokens": 4000,
        "ignore_eos": True,
        "stream": True,
    }
    leave = threading.Event()

    def ask() -> None:
        url = f"{served.url}/v1/chat/completions"
        headers = {"User-Agent": "claude-cli/2.1.197 (external)"}
        with httpx2.stream("POST", url, json=body, headers=headers, timeout=240) as reply:
            for _ in reply.iter_bytes():
                if leave.is_set():
                    return

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        deadline = time.monotonic() + 120
        row: dict[str, Any] = {}
        while row.get("state") != "writing" and time.monotonic() < deadline:
            server = ps(served)
            row = server["slots"][0]
        text = steprun(served, "ps").stdout
    finally:
        leave.set()
        asking.join()
    assert (server["url"], server["state"], server["context"]) == (served.url, "busy", 16384)
    assert (row["client"], row["state"]) == ("claude-cli", "writing")
    assert row["prompt_tokens"] == row["read_tokens"] + row["cached_tokens"] > 60
    assert row["written_tokens"] > 0
    assert row["tokens_per_s"] > 0
    assert "claude-cli       writing" in text
    logged = last_of_log(served, 1)
    assert (logged[-1]["client"], logged[-1]["status"]) == ("claude-cli", 499)
    assert logged[-1]["first_token_s"] > 0


def last_of_log(served: Served, count: int) -> list[dict[str, Any]]:
    """Return the last requests of the log, once all are over."""
    deadline = time.monotonic() + 60
    while ps(served)["state"] == "busy" and time.monotonic() < deadline:
        time.sleep(0.1)
    shown = steprun(served, "logs", "--json", "-n", str(count)).stdout
    return [json.loads(line) for line in shown.splitlines()]


def test_every_api_is_accounted_for(served: Served) -> None:
    import httpx2

    message = [{"role": "user", "content": "Hello"}]
    asks: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {"messages": message, "max_tokens": 2}),
        ("/v1/messages", {"messages": message, "max_tokens": 2}),
        ("/v1/responses", {"input": "Hello", "max_output_tokens": 2}),
    ]
    for path, body in asks:
        for stream in (False, True):
            reply = httpx2.post(served.url + path, json={**body, "stream": stream}, timeout=240)
            assert reply.status_code == 200
    logged = last_of_log(served, 6)
    assert [line["api"] for line in logged] == [
        *(api for api in ("openai", "anthropic", "responses") for _ in range(2))
    ]
    for line in logged:
        assert line["prompt_tokens"] > line["cached_tokens"] >= 0, line
        assert 0 < line["tokens"] <= 2, line
    assert "Hello" not in steprun(served, "logs", "--json").stdout
    text = httpx2.get(f"{served.url}/metrics").text
    assert 'steprun_requests_total{api="anthropic",status="200"} 2' in text


def test_a_chat_joins_it_and_starts_no_engine(served: Served, tiny: Path) -> None:
    logs = served.home / "state" / "logs"
    engines = set(logs.glob("engine-*.log"))
    words = ("--model", str(tiny / "tiny-step.gguf"), "-p", "Hi", "--max-tokens", "400")
    ran = steprun(served, "chat", *words)
    assert f"Joined the server at {served.url}" in ran.stderr
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
    assert set(logs.glob("engine-*.log")) == engines
    (line,) = last_of_log(served, 1)
    assert (line["client"], line["status"]) == ("steprun", 200)
