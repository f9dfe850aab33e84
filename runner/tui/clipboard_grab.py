"""Prints what is on the clipboard of macOS or Windows, by Pillow, in a process of its own.

`python -m runner.tui.clipboard_grab` prints `picture` and a PNG in base64, or `text` and the
paths of the files that were copied, or the text, in base64; nothing where there is neither.
"""

import base64
import io
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

_TEXT: Final[Mapping[str, Sequence[str]]] = {
    "darwin": ("pbpaste",),
    "win32": ("powershell", "-NoProfile", "-Command", "Get-Clipboard -Raw"),
}


def grabbed() -> tuple[str, bytes]:
    """Return the kind of what is on the clipboard, and its bytes."""
    from PIL import Image, ImageGrab  # noqa: PLC0415 - only this process needs it

    found = ImageGrab.grabclipboard()
    if isinstance(found, Image.Image):
        out = io.BytesIO()
        found.convert("RGBA" if "A" in found.getbands() else "RGB").save(out, "PNG")
        return "picture", out.getvalue()
    if found:
        return "text", "\n".join(map(str, found)).encode()
    argv = _TEXT.get(sys.platform)
    if argv is None:
        return "text", b""
    return "text", subprocess.run(argv, capture_output=True, check=False).stdout


if __name__ == "__main__":
    kind, data = grabbed()
    sys.stdout.write(f"{kind} {base64.b64encode(data).decode()}\n")
