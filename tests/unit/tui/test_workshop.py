"""The process that loads and changes pictures: what it does, and what it bears."""

import io
import sys
import threading

import pytest
from PIL import Image

from runner.base.errors import BadFile
from runner.chat.images.load import load_picture
from runner.chat.wire import Picture
from runner.tui.workshop import Workshop

CRASHES = "import os, sys; sys.stdin.buffer.read(9); os.abort()"
HANGS = "import time; time.sleep(60)"
FLOODS = "import sys; [sys.stdout.buffer.write(b'=' * 65536) for _ in range(10_000)]"
LIES = "import sys; sys.stdin.buffer.read(9); sys.stdout.buffer.write(b'=' + b'\\0' * 7 + b'\\2{}')"


@pytest.fixture(scope="module")
def shop():
    workshop = Workshop()
    yield workshop
    workshop.close()


def image(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.data)).convert("RGB")


def halves(path, size=(1920, 1080)):
    drawn = Image.new("RGB", size, "red")
    drawn.paste("blue", (size[0] // 2, 0, *size))
    drawn.save(path)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.gif", "a.tif"])
def test_a_picture_is_loaded_as_in_this_process(shop, tmp_path, name):
    path = halves(tmp_path / name)
    assert shop.load(path) == load_picture(path)


def test_a_picture_is_made_smaller_and_cut_out(shop, tmp_path):
    picture = shop.load(halves(tmp_path / "a.png"))
    small = shop.scaled(picture, 640, 360)
    assert (small.name, small.mime) == (picture.name, picture.mime)
    assert (small.width, small.height, small.tokens) == (640, 360, 337)
    assert image(small).size == (640, 360)
    part = shop.cropped(picture, (900, 0, 1000, 100))
    assert (part.width, part.height, part.tokens) == (100, 100, 171)
    assert image(part).getpixel((0, 0)) == (255, 0, 0)
    assert image(part).getpixel((99, 99)) == (0, 0, 255)
    assert tuple(shop.pixels(picture, 2, 1)) == pytest.approx((255, 0, 0, 0, 0, 255), abs=5)
    with pytest.raises(BadFile, match="No part of the picture"):
        shop.cropped(picture, (2000, 0, 3000, 100))


def test_a_bad_picture_is_refused_in_the_same_words(shop, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(BadFile) as here:
        load_picture(tmp_path / "a.png")
    with pytest.raises(BadFile) as there:
        shop.load(tmp_path / "a.png")
    assert str(there.value) == str(here.value)


@pytest.mark.parametrize(
    ("program", "why"),
    [(CRASHES, "decoder failed"), (FLOODS, "decoder failed"), (LIES, "decoder failed")],
)
def test_a_decoder_that_crashes_costs_its_process(tmp_path, program, why):
    picture = load_picture(halves(tmp_path / "a.png"))
    shop = Workshop((sys.executable, "-c", program))
    for _ in range(2):
        with pytest.raises(BadFile, match=why):
            shop.pixels(picture, 2, 2)
    assert shop.started == 2
    shop.close()


def test_a_decoder_that_hangs_is_ended(tmp_path):
    picture = load_picture(halves(tmp_path / "a.png"))
    shop = Workshop((sys.executable, "-c", HANGS), patience_s=0.2)
    with pytest.raises(BadFile, match="takes longer than"):
        shop.load_bytes(picture.data, "a.png")
    shop.close()


def test_one_process_does_it_all_and_starts_again(tmp_path):
    picture = load_picture(halves(tmp_path / "a.png"))
    shop = Workshop()
    threads = [threading.Thread(target=shop.pixels, args=(picture, 3, n)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shop.started == 1
    shop.close()
    assert len(shop.pixels(picture, 3, 3)) == 27
    assert shop.started == 2
    shop.close()
