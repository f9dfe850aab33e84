"""A fake of a terminal with Kitty's graphics: takes pictures, and finds them in the cells drawn."""

import base64
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image
from rich.cells import cell_len
from rich.segment import Segment

from runner.tui.kitty import CHUNK, NUMBERS, PLACEHOLDER

_COMMAND = re.compile("\x1b_G([^;\x1b]*)(?:;([A-Za-z0-9+/=]*))?\x1b\\\\")


@dataclass
class TakenPicture:
    """A picture that was given to the terminal, and the cells that it is to be drawn in."""

    image: Image.Image
    columns: int = 0
    rows: int = 0


class FakeKitty:
    """Keeps what it is given. Asserts that each command is as Kitty's documentation wants it."""

    def __init__(self) -> None:
        self.pictures: dict[int, TakenPicture] = {}
        self.deleted: list[int] = []
        self._pending: tuple[int, str] | None = None

    def write(self, text: str) -> None:
        """Take what a program writes."""
        for head, data in _COMMAND.findall(text):
            keys = dict(part.split("=") for part in head.split(","))
            assert keys["q"] == "2", "its answer would be taken for typing"
            if keys.get("a") == "d":
                assert keys["d"] == "I"
                self.deleted.append(int(keys["i"]))
                del self.pictures[int(keys["i"])]
            elif keys.get("a") == "p":
                assert keys["U"] == "1"
                taken = self.pictures[int(keys["i"])]
                taken.columns, taken.rows = int(keys["c"]), int(keys["r"])
            else:
                self._transfer(keys, data)
        assert "\x1b_G" not in _COMMAND.sub("", text), "a command that does not end"

    def _transfer(self, keys: dict[str, str], data: str) -> None:
        assert len(data) <= CHUNK
        if self._pending is None:
            assert (keys["a"], keys["f"]) == ("t", "100")
            self._pending = int(keys["i"]), ""
        number, before = self._pending
        self._pending = number, before + data
        if keys["m"] == "1":
            assert len(data) % 4 == 0
            return
        png = base64.b64decode(before + data, validate=True)
        image = Image.open(io.BytesIO(png), formats=("PNG",))
        image.load()
        self.pictures[number] = TakenPicture(image)
        self._pending = None

    def drawn(self, lines: Iterable[Iterable[Segment]]) -> dict[int, set[tuple[int, int]]]:
        """Return the cells of each picture that are on the screen, as column and row of it."""
        found: dict[int, set[tuple[int, int]]] = {}
        for line in lines:
            for segment in line:
                cells = segment.text.split(PLACEHOLDER)[1:]
                if not cells:
                    continue
                assert cell_len(PLACEHOLDER + cells[0][:2]) == 1
                assert segment.style is not None
                assert segment.style.color is not None
                colour = segment.style.color.get_truecolor()
                number = (colour.red << 16) + (colour.green << 8) + colour.blue
                taken = self.pictures[number]
                for cell in cells:
                    row, column = NUMBERS.index(cell[0]), NUMBERS.index(cell[1])
                    assert column < taken.columns
                    assert row < taken.rows
                    found.setdefault(number, set()).add((column, row))
        return found
