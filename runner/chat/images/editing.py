"""Pictures made smaller, cut out, and shrunk to thumbnails. All of them were checked by `load`."""

import io
from typing import TYPE_CHECKING

from runner.base.errors import BadFile
from runner.chat.images.tokens import image_tokens
from runner.chat.wire import Picture

if TYPE_CHECKING:
    from PIL import Image

JPEG: str = "image/jpeg"


def scaled(picture: Picture, width: int, height: int) -> Picture:
    """Return the picture at another size, in pixels."""
    from PIL import Image  # noqa: PLC0415 - only where there is a picture

    image = opened(picture).resize((width, height), Image.Resampling.LANCZOS)
    return made_of(picture, image, picture.name)


def cropped(picture: Picture, box: tuple[int, int, int, int]) -> Picture:
    """Return what is in a box: its left, top, right and bottom edge, in pixels.

    What of the box is outside the picture is left out. Raises `BadFile` where nothing is inside.
    """
    left, top = max(0, box[0]), max(0, box[1])
    right, bottom = min(picture.width, box[2]), min(picture.height, box[3])
    if left >= right or top >= bottom:
        raise BadFile(
            f"{picture.name} cannot be cropped like that.",
            why="No part of the picture is inside the frame.",
            next="Choose a part of the picture.",
        )
    cut = opened(picture).crop((left, top, right, bottom))
    return made_of(picture, cut, picture.name)


def pixels(picture: Picture, width: int, height: int) -> bytes:
    """Return a thumbnail of exactly that size: three bytes a pixel, row by row."""
    from PIL import Image  # noqa: PLC0415

    image = opened(picture, draft=(2 * width, 2 * height))
    small = image.resize((width, height), Image.Resampling.BOX, reducing_gap=2.0)
    return small.tobytes()


def small_png(picture: Picture, width: int, height: int) -> bytes:
    """Return the picture at that size in 256 colours, as a PNG: for a terminal, maybe over SSH."""
    from PIL import Image  # noqa: PLC0415

    image = opened(picture, draft=(2 * width, 2 * height))
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    small.quantize(256).save(out, "PNG", optimize=True)
    return out.getvalue()


def opened(picture: Picture, draft: tuple[int, int] | None = None) -> "Image.Image":
    """Return the pixels of a picture in RGB; `draft`: no more of them than fill this size."""
    from PIL import Image  # noqa: PLC0415

    image: Image.Image = Image.open(io.BytesIO(picture.data), formats=("PNG", "JPEG"))
    if draft is not None and image.format == "JPEG":
        image.draft("RGB", draft)  # decodes at a fraction of the size
    return image.convert("RGB")


def made_of(picture: Picture, image: "Image.Image", name: str) -> Picture:
    """Return other pixels as a picture of the same kind."""
    out = io.BytesIO()
    if picture.mime == JPEG:
        image.save(out, "JPEG", quality=95)
    else:
        image.save(out, "PNG", compress_level=1)
    width, height = image.size
    return Picture(name, picture.mime, out.getvalue(), width, height, image_tokens(width, height))
