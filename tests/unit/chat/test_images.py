"""Pictures: what they cost, what is taken, what is refused and why."""

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from runner.base.errors import BadFile, Exit
from runner.chat.images import load
from runner.chat.images.load import load_picture, picture_from_bytes
from runner.chat.images.tokens import cheaper_size, fit, image_tokens


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


# A rest of at most a fifth of a window gets no crop of its own: 100.8 of 504 pixels, and the same
# share of a strip's smaller windows. Pairs stand on both sides of that border. The embedded engine
# (xllamacpp 11549, tiny Step) counted each of them.
@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((800, 604), 337),
        ((800, 605), 504),
        ((800, 630), 504),
        ((1108, 800), 504),
        ((1109, 800), 670),
        ((1134, 800), 670),
        ((605, 1109), 671),
        ((604, 1108), 338),
        ((1612, 604), 420),
        ((1613, 605), 836),
        ((3024, 604), 669),
        ((3024, 605), 1168),
        ((2016, 1134), 1169),
        ((900, 220), 503),
        ((930, 300), 337),
        ((720, 480), 171),
        ((720, 479), 337),
    ],
)
def test_a_rest_of_a_fifth_of_a_window_gets_no_crop(size: tuple[int, int], tokens: int) -> None:
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


def differ(one: Image.Image, other: Image.Image) -> float:
    """How far two pictures are apart, on average, in 256ths."""
    assert one.size == other.size
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other)).mean)


@pytest.mark.parametrize("size", [(7001, 5003), (9999, 37), (31, 6500), (3025, 3025)])
@pytest.mark.parametrize("mode", ["RGBA", "RGB", "P", "LA"])
def test_what_is_shrunk_in_tiles_looks_as_if_shrunk_whole(
    tmp_path: Path, size: tuple[int, int], mode: str
) -> None:
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    image = Image.merge("RGB", (image.getchannel(0), ImageOps.mirror(image.getchannel(1)),
                                ImageOps.invert(image.getchannel(2))))  # fmt: skip
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(size))
    image = image.convert(mode)
    picture = load_picture(save(tmp_path / "a.png", image, compress_level=1))
    whole = image.convert("RGBA")
    paper = Image.new("RGBA", size, "white")
    expected = Image.alpha_composite(paper, whole).convert("RGB").resize(fit(*size))
    most = 3 if mode == "P" else 1  # its colours are dithered: filters smooth that each their way
    assert differ(Image.open(io.BytesIO(picture.data)), expected) < most


@pytest.mark.parametrize("orientation", range(9))
def test_every_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    image = Image.radial_gradient("L").convert("RGB").crop((0, 20, 100, 80))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", image, exif=exif)
    picture = load_picture(path)
    expected = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    assert differ(Image.open(io.BytesIO(picture.data)), expected) == 0


@pytest.mark.parametrize("size", [(640, 480), (6400, 4800)])
def test_an_mpo_is_a_photograph_with_more_behind(tmp_path: Path, size: tuple[int, int]) -> None:
    first = Image.radial_gradient("L").convert("RGB").resize(size)
    more = Image.new("RGB", (64, 48), "blue")
    path = save(tmp_path / "a.jpg", first, format="MPO", save_all=True, append_images=[more])
    picture = load_picture(path)
    assert (picture.mime, picture.width, picture.height) == ("image/jpeg", *fit(*size))
    assert picture.data != path.read_bytes()
    alone = Image.open(io.BytesIO(picture.data))
    assert alone.format == "JPEG"
    assert differ(alone, first.resize(alone.size)) < 3


