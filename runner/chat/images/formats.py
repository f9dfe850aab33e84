"""The picture formats that are taken, in one table: files, clipboards and requests use the same.

Pillow decodes all of them but HEIC, for which `pillow_heif` is loaded when the first one comes.
"""

from dataclasses import dataclass
from typing import Final

from runner.base.errors import Refused


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """One format: its name for people, Pillow's name for it, and how its files end.

    `photograph`: a converted picture stays a JPEG; as a PNG a photograph would be ten times as
    long.
    """

    name: str
    pillow: str
    suffixes: tuple[str, ...]
    photograph: bool = False


# AVIF stands before HEIC: both may call themselves "mif1", and Pillow asks in this order.
FORMATS: Final = (
    PictureFormat("PNG", "PNG", (".png",)),
    PictureFormat("JPEG", "JPEG", (".jpg", ".jpeg"), photograph=True),
    PictureFormat("WebP", "WEBP", (".webp",)),
    PictureFormat("AVIF", "AVIF", (".avif",), photograph=True),
    PictureFormat("HEIC", "HEIF", (".heic", ".heif"), photograph=True),
    PictureFormat("TIFF", "TIFF", (".tif", ".tiff")),
    PictureFormat("BMP", "BMP", (".bmp",)),
    PictureFormat("GIF", "GIF", (".gif",)),
)
SUFFIXES: Final = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
NAMES: Final = f"{', '.join(each.name for each in FORMATS[:-1])} or {FORMATS[-1].name}"
# Pillow calls a JPEG with more pictures after the first, as some phones write it, MPO.
PHOTOGRAPHS: Final = frozenset({"MPO", *(each.pillow for each in FORMATS if each.photograph)})

_FTYP: Final = slice(4, 8)  # where a file of the ISO base media format names its first box
_BRAND: Final = slice(8, 12)
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})


def pillow_formats(data: bytes) -> tuple[str, ...]:
    """Return Pillow's names of the formats that these bytes may have; makes HEIC readable.

    Raises Refused where they are HEIC and the package that reads it is not installed.
    """
    known = tuple(each.pillow for each in FORMATS)
    without = tuple(name for name in known if name != "HEIF")
    if data[_FTYP] != b"ftyp" or data[_BRAND] in _AVIF_BRANDS:
        return without
    try:
        import pillow_heif  # noqa: PLC0415 - 30 ms, only where there is such a picture
    except ImportError as error:
        if data[_BRAND] in {b"mif1", b"msf1"}:  # may still be an AVIF
            return without
        raise Refused(
            "A HEIC picture cannot be read here.",
            why="The package pillow-heif is not installed.",
            next="Install pillow-heif, 1.8.1 or later, beside steprun.",
        ) from error
    # What is beside the picture is neither shown nor decoded.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return known
