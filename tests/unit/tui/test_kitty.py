"""Pictures that the terminal draws itself, by a fake of one."""

import contextlib

import pytest
from textual.drivers.headless_driver import HeadlessDriver

from runner.tui import kitty
from runner.tui.background import Background
from runner.tui.half_blocks import UPPER
from runner.tui.kitty import NUMBERS, PLACEHOLDER, has_placeholders, transmission
from runner.tui.thumbnails import draws_itself
from tests.fakes.kitty_terminal import FakeKitty
from tests.fakes.sse_server import End, Say
from tests.unit.tui.test_app import chat, picture, user_home  # noqa: F401 - a fixture
from tests.unit.tui.test_thumbnails import drawn


@pytest.mark.parametrize(
    ("terminal", "has"),
    [
        ("kitty(0.35.2)", True),
        ("kitty(0.28.0)", True),
        ("kitty(1.0.0)", True),
        ("kitty(0.27.1)", False),
        ("ghostty 1.1.3", True),
        ("tmux 3.4", False),
        ("WezTerm 20240203-110809", False),
        ("XTerm(390)", False),
        ("", False),
    ],
)
def test_which_terminals_draw_pictures_as_text(terminal, has):
    assert has_placeholders(terminal) is has


def test_it_takes_all_colours():
    assert draws_itself("truecolor", "kitty(0.35.2)", no_color=False)
    assert not draws_itself("256", "kitty(0.35.2)", no_color=False)
    assert not draws_itself(None, "kitty(0.35.2)", no_color=False)
    assert not draws_itself("truecolor", "kitty(0.35.2)", no_color=True)
    assert not draws_itself("truecolor", "tmux 3.4", no_color=False)


def test_each_number_has_its_character():
    assert len(NUMBERS) == len(set(NUMBERS)) == 297
    assert (NUMBERS[0], NUMBERS[1], NUMBERS[2]) == ("\u0305", "\u030d", "\u030e")


def test_a_picture_is_given_in_pieces(monkeypatch):
    monkeypatch.setattr(kitty, "CHUNK", 8)
    text = transmission(70_000, b"0123456789abc", 3, 2)
    heads = [part.split(";")[0].split("\x1b\\")[0] for part in text.split("\x1b_G")[1:]]
    assert heads == [
        "a=t,f=100,t=d,i=70000,q=2,m=1",
        "q=2,m=1",
        "q=2,m=0",
        "a=p,U=1,i=70000,c=3,r=2,q=2",
    ]


@pytest.fixture
def terminal(monkeypatch):
    fake = FakeKitty()
    monkeypatch.setattr("runner.tui.app.Background", lambda: Background(terminal="kitty(0.35.2)"))
    monkeypatch.setattr(HeadlessDriver, "write", lambda _, text: fake.write(text))
    return fake


def on_screen(c, terminal):
    return terminal.drawn(c.app.screen._compositor.render_strips())


async def test_the_terminal_draws_the_pictures(tmp_path, terminal):
    async with chat([Say("A disc."), End()], size=(100, 40)) as c:
        await c.paste(str(drawn(tmp_path)))
        await c.sees(PLACEHOLDER, "[Image #1]")
        ((number, cells),) = on_screen(c, terminal).items()
        assert cells == {(x, y) for x in range(18) for y in range(5)}
        assert terminal.pictures[number].image.size == (180, 101)
        await c.type("what is it?")
        await c.sees("A disc.", "ready")
        await c.until(lambda: any(len(cells) == 360 for cells in on_screen(c, terminal).values()))
        assert UPPER not in c.screen()
        assert len(terminal.pictures) == 2, "given once each"
        await c.pilot.resize_terminal(40, 10)
        await c.gone(PLACEHOLDER)
        await c.pilot.resize_terminal(100, 40)
        await c.until(lambda: any(len(cells) == 360 for cells in on_screen(c, terminal).values()))
        sizes = [taken.image.size for taken in terminal.pictures.values()]
        assert len(sizes) == len(set(sizes)), "none was given twice"


async def test_a_picture_scrolls_like_text(tmp_path, terminal):
    long = "\n\n".join(f"Line {number}." for number in range(60))
    async with chat([Say(long), End()], size=(100, 40)) as c:
        await c.paste(str(drawn(tmp_path)))
        await c.type("what is it?")
        await c.sees("Line 59.", "ready")
        assert not on_screen(c, terminal)
        for rows in range(60):
            c.app.transcript.scroll_to(y=60 - rows, animate=False)
            await c.pilot.pause()
            on_screen(c, terminal)
        await c.pilot.pause()
        assert on_screen(c, terminal)


async def test_an_editor_takes_the_pictures_and_they_are_given_again(tmp_path, terminal):
    async with chat(size=(100, 40)) as c:
        await c.paste(str(drawn(tmp_path)))
        await c.until(lambda: on_screen(c, terminal))
        c.app.app_suspend_signal.publish(c.app)
        await c.paste(str(picture(tmp_path, "second.png")))
        await c.sees("[Image #2]")
        await c.app.workers.wait_for_complete()
        assert len(terminal.pictures) == 1, "nothing is written into the editor"
        terminal.pictures.clear()  # as the screen that the editor took had them
        c.app.app_resume_signal.publish(c.app)
        await c.until(lambda: len(terminal.pictures) == 2)
        await c.until(lambda: _intact(c, terminal))


def _intact(c, terminal):
    with contextlib.suppress(KeyError):
        return on_screen(c, terminal)
    return False


async def test_the_terminal_keeps_a_bounded_number(tmp_path, terminal, monkeypatch):
    monkeypatch.setattr("runner.tui.thumbnails.KEPT_BYTES", 1)
    async with chat(size=(100, 40)) as c:
        for name in ("a.png", "b.png"):
            await c.paste(str(drawn(tmp_path, name)))
        await c.until(lambda: len(terminal.deleted) >= 1 or len(terminal.pictures) == 1)
        assert len(terminal.pictures) == 1


async def test_a_large_picture_is_drawn_by_the_terminal_and_forgotten(tmp_path, terminal):
    async with chat(size=(100, 40)) as c:
        await c.paste(str(drawn(tmp_path)))
        await c.until(lambda: on_screen(c, terminal))
        await c.type("/view")
        await c.sees("1920×1080", "Esc closes")  # noqa: RUF001
        await c.until(lambda: any(len(cells) > 2000 for cells in on_screen(c, terminal).values()))
        await c.pilot.resize_terminal(80, 24)
        await c.until(lambda: any(70 < taken.columns <= 80 for taken in terminal.pictures.values()))
        await c.pilot.press("escape")
        await c.until(lambda: "Esc closes" not in c.screen())
        await c.until(lambda: all(p.rows < 7 for p in terminal.pictures.values()))
        assert len(terminal.deleted) >= 2


async def test_without_colours_there_are_grey_half_blocks(tmp_path, terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with chat(size=(100, 40)) as c:
        await c.paste(str(drawn(tmp_path)))
        await c.sees(UPPER)
        assert not terminal.pictures
        for line in c.app.screen._compositor.render_strips():
            for segment in line:
                if UPPER in segment.text and segment.style and segment.style.color:
                    red, green, blue = segment.style.color.get_truecolor()
                    assert red == green == blue
