"""`steprun chat` on a real terminal, with a real engine and real weights."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("pexpect")

from tests.terminal.screen import Terminal

pytestmark = [
    pytest.mark.engine,
    pytest.mark.terminal,
    pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's"),
]
QUIT = "\x11"


def engine_of(terminal: Terminal) -> psutil.Process:
    children = psutil.Process(terminal.child.pid).children(recursive=True)
    embedded = ["-P", "-m", "runner.engine.process.embedded"]
    (engine,) = (p for p in children if p.cmdline()[1:4] == embedded)
    return engine


def gone(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def demo(home: Path, **options: object) -> Terminal:
    # Greedy: an answer that is drawn by lot says anything.
    argv = ("-m", "runner", "chat", "--demo", "--temperature", "0")
    return Terminal(*argv, home=home, **options)  # type: ignore[arg-type]


def test_an_answer_is_streamed_and_the_chat_can_be_resumed(demo_here: Path) -> None:
    with demo(demo_here, size=(30, 100)) as terminal:
        terminal.sees("ready")
        engine = engine_of(terminal)
        terminal.child.send("Name three colours.\r")
        terminal.sees("Name three colours.", "tokens/s", "· ready")
        terminal.until(lambda: any(word in terminal.text().lower() for word in ("red", "blue")))
        terminal.child.send(QUIT)
        assert terminal.ended() == 0
    assert gone(engine, 2)
    (line,) = (line for line in terminal.raw.splitlines() if "--resume" in line)
    identity = line.split("--resume")[1].strip()
    argv = ("-m", "runner", "chat", "--demo", "--resume", identity)
    with Terminal(*argv, home=demo_here, size=(30, 100)) as again:
        again.sees("Name three colours.", "ready")
        again.child.send(QUIT)
        assert again.ended() == 0


def test_two_pictures_of_tiny_step(tiny: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (400, 300), "red").save(tmp_path / "red.png")
    Image.new("RGB", (500, 500), "blue").save(tmp_path / "blue.jpg")
    model = str(tiny / "tiny-step.gguf")
    argv = ("-m", "runner", "chat", "--model", model, "--ctx", "8192")
    with Terminal(*argv, home=tmp_path / "home", size=(30, 100)) as terminal:
        terminal.sees("ready")
        terminal.child.send(f"/image {tmp_path / 'red.png'}\r")
        terminal.sees("[Image #1] red.png", "171 tokens")
        terminal.child.send(f"\x1b[200~{tmp_path / 'blue.jpg'}\x1b[201~")
        terminal.sees("[Image #2] blue.jpg")
        terminal.child.send("What is different?\r")
        terminal.sees("What is different?", "tokens/s", "· ready")
        terminal.child.send(QUIT)
        assert terminal.ended() == 0


def test_esc_stops_and_the_next_question_is_answered(demo_here: Path) -> None:
    with demo(demo_here) as terminal:
        terminal.sees("ready")
        terminal.child.send("Write a very long story about the sea.\r")
        terminal.sees("answering")
        pressed = 0.0

        def stopped() -> bool:
            nonlocal pressed  # once in many runs a lone Esc is lost: a user presses again
            if time.monotonic() - pressed > 5:
                terminal.child.send("\x1b")
                pressed = time.monotonic()
            return "stopped" in terminal.text()

        terminal.until(stopped)
        terminal.child.send("Say hello.\r")
        terminal.sees("Say hello.", "· ready")
        terminal.child.send(QUIT)
        assert terminal.ended() == 0


def test_forty_by_ten(demo_here: Path) -> None:
    with demo(demo_here, size=(10, 40)) as terminal:
        terminal.sees("ready")
        terminal.child.send("Say hello.\r")
        terminal.sees("Say hello.", "ready")
        assert all(len(line.rstrip()) <= 40 for line in terminal.screen.display)
        terminal.child.send(QUIT)
        assert terminal.ended() == 0


def test_an_engine_killed_in_mid_answer_is_started_again(demo_here: Path) -> None:
    with demo(demo_here, size=(30, 100)) as terminal:
        terminal.sees("ready")
        terminal.child.send("Write a very long story about the sea.\r")
        terminal.sees("answering")
        first = engine_of(terminal)
        first.kill()
        terminal.sees("while it was answering", "/retry")
        terminal.child.send("Say hello.\r")
        terminal.sees("Say hello.", "tokens/s", "· ready")
        assert engine_of(terminal) != first
        terminal.child.send("unsent words")
        terminal.sees("unsent words")
        terminal.child.send("\x03\x03")
        terminal.ended()
    assert "unsent words" in "".join(
        path.read_text() for path in (demo_here / "data" / "sessions").glob("*.draft.json")
    ), terminal.raw


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_no_engine_outlives_the_chat(demo_here: Path, number: str) -> None:
    with demo(demo_here) as terminal:
        terminal.sees("ready")
        engine = engine_of(terminal)
        terminal.child.send("Write a very long story about the sea.\r")
        terminal.sees("answering")
        os.kill(terminal.child.pid, getattr(signal, number))
        assert gone(engine, 2)


def test_ctrl_c_while_loading_ends_in_order(demo_here: Path) -> None:
    with demo(demo_here) as terminal:
        terminal.until(lambda: "SmolLM2" in terminal.text())
        terminal.child.send("\x03\x03")
        assert terminal.ended() == 0
        assert "Traceback" not in terminal.raw
    left = {path.name for path in (demo_here / "state" / "engines").iterdir()}
    assert left <= {"start.lock"}


@pytest.mark.parametrize("keys", [QUIT, "\x03\x03", "/quit\r"], ids=["ctrl-q", "ctrl-c", "quit"])
def test_leaving_in_mid_answer_is_no_failure(demo_here: Path, keys: str) -> None:
    with demo(demo_here, size=(30, 100)) as terminal:
        terminal.sees("ready")
        terminal.child.send("Write a very long story about the sea.\r")
        terminal.sees("answering", "tokens/s")
        terminal.child.send(keys)
        assert terminal.ended() == 0, terminal.raw[-2000:]
    assert "Resume with: steprun chat --demo --resume" in terminal.raw
    assert "error:" not in terminal.raw