def png_claiming(
    width: int, height: int, data: bytes = b"\0" * 100, *, colour: int = 2, more: int = 0
) -> bytes:
    """A PNG of some 60 bytes whose header promises `width` x `height` pixels.

    `colour` 0 is grey, 2 RGB, 6 RGBA. `more`: bytes of a chunk that nobody knows.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    body = chunk(b"prIv", b"\0" * more) + chunk(b"IDAT", zlib.compress(data, 1))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("colour", "most_mb"), [(6, 400), (2, 400)])
def test_a_large_picture_takes_little_more_than_its_pixels(
    tmp_path: Path, colour: int, most_mb: int
) -> None:
    side, depth = 6000, 4 if colour == 6 else 3
    rows = (b"\0" + b"\x55" * (side * depth)) * side
    path = tmp_path / "a.png"
    path.write_bytes(png_claiming(side, side, rows, colour=colour))
    code = (
        "import sys, pathlib; from runner.chat.images.load import load_picture\n"
        "print(load_picture(pathlib.Path(sys.argv[1])).width)\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    said = subprocess.check_output([sys.executable, "-c", code, str(path)], text=True).split()
    assert said[0] == "3024"
    assert int(said[1]) < most_mb * 1000  # 144 MB of pixels; in one piece it took 750


@pytest.mark.parametrize(
    ("width", "height", "colour", "more", "taken"),
    [
        (12_000, 9_000, 6, 0, True),
        (12_000, 9_000, 6, 60 << 20, False),
        (11_500, 11_500, 6, 0, False),
        (11_500, 11_500, 2, 0, False),  # Pillow keeps RGB in 4 bytes
        (13_000, 13_000, 0, 0, True),
        (100_000_000, 1, 0, 0, False),  # two lines of it are more than the picture
    ],
)
def test_what_would_take_too_much_memory_is_refused(
    width: int, height: int, colour: int, more: int, *, taken: bool
) -> None:
    with pytest.raises(BadFile) as caught:
        picture_from_bytes(png_claiming(width, height, colour=colour, more=more), "x.png")
    # What is let through is then found to have no pixels.
    assert ("damaged" if taken else f"{width} x {height} pixels") in caught.value.why
    assert taken or "smaller" in caught.value.next


@pytest.mark.parametrize(
    ("options", "per_pixel"),
    [
        ({"format": "JPEG", "subsampling": 2}, 4 + 3),
        ({"format": "JPEG", "subsampling": 0, "progressive": True}, 4 + 6),
        ({"format": "WEBP"}, 16),
    ],
)
def test_the_memory_of_each_format_is_counted(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object], per_pixel: int
) -> None:
    out = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(out, **options)  # type: ignore[arg-type]
    slack = 2 * len(out.getvalue())
    monkeypatch.setattr(load, "MOST_BYTES", per_pixel * 1_000_000 + slack)
    picture_from_bytes(out.getvalue(), "x")
    monkeypatch.setattr(load, "MOST_BYTES", per_pixel * 1_000_000 - slack)
    with pytest.raises(BadFile, match="cannot be used"):
        picture_from_bytes(out.getvalue(), "x")


def test_a_camera_picture_is_counted_at_the_fraction_that_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.BytesIO()
    Image.new("RGB", (6048, 4536)).save(out, "JPEG")  # 27 megapixels, decoded at a half
    monkeypatch.setattr(load, "MOST_BYTES", 6048 * 4536 * 4 + len(out.getvalue()))
    assert picture_from_bytes(out.getvalue(), "x").width == 3024


def test_a_decompression_bomb_is_refused_without_unpacking() -> None:
    tracemalloc.start()
    with pytest.raises(BadFile, match="cannot be used") as caught:
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
    with pytest.raises(BadFile, match="cannot be used"):
        load_picture(tmp_path)
    with pytest.raises(BadFile) as caught:
        load_picture(tmp_path / "missing.png")
    assert "No such file" in caught.value.why
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(BadFile, match="cannot be used"):
            load_picture(tmp_path / "pipe")


def test_a_file_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "FILE_BYTES", 1 << 20)
    path = tmp_path / "x.png"
    path.write_bytes(b"\0" * ((1 << 20) + 1))
    with pytest.raises(BadFile) as caught:
        load_picture(path)
    assert "1 MiB" in caught.value.why


@pytest.mark.parametrize("size", [(1920, 1080), (3024, 3024), (800, 605), (3024, 100), (720, 400)])
def test_the_next_cheaper_size_is_the_largest_that_costs_less(size: tuple[int, int]) -> None:
    price = image_tokens(*size)
    while (smaller := cheaper_size(*size)) is not None:
        assert image_tokens(*smaller) < price
        longer = max(smaller) + 1
        between = [
            (round(size[0] * edge / max(size)), round(size[1] * edge / max(size)))
            for edge in range(longer, max(size))
        ]
        assert all(image_tokens(*each) >= price for each in between)
        size, price = smaller, image_tokens(*smaller)
    assert price == 171


def test_what_costs_the_least_has_no_cheaper_size() -> None:
    assert cheaper_size(728, 728) is None
    assert cheaper_size(1, 1) is None
