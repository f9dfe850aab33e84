"""The formats of pictures: each is read, turned upright and bounded in memory."""

import builtins
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from runner.base.errors import BadFile, Refused
from runner.chat.images import formats, load
from runner.chat.images.formats import FORMATS, NAMES
from runner.chat.images.load import picture_from_bytes
from runner.chat.images.memory import needed
from runner.chat.images.tokens import fit

SIDE = (60, 40)


def heif() -> Any:
    found = pytest.importorskip("pillow_heif")
    found.register_heif_opener()
    return found


def painted(kind: str, image: Image.Image, **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    if kind == "HEIF":
        heif()
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def scene(size: tuple[int, int] = SIDE) -> Image.Image:
    """Red to the left, blue to the right; the upper half of it is darker."""
    image = Image.new("RGB", size, (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1]))
    image.paste((0, 0, 90), (size[0] // 2, 0, size[0], size[1] // 2))
    return image


def shown(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def differ(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other)).mean)


@pytest.mark.parametrize("each", FORMATS, ids=lambda each: each.name)
def test_every_format_of_the_table_is_read(each: formats.PictureFormat) -> None:
    data = painted(each.pillow, scene())
    picture = picture_from_bytes(data, "a")
    assert picture.mime == ("image/jpeg" if each.photograph else "image/png")
    assert Image.open(io.BytesIO(picture.data)).format == picture.mime.split("/")[1].upper()
    assert differ(shown(picture.data), scene()) < 12
    assert (picture.width, picture.height, picture.tokens) == (*SIDE, 171)
    # Or the engine would read the same conversation anew at each turn.
    assert picture_from_bytes(data, "a").data == picture.data
    assert each.name in NAMES
    assert each.name in load.OTHER


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_format_is_turned_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = painted(kind, scene(), exif=exif)
    expected = Image.new("RGB", SIDE)
    expected.paste(scene())
    expected.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(expected)
    assert differ(shown(picture_from_bytes(data, "a").data), expected) < 12


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_heic_is_turned_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = painted("HEIF", scene(), exif=exif.tobytes())
    expected = scene()
    expected.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(expected)
    assert differ(shown(picture_from_bytes(data, "a").data), expected) < 12


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "AVIF"])
def test_the_first_of_several_pictures_counts(kind: str) -> None:
    more = Image.new("RGB", SIDE, "lime")
    data = painted(kind, scene(), save_all=True, append_images=[more])
    assert differ(shown(picture_from_bytes(data, "a").data), scene()) < 12


@pytest.mark.parametrize(("kind", "mode"), [("GIF", "P"), ("AVIF", "RGBA"), ("HEIF", "RGBA")])
def test_what_is_transparent_becomes_white(kind: str, mode: str) -> None:
    clear = Image.new("RGBA", SIDE, (0, 0, 0, 0))
    data = painted(kind, clear.convert(mode) if mode != "P" else clear)
    colour = shown(picture_from_bytes(data, "a").data).getpixel((5, 5))
    assert colour == pytest.approx((255,) * 3, abs=3)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_a_brand_that_both_may_have_is_told_apart(kind: str) -> None:
    data = bytearray(painted(kind, scene()))
    data[8:12] = b"mif1"
    assert differ(shown(picture_from_bytes(bytes(data), "a").data), scene()) < 12


def test_without_its_package_heic_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "pillow_heif":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(Refused) as caught:
        picture_from_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 99, "a.heic")
    assert "pillow-heif" in caught.value.why
    assert "1.8.1" in caught.value.next


