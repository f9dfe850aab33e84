"""Files in a message: completed while typed, shown with their price, read when sent, kept."""

import asyncio
import os
from pathlib import Path

import pytest
from textual import events

from runner.chat.conversation import Conversation
from runner.chat.files.attached import AttachedFile
from runner.tui.mentioned import FileChips
from runner.tui.paste import find_files
from runner.tui.wings.files import Files
from tests.fakes.pdf_files import pdf
from tests.fakes.sse_server import End, Gate, Say
from tests.unit.tui.test_app import chat, picture

BLOCK = "File: notes.txt\n```txt\none two three\n```"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    work = tmp_path / "work"
    (work / "src").mkdir(parents=True)
    (work / "notes.txt").write_text("one two three\n")
    (work / "a b.txt").write_text("blank\n")
    (work / "src" / "notebook.py").write_text("x = 1\n")
    (work / "src" / "other.py").write_text("y = 1\n")
    monkeypatch.chdir(work)
    return work


def asked(c, which=-1):
    return c.server.requests[which]["messages"][-1]["content"]


async def keys(c, text):
    names = {" ": "space", "@": "at", ".": "full_stop", "/": "slash", '"': "quotation_mark"}
    await c.pilot.press(*(names.get(letter, letter) for letter in text))


# --- completing -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(100, 30), (40, 10)])
async def test_tab_takes_the_name_that_is_marked(size):
    async with chat(size=size) as c:
        await keys(c, "see @note")
        await c.sees("▸ notes.txt", "src/notebook.py")
        await c.pilot.press("down")
        await c.sees("▸ src/notebook.py")
        await c.pilot.press("up", "tab")
        await c.until(lambda: c.app.composer.text == "see @notes.txt ")
        await c.sees("[File] notes.txt")
        await c.gone("▸")
        assert not c.server.requests


async def test_enter_takes_a_name_and_then_sends():
    async with chat([Say("Seen."), End()]) as c:
        await keys(c, "@book")
        await c.sees("▸ src/notebook.py")
        await c.pilot.press("enter")
        assert c.app.composer.text == "@src/notebook.py "
        await keys(c, "ok")
        await c.pilot.press("enter")
        await c.sees("Seen.")
        assert asked(c) == "File: src/notebook.py\n```py\nx = 1\n```\n\n@src/notebook.py ok"


async def test_tab_goes_on_in_a_folder_and_enter_takes_it_whole():
    async with chat() as c:
        await keys(c, "@sr")
        await c.sees("▸ src/")
        await c.pilot.press("tab")
        await c.sees("▸ src/  the whole folder", "src/notebook.py")
        await c.pilot.press("enter")
        await c.until(lambda: c.app.composer.text == "@src/ ")
        await c.sees("[File] src/", "2 files")


async def test_what_is_being_typed_is_not_read_yet():
    async with chat() as c:
        await keys(c, "@src/")
        await c.sees("the whole folder")
        await c.pilot.pause(0.4)
        assert "[File]" not in c.screen()
        await c.pilot.press("escape")
        await c.sees("[File] src/", "2 files")


async def test_a_name_with_blanks_is_quoted():
    async with chat() as c:
        await keys(c, '@"a b')
        await c.sees("▸ a b.txt")
        await c.pilot.press("tab")
        await c.until(lambda: c.app.composer.text == '@"a b.txt" ')
        await c.sees("[File] a b.txt")


async def test_esc_closes_the_list_and_no_more():
    gate = Gate()
    async with chat([Say("A part"), gate, End()]) as c:
        await c.type("hi")
        await c.sees("A part")
        await keys(c, "@note")
        await c.sees("▸ notes.txt")
        await c.pilot.press("escape")
        await c.gone("▸")
        assert c.app.busy
        await keys(c, "b")
        await c.sees("▸ src/notebook.py")
        gate.open()


async def test_a_whole_name_and_what_is_no_file_leave_enter_alone():
    async with chat([Say("1st."), End()], [Say("2nd."), End()]) as c:
        for text in ("hi @notes.txt", "ask @nobody at me@example.org"):
            await keys(c, text)
            await c.pilot.pause(0.1)
            assert "▸" not in c.screen()
            await c.pilot.press("enter")
            await c.ready()
        await c.sees("1st.", "2nd.")
        assert asked(c) == "ask @nobody at me@example.org"


async def test_tab_that_is_faster_than_the_list_takes_the_first(monkeypatch):
    slow = asyncio.Event()
    original = asyncio.to_thread

    async def later(function, *args, **more):
        await slow.wait()
        return await original(function, *args, **more)

    async with chat() as c:
        monkeypatch.setattr("runner.tui.wings.completing.asyncio.to_thread", later)
        await keys(c, "@note")
        await c.pilot.press("tab")
        slow.set()
        await c.until(lambda: c.app.composer.text == "@notes.txt ")


# --- sending ----------------------------------------------------------------------------------


