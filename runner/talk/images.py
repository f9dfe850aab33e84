"""Pictures in: checked, turned upright, bounded, and made into what the engine can read.

The engine reads PNG and JPEG, knows no EXIF orientation and trusts its input, so every picture
is decoded here first. Pillow is loaded only when there is a picture.
"""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import BadFile
from runner.talk.pricing import fit, image_tokens
from runner.talk.wire import Picture

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
FILE_BYTES = 64 << 20  # larger files are not pictures for a chat
PIXELS = 120_000_000  # decoded at most: 360 MB of RGB; a 108-megapixel phone picture passes
EXIF_ORIENTATION = 0x0112


def load_picture(path: Path) -> Picture:
    """Read one picture file. Raises `BadFile` with what is wrong with it."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise _bad(path, "It is a folder.")
        if not path.is_file():
            raise _bad(path, "It is not a regular file.")
        if size == 0:
            raise _bad(path, "The file is empty.")
        if size > FILE_BYTES:
            raise _bad(path, f"It is {size >> 20} MiB long; {FILE_BYTES >> 20} MiB is the most.")
        data = path.read_bytes()
    except OSError as error:
        raise _bad(path, f"{error.strerror or error}.") from error
    return picture_from_bytes(data, path.name)


def picture_from_bytes(data: bytes, name: str) -> Picture:
    """Check and convert one picture (PNG, JPEG or WebP bytes).

    A PNG or JPEG that needs nothing is passed on unchanged. Raises `BadFile`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415 - 60 ms, only where there is a picture

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large picture: the bound below decides
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            kind = image.format or ""
            width, height = image.size
            if width * height > PIXELS:
                raise _bad(
                    name,
                    f"It would unpack to {width} x {height} pixels; "
                    f"{PIXELS // 1_000_000} million is the most.",
                )
            oriented = image.getexif().get(EXIF_ORIENTATION, 1) != 1
            target = fit(width, height)
            if kind == "JPEG" and target != (width, height):
                image.draft("RGB", target)  # decodes at a fraction of the size: less memory
            image.load()
            if kind in {"PNG", "JPEG"} and not oriented and target == (width, height):
                mime = f"image/{kind.lower()}"
                if image.mode in {"RGB", "L"}:
                    return _picture(name, mime, data, width, height)
            image = _flat(ImageOps.exif_transpose(image))
            image = image.resize(fit(*image.size)) if fit(*image.size) != image.size else image
    except BadFile:
        raise
    except Image.DecompressionBombError as error:
        raise _bad(name, "It would unpack to far too many pixels.") from error
    except UnidentifiedImageError as error:
        raise _bad(name, "It is not a PNG, JPEG or WebP picture.") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise _bad(name, f"It is damaged or cut short ({error}).") from error
    out = io.BytesIO()
    # A photograph stays a JPEG: as PNG it would be ten times as long.
    if kind == "JPEG":
        image.save(out, "JPEG", quality=95)
        return _picture(name, "image/jpeg", out.getvalue(), *image.size)
    image.save(out, "PNG", compress_level=1)
    return _picture(name, "image/png", out.getvalue(), *image.size)


def _flat(image: "Image.Image") -> "Image.Image":
    """Return the picture as 8-bit RGB, what is transparent as white."""
    from PIL import Image  # noqa: PLC0415

    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        # 16-bit grey: Pillow's own conversion clips instead of scaling.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("RGB")


def _picture(name: str, mime: str, data: bytes, width: int, height: int) -> Picture:
    return Picture(name, mime, data, width, height, image_tokens(width, height))


def _bad(name: object, why: str) -> BadFile:
    return BadFile(
        f"{name} cannot be taken as a picture.",
        why=why,
        next="Give a PNG, JPEG or WebP file",
    )
