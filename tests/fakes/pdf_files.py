"""PDFs for tests, written by hand: pages with text, pages that are pictures, broken ones."""

import zlib
from collections.abc import Sequence


def pdf(*pages: str | tuple[int, int], size: tuple[float, float] = (595, 842)) -> bytes:
    """Return a PDF. A page is its text, or the pixels of a picture that fills it (a scan)."""
    objects: list[bytes] = [b"", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for page in pages:
        if isinstance(page, str):
            lines = page.split("\n")
            drawn = " T* ".join(f"({_escaped(line)}) Tj" for line in lines)
            content = f"BT /F1 12 Tf 14 TL 72 720 Td {drawn} ET".encode("latin-1")
            resources = b"<< /Font << /F1 3 0 R >> >>"
        else:
            width, height = page
            packed = zlib.compress(b"\x20" * (width * height))
            objects.append(
                f"<< /Type /XObject /Subtype /Image /Width {width} /Height {height} "
                "/ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /FlateDecode "
                f"/Length {len(packed)} >>\nstream\n".encode()
                + packed
                + b"\nendstream"
            )
            content = b"q 400 0 0 600 50 50 cm /I Do Q"
            resources = f"<< /XObject << /I {len(objects)} 0 R >> >>".encode()
        objects.append(
            f"<< /Length {len(content)} >>\nstream\n".encode() + content + b"\nendstream"
        )
        stream = len(objects)
        box = f"[0 0 {size[0]} {size[1]}]"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox {box} /Contents {stream} 0 R "
            "/Resources ".encode()
            + resources
            + b" >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[0] = b"<< /Type /Catalog /Pages 2 0 R >>"
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    return _file(objects)


def encrypted_pdf() -> bytes:
    """Return a PDF that wants a password (the standard handler, whose keys fit no password)."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [] /Count 0 >>",
        b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <"
        + b"11" * 32
        + b"> /U <"
        + b"22" * 32
        + b"> >>",
    ]
    return _file(objects, "/Encrypt 3 0 R /ID [<00> <00>]")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def _file(objects: Sequence[bytes], more: str = "") -> bytes:
    out = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    xref = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    trailer = f"<< /Size {len(objects) + 1} /Root 1 0 R {more} >>"
    return out + f"trailer\n{trailer}\nstartxref\n{xref}\n%%EOF\n".encode()
