"""Reads a PDF, in a process of its own.

`python -m runner.chat.files.pdf_process` reads one request from its standard input and writes the
results to its standard output. So the chat stays up whatever the library does with a file: one
that crashes, hangs or takes too much memory takes this process with it.

The request is a line of JSON (`pages`: the ranges that are wanted, empty for all of them as text;
`draw`: they become pictures; `sees`: pages without text do; `most`: pictures), then the file.
Results are lines of JSON, each with `size` bytes behind it: first `count`, the pages that the file
has; then for each page `page` (from 1) and `kind`: `text`, `picture`, `scan` (which is left out) or
`empty`; or `error`, a reason in a word.
"""

import io
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final

from runner.chat.images.converting import bound

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

PAGES: Final = 2000  # of a longer file the text fits no context
TEXT_CHARS: Final = 4 << 20
# Three crops of Step (`images.tokens`) along the longer side: a page of A4 has 131 pixels an inch
# then, at 671 tokens; four crops would cost 1,170.
PICTURE_PX: Final = 3 * 504
# Of a page with an image on it: fewer letters are a page number or a stamp, and the page is a scan.
LEAST_CHARS: Final = 20
PASSWORD_ERROR: Final = 4  # FPDF_ERR_PASSWORD in PDFium's fpdfview.h
OBJECTS: Final = 2000  # of a page that are looked at for an image


def main(source: IO[bytes], result: IO[bytes]) -> None:
    """Answer one request."""
    bound()
    wanted = json.loads(source.readline())
    _Answer(result).read(source.read(), wanted)


class _Answer:
    """Writes the results for one file."""

    def __init__(self, result: IO[bytes]) -> None:
        self._result = result
        self._pictures = self._chars = 0

    def _say(self, data: bytes = b"", **record: Any) -> None:
        self._result.write(json.dumps({**record, "size": len(data)}).encode("ascii") + b"\n" + data)
        self._result.flush()

    def read(self, data: bytes, wanted: Mapping[str, Any]) -> None:
        """Read a file."""
        import pypdfium2  # noqa: PLC0415 - a native library: where something fails, this says it

        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            encrypted = error.err_code == PASSWORD_ERROR
            self._say(error="encrypted" if encrypted else "broken")
            return
        count = len(document)
        self._say(count=count)
        chosen = wanted["pages"] or [[1, count]]
        for first, last in chosen:
            for number in range(first, min(last or count, count, first + PAGES - 1) + 1):
                try:
                    self._page(document, number, wanted)
                except (pypdfium2.PdfiumError, MemoryError, OSError, ValueError):
                    self._say(page=number, broken=True)
                if self._chars > TEXT_CHARS:
                    self._say(error="long")
                    return

    def _page(self, document: "PdfDocument", number: int, wanted: Mapping[str, Any]) -> None:
        page = document[number - 1]
        try:
            draws = bool(wanted["pages"]) and wanted["draw"]
            text = "" if draws else page.get_textpage().get_text_bounded()
            if not draws:
                letters = len("".join(text.split()))
                scan = letters < LEAST_CHARS and _has_image(page)
                if letters and not (scan and wanted["sees"]):
                    self._chars += len(text)
                    self._say(text.encode("utf-8", "replace"), page=number, kind="text")
                    return
                if not scan:
                    self._say(page=number, kind="empty")
                    return
                draws = wanted["sees"]
            if not draws or self._pictures >= wanted["most"]:
                self._say(page=number, kind="scan")
                return
            self._pictures += 1
            self._say(_drawn(page), page=number, kind="picture")
        finally:
            page.close()


def _has_image(page: "PdfPage") -> bool:
    import pypdfium2.raw as pdfium  # noqa: PLC0415

    objects = page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=3)
    return any(True for _, _ in zip(range(OBJECTS), objects, strict=False))


def _drawn(page: "PdfPage") -> bytes:
    width, height = page.get_size()
    scale = PICTURE_PX / max(width, height, 1.0)
    picture = page.render(scale=scale, limit_image_cache=True).to_pil()
    out = io.BytesIO()
    picture.convert("RGB").save(out, "PNG", compress_level=1)
    return out.getvalue()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.stdin.buffer, sys.stdout.buffer)