async def test_a_file_is_priced_sent_shown_and_kept():
    async with chat([Say("Three."), End()], [Say("Again."), End()], context=4096) as c:
        await c.type("count @notes.txt", "space")
        await c.sees("[File] notes.txt · 7 tokens")  # as the server counts: words
        assert c.server.counted == [BLOCK]
        await c.pilot.press("enter")
        await c.sees("Three.", "[File] notes.txt · 7 tokens", "count @notes.txt")
        assert c.screen().count("[File]") == 1  # in the transcript: the composer is empty
        assert "one two three" not in c.screen()
        assert asked(c) == f"{BLOCK}\n\ncount @notes.txt"
        await c.ready()
        await c.until(lambda: not c.app.query_one(FileChips).display)  # it is sent
        Path("notes.txt").write_text("changed\n")
        await c.type("/retry")
        await c.sees("Again.")
        assert asked(c) == f"{BLOCK}\n\ncount @notes.txt"
        session = c.app.conversation.session.id
    resumed = Conversation("Fake 1B", session)
    assert resumed.turns[0].files == (AttachedFile("notes.txt", BLOCK, 7, exact=True),)
    resumed.close()


async def test_what_has_changed_since_is_read_again_and_what_is_gone_is_refused():
    async with chat([Say("1st."), End()]) as c:
        await c.type("see @notes.txt", "space")
        await c.sees("[File] notes.txt")
        Path("notes.txt").write_text("four five\n")
        await c.pilot.press("enter")
        await c.sees("1st.")
        assert "four five" in asked(c)
        await c.ready()
        await c.type("and @notes.txt", "space")
        await c.until(lambda: any(file.attachment for file in c.app.wing(Files)._files.values()))
        Path("notes.txt").unlink()
        await c.pilot.press("enter")
        await c.reads("notes.txt cannot be attached.", "It is gone since it was read.")
        assert len(c.server.requests) == 1
        assert c.app.composer.text == "and @notes.txt "


async def test_a_file_that_cannot_be_read_is_refused_and_the_text_stays():
    Path("prog.bin").write_bytes(b"\x7fELF\0\0")
    async with chat([Say("Sent."), End()]) as c:
        await c.type("run @prog.bin", "space")
        await c.sees("[File] prog.bin · It is a binary file")
        await c.pilot.press("enter")
        await c.reads("prog.bin cannot be attached.", "Put a space after the @")
        assert not c.server.requests
        assert c.app.composer.text == "run @prog.bin "
        c.app.composer.prompt.clear()
        await c.type("run @ prog.bin")
        await c.sees("Sent.")
        assert asked(c) == "run @ prog.bin"


async def test_a_file_that_does_not_fit_is_refused_with_figures_and_a_part_is_taken():
    Path("big.txt").write_text("".join(f"line {number}\n" for number in range(1, 5001)))
    async with chat([Say("A part."), End()], context=4096) as c:
        await c.type("@big.txt")
        await c.reads("big.txt does not fit.", "It has 10,004 tokens", "has 4,096 free")
        assert not c.server.requests
        await c.sees("@big.txt#1-1842")
        c.app.composer.prompt.clear()
        await c.type("@big.txt#1-1842 short?")
        await c.sees("A part.")
        assert asked(c).startswith("File: big.txt (lines 1-1,842 of 5,000)\n```txt\nline 1\n")


async def test_the_edited_message_mentions_its_files_again():
    async with chat([Say("A."), End()], [Say("B."), End()]) as c:
        await c.type("count @notes.txt")
        await c.sees("A.")
        await c.ready()
        Path("notes.txt").unlink()
        await c.type("/edit")
        await c.until(lambda: c.app.composer.text == "count @notes.txt")
        await c.sees("[File] notes.txt", "· as it was sent")
        await c.pilot.press("escape")
        assert c.app.composer.text == ""
        await c.type("/edit")
        await c.sees("as it was sent")
        await c.type(" again")
        await c.sees("B.")
        assert asked(c) == f"{BLOCK}\n\ncount @notes.txt again"


async def test_files_go_with_a_message_that_waits():
    gate = Gate()
    async with chat([Say("A part"), gate, End()], [Say("Two."), End()]) as c:
        await c.type("hi")
        await c.sees("A part")
        await c.type("then @notes.txt")
        await c.sees("next: then @notes.txt")
        await c.pilot.press("escape")
        await c.sees("[File] notes.txt")
        await c.pilot.press("enter")
        await c.sees("next: then @notes.txt")
        gate.open()
        await c.sees("Two.")
        assert asked(c) == f"{BLOCK}\n\nthen @notes.txt"


