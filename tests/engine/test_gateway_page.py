"""The engine's own web page through the gateway, and the launch line that `--dry-run` prints."""

import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from runner.engine.process.supervisor import free_port
from tests.engine.conftest import Served, wait_healthy

pytestmark = pytest.mark.engine


def get(url: str, **headers: str) -> tuple[int, str, bytes]:
    asked = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(asked, timeout=30) as reply:
        return reply.status, reply.headers.get("Content-Encoding", ""), reply.read()


def test_the_page_and_all_that_it_names_are_there(served: Served) -> None:
    status, packed, page = get(f"{served.url}/", Accept="text/html")
    assert (status, packed) == (200, "")
    named = set(re.findall(r'(?:href|import\()="?\.?/?([\w./-]+\.\w+)"', page.decode()))
    assert any(name.endswith(".js") for name in named)
    for name in sorted(name for name in named if "splash" not in name):
        status, packed, data = get(f"{served.url}/{name}", **{"Accept-Encoding": "gzip"})
        assert (status, packed) == (200, "gzip"), name
        assert data


def test_a_printed_launch_line_starts_the_engine(tiny: Path, tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    words = ("serve", "--model", str(tiny / "tiny-step.gguf"), "--ctx", "1024", "--port", str(port))
    printed = subprocess.run(
        [sys.executable, "-m", "runner", *words, "--dry-run"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.count("\n") == 1
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            shlex.split(printed.stdout), stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
        ) as process,
    ):
        try:
            wait_healthy(f"http://127.0.0.1:{port}", process, 60)
        finally:
            process.kill()
