"""`steprun chat -p` through the whole stack: real weights, real engine, real exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import INTERRUPTIBLE

pytestmark = pytest.mark.engine


def steprun(
    *arguments: str, stdin: str | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_the_demo_answers_in_english(demo_here: Path) -> None:
    ran = steprun(
        *("chat", "--demo", "-p", "Name three colours.", "--temperature", "0", "--max-tokens", "60")
    )
    assert ran.returncode == 0, ran.stderr
    assert {"red", "blue", "green"} & set(
        ran.stdout.lower().replace(",", " ").replace(":", " ").split()
    )
    left = {path.name for path in (demo_here / "state" / "engines").iterdir()}
    assert left <= {"start.lock"}


def test_a_chat_is_saved_and_resumed(demo_here: Path) -> None:
    """The second process knows what the first one asked: it was sent along."""
    options = ("chat", "--demo", "--temperature", "0", "--max-tokens", "12")
    first = steprun(*options, "-p", "My name is Alma.")
    assert (first.returncode, "resume" in first.stderr.lower()) == (0, False), first.stderr
    second = steprun(*options, "--resume", "-p", "What is my name?")
    assert second.returncode == 0, second.stderr
    head, *messages = records(demo_here)
    assert head["schema"] == "steprun.session/2"
    roles = ["user", "assistant"]
    assert [message["role"] for message in messages] == roles * 2
    answers = [step["text"] for m in messages[1::2] for step in m["steps"]]
    assert answers == [first.stdout.strip(), second.stdout.strip()]
    earlier, later = (m["usage"]["prompt_tokens"] for m in messages[1::2])
    assert later > earlier + 12, "the first question and its answer are in the second prompt"


def test_a_question_on_stdin(demo_here: Path) -> None:
    ran = steprun("chat", "--demo", "--max-tokens", "8", stdin="Say hello.")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


def test_piped_text_is_sent_with_the_prompt(demo_here: Path) -> None:
    """The piped text alone passes the context: it was sent, not dropped."""
    ran = steprun(
        *("chat", "--demo", "--ctx", "256", "--max-tokens", "4", "-p", "Summarise:"),
        stdin="word " * 2000,
    )
    assert ran.returncode == 3, ran.stderr
    assert "no longer fits" in ran.stderr


def test_a_pipe_that_nobody_writes_to_does_not_hang(demo_here: Path) -> None:
    argv = [sys.executable, "-m", "runner", "chat", "--demo", "--max-tokens", "4", "-p", "Hi"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
        assert process.wait(60) == 0, err
    assert out.strip()
    assert "continuing without it" in err


def test_an_empty_question_is_wrong_usage(demo_here: Path) -> None:
    ran = steprun("chat", "--demo", stdin="  \n")
    assert ran.returncode == 2
    assert "prompt is empty" in ran.stderr


def test_pictures_need_eyes(demo_here: Path, tmp_path: Path) -> None:
    ran = steprun("chat", "--demo", "-p", "What?", "--image", str(tmp_path / "x.png"))
    assert ran.returncode == 2
    assert "cannot see images" in ran.stderr


def test_tiny_step_thinks_and_sees(tiny: Path, tmp_path: Path) -> None:
    from PIL import Image

    picture = tmp_path / "red.png"
    Image.new("RGB", (300, 200), "red").save(picture)
    ran = steprun(
        *("chat", "--model", str(tiny / "tiny-step.gguf"), "-p", "What is it?"),
        *("--image", str(picture), "--show-thinking", "--max-tokens", "400"),
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
    assert ran.stderr.strip(), "thinking goes to stderr"
    assert "think>" not in ran.stdout + ran.stderr


def test_all_thinking_and_no_answer_is_said(tiny: Path) -> None:
    ran = steprun("chat", "--model", str(tiny / "tiny-step.gguf"), "-p", "Hi", "--max-tokens", "2")
    assert ran.returncode == 1
    assert "still thinking" in ran.stderr
    assert "--max-tokens" in ran.stderr


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (None, 2, "does not exist"),
        (b"", 4, "empty"),
        (b"<html>not found</html>", 4, "GGUF"),
        (b"GGUF\x03\0\0\0", 4, ""),
    ],
)
def test_a_file_that_is_no_model(
    tmp_path: Path, content: bytes | None, code: int, word: str
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    ran = steprun("chat", "--model", str(path), "-p", "Hi")
    assert ran.returncode == code, ran.stderr
    assert word in ran.stderr
    assert "next:" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_truncated_model_is_found_before_the_engine_starts(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    data = (tiny / "tiny-step.gguf").read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    ran = steprun("chat", "--model", str(path), "-p", "Hi")
    assert ran.returncode == 4
    assert "next:" in ran.stderr


def test_a_context_that_is_too_small_is_said(tiny: Path) -> None:
    ran = steprun(
        *("chat", "--model", str(tiny / "tiny-step.gguf"), "--ctx", "256"),
        *("-p", "word " * 2000, "--max-tokens", "4"),
    )
    assert ran.returncode == 3, ran.stderr
    assert "no longer fits the context" in ran.stderr


def test_step_itself_is_refused_with_its_ledger() -> None:
    """On any machine too small for it, such as this one; a machine that fits it lacks weights."""
    ran = steprun("chat", "-p", "Hi")
    assert ran.returncode == 3
    assert "steprun chat --demo" in ran.stderr or "hf download" in ran.stderr
    assert ran.stdout == ""


def start_long_answer(home: Path) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    """Start `chat -p` on a long answer; return it and its engine once words arrive."""
    process = subprocess.Popen(
        [
            *(*INTERRUPTIBLE, "chat", "--demo", "-p", "Write a very long story."),
            *("--temperature", "0", "--max-tokens", "4000"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "STEPRUN_HOME": str(home)},
    )
    assert process.stdout is not None
    assert process.stdout.read(1), "the answer has begun"
    children = psutil.Process(process.pid).children(recursive=True)
    embedded = ["-P", "-m", "runner.engine.process.embedded"]
    (engine,) = (p for p in children if p.cmdline()[1:4] == embedded)
    return process, engine


def ended(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def records(home: Path) -> list[dict[str, Any]]:
    """The lines of the only saved chat."""
    (file,) = (home / "data" / "sessions").glob("[0-9]*-????????.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def last_answer(home: Path) -> dict[str, Any]:
    """The last line of the only saved chat."""
    answer = records(home)[-1]
    assert answer["role"] == "assistant"
    return answer


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_no_engine_outlives_a_killed_chat(demo_here: Path, number: str) -> None:
    process, engine = start_long_answer(demo_here)
    with process:
        process.send_signal(getattr(signal, number))
        assert ended(engine, 2)
        process.communicate()
    if number != "SIGKILL":
        assert last_answer(demo_here)["stopped"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_in_mid_answer(demo_here: Path) -> None:
    process, engine = start_long_answer(demo_here)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=15)
    assert process.returncode == 130
    assert err.decode().strip().splitlines()[-1] == "interrupted"
    assert b"Traceback" not in err
    assert ended(engine, 1)
    answer = last_answer(demo_here)
    assert answer["stopped"]
    assert answer["steps"][-1]["text"].strip(), "what arrived is kept"
    left = {path.name for path in (demo_here / "state" / "engines").iterdir()}
    assert left <= {"start.lock"}


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_engine_that_dies_in_mid_answer(demo_here: Path) -> None:
    process, engine = start_long_answer(demo_here)
    engine.kill()
    out, err = process.communicate(timeout=15)
    assert process.returncode == 1
    assert "killed while it was answering" in err.decode()
    assert "SIGKILL" in err.decode()
    assert "next:" in err.decode()
    assert b"Traceback" not in err
    assert out.endswith(b"\n")
