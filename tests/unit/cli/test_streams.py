"""`steprun chat` with streams that are closed, full, or have a reader that leaves."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.sse_server import End, FakeServer, Say, Step

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a POSIX shell closes them")
FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    lines: list[Step] = [Say(f"line {number}\n") for number in range(2000)]
    with FakeServer(*[[*lines, End()]] * 20) as running:
        running.pages = {"/v1/models": {"data": [{"id": "m"}]}}
        yield running


def run(server: FakeServer, words: str, after: str, given: bytes = b"") -> tuple[int, str, str]:
    """Run `steprun chat WORDS` with what a shell makes of `after`; return code and outputs."""
    command = (
        f'"$0" -m runner chat --url {server.url} {words} {after}; echo "code ${{PIPESTATUS:-$?}}"'
    )
    ran = subprocess.run(
        ["bash", "-c", command, sys.executable],
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )
    out = ran.stdout.decode()
    code = int(out.rpartition("code ")[2])
    return code, out, ran.stderr.decode()


@pytest.mark.parametrize("words", ["-p hi", "--plain"])
def test_a_reader_that_leaves_ends_it_quietly(server, words):
    code, out, err = run(server, words, "| head -1", b"hi\n")
    assert (code, err) == (0, "")
    assert out.count("line") <= 1


@pytest.mark.parametrize(("words", "after"), [("-p hi", ">&-"), ("--plain", ">&-")])
def test_a_closed_output_is_no_bug(server, words, after):
    code, _, err = run(server, words, after, b"hi\n")
    assert (code, err) == (0, "")


def test_a_closed_input_is_the_end_of_it(server):
    code, out, err = run(server, "--plain", "<&-")
    assert (code, out.split("\n")[0], err) == (0, "> ", "")


@pytest.mark.skipif(not FULL.exists(), reason="Linux has this device")
def test_a_full_disk_behind_the_output_is_reported(server):
    code, _, err = run(server, "--plain", f"> {FULL}", b"hi\n")
    assert code == 1
    assert "The chat cannot be printed." in err
    assert "No space left on device." in err


def test_what_no_message_should_have_is_taken_out_of_it_and_a_line_may_end_as_on_windows(server):
    _, out, err = run(server, "--plain", "| head -3", b"one\x00two\r\nthree\r\n\xff\n")
    assert out.startswith("> onetwo\nline 0\n")
    assert err == ""


def test_a_paste_of_ten_megabytes_is_refused_and_not_printed(server):
    count = len(server.requests)
    _, out, err = run(server, "--plain", "", b"x" * (10 << 20) + b"\n")
    assert "The message is too long. It has 10,485,761 bytes" in out
    assert len(out) < 2000
    assert err == ""
    assert len(server.requests) == count
