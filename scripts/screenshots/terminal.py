"""A program in a real terminal (tmux): typed into, waited for, and its screen taken as text."""

import contextlib
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from screenshots.drawing import DARK, LIGHT, draw

PATIENCE_S = 90.0
STILL_S = 0.6  # nothing has changed for so long: it is drawn
# The program asks for the background (OSC 11); tmux answers with the colour of its window.
_CONF = """set -g status off
set -g escape-time 0
set -g remain-on-exit on
set -g default-terminal {term}
set -as terminal-features ",*:RGB"
set -g window-style "fg={front},bg={back}"
"""
Key = str
"""A key as tmux names it: Enter, Escape, C-f, M-Left."""


class Terminal:
    """Runs a program in `size` (columns, rows); enter it to start. `term`: what it claims to be."""

    def __init__(
        self,
        argv: Sequence[str],
        size: tuple[int, int],
        *,
        folder: Path,
        env: dict[str, str],
        light: bool = False,
        term: str = "tmux-256color",
    ) -> None:
        self._argv, self.size, self._folder, self._env = argv, size, folder, env
        self.theme = LIGHT if light else DARK
        self._term = term
        self._own = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the program."""
        base = Path(self._own.enter_context(tempfile.TemporaryDirectory(prefix="screens.")))
        self._tmux_argv = ["tmux", "-u", "-S", str(base / "socket"), "-f", str(base / "conf")]
        front, back = (
            "#{:02x}{:02x}{:02x}".format(*colour)
            for colour in (self.theme.foreground_color, self.theme.background_color)
        )
        (base / "conf").write_text(_CONF.format(term=self._term, front=front, back=back))
        colours = {} if self._term == "dumb" else {"COLORTERM": "truecolor"}
        env = {"TERM": self._term, **colours, **self._env}
        words = ["env", "-u", "NO_COLOR", *(f"{k}={v}" for k, v in env.items()), *self._argv]
        size = ("-x", str(self.size[0]), "-y", str(self.size[1]))
        self._own.callback(self._tmux, "kill-server", check=False)
        self._tmux("new-session", "-d", *size, "-c", str(self._folder), shlex.join(words))
        return self

    def __exit__(self, *_: object) -> None:
        """End the terminal, and the program with it."""
        self._own.close()

    def _tmux(self, *words: str, check: bool = True) -> str:
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        argv = [*self._tmux_argv, *words]
        done = subprocess.run(argv, env=env, check=check, capture_output=True, text=True)
        return done.stdout

    def type(self, text: str) -> None:
        """Type a text."""
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: Key) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(0.1)

    def text(self) -> str:
        """Return what stands on the screen."""
        return self._tmux("capture-pane", "-p")

    def coloured(self) -> str:
        """Return what stands on the screen, with its colours."""
        return self._tmux("capture-pane", "-p", "-e", "-N").rstrip("\n")

    def until(self, condition: Callable[[str], bool]) -> None:
        """Wait until a condition of the screen is true; TimeoutError with the screen if never."""
        limit = time.monotonic() + PATIENCE_S
        while not condition(shown := self.text()):
            if time.monotonic() > limit:
                raise TimeoutError(f"This stands on the screen:\n{shown}")
            time.sleep(0.05)

    def sees(self, *texts: str, gone: str = "") -> None:
        """Wait until all of these texts stand on the screen, and `gone` does not."""
        self.until(lambda shown: all(t in shown for t in texts) and not (gone and gone in shown))

    def still(self) -> None:
        """Wait until the screen does not change any more; at most a few seconds: some blink."""
        limit, before, since = time.monotonic() + 6, "", time.monotonic()
        while time.monotonic() < limit and time.monotonic() - since < STILL_S:
            if (now := self.coloured()) != before:
                before, since = now, time.monotonic()
            time.sleep(0.1)

    def picture(self, *, still: bool = True) -> Any:
        """Return the picture of the screen."""
        if still:
            self.still()
        return draw(self.coloured(), *self.size, self.theme)
