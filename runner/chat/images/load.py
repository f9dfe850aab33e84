"""Image files: checked, turned upright, bounded in size, and converted to what the engine decodes.

The engine decodes PNG and JPEG, ignores EXIF orientation and trusts its input, so every image is
decoded here first. Pillow is loaded only when there is an image.
"""

import io
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from runner.base.errors import BadFile, SteprunError
from runner.chat.images.formats import NAMES, PHOTOGRAPHS, pillow_formats
from runner.chat.images.memory import needed
from runner.chat.images.names import as_on_disk
from runner.chat.images.tokens import fit, image_tokens
from runner.chat.wire import Picture

if TYPE_CHECKING:
    from PIL import Image

FILE_BYTES = 64 << 20  # larger files are not images for a chat
# The most that loading may need, by `memory.needed`: a 108-megapixel JPEG of a phone passes, and a
# 48-megapixel HEIC. A process that does nothing else peaks at 590 MB with the worst that passes,
# the interpreter and all.
MOST_BYTES = 510_000_000
TILE = 512  # pixels a side: flattened so many at a time, not in a second copy of the whole
EXIF_ORIENTATION = 0x0112
# Of a TIFF: what libtiff unpacks in bounded memory. Others (LZMA, Zstandard, LERC) are not pictures
# that people send.
TIFF_COMPRESSIONS = frozenset(
    {
        *("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg"),
        *("group3", "group4", "tiff_ccitt", "tiff_raw_16"),
    }
)
OTHER = f"Choose a {NAMES} file."
SMALLER = "Make the image smaller first."

_one_at_a_time = threading.Lock()  # two pictures at once would take twice the memory


def load_picture(path: Path) -> Picture:
    """Load one image file. Raises `BadFile` with what is wrong with it."""
    return picture_from_bytes(*read_file(path))


def read_file(path: Path) -> tuple[bytes, str]:
    """Return the bytes of an image file, and its name. Raises `BadFile` where it cannot be one."""
    path = Path(as_on_disk(str(path)) or path)
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise _bad(path, "It is a folder.")
        if not path.is_file():
            raise _bad(path, "It is not a regular file.")
        if size == 0:
            raise _bad(path, "The file is empty.")
        if size > FILE_BYTES:
            raise _bad(path, f"It has {size >> 20} MiB; the limit is {FILE_BYTES >> 20} MiB.")
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)  # it may have grown since
    except OSError as error:
        raise _bad(path, f"{error.strerror or error}.") from error
    if len(data) > FILE_BYTES:
        raise _bad(path, f"It grows; the limit is {FILE_BYTES >> 20} MiB.")
    return data, path.name


def picture_from_bytes(data: bytes, name: str) -> Picture:
    """Check and convert one image, the bytes of a file in one of the formats of `formats`.

    A PNG or JPEG that needs nothing is passed on unchanged; of several pictures in a file the first
    one counts. Raises `BadFile`, or `Refused` where what reads the format is not installed.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - 60 ms, only where there is a picture

    try:
        with _one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large picture: the bound below decides
            return _converted(data, name)
    except Image.DecompressionBombError as error:
        raise _bad(name, "It would decode to far too many pixels.", next=SMALLER) from error
    except UnidentifiedImageError as error:
        raise _bad(name, f"It is not a {NAMES} image.") from error
    except MemoryError as error:
        raise _bad(name, "There is not enough memory to decode it.", next=SMALLER) from error
    except SteprunError:
        raise
    except Exception as error:  # of a damaged file decoders raise whatever they like
        why = f"It is damaged or cut short ({error})."
        raise _bad(name, why, next="Copy or download it again.") from error


def _converted(data: bytes, name: str) -> Picture:
    from PIL import Image  # noqa: PLC0415

    image: Image.Image = Image.open(io.BytesIO(data), formats=pillow_formats(data))
    kind, size = image.format, image.size
    target = fit(*size)
    compression = image.info.get("compression", "raw")
    if kind == "TIFF" and compression not in TIFF_COMPRESSIONS:
        raise _bad(name, f"It is a TIFF that is packed as {compression}.")
    if kind in {"JPEG", "MPO"} and target != size:
        image.draft("RGB", target)  # decodes at a fraction of the size: less memory
    if (memory := needed(image, size, data)) > MOST_BYTES:
        raise _bad(
            name,
            f"It has {size[0]} x {size[1]} pixels: decoding it takes {memory // 1_000_000:,} MB "
            f"of memory; the limit is {MOST_BYTES // 1_000_000} MB.",
            next=SMALLER,
        )
    image.load()
    orientation = image.getexif().get(EXIF_ORIENTATION, 1)  # Pillow has turned a TIFF by now
    as_it_is = kind in {"PNG", "JPEG"} and image.mode in {"RGB", "L"}
    if as_it_is and orientation == 1 and target == size:
        return _picture(name, f"image/{str(kind).lower()}", data, *size)
    result = _turned(_shrunk(image, target), orientation)
    out = io.BytesIO()
    if kind in PHOTOGRAPHS:
        result.save(out, "JPEG", quality=95)
        return _picture(name, "image/jpeg", out.getvalue(), *result.size)
    result.save(out, "PNG", compress_level=1)
    return _picture(name, "image/png", out.getvalue(), *result.size)


def _shrunk(image: "Image.Image", target: tuple[int, int]) -> "Image.Image":
    """Return the picture in RGB at its target size; frees the memory of `image`."""
    from PIL import Image  # noqa: PLC0415

    width, height = image.size
    factor = max(1, max(width, height) // max(target))
    across, down = min(factor, width), min(factor, height)
    small = Image.new("RGB", (-(-width // across), -(-height // down)))
    wide, high = across * max(1, TILE // across), down * max(1, TILE // down)
    for top in range(0, height, high):
        for left in range(0, width, wide):
            box = (left, top, min(left + wide, width), min(top + high, height))
            tile = _flat(image.crop(box)).reduce((across, down))
            small.paste(tile, (left // across, top // down))
    image.close()
    # The last column and row may stand for less than the others: not all of them is picture.
    exact = (0, 0, width / across, height / down)
    return small if small.size == target else small.resize(target, box=exact)


def _turned(image: "Image.Image", orientation: int) -> "Image.Image":
    """Return the picture as the camera was held."""
    from PIL import ImageOps  # noqa: PLC0415

    image.getexif()[EXIF_ORIENTATION] = orientation  # lost when it was shrunk
    ImageOps.exif_transpose(image, in_place=True)
    return image


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


def _bad(name: object, why: str, *, next: str = OTHER) -> BadFile:  # noqa: A002 - as SteprunError's
    return BadFile(f"{name} cannot be used as an image.", why=why, next=next)
