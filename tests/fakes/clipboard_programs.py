"""Fakes of the programs that read a desktop's clipboard: shell scripts for a folder on the PATH."""

from collections.abc import Mapping
from pathlib import Path


def fake_clipboard(
    folder: Path, program: str, offers: Mapping[str, bytes], *, code: int = 0
) -> Path:
    """Put a fake `wl-paste` or `xclip` into a folder: it offers bytes by their types.

    `code`: it ends with it.
    """
    folder.mkdir(exist_ok=True)
    lines = ["#!/bin/sh", f"[ {code} = 0 ] || exit {code}", 'case "$*" in']
    types = "".join(f"{name}\\n" for name in offers)
    lines.append(f"*--list-types*|*TARGETS*) printf '{types}' ;;")
    for number, (name, data) in enumerate(offers.items()):
        content = folder / f"{program}.{number}"
        content.write_bytes(data)
        lines.append(f"*'{name}'*) /bin/cat '{content}' ;;")
    lines += ["*) exit 1 ;;", "esac"]
    return _script(folder / program, lines)


def fake_program(folder: Path, program: str, script: str) -> Path:
    """Put a fake program into a folder that does what a shell script says."""
    folder.mkdir(exist_ok=True)
    return _script(folder / program, ["#!/bin/sh", script])


def _script(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return path
