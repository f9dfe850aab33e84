"""What an engine says of itself; the programs here are small scripts, named as fakes."""

import sys
import time
from pathlib import Path

import pytest

from runner.base.errors import SteprunError
from runner.engine.installed import describe

HELP = """----- common params -----

-h,    --help, --usage                  print usage and exit
-c,    --ctx-size N                     size of the prompt context (default: 0, --not-a-flag)
                                        (env: LLAMA_ARG_CTX_SIZE)
-m,    --model FNAME                    model path
-fa,   --flash-attn [on|off|auto]       set Flash Attention use
--jinja, --no-jinja                     whether to use jinja (see --also-none)
  --indented                            belongs to a description
--spec-type none,draft-mtp              several names
"""
FAKE = """#!{python}
import sys
said = {said!r}
print(said.get(sys.argv[1], ""))
"""


def fake(folder: Path, **said: str) -> tuple[str, ...]:
    answers = {f"--{name.replace('_', '-')}": text for name, text in said.items()}
    path = folder / "fake-engine"
    path.write_text(FAKE.format(python=sys.executable, said=answers))
    path.chmod(0o755)
    return (str(path),)


def test_flags_are_what_the_help_lists_and_no_more() -> None:
    assert describe.flags_of(HELP) == {
        *("-h", "--help", "--usage", "-c", "--ctx-size", "-m", "--model", "-fa", "--flash-attn"),
        *("--jinja", "--no-jinja", "--spec-type"),
    }


def test_an_engine_is_described(tmp_path: Path) -> None:
    program = fake(
        tmp_path,
        version="version: 0.5.0-dev (build 1, commit 0c1e570)\nbuilt with GNU 12.2.0 for Linux",
        help=HELP + "--list-devices   print devices\n",
        list_devices="Available devices:\n  CUDA0: NVIDIA GB10 (124610 MiB, 100000 MiB free)\n",
    )
    found = describe.describe(program)
    assert (found.version, found.commit) == ("0.5.0-dev (build 1, commit 0c1e570)", "0c1e570")
    assert found.compiler == "GNU 12.2.0 for Linux"
    assert found.devices == ("CUDA0: NVIDIA GB10 (124610 MiB)",)
    assert "--list-devices" in found.flags


def test_an_engine_without_a_device_says_why(tmp_path: Path) -> None:
    why = "failed to initialize CUDA: CUDA driver version is insufficient for CUDA runtime version"
    program = fake(
        tmp_path,
        version="version: 1",
        help=HELP + "--list-devices   print devices\n",
        list_devices=f"{why}\nAvailable devices:\n  (none)",
    )
    assert describe.describe(program).no_device.startswith("NVIDIA's driver is too old")


def test_what_computes_on_the_processor_is_no_device() -> None:
    listed = (
        "Available devices:\n"
        "  BLAS: Accelerate (0 MiB, 0 MiB free)\n"
        "  Vulkan0: llvmpipe (LLVM 15.0.7, 256 bits) (24000 MiB, 24000 MiB free)\n"
    )
    assert describe.devices_of(listed) == ()


def test_an_engine_that_says_too_much_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "floods"
    path.write_text(f"#!{sys.executable}\nwhile True: print('x' * 1000)\n")
    path.chmod(0o755)
    with pytest.raises(SteprunError, match="not a llama-server"):
        describe.describe((str(path),))


def test_an_older_version_line_is_understood(tmp_path: Path) -> None:
    found = describe.describe(fake(tmp_path, version="version: 11434 (abcdef123)", help=HELP))
    assert (found.version, found.commit) == ("11434 (abcdef123)", "abcdef123")


def test_any_other_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SteprunError, match="not a llama-server"):
        describe.describe(fake(tmp_path, help="usage: true"))
    with pytest.raises(SteprunError, match="cannot be started"):
        describe.describe((str(tmp_path / "nothing"),))


def test_an_engine_that_does_not_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe, "TIMEOUT_S", 0.3)
    path = tmp_path / "hangs"
    path.write_text(f"#!{sys.executable}\nimport threading\nthreading.Event().wait()\n")
    path.chmod(0o755)
    with pytest.raises(SteprunError, match="has stopped responding"):
        describe.describe((str(path),))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_what_a_wrapper_has_started_is_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the scripts do that start an engine in a container: the child keeps the output open."""
    monkeypatch.setattr(describe, "TIMEOUT_S", 0.3)
    path = tmp_path / "wrapper"
    path.write_text(f"#!/bin/sh\n'{sys.executable}' -c 'import time; time.sleep(60)'\n:\n")
    path.chmod(0o755)
    began = time.monotonic()
    with pytest.raises(SteprunError, match="has stopped responding"):
        describe.describe((str(path),))
    assert time.monotonic() - began < 30


def test_escape_sequences_do_not_reach_the_terminal(tmp_path: Path) -> None:
    found = describe.describe(fake(tmp_path, version="version: \x1b[31mred\x07", help=HELP))
    assert "\x1b" not in found.version
