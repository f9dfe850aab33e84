"""Where the pictures are made: a home, files, programs in terminals, and where a picture goes."""

import os
import sys
from pathlib import Path
from typing import Any, Final

from screenshots.drawing import as_png
from screenshots.terminal import Terminal

ROOT: Final = Path(__file__).resolve().parents[2]
SIZE: Final = (100, 32)  # columns, rows


class Desk:
    """Starts programs with `home` and `files`, and saves pictures in `out`."""

    def __init__(self, base: Path, out: Path) -> None:
        self.files, self._home, self._out = base / "harbour", base / "home", out
        self.saved: list[Path] = []
        for folder in (self.files, self._home / "config", out):
            folder.mkdir(parents=True, exist_ok=True)

    def configure(self, name: str, text: str) -> None:
        """Write a file of the configuration."""
        (self._home / "config" / name).write_text(text)

    def program(self, *words: str, size: tuple[int, int] = SIZE, **how: Any) -> Terminal:
        """Return Python with these words, to be started."""
        env = {
            "STEPRUN_HOME": str(self._home),
            "PYTHONPATH": str(ROOT),
            "LC_ALL": "C.UTF-8",
            # Threads that spin while they wait slow an engine down where other work runs.
            **{name: os.environ[name] for name in os.environ if name.startswith("OMP_")},
        }
        return Terminal([sys.executable, *words], size, folder=self.files, env=env, **how)

    def chat(self, *words: str, **how: Any) -> Terminal:
        """Return `steprun chat` with these words, to be started."""
        return self.program("-m", "runner", "chat", *words, **how)

    def save(self, name: str, terminal: Terminal, *, still: bool = True) -> None:
        """Save the picture of a terminal."""
        path = self._out / f"{name}.png"
        path.write_bytes(as_png(terminal.picture(still=still)))
        self.saved.append(path)
        print(path, flush=True)
