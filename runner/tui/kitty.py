"""Pictures by Kitty's graphics protocol, as text: cells that stand for a part of a picture. Pure.

The terminal is given a picture once; then each cell of a "Unicode placeholder" names the picture by
its colour, and its row and column by two combining characters. Such cells scroll, fold and are
covered like any text. Source: kitty's documentation, "The graphics protocol", sections
"Transferring pixel data", "Unicode placeholders" and "Deleting images".
"""

import base64
import re
from typing import Final

from textual.color import Color
from textual.content import Content
from textual.style import Style

PLACEHOLDER: Final = "\U0010eeee"
CHUNK: Final = 4096  # bytes of base64 in one command, the most there may be
MOST_IDS: Final = 1 << 24  # a colour has three bytes
_LEAST_KITTY: Final = (0, 28)  # the first version with placeholders
_KITTY = re.compile(r"kitty\((\d{1,4})\.(\d{1,4})")

# The combining characters that stand for 0, 1, 2 and so on, as first and last of each run.
# Source: rowcolumn-diacritics.txt of kitty.
_RUNS: Final = (
    "305 30d-30e 310 312 33d-33f 346 34a-34c 350-352 357 35b 363-36f 483-487 592-595 597-599 "
    "59c-5a1 5a8-5a9 5ab-5ac 5af 5c4 610-617 657-65b 65d-65e 6d6-6dc 6df-6e2 6e4 6e7-6e8 6eb-6ec "
    "730 732-733 735-736 73a 73d 73f-741 743 745 747 749-74a 7eb-7f1 7f3 816-819 81b-823 825-827 "
    "829-82d 951 953-954 f82-f83 f86-f87 135d-135f 17dd 193a 1a17 1a75-1a7c 1b6b 1b6d-1b73 "
    "1cd0-1cd2 1cda-1cdb 1ce0 1dc0-1dc1 1dc3-1dc9 1dcb-1dcc 1dd1-1de6 1dfe 20d0-20d1 20d4-20d7 "
    "20db-20dc 20e1 20e7 20e9 20f0 2cef-2cf1 2de0-2dff a66f a67c-a67d a6f0-a6f1 a8e0-a8f1 "
    "aab0 aab2-aab3 aab7-aab8 aabe-aabf aac1 fe20-fe26 10a0f 10a38 1d185-1d189 1d1aa-1d1ad "
    "1d242-1d244"
)


def _numbers() -> tuple[str, ...]:
    runs = (run.partition("-") for run in _RUNS.split())
    return tuple(
        chr(code)
        for first, _, last in runs
        for code in range(int(first, 16), int(last or first, 16) + 1)
    )


NUMBERS: Final = _numbers()


def has_placeholders(terminal: str) -> bool:
    """Return whether a terminal draws pictures as text, by what it calls itself (XTVERSION).

    One inside another, as tmux, names itself: what is around it is not asked.
    """
    if match := _KITTY.match(terminal):
        return (int(match[1]), int(match[2])) >= _LEAST_KITTY
    return terminal.lower().startswith("ghostty")


def transmission(image: int, png: bytes, columns: int, rows: int) -> str:
    """Return what gives a picture to the terminal, to be drawn in so many cells.

    `image`: its number, from 1 to `MOST_IDS` - 1. The terminal answers nothing.
    """
    data = base64.b64encode(png).decode("ascii")
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        head = f"a=t,f=100,t=d,i={image}," if number == 0 else ""
        more = int(number < len(chunks) - 1)
        parts.append(f"\x1b_G{head}q=2,m={more};{chunk}\x1b\\")
    parts.append(f"\x1b_Ga=p,U=1,i={image},c={columns},r={rows},q=2\x1b\\")
    return "".join(parts)


def deletion(image: int) -> str:
    """Return what makes the terminal forget a picture."""
    return f"\x1b_Ga=d,d=I,i={image},q=2\x1b\\"


def placeholder_rows(image: int, columns: int, rows: int) -> list[Content]:
    """Return the rows of cells that stand for a picture; at most `len(NUMBERS)` each way."""
    colour = Color(image >> 16, (image >> 8) & 255, image & 255)
    style = Style(foreground=colour)
    return [
        Content.styled(
            "".join(f"{PLACEHOLDER}{NUMBERS[y]}{NUMBERS[x]}" for x in range(columns)), style
        )
        for y in range(rows)
    ]
