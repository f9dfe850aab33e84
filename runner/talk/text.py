"""A model's words are untrusted: what may reach a terminal, and what may not. Pure."""

# C0 and C1 controls but for tab and line feed: they move cursors, set titles, paste, ring bells.
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}
# Marks that reorder what is shown, so that a text reads differently from what it is.
_BIDI = dict.fromkeys((0x202A, 0x202B, 0x202C, 0x202D, 0x202E, 0x2066, 0x2067, 0x2068, 0x2069))
_DROP = {**_CONTROLS, **_BIDI}


def printable(text: str) -> str:
    """Return the text without what a terminal would obey instead of show."""
    return text.translate(_DROP)
