"""Pictures made cheaper in the chat, cropped and looked at, and what is sent then."""

import base64
import io

from PIL import Image
from textual import events

from runner.base.errors import BadFile
from runner.chat.export import TIMES
from runner.tui.half_blocks import UPPER
from runner.tui.picture_screens import CropScreen, LargePicture
from runner.tui.wings.editing_pictures import PictureEditing
from tests.fakes.sse_server import End, Say
from tests.unit.tui.test_app import chat, picture, user_home  # noqa: F401 - a fixture


def quarters(folder, name="cat.png", size=(1920, 1080)):
    """Draw a picture of four colours."""
    path = folder / name
    width, height = size
    image = Image.new("RGB", size, "red")
    image.paste("green", (width // 2, 0, width, height // 2))
    image.paste("blue", (0, height // 2, width // 2, height))
    image.paste("white", (width // 2, height // 2, width, height))
    image.save(path)
    return path


def sent(c, number=0):
    url = c.server.requests[-1]["messages"][0]["content"][number]["image_url"]["url"]
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")


def size(c, number=0):
    attached = c.app.composer.pictures[number]
    return attached.width, attached.height, attached.tokens


async def test_a_key_makes_the_picture_cheaper_step_by_step_and_back(tmp_path):
    async with chat([Say("Fine."), End()]) as c:
        await c.paste(str(quarters(tmp_path)))
        await c.sees("836 tokens")
        sizes = [size(c)]
        while True:
            await c.pilot.press("alt+s")
            await c.until(lambda: not c.app.loading_pictures)
            if size(c) == sizes[-1]:
                break
            sizes.append(size(c))
        assert [tokens for *_, tokens in sizes] == sorted({t for *_, t in sizes}, reverse=True)
        assert sizes[-1][2] == 171
        await c.sees("costs the least that an image can")
        await c.type("/shrink undo")
        await c.until(lambda: size(c) == sizes[-2])
        await c.type("/shrink undo 1")
        await c.until(lambda: size(c) == sizes[-3])
        for _ in sizes:
            await c.type("/shrink undo")
        await c.until(lambda: size(c) == sizes[0])
        await c.sees("cat.png is as it was attached.")
        assert c.app.wing(PictureEditing)._edits, "not sent yet"


async def test_two_quick_presses_are_two_steps(tmp_path):
    async with chat([Say("Fine."), End()], size=(100, 30)) as c:
        await c.paste(str(quarters(tmp_path)))
        await c.sees("836 tokens")
        await c.pilot.press("alt+s", "alt+s")
        await c.until(lambda: not c.app.loading_pictures)
        wing = c.app.wing(PictureEditing)
        assert len(wing._edits) == 2
        tokens = size(c)[2]
        assert sorted(edit.made.tokens for edit in wing._edits) == [tokens, 670]
        await c.type("what is it?")  # what was before is let go of
        await c.sees("Fine.", f"· {tokens} tokens")
        await c.ready()
        await c.until(lambda: not wing._edits)
        assert sent(c).size == (c.turn.pictures[0].width, c.turn.pictures[0].height)


async def test_a_picture_is_named_by_its_number(tmp_path):
    async with chat() as c:
        await c.type("/shrink")
        await c.sees("No image is attached.")
        await c.paste(f"'{quarters(tmp_path, 'a.png')}' '{quarters(tmp_path, 'b.png')}'")
        await c.sees("[Image #2]", "together 1,672 tokens")
        await c.type("/shrink 1")
        await c.sees("/shrink undo takes it back")
        assert size(c, 0)[2] < size(c, 1)[2] == 836
        for wrong in ("/shrink 3", "/shrink x", "/crop 0"):
            await c.type(wrong)
            await c.sees("No such image.")


async def test_enter_waits_for_a_picture_that_is_made_smaller(tmp_path):
    async with chat([Say("Fine."), End()]) as c:
        await c.paste(str(quarters(tmp_path)))
        await c.sees("836 tokens")
        await c.pilot.press("alt+s")
        await c.type("what is it?")
        await c.sees("Fine.")
        assert sent(c).width < 1920


async def test_a_picture_that_cannot_be_changed_stays(tmp_path, monkeypatch):
    def fails(*_):
        raise BadFile("It cannot be made smaller.")

    monkeypatch.setattr("runner.tui.workshop.Workshop.scaled", fails)
    async with chat() as c:
        await c.paste(str(quarters(tmp_path)))
        await c.sees("836 tokens")
        await c.pilot.press("alt+s")
        await c.sees("It cannot be made smaller.", "ready")
        assert size(c) == (1920, 1080, 836)


async def test_a_part_is_framed_with_keys_and_sent(tmp_path):
    async with chat([Say("Fine."), End()]) as c:
        await c.paste(str(quarters(tmp_path)))
        await c.sees("836 tokens")
        await c.type("/crop")
        await c.sees("836 before", "┌", "┘", UPPER)
        await c.pilot.press("left", *["up"] * 40, *["left"] * 60)
        before = c.screen()
        await c.pilot.press("shift+left", "minus", "plus")
        await c.until(lambda: c.screen() != before)
        await c.sees(f" of 1920{TIMES}1080")
        await c.pilot.press("enter")
        await c.until(lambda: not c.app.loading_pictures and size(c)[0] < 1920)
        await c.type("what is it?")
        await c.sees("Fine.")
        part = sent(c)
        assert part.size == (c.turn.pictures[0].width, c.turn.pictures[0].height)
        assert part.getpixel((0, 0)) == part.getpixel((part.width - 9, part.height - 9))


async def test_a_crop_can_be_left_and_taken_back(tmp_path):
    async with chat() as c:
        await c.paste(str(quarters(tmp_path)))
        await c.sees("836 tokens")
        await c.pilot.press("alt+c")
        await c.sees("836 before")
        await c.pilot.press("escape")
        await c.until(lambda: not isinstance(c.app.screen, CropScreen))
        assert size(c) == (1920, 1080, 836)
        await c.pilot.press("alt+c")
        await c.sees("836 before")
        await c.pilot.press("enter")
        await c.until(lambda: size(c)[2] < 836)
        await c.pilot.press("alt+s")
        await c.until(lambda: not c.app.loading_pictures)
        for _ in range(2):
            await c.type("/shrink undo")
        await c.until(lambda: size(c) == (1920, 1080, 836))


async def test_a_part_of_a_shrunk_picture_is_as_sharp_as_the_whole(tmp_path):
    async with chat() as c:
        await c.paste(str(quarters(tmp_path)))
        await c.sees("836 tokens")
        await c.pilot.press("alt+s", "alt+s", "alt+s")
        await c.until(lambda: not c.app.loading_pictures and size(c)[2] < 504)
        await c.pilot.press("alt+c")
        await c.sees(f" of 1920{TIMES}1080")
        await c.pilot.press("enter")
        await c.until(lambda: not c.app.loading_pictures and 900 < size(c)[0] < 1000)


async def test_the_frame_follows_the_size_of_the_terminal(tmp_path):
    async with chat() as c:
        await c.paste(str(quarters(tmp_path)))
        await c.sees("836 tokens")
        await c.pilot.press("alt+c")
        await c.sees("836 before")
        for columns, rows in ((40, 10), (200, 50), (20, 5)):
            await c.pilot.resize_terminal(columns, rows)
            await c.pilot.pause(0.3)
        await c.pilot.resize_terminal(100, 30)
        await c.sees("836 before", "Enter crops")
        await c.pilot.press("enter")
        await c.until(lambda: not c.app.loading_pictures and size(c)[2] < 836)
        assert 700 < size(c)[0] < 1200


async def test_a_picture_is_shown_large(tmp_path):
    async with chat([Say("Fine."), End()]) as c:
        await c.type("/view")
        await c.sees("No image in this chat.")
        await c.paste(str(quarters(tmp_path, "a.png")))
        await c.sees("a.png")
        await c.type("what is it?")
        await c.sees("Fine.", "ready")
        await c.paste(str(quarters(tmp_path, "b.png")))
        await c.sees("b.png")
        await c.pilot.press("alt+i")
        await c.sees("2 of 2", f"b.png 1920{TIMES}1080 · 836 tokens", UPPER * 90)
        await c.pilot.press("left")
        await c.sees("1 of 2", "a.png")
        await c.pilot.press("left", "escape")
        await c.until(lambda: not isinstance(c.app.screen, LargePicture))
        await c.type("/view 7")
        await c.sees("No such image.")


async def test_a_click_shows_a_picture_large(tmp_path):
    async with chat([Say("Fine."), End()], size=(120, 40)) as c:
        await c.paste(f"'{quarters(tmp_path, 'a.png')}' '{quarters(tmp_path, 'b.png')}'")
        await c.sees("[Image #2]", f"{UPPER * 18} {UPPER * 18}")
        await c.click(f"{UPPER * 18} {UPPER * 18}")
        await c.sees("1 of 2", "a.png")
        await c.pilot.press("escape")
        await c.type("what is it?")
        await c.sees("Fine.", "ready", f"{UPPER * 36} {UPPER * 36}")
        y, line = next((y, s) for y, s in enumerate(c.screen().split("\n")) if UPPER * 36 in s)
        await c.pilot.click(offset=(line.index(UPPER) + 40, y))
        await c.sees("2 of 2", "b.png")


async def test_a_picture_that_cannot_be_drawn_says_why(tmp_path, monkeypatch):
    def fails(*_):
        raise BadFile("It cannot be drawn.")

    async with chat() as c:
        await c.paste(str(quarters(tmp_path)))
        await c.sees("836 tokens")
        monkeypatch.setattr("runner.tui.workshop.Workshop.pixels", fails)
        await c.type("/view")
        await c.sees("It cannot be drawn.")
        await c.pilot.press("escape")
        await c.type("/crop")
        await c.sees("It cannot be drawn.")
        await c.pilot.press("right", "plus", "shift+up", "enter")
        await c.until(lambda: not isinstance(c.app.screen, CropScreen))
        assert size(c) == (1920, 1080, 836)


async def test_alt_with_a_letter_is_a_key_and_no_text(tmp_path):
    async with chat() as c:
        await c.paste(str(quarters(tmp_path)))
        await c.sees("836 tokens")
        # As a terminal sends it: the pilot's keys have no character.
        c.app.post_message(events.Key("alt+s", "s"))
        await c.until(lambda: size(c)[2] < 836)
        c.app.post_message(events.Key("alt+i", "i"))
        await c.until(lambda: isinstance(c.app.screen, LargePicture))
        await c.pilot.press("escape")
        assert c.app.composer.text == ""
