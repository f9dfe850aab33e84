"""Makes untrusted text safe to show and to keep: model output, pasted text, file names. Pure.

A terminal obeys control characters and hides text behind direction overrides; neither may come
from a model or from a file name.
"""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
NAME_LENGTH = 40

_REMOVED = [
    *(code for code in range(0x20) if code not in {0x09, 0x0A}),
    *range(0x7F, 0xA0),
    *range(0x202A, 0x202F),  # direction overrides: they can make "gpj.exe" read "exe.jpg"
    *range(0x2066, 0x206A),
]
_TABLE: dict[int, str | None] = {
    **dict.fromkeys(_REMOVED),
    0x2028: "\n",
    0x2029: "\n",
    # Half a character: it can be neither encoded nor written to a terminal.
    **dict.fromkeys(range(0xD800, 0xE000), REPLACEMENT),
}


def clean(text: str) -> str:
    """Return the text with plain newlines and without control characters."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_TABLE)


def clean_name(name: str, length: int = NAME_LENGTH) -> str:
    """Return a name for one line, its middle left out where it is long."""
    name = " ".join(clean(name).split()) or "picture"
    if len(name) <= length:
        return name
    half = (length - 1) // 2
    return f"{name[:half]}…{name[-(length - 1 - half) :]}"


def shown(text: str) -> str:
    """Return untrusted text in quotes, as it may be printed: ASCII, and 80 characters at most."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
