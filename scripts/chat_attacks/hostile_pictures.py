"""Picture files as nobody should send them: cut, spoiled, huge, mislabelled; and odd good ones."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image, ImageCms, ImageDraw

SUFFIXES = {
    "PNG": "png",
    "JPEG": "jpg",
    "WEBP": "webp",
    "AVIF": "avif",
    "HEIF": "heic",
    "TIFF": "tif",
    "BMP": "bmp",
    "GIF": "gif",
}
MODES = {
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "JPEG": ("RGB", "L", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
    "HEIF": ("RGB", "RGBA", "L"),
    "TIFF": ("RGB", "RGBA", "L", "P", "1", "CMYK", "I;16", "F"),
    "BMP": ("RGB", "L", "P", "1"),
    "GIF": ("P", "L"),
}
ORIENTATION = 0x0112


class PictureCase(NamedTuple):
    """A file. `kind`: what is wrong with it; `fine`: the chat has to take it."""

    kind: str
    name: str
    data: bytes
    fine: bool = False


def make(seed: int, number: int) -> PictureCase:
    """Return one case, always the same for a seed and a number."""
    dice = random.Random(f"{seed}-{number}")  # noqa: S311
    form = list(SUFFIXES)[number % len(SUFFIXES)]
    kind = KINDS[(number // len(SUFFIXES)) % len(KINDS)]
    return kind(dice, form)


# --- good ones --------------------------------------------------------------------------------


def _image(dice: random.Random, form: str, size: tuple[int, int] | None = None) -> Image.Image:
    size = size or (dice.randrange(1, 900), dice.randrange(1, 700))
    if form == "HEIF":  # what encodes it takes nothing smaller
        size = max(64, size[0]), max(64, size[1])
    mode = dice.choice(MODES[form])
    drawn = Image.new("RGB", size, dice.choice(("white", "navy", "tomato")))
    drawing = ImageDraw.Draw(drawn)
    for _ in range(12):
        x, y = dice.randrange(size[0]), dice.randrange(size[1])
        drawing.ellipse((x, y, x + 80, y + 60), fill=(dice.randrange(256), x % 256, y % 256))
    if mode == "I;16":
        return drawn.convert("L").convert("I").point(lambda value: value * 256).convert("I;16")
    if mode in {"RGBA", "LA"}:
        drawn.putalpha(drawn.convert("L"))
    return drawn.convert(mode)


def _file(dice: random.Random, form: str, size: tuple[int, int] | None = None) -> bytes:
    if form == "HEIF":
        import pillow_heif  # noqa: PLC0415 - may be missing

        pillow_heif.register_heif_opener()
    image, out = _image(dice, form, size), io.BytesIO()
    options: dict[str, object] = {}
    if form in {"PNG", "JPEG", "WEBP", "TIFF", "AVIF"} and dice.random() < 0.4:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        options["icc_profile"] = profile.tobytes()
    if form in {"JPEG", "PNG", "WEBP"} and dice.random() < 0.5:
        exif = Image.Exif()
        exif[ORIENTATION] = dice.randrange(1, 9)
        options["exif"] = exif
    if form in {"GIF", "WEBP", "PNG"} and image.mode != "I;16" and dice.random() < 0.3:
        options |= {"save_all": True, "append_images": [image.copy() for _ in range(5)]}
    if form == "GIF" and dice.random() < 0.5:
        options["transparency"] = 0
    if form == "JPEG" and dice.random() < 0.5:
        options["progressive"] = True
    if form == "TIFF" and dice.random() < 0.5:
        options["compression"] = dice.choice(("tiff_lzw", "tiff_deflate", "packbits"))
    image.save(out, form, **options)
    return out.getvalue()


def _good(dice: random.Random, form: str) -> PictureCase:
    return PictureCase("good", f"good.{SUFFIXES[form]}", _file(dice, form), fine=True)


def _wrong_suffix(dice: random.Random, form: str) -> PictureCase:
    other = dice.choice([suffix for name, suffix in SUFFIXES.items() if name != form])
    return PictureCase("wrong suffix", f"other.{other}", _file(dice, form), fine=True)


# --- damaged ones -------------------------------------------------------------------------------


def _cut(dice: random.Random, form: str) -> PictureCase:
    data = _file(dice, form)
    return PictureCase("cut", f"cut.{SUFFIXES[form]}", data[: dice.randrange(len(data))])


def _spoiled(dice: random.Random, form: str) -> PictureCase:
    data = bytearray(_file(dice, form))
    for _ in range(dice.choice((1, 3, 30, 300))):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return PictureCase("spoiled", f"spoiled.{SUFFIXES[form]}", bytes(data))


def _spoiled_head(dice: random.Random, form: str) -> PictureCase:
    data = bytearray(_file(dice, form))
    for _ in range(dice.choice((1, 2, 8))):
        data[dice.randrange(min(len(data), 200))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
    return PictureCase("spoiled head", f"head.{SUFFIXES[form]}", bytes(data))


def _stuffed(dice: random.Random, form: str) -> PictureCase:
    data, at = _file(dice, form), dice.randrange(1, 200)
    middle = dice.randbytes(dice.choice((1, 100, 100_000)))
    return PictureCase("stuffed", f"stuffed.{SUFFIXES[form]}", data[:at] + middle + data[at:])


def _noise(dice: random.Random, form: str) -> PictureCase:
    head = _file(dice, form, (8, 8))[: dice.choice((0, 4, 12, 40))]
    size = dice.choice((0, 1, 1000, 1 << 20))
    return PictureCase("noise", f"noise.{SUFFIXES[form]}", head + dice.randbytes(size))


def _empty(dice: random.Random, form: str) -> PictureCase:
    data = dice.choice((b"", b"\0", b"\n", b"\xff" * 10))
    return PictureCase("empty", f"empty.{SUFFIXES[form]}", data)


# --- ones that promise too much -----------------------------------------------------------------


def _chunk(name: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def _png(width: int, height: int, packed: bytes, *more: bytes, bits: int = 8) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = (_chunk(b"IHDR", head), *more, _chunk(b"IDAT", packed), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _huge(dice: random.Random, form: str) -> PictureCase:
    """Write a size into the head that is not the picture's."""
    side = dice.choice((0, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 30_000))
    short = min(side, 0xFFFF)
    data = bytearray(_file(dice, form, (64, 64)))
    if form == "PNG":
        data = bytearray(_png(side, side, zlib.compress(bytes(65 * 64))))
    elif form == "JPEG":
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        data[at + 5 : at + 9] = struct.pack(">HH", short, short)
    elif form == "GIF":
        data[6:10] = struct.pack("<HH", short, short)
    elif form == "BMP":
        data[18:26] = struct.pack("<II", side, side)
    elif form in {"AVIF", "HEIF"}:
        at = data.find(b"ispe")
        data[at + 8 : at + 16] = struct.pack(">II", side, side)
    else:  # every field that has the size
        wanted = struct.pack("<I", side) if form == "TIFF" else struct.pack("<H", short)
        data = bytearray(bytes(data).replace(struct.pack("<I", 64)[: len(wanted)], wanted))
    return PictureCase("huge", f"huge.{SUFFIXES[form]}", bytes(data))


