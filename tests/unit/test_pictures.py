"""Pictures: what they cost, what is taken, what is refused and why."""

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image

from runner.errors import BadFile, Exit
from runner.talk import images
from runner.talk.images import load_picture, picture_from_bytes
from runner.talk.pricing import fit, image_tokens


# Counted by the engine: `model.md` of the project's references, and tests/engine/test_tiny.py.
@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((16, 16), 171),
        ((728, 728), 171),
        ((728, 486), 171),
        ((1024, 1024), 504),
        ((1280, 720), 670),
        ((1920, 1080), 836),
        ((2560, 1440), 1418),
        ((3840, 2160), 2166),
        ((1600, 1200), 920),
        ((3024, 3024), 3164),
    ],
)
def test_what_a_picture_costs(size: tuple[int, int], tokens: int) -> None:
    assert image_tokens(*size) == tokens


def test_the_most_and_the_least_that_a_picture_costs() -> None:
    edges = (1, 31, 500, 729, 3024, 20_000)
    prices = {(w, h): image_tokens(w, h) for w in edges for h in edges}
    assert min(prices.values()) == 171
    # Strips longer than 4:1 are cut into squares of their short side, and cost most.
    usual = {size: n for size, n in prices.items() if max(size) <= 4 * min(size)}
    assert max(usual.values()) == 3164


def save(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_good_picture_is_passed_on_unchanged(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", Image.new("RGB", (64, 48), "red"))
    picture = load_picture(path)
    assert picture.data == path.read_bytes()
    assert (picture.width, picture.height, picture.tokens) == (64, 48, 171)


def test_webp_becomes_png(tmp_path: Path) -> None:
    picture = load_picture(save(tmp_path / "a.webp", Image.new("RGB", (64, 48), "red")))
    assert picture.mime == "image/png"
    assert Image.open(io.BytesIO(picture.data)).getpixel((0, 0)) == pytest.approx(
        (255, 0, 0), abs=9
    )


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 20), "blue")
    image.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate 270 degrees to show it
    picture = load_picture(save(tmp_path / "a.jpg", image, exif=exif, quality=95))
    shown = Image.open(io.BytesIO(picture.data))
    assert shown.size == (20, 60)
    red = shown.convert("RGB").getpixel((10, 5))
    assert isinstance(red, tuple)
    assert red[0] > 200 > red[2]


def test_transparency_becomes_white(tmp_path: Path) -> None:
    picture = load_picture(save(tmp_path / "a.png", Image.new("RGBA", (8, 8), (255, 0, 0, 0))))
    assert Image.open(io.BytesIO(picture.data)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_keeps_its_tones(tmp_path: Path) -> None:
    image = Image.new("I;16", (8, 8), 32768)
    picture = load_picture(save(tmp_path / "a.png", image))
    assert Image.open(io.BytesIO(picture.data)).getpixel((0, 0)) == pytest.approx((128,) * 3, abs=1)


def test_twenty_thousand_pixels_wide_is_made_to_fit(tmp_path: Path) -> None:
    picture = load_picture(save(tmp_path / "a.png", Image.new("RGB", (20_000, 100), "red")))
    assert (picture.width, picture.height) == fit(20_000, 100) == (3024, 15)
    assert Image.open(io.BytesIO(picture.data)).size == (3024, 15)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of some 60 bytes whose header promises `width` x `height` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_without_unpacking() -> None:
    tracemalloc.start()
    with pytest.raises(BadFile, match="cannot be taken") as caught:
        picture_from_bytes(png_claiming(100_000, 100_000), "bomb.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "100000 x 100000" in caught.value.why or "far too many" in caught.value.why
    assert peak < 10 << 20


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((200, 200), 50).convert("RGB").save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"hello, I am a text", "not a PNG"),
        (b"GIF89a" + b"\0" * 50, "not a PNG"),
        (jpeg()[:2000], "damaged or cut short"),
        (png_claiming(500, 500), "damaged or cut short"),
        (b"\x89PNG\r\n\x1a\n", "not a PNG"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(BadFile) as caught:
        load_picture(path)
    assert why in caught.value.why
    assert caught.value.exit_code is Exit.BAD_FILE
    assert "x.png" in caught.value.what


def test_a_folder_a_missing_file_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be taken"):
        load_picture(tmp_path)
    with pytest.raises(BadFile) as caught:
        load_picture(tmp_path / "missing.png")
    assert "No such file" in caught.value.why
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(BadFile, match="cannot be taken"):
            load_picture(tmp_path / "pipe")


def test_a_file_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "FILE_BYTES", 1 << 20)
    path = tmp_path / "x.png"
    path.write_bytes(b"\0" * ((1 << 20) + 1))
    with pytest.raises(BadFile) as caught:
        load_picture(path)
    assert "1 MiB" in caught.value.why
