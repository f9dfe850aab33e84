"""Clients that are programs: run beside this Python, in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path


def output(folder: Path, program: str, *arguments: str, **variables: str) -> str:
    """Run a program of this environment in a folder, which is its home; return what it prints.

    Raises AssertionError with its last words where it ends with an error.
    """
    done = subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError((done.stderr or done.stdout)[-300:])
    return done.stdout