def _bomb(dice: random.Random, form: str) -> PictureCase:
    """Return what unpacks to far more than it has."""
    if form in {"PNG", "AVIF", "HEIF", "BMP"}:
        side = dice.choice((9_000, 20_000))
        packer = zlib.compressobj(9)
        packed = b"".join(packer.compress(bytes(side // 8 + 1)) for _ in range(side))
        data = _png(side, side, packed + packer.flush(), bits=1)
    elif form == "WEBP":
        text = b"x\0\0" + zlib.compress(bytes(50 << 20), 9)
        data = _png(8, 8, zlib.compress(bytes(72)), _chunk(b"zTXt", text), _chunk(b"iCCP", text))
    else:
        out = io.BytesIO()
        side = 12_000 if form == "JPEG" else 9_000
        Image.new("L", (side, side)).save(out, form)
        data = out.getvalue()
    return PictureCase("bomb", f"bomb.{SUFFIXES[form]}", data)


def _thin(dice: random.Random, form: str) -> PictureCase:
    size = (dice.choice((1, 2)), dice.choice((3000, 9000)))
    data = _file(dice, form, size if dice.random() < 0.5 else size[::-1])
    return PictureCase("thin", f"thin.{SUFFIXES[form]}", data, fine=True)


# --- files that are two things at once ------------------------------------------------------------


def _polyglot(dice: random.Random, form: str) -> PictureCase:
    data, packed = _file(dice, form), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../evil.txt", "evil" * 100)
    more = dice.choice(
        (packed.getvalue(), b"<script>alert(1)</script>", b"<?php system('id'); ?>", data)
    )
    return PictureCase("polyglot", f"polyglot.{SUFFIXES[form]}", data + more, fine=True)


def _something_else(dice: random.Random, form: str) -> PictureCase:
    data = dice.choice(
        (
            b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
            b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
            b"P6\n99999 99999\n255\n",
            b"/* XPM */\nstatic char *x[] = {};",
            b"\x7fELF" + bytes(200),
            b"PK\x03\x04" + bytes(200),
            b"\x00\x00\x00\x20ftypavif" + dice.randbytes(500),
            b"\x00\x00\x00\x18ftypheic" + dice.randbytes(500),
            b"RIFF\xff\xff\xff\xffWEBPVP8X" + dice.randbytes(500),
            b"II*\0\x08\0\0\0\xff\xff" + dice.randbytes(3000),
        )
    )
    return PictureCase("something else", f"else.{SUFFIXES[form]}", data)


KINDS: tuple[Callable[[random.Random, str], PictureCase], ...] = (
    *(_good, _cut, _spoiled, _huge, _wrong_suffix, _spoiled_head, _stuffed, _polyglot),
    *(_spoiled, _noise, _empty, _thin, _something_else, _cut, _spoiled_head, _bomb),
)