@pytest.mark.parametrize("each", FORMATS, ids=lambda each: each.name)
def test_what_is_cut_short_is_refused(each: formats.PictureFormat) -> None:
    noise = Image.effect_noise((200, 200), 60).convert("RGB")
    data = painted(each.pillow, noise)
    for length in (12, len(data) // 10, len(data) // 2):
        with pytest.raises(BadFile, match="cannot be used"):
            picture_from_bytes(data[:length], "a")


@pytest.mark.parametrize("each", FORMATS, ids=lambda each: each.name)
def test_a_large_one_is_made_to_fit(each: formats.PictureFormat) -> None:
    picture = picture_from_bytes(painted(each.pillow, scene((3600, 90))), "a")
    assert (
        (picture.width, picture.height)
        == fit(3600, 90)
        == Image.open(io.BytesIO(picture.data)).size
    )


# Bytes a pixel, as `memory` counts them; of a TIFF the whole picture may be one strip.
@pytest.mark.parametrize(
    ("kind", "mode", "per_pixel"),
    [
        ("AVIF", "RGB", 14),
        ("HEIF", "RGB", 10),
        ("HEIF", "RGBA", 12),
        ("TIFF", "RGB", 8),
        ("BMP", "RGB", 6),
        ("GIF", "P", 3),
    ],
)
def test_the_memory_of_each_format_is_counted(
    monkeypatch: pytest.MonkeyPatch, kind: str, mode: str, per_pixel: int
) -> None:
    data = painted(kind, Image.new("RGB", (1000, 1000)).convert(mode))
    counted = per_pixel * 1_000_000 + 2 * len(data)
    monkeypatch.setattr(load, "MOST_BYTES", counted)
    picture_from_bytes(data, "a")
    monkeypatch.setattr(load, "MOST_BYTES", counted - 1)
    with pytest.raises(BadFile) as caught:
        picture_from_bytes(data, "a")
    assert "1000 x 1000 pixels" in caught.value.why


def test_more_than_eight_bits_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    pixels = b"\0\x40" * 3 * 1000 * 1000
    heif().from_bytes(mode="RGB;16", size=(1000, 1000), data=pixels).save(out)
    monkeypatch.setattr(load, "MOST_BYTES", 19_000_000)
    with pytest.raises(BadFile, match="cannot be used"):
        picture_from_bytes(out.getvalue(), "a")


def test_a_tile_larger_than_its_tiff_is_counted() -> None:
    data = bytearray(painted("TIFF", scene(), compression="tiff_lzw"))
    image: Any = Image.open(io.BytesIO(data))
    image.tag_v2[322], image.tag_v2[323] = 60_000, 60_000
    assert needed(image, image.size, bytes(data)) > load.MOST_BYTES


def test_a_tiff_packed_in_an_unusual_way_is_refused() -> None:
    data = painted("TIFF", scene(), compression="lzma")
    with pytest.raises(BadFile) as caught:
        picture_from_bytes(data, "a")
    assert "lzma" in caught.value.why


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "TIFF", "GIF", "BMP"])
def test_no_more_memory_is_taken_than_was_counted(tmp_path: Path, kind: str) -> None:
    noise = Image.effect_noise((512, 512), 60).convert("RGB").resize((3000, 2000))
    every: dict[str, dict[str, Any]] = {
        "AVIF": {"speed": 10, "subsampling": "4:4:4"},
        "HEIF": {"quality": 20, "chroma": 444},
        "TIFF": {"compression": "tiff_lzw", "tiffinfo": {278: 2000}},
    }
    path = tmp_path / "a"
    path.write_bytes(painted(kind, noise, **every.get(kind, {})))
    code = (
        "import io, pathlib, sys\n"
        "from PIL import Image, AvifImagePlugin, TiffImagePlugin, GifImagePlugin, BmpImagePlugin\n"
        "from runner.chat.images.formats import pillow_formats\n"
        "from runner.chat.images.memory import needed\n"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) << 10\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "names = pillow_formats(data)\n"
        "before = peak()\n"
        "image = Image.open(io.BytesIO(data), formats=names)\n"
        "counted = needed(image, image.size, data)\n"
        "image.load()\n"
        "print(peak() - before, counted)"
    )
    said = subprocess.check_output([sys.executable, "-c", code, str(path)], text=True).split()
    taken, counted = int(said[0]), int(said[1])
    assert taken <= counted + (2 << 20), "the interpreter's own memory moves by a little"