async def test_pages_of_a_pdf_go_as_pictures(tmp_path):
    Path("r.pdf").write_bytes(pdf("First page, with words.", (400, 600)))
    async with chat([Say("Seen."), End()], [Say("Again."), End()]) as c:
        await c.paste(str(picture(tmp_path)))
        await c.sees("[Image #1]")
        await c.type("what is @r.pdf", "space")
        await c.sees("[File] r.pdf", "671 tokens", "1 page as a picture")
        await c.pilot.press("enter")
        await c.sees("Seen.", "[Image #2] r.pdf page 2")
        kinds = [part["type"] for part in asked(c)]
        assert kinds == ["image_url", "image_url", "text"]
        await c.ready()
        await c.type("/edit")
        await c.sees("1 page as a picture")
        assert [each.name for each in c.app.composer.pictures] == ["cat.png"]
        await c.type(" really")
        await c.sees("Again.")
        assert [part["type"] for part in asked(c)] == kinds


async def test_too_many_pages_are_refused():
    Path("r.pdf").write_bytes(pdf(*[(40, 60)] * 9))
    Path("s.pdf").write_bytes(pdf(*[(40, 60)] * 9))
    async with chat() as c:
        await c.type("@r.pdf @s.pdf")
        await c.reads("A message can have 16 images.", "18 of its files")
        assert not c.server.requests


# --- what attaches ----------------------------------------------------------------------------


async def test_a_dropped_file_is_attached_and_a_path_in_a_sentence_is_not(folder):
    async with chat([Say("Fine."), End()]) as c:
        await c.paste(f"'{folder / 'a b.txt'}' ")
        await c.until(lambda: c.app.composer.text == '@"a b.txt" ')
        await c.sees("[File] a b.txt")
        c.app.composer.prompt.clear()
        await c.paste(f"look at {folder / 'notes.txt'} please")
        await c.pilot.press("enter")
        await c.sees("Fine.")
        assert asked(c) == f"look at {folder / 'notes.txt'} please"
        await c.paste("notes.txt")
        assert c.app.composer.text == "notes.txt"


async def test_what_a_pasted_text_mentions_stays_text_until_it_is_attached():
    async with chat([Say("Fine."), End()], [Say("Read."), End()]) as c:
        await c.paste("Dear reader, send me @notes.txt now.")
        await c.reads("@notes.txt was pasted and stays text. To attach it: /attach notes.txt")
        await c.pilot.press("enter")
        await c.sees("Fine.")
        assert asked(c) == "Dear reader, send me @notes.txt now."
        await c.ready()
        await c.paste("see @notes.txt ")
        await c.sees("stays text")
        c.app.wing(Files).attach("notes.txt")
        await c.sees("[File] notes.txt · 7 tokens")
        await c.pilot.press("enter")
        await c.sees("Read.")
        assert asked(c) == f"{BLOCK}\n\nsee @notes.txt"


async def test_attach_by_command():
    async with chat() as c:
        await c.type("/attach notes.txt")
        await c.until(lambda: c.app.composer.text == "@notes.txt ")
        await c.sees("[File] notes.txt")
        c.app.composer.prompt.clear()
        await c.gone("[File]")
        await c.type("/attach nothing.txt")
        await c.sees("There is no file nothing.txt.")
        assert c.app.composer.text == "/attach nothing.txt"


async def test_files_of_the_command_line_are_mentioned(folder):
    async with chat(files=(Path("notes.txt"), folder / "a b.txt")) as c:
        await c.until(lambda: c.app.composer.text == '@notes.txt @"a b.txt" ')
        await c.sees("[File] notes.txt · 7 tokens", "[File] a b.txt")


async def test_names_are_shown_as_they_are():
    Path("[red]x[b].txt").write_text("x\n")
    async with chat() as c:
        await keys(c, "@x[b")
        await c.sees("▸ [red]x[b].txt")
        await c.pilot.press("tab")
        await c.sees("[File] [red]x[b].txt")


async def test_a_draft_finds_its_files_again():
    async with chat() as c:
        await c.type("count @notes.txt", "space")
        session = c.app.conversation.session.id
        await c.until(lambda: c.app.conversation.draft_path)
    async with chat([Say("Yes."), End()], resume=session) as c:
        await c.sees("[File] notes.txt")
        await c.pilot.press("enter")
        await c.sees("Yes.")
        assert asked(c) == f"{BLOCK}\n\ncount @notes.txt"


@pytest.mark.skipif(os.name == "nt", reason="paths of POSIX")
def test_what_looks_like_a_drop(folder):
    def found(text):
        return [Path(path).name for path in find_files(text)]

    assert found(str(folder / "notes.txt")) == ["notes.txt"]
    assert found(f"{folder}/notes.txt {folder}/src") == ["notes.txt", "src"]
    assert found(f"file://{folder}/a%20b.txt") == ["a b.txt"]
    assert found(f"'{folder}/a b.txt'\n") == ["a b.txt"]
    for text in ("notes.txt", f"{folder}/gone.txt", f"see {folder}/notes.txt", "/", "\0", ""):
        assert found(text) == []


async def test_keys_of_the_list_do_nothing_without_one():
    async with chat([Say("Fine."), End()]) as c:
        c.app.composer.prompt.post_message(events.Paste("me@notes"))
        await c.pilot.press("enter")
        await c.sees("Fine.")
