"""Engines that were here already: found, recorded, tested again when they change."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from runner.base.errors import BadFile, Refused, SteprunError, UsageError
from runner.engine.installed import adopt, store
from runner.engine.installed.stamp import Feature
from runner.machine.facts import Backend

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the engines are shell scripts")
HELP = "-m, --model FNAME\n--port PORT\n--list-devices\n"
ASKS = "*--version*) echo 'version: 11549 (abcdef012)';; *--list-devices*) echo '{devices}';;"
GOOD = '#!/bin/sh\ncase "$*" in ' + ASKS + " *--help*) cat <<'X'\n{help}X\n;; esac\n"


def engine(path: Path, *, devices: str = "Available devices:", text: str = HELP) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(GOOD.format(devices=devices, help=text))
    path.chmod(0o755)
    return path


def passing(made: store.InstalledEngine) -> store.InstalledEngine:
    works = {"text": Feature("pass"), "threads": Feature("pass")}
    stamp = replace(made.stamp, content=store.content(made.program[0]))
    return store.update(made, stamp.with_results(works, ()))


@pytest.mark.parametrize("place", ["llama-server", "bin/llama-server", "build/bin/llama-server"])
def test_a_server_stays_where_it_is(home, tmp_path, place):
    program = engine(tmp_path / "my tools" / place)
    made = adopt.adopt(tmp_path / "my tools")
    assert made.program == (str(program),)
    assert (made.name, made.stamp.backend) == ("cpu-adopted-b11549", Backend.CPU)
    assert adopt.adopt(program).name == made.name, "not twice"
    store.remove(made)
    assert program.is_file()
    assert [each.name for each in store.engines()] == ["embedded"]


def test_the_single_program_serves(home, tmp_path):
    device = "  CUDA0: NVIDIA GB10 (122880 MiB, 120000 MiB free)"
    program = engine(tmp_path / "llama", devices=f"Available devices:\n{device}")
    made = adopt.adopt(program)
    assert made.program == (str(program), "serve")
    assert made.stamp.backend is Backend.CUDA


def test_a_change_asks_for_another_test(home, tmp_path):
    from tests.unit.cli.test_engine_command import run

    program = engine(tmp_path / "llama-server")
    made = adopt.adopt(program)
    assert "self-test: not run yet" in run("list").stdout
    passing(made)
    assert store.find_engine(made.name).stamp.passed
    (tmp_path / "libggml-cuda.so").write_bytes(b"new")
    assert not store.find_engine(made.name).stamp.tested, "a library of it came"
    assert "not run since its files changed" in run("list").stdout
    assert passing(store.find_engine(made.name)).stamp.passed
    engine(program, text=HELP + "--new\n")
    assert not store.find_engine(made.name).stamp.passed
    program.unlink()
    assert not store.find_engine(made.name).stamp.passed, "it can still be forgotten"


def test_a_link_that_a_package_manager_moves_on(home, tmp_path):
    link = tmp_path / "bin" / "llama-server"
    link.parent.mkdir()
    link.symlink_to(engine(tmp_path / "9.1" / "llama-server"))
    made = passing(adopt.adopt(link))
    link.unlink()
    link.symlink_to(engine(tmp_path / "9.2" / "llama-server"))
    now = store.find_engine(made.name)
    assert now.program == (str(link),)
    assert not now.stamp.tested


SCRIPTS = {
    "interpreter": "#!/nowhere/sh\n",
    "libraries": "#!/bin/sh\necho 'x: error while loading shared libraries: libllama.so: cannot "
    "open it' >&2\nexit 127\n",
    "crash": "#!/bin/sh\nkill -SEGV $$\n",
    "other": "#!/bin/sh\necho hello\n",
}


def wrong(folder: Path, kind: str) -> Path:
    path = folder / kind
    match kind:
        case "dead":
            path.symlink_to("/nowhere/llama-server")
        case "several":
            for name in ("a", "b"):
                engine(path / name / "llama-server")
        case "empty":
            path.mkdir()
        case "text":
            path.write_text("hello")
        case "arm":
            path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00junk")
            path.chmod(0o755)
        case "cli":
            engine(path, text="-m, --model FNAME\n")
        case "pipe":
            os.mkfifo(path)
        case _ if kind in SCRIPTS:
            path.write_text(SCRIPTS[kind])
            path.chmod(0o755)
    return path


WRONG = {
    "nothing": (UsageError, "There is no"),
    "dead": (UsageError, "leads nowhere"),
    "several": (UsageError, "several engines"),
    "empty": (UsageError, "does not contain an engine"),
    "text": (Refused, "not executable"),
    "arm": (SteprunError, "another processor"),
    "interpreter": (SteprunError, "loader is not on this system"),
    "libraries": (Refused, "libllama.so"),
    "cli": (BadFile, "no --port"),
    "crash": (SteprunError, "crashes (SIGSEGV)"),
    "pipe": (UsageError, "pipe is not an engine. It is neither"),
    "other": (SteprunError, "not a llama-server"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_engine_is_said(home, tmp_path, kind):
    error, says = WRONG[kind]
    with pytest.raises(error) as caught:
        adopt.adopt(wrong(tmp_path, kind))
    assert says in str(caught.value)
    assert caught.value.next
    assert [each.name for each in store.engines()] == ["embedded"]
    assert not list(store.work_dir().glob("new-*"))


def test_the_list_names_an_engine_on_path(home, tmp_path, monkeypatch):
    from tests.unit.cli.test_engine_command import run

    program = engine(tmp_path / "my tools" / "llama")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    assert f"steprun engine adopt '{program}'" in run("list").stderr
    adopt.adopt(program)
    assert "Another engine" not in run("list").stderr


def test_an_engine_of_steprun_is_not_adopted(home, tmp_path):
    from tests.unit.engine.test_store import made

    own = made("x")
    link = tmp_path / "link"
    link.symlink_to(own.folder)
    engine(own.folder / "bin" / "llama-server")
    for path in (own.folder, link / "bin" / "llama-server"):
        with pytest.raises(UsageError, match="steprun's own: x"):
            adopt.adopt(path)


def test_an_engine_that_is_gone_can_only_be_forgotten(home, tmp_path):
    from tests.unit.cli.test_engine_command import run

    made = passing(adopt.adopt(engine(tmp_path / "llama-server")))
    (tmp_path / "llama-server").unlink()
    for word in ("test", "use"):
        with pytest.raises(Refused, match="is gone") as caught:
            run(word, made.name)
        assert caught.value.next == f"steprun engine rm {made.name}"
    run("rm", made.name)
    assert [each.name for each in store.engines()] == ["embedded"]
