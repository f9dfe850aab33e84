"""What a saved chat costs that is resumed: the real program and its own engine, with and without.

Each case is a chat whose first message is long. It ends; `steprun chat --plain --resume` asks once
more (after an edit, in another branch, with images). The same is then asked, by the same program
that has just been started, in a copy of the chat whose engine keeps no prompts.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kv_checks.agents import prose

GOAL: Final = 0.05
ANSWER_TOKENS: Final = 24
LIMIT_S: Final = 900.0
SAMPLE: Final = 4000  # characters, whose tokens are counted
EDITED: Final = "What else is it about?"
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Case:
    """`begin`: the lines of the chat; `asks`: what is typed in the resumed one."""

    what: str
    begin: Sequence[str]
    asks: Sequence[str]
    images: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """The last answer of a chat, as its file has it. Counts in tokens."""

    text: str
    prompt: int
    cached: int
    first_s: float


def one_message(text: str) -> str:
    """Return a text of several lines as it is typed into a plain chat."""
    return text.replace("\n", "\\\n")


def cases(document: str, images: Sequence[Path]) -> list[Case]:
    """Return all cases. Pure."""
    long = one_message(f"{document}\nWhat is it about?")
    two = [long, "And then?"]
    found = [
        Case("the next question", two, ["Tell me more."]),
        Case("the last message edited", two, ["/edit"]),
        Case("another branch", [*two, "/retry"], ["/earlier", "Tell me more."]),
        Case("a chat in between", [*two, "/new", "Hello."], ["/resume FIRST", "Tell me more."]),
    ]
    if images:
        found.append(Case("two images, the next question", two, ["Which shapes?"], images))
        found.append(Case("two images, the last message edited", two, ["/edit"], images))
    return found


class Home:
    """A home of steprun, in which the chat is run."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self.folder = folder
        self._arguments = arguments

    @property
    def sessions(self) -> Path:
        """The folder of the saved chats."""
        return self.folder / "data" / "sessions"

    def run(self, lines: Sequence[str], *more: str) -> str:
        """Chat with the lines of a pipe; return what was printed. Raises where it failed."""
        # What /edit opens: it writes another message into the file that it is given.
        editor = self.folder / "editor.py"
        self.folder.mkdir(parents=True, exist_ok=True)
        editor.write_text(f"import sys; open(sys.argv[1], 'w').write({EDITED!r})")
        environ = {
            **os.environ,
            "STEPRUN_HOME": str(self.folder),
            "PYTHONPATH": str(_ROOT),
            "VISUAL": f"{sys.executable} {editor}",
        }
        ran = subprocess.run(
            [sys.executable, "-m", "runner", "chat", "--plain", "--own", *self._arguments, *more],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=environ,
            check=False,
        )
        if ran.returncode:
            raise SystemExit(f"{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}")
        return ran.stdout

    def chat(self, which: int = 0) -> str:
        """Return the ID of a chat, the oldest first."""
        names = (path.stem for path in self.sessions.glob("2*.jsonl"))
        return sorted(name for name in names if "." not in name)[which]

    def last(self, chat: str) -> Measured:
        """Return the last answer of a chat."""
        lines = (self.sessions / f"{chat}.jsonl").read_text().splitlines()
        answers = [each for each in map(json.loads, lines) if each.get("role") == "assistant"]
        return measured(answers[-1])


def measured(record: dict[str, Any]) -> Measured:
    """Return what the record of an answer says. Pure."""
    usage = record.get("usage") or {}
    text = "|".join(step.get("text", "") for step in record.get("steps", ()))
    return Measured(
        text,
        int(usage.get("prompt_tokens", 0)),
        int(usage.get("cached_tokens", 0)),
        float(usage.get("first_token_s", 0.0)),
    )


def measure(place: Path, case: Case, arguments: Sequence[str]) -> tuple[Measured, Measured]:
    """Return the answer of the resumed chat, and of the one whose engine has read nothing."""
    kept = Home(place / "kept", arguments)
    images = [word for path in case.images for word in ("--image", str(path))]
    kept.run(case.begin, *images)
    first = kept.chat()
    asks = [line.replace("FIRST", first) for line in case.asks]
    cold = Home(place / "cold", [*arguments, "--kv-disk", "off"])
    shutil.copytree(kept.sessions, cold.sessions)
    for home in (kept, cold):
        home.run(asks, "--resume", home.chat(-1))
    return kept.last(first), cold.last(first)


def characters_of(place: Path, arguments: Sequence[str], tokens: int) -> int:
    """Return how many characters of prose make so many tokens, as this model counts."""
    home = Home(place, [*arguments, "--kv-disk", "off"])
    home.run([one_message(prose(SAMPLE, 0))])
    counted = home.last(home.chat()).prompt
    return round(tokens * SAMPLE / max(1, counted))


def main() -> int:
    """Measure all cases and print the table; return 1 where one misses the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-step", help="a model of steprun's, or a GGUF file")
    parser.add_argument("--projector", help="its projector, where it is not found by itself")
    parser.add_argument("--prompt-tokens", type=int, default=6500)
    parser.add_argument("--ctx", type=int, default=8192)
    parser.add_argument("--no-images", action="store_true", help="for a model that does not see")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    args = parser.parse_args()
    projector = ["--projector", args.projector] if args.projector else []
    arguments = ["--model", args.model, *projector, "--ctx", str(args.ctx), "--temperature", "0"]
    arguments += ["--max-tokens", str(ANSWER_TOKENS)]
    well = True
    with tempfile.TemporaryDirectory(prefix="resume-") as name:
        place = Path(name)
        characters = characters_of(place / "count", arguments, args.prompt_tokens)
        images = [] if args.no_images else _images(place)
        print(f"{'case':40}{'tokens':>8}{'read':>7}{'cold s':>9}{'kept s':>9}{'kept ÷ cold':>13}")
        for number, case in enumerate(cases(prose(characters, 3), images)):
            if args.only not in case.what:
                continue
            kept, cold = measure(place / str(number), case, arguments)
            ratio = kept.first_s / max(cold.first_s, 1e-9)
            same = "same answer" if kept.text == cold.text else "ANOTHER ANSWER"
            read = kept.prompt - kept.cached
            print(
                f"{case.what:40}{kept.prompt:8,}{read:7,}{cold.first_s:9.3f}{kept.first_s:9.3f}"
                f"{ratio:13.3f}  {same}",
                flush=True,
            )
            well = well and ratio <= GOAL and kept.text == cold.text
    return 0 if well else 1


def _images(place: Path) -> list[Path]:
    from PIL import Image, ImageDraw  # noqa: PLC0415 - of steprun's own environment

    paths = []
    for colour in ("red", "blue"):
        image = Image.new("RGB", (364, 364), "white")
        ImageDraw.Draw(image).ellipse((60, 60, 300, 300), fill=colour)
        paths.append(place / f"{colour}.png")
        image.save(paths[-1])
    return paths
