"""`steprun chat --plain` with a real engine that is killed or stopped at any point of a turn."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import INTERRUPTIBLE
from tests.engine.conftest import ONE_THREAD

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's"),
]
PATIENCE_S = 60.0
LONG = "Write a very long story about the sea."


class Program:
    """A chat in plain lines, whose messages come from a pipe."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [
                *INTERRUPTIBLE,
                "chat",
                "--demo",
                "--plain",
                "--temperature",
                "0",
                "--max-tokens",
                "300",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ONE_THREAD, "STEPRUN_HOME": str(home)},
        )
        self.text = ""
        self._seen = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 65536):
            self.text += data.decode("utf-8", "replace")

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self._seen = len(self.text)
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def sees(self, *texts: str) -> None:
        """Wait until all of these have been printed since the last `say`."""
        self.until(lambda: all(text in self.new for text in texts))

    @property
    def new(self) -> str:
        """What has been printed since the last `say`."""
        return self.text[self._seen :]

    def engine(self) -> psutil.Process:
        """Wait for the engine's process."""
        embedded = ["-P", "-m", "runner.engine.process.embedded"]
        found: list[psutil.Process] = []

        def look() -> bool:
            found.clear()
            for each in psutil.Process(self.process.pid).children(recursive=True):
                try:
                    if each.cmdline()[1:4] == embedded and each.status() != psutil.STATUS_ZOMBIE:
                        found.append(each)
                except psutil.Error:
                    continue
            return bool(found)

        self.until(look)
        return found[0]


@pytest.fixture
def program(demo_here: Path) -> Iterator[Program]:
    running = Program(demo_here)
    try:
        yield running
    finally:
        running.process.kill()
        with running.process:  # closes its pipes
            pass


def test_an_engine_that_is_killed_at_each_point_of_a_turn(program: Program) -> None:
    program.say("Say hello.")
    program.engine().kill()  # while it loads: it is started again
    program.sees("tokens/s.")
    program.say("\\\n".join(["The sea is deep and wide and blue."] * 60))
    time.sleep(0.3)
    program.engine().kill()  # while it reads: asked again, unless something was answered already
    program.until(lambda: "tokens/s." in program.new or "while it was answering" in program.new)
    program.say(LONG)
    program.until(lambda: len(program.new.split()) > 20)
    program.engine().kill()  # while it answers
    program.sees("while it was answering (SIGKILL)", "/retry")
    program.say("Say hello.")
    program.sees("tokens/s.")
    assert program.process.stdin is not None
    program.process.stdin.close()
    assert program.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in program.text


def test_an_engine_that_stands_still_is_waited_for_and_can_be_left(program: Program) -> None:
    program.say("Say hello.")
    program.sees("tokens/s.")
    program.say(LONG)
    program.until(lambda: len(program.new.split()) > 20)
    engine = program.engine()
    engine.suspend()
    program.sees("No token of the answer for")
    engine.resume()
    engine.suspend()
    program.process.send_signal(signal.SIGINT)
    program.sees("Stopped.")
    engine.resume()
    program.say("Say hello.")
    program.sees("tokens/s.")
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE_S) == 130
    assert "Resume with: steprun chat --demo --resume" in program.text
    assert not psutil.pid_exists(engine.pid) or sys.platform == "win32"
