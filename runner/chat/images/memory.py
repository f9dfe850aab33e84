"""How much memory decoding a picture takes, known from its head before it is tried. Pure.

The figures were measured as the peak of a process over what it held with the file read (Pillow 13,
pillow_heif 1.8.1, x86-64; 12 megapixels of noise), and rounded up.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from PIL import Image

PIXEL_BYTES: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2}  # Pillow keeps all others in 4, RGB too
WEBP_PIXEL_BYTES: Final = 16  # libwebp paints on two canvases, Pillow takes two copies
# The planes, then RGB, then a copy of it, then Pillow's picture. Measured: AVIF 11.2 bytes a pixel
# without and 13.1 with transparency; HEIC 9.5 and 8.5. With more than 8 bits HEIC took 15.5 and
# 20.5; Pillow writes no such AVIF, so that twice is assumed there.
AVIF_PIXEL_BYTES: Final = 14
HEIC_PIXEL_BYTES: Final = 10
ALPHA_BYTES: Final = 2
_HIGH_DEPTH: Final = 0x40  # in the third byte of the box av1C (AV1-ISOBMFF, section 2.3.3)
_TIFF_TILE: Final = (322, 323)  # tags: width and height of a tile
_TIFF_BITS: Final = 258  # tag: bits of each sample


def needed(image: "Image.Image", size: tuple[int, int], data: bytes) -> int:
    """Return the bytes that decoding takes. `size`: in pixels, without any draft."""
    width, height = size
    length, area = len(data), width * height
    pixels = PIXEL_BYTES.get(image.mode, 4) * image.width * image.height
    match image.format:
        case "WEBP":
            return 2 * length + WEBP_PIXEL_BYTES * area  # libwebp gets a copy of the file
        case "PNG":
            # Pillow keeps a copy of everything but pixels, two lines of up to 8 bytes a pixel.
            return 2 * length + pixels + 16 * width
        case "AVIF":
            return 2 * length + AVIF_PIXEL_BYTES * area * (2 if _is_deep_avif(data) else 1)
        case "HEIF":
            each = HEIC_PIXEL_BYTES + (ALPHA_BYTES if image.mode == "RGBA" else 0)
            return 2 * length + each * area * (2 if image.info.get("bit_depth", 8) > 8 else 1)
        case "TIFF":
            return 2 * length + pixels + _tiff_buffers(image, area)
        case "BMP" | "GIF":
            return 2 * length + pixels + 2 * area  # what was packed is unpacked beside the picture
        case _:
            return length + pixels + _jpeg_coefficients(image, area)


def _jpeg_coefficients(image: "Image.Image", area: int) -> int:
    # Where a JPEG has several scans (a progressive one does), libjpeg keeps all of its
    # coefficients, 2 bytes each, at full size. Whether it does shows only during decoding.
    layers: list[tuple[int, int]] = [layer[1:3] for layer in getattr(image, "layer", ())]
    whole = max((a for a, _ in layers), default=1) * max((d for _, d in layers), default=1)
    return 2 * (area * sum(a * d for a, d in layers) // max(1, whole))


def _tiff_buffers(image: "Image.Image", area: int) -> int:
    """Return what libtiff unpacks at once: a strip may be the whole picture, a tile even more."""
    tags: Any = getattr(image, "tag_v2", {})
    tile = [int(tags.get(tag, 0)) for tag in _TIFF_TILE]
    bits = tags.get(_TIFF_BITS, (8,))
    sample_bytes = -(-sum(bits if isinstance(bits, tuple) else (bits,)) // 8)
    jpeg = 2 * len(image.getbands()) * area if "jpeg" in str(image.info.get("compression")) else 0
    return max(area, tile[0] * tile[1]) * max(4, sample_bytes) + jpeg


def _is_deep_avif(data: bytes) -> bool:
    """Return whether any picture in an AVIF has more than 8 bits a sample."""
    at = data.find(b"av1C")
    while at >= 0:
        if data[at + 6 : at + 7] and data[at + 6] & _HIGH_DEPTH:
            return True
        at = data.find(b"av1C", at + 4)
    return False
