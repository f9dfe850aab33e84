"""The picker of saved chats, over a list that stands in for the index of real ones."""

import time
from dataclasses import dataclass, replace

import pytest

from runner.base.errors import Refused
from runner.chat.sessions.entries import SessionEntry
from runner.chat.sessions.index import ChatTitle as SavedChat
from runner.chat.sessions.saved import SavedChats
from runner.chat.sessions.store import Session
from runner.chat.sessions.word_index import IndexState, WordIndex
from runner.chat.wire import Message
from runner.tui.chooser import Choice, Chooser
from runner.tui.picker import ChatPicker, chat_row, chat_rows, when
from runner.tui.wings.sessions import Sessions
from tests.fakes.sse_server import End, Gate, Say
from tests.unit.tui.test_app import chat, user_home  # noqa: F401 - a fixture


@dataclass
class FakeShelf:
    """Stands in for the index of saved chats, which is a file."""

    listed: list[SavedChat]
    broken: str = ""

    def chats(self):
        return list(self.listed)

    def rename(self, chat_id, name):
        if self.broken:
            raise Refused(self.broken)
        self.listed = [replace(c, title=name) if c.id == chat_id else c for c in self.listed]

    def forget(self, chat_ids):
        pass

    def remove(self, *chat_ids):
        self.listed = [each for each in self.listed if each.id not in chat_ids]

    def image_bytes(self):
        return 0

    def take_in(self, seconds):
        return IndexState(2, 2)

    def search(self, typed):
        return []

    def questions(self, most):
        return []


def shelf():
    now = time.time()
    return FakeShelf(
        [
            SavedChat("20261127-120000-aaaa0000", "Apples and pears", now - 60, 3, 5000),
            SavedChat("20261126-120000-bbbb0000", "[b]Zebras[/b]", now - 90_000, 1, 700),
        ]
    )


def saved(text):
    session = Session.create("Fake 1B")
    session.add(SessionEntry(Message("user", text)))
    session.add(SessionEntry(Message("assistant", f"answer to {text}")))
    return session.id


def test_a_row_says_when_and_how_much():
    listed = shelf().chats()
    now = time.time()
    assert chat_row(listed[0], now).detail.endswith(" · 3 answers · 5 KiB")
    assert " · 1 answer · " in chat_row(listed[1], now).detail
    assert ":" in when(now - 60, now)
    assert when(0.0, now).startswith("19")
    assert when(1e30, now) == ""


@pytest.mark.parametrize("size", [(100, 30), (40, 10)])
async def test_chats_are_listed_searched_renamed_and_deleted(size):
    async with chat(size=size) as c:
        c.app.shelf = fake = shelf()
        await c.type("/chats")
        await c.sees("2 chats · 6 KiB on the disk", "Apples and pears", "[b]Zebras[/b]")
        await c.pilot.press(*"zeb")
        await c.sees("1 of 2 chats")
        await c.pilot.press("f2")
        await c.sees("Type the new name")
        await c.pilot.press("ctrl+u", *"Stripes", "enter")
        await c.sees("Stripes")
        assert fake.listed[1].title == "Stripes"
        await c.pilot.press("f2", *"x", "escape")
        await c.sees("2 chats · 6 KiB on the disk")
        assert fake.listed[0].title == "Apples and pears"
        await c.pilot.press("delete")
        await c.sees("Delete Apples and pears for good?")
        await c.pilot.press("escape")
        await c.sees("2 chats · 6 KiB on the disk")
        await c.pilot.press("delete", "down")  # another one is marked: nothing is deleted
        await c.sees("2 chats · 6 KiB on the disk")
        await c.pilot.press("delete")
        await c.sees("Delete Stripes for good?")
        await c.pilot.press("delete")
        await c.sees("1 chat ·")
        assert [each.title for each in fake.listed] == ["Apples and pears"]
        fake.broken = "The disk is full."
        await c.pilot.press("f2", *"y", "enter")
        await c.sees("The disk is full.")
        await c.pilot.press("escape")
        await c.until(lambda: not isinstance(c.app.screen, ChatPicker))


async def test_a_row_that_is_chosen_twice_closes_the_list_alone():
    async with chat() as c:
        things, chosen = Chooser("Things", [Choice("One", 1)]), list[int | None]()
        c.app.push_screen(things, chosen.append)
        await c.sees("One")
        for _ in range(3):  # an Enter that bounces: none waits for what the one before it does
            things.list.action_select()
        await c.until(lambda: len(c.app.screen_stack) == 1)
        await c.pilot.pause()
        assert chosen == [1]
        assert c.app.failure is None


async def test_the_chat_is_seen_behind_the_list():
    async with chat() as c:
        c.app.push_screen(Chooser("Things", []))
        await c.sees("Things")
        assert 0 < c.app.screen.styles.background.a < 1


async def test_a_chat_is_opened_in_the_same_window():
    saved("apples")
    async with chat([Say("Fine."), End()]) as c:
        await c.type("pears")
        await c.ready()
        second = c.app.conversation.session.id
        await c.type("half a thought", "ctrl+o")
        await c.sees("on the disk", "apples")
        await c.pilot.press(*"apples", "enter")
        await c.sees("answer to apples", "Resumed the chat")
        assert c.app.composer.text == ""
        await c.pilot.press("up")
        assert c.app.composer.text == "apples"
        c.app.composer.prompt.clear()
        await c.type("/chats")
        await c.sees("pears")
        await c.pilot.press(*"pears", "enter")
        await c.sees("pears", "Fine.", "half a thought")
        assert c.app.conversation.session.id == second


async def test_a_chat_that_is_open_is_neither_opened_again_nor_deleted():
    async with chat([Say("Fine."), End()]) as c:
        await c.type("pears")
        await c.ready()
        await c.pilot.press("ctrl+o")
        await c.sees("on the disk")
        await c.pilot.press("delete", "delete")
        await c.sees("This chat is open.")
        await c.pilot.press("enter")
        await c.sees("open already")
        assert c.app.conversation.session.path.exists()


async def test_the_open_chat_is_renamed():
    async with chat([Say("Fine."), End()]) as c:
        await c.type("pears")
        await c.ready()
        await c.pilot.press("ctrl+o")
        await c.sees("on the disk", "pears")
        await c.pilot.press("f2", "x", "enter")
        await c.sees("pearsx")
    assert [each.title for each in SavedChats().chats()] == ["pearsx"]


async def test_the_mark_stays_on_the_chat_that_was_renamed():
    for text in ("apples", "pears"):
        saved(text)
    chats = SavedChats().chats()
    picker = ChatPicker(chat_rows(chats), rename=lambda *_: None, delete=lambda *_: None)
    async with chat() as c:
        await c.app.push_screen(picker)
        await c.pilot.press("down")
        assert picker.marked is not None
        picker.replace(chat_rows((chats[1], chats[0])))
        assert picker.marked is not None
        assert picker.marked.value.chat.id == chats[1].id


async def test_a_chat_that_cannot_be_opened_is_explained():
    other = Session(saved("apples"))
    other.claim()
    gate = Gate()
    async with chat([Say("A part"), gate, End()]) as c:
        await c.app.wing(Sessions).open(other.id)
        await c.sees("open in another window", "Leave it")
        await c.pilot.press("escape")
        await c.sees("Close the other one or wait for it")
        other.release()
        await c.type("hi")
        await c.sees("A part")
        await c.app.wing(Sessions).open(other.id)
        await c.sees("Still answering")
        gate.open()


async def test_without_chats_it_says_so():
    async with chat() as c:
        await c.pilot.press("ctrl+o")
        await c.sees("No saved chat yet.")


def test_the_chats_on_the_disk_are_listed_and_deleted():
    one, two = saved("apples"), saved("pears")
    shelf = SavedChats()
    assert {each.id for each in shelf.chats()} == {one, two}
    assert all(each.bytes and each.last_used for each in shelf.chats())
    assert {each.title for each in shelf.chats()} == {"apples", "pears"}
    shelf.rename(two, "Fruit")
    assert {each.title for each in shelf.chats()} == {"apples", "Fruit"}
    shelf.remove(one)
    shelf.forget([one])
    assert [each.id for each in shelf.chats()] == [two]


def deep(*answers):
    """Save a chat whose title says nothing of its answers."""
    session = Session.create("Fake 1B")
    for n, answer in enumerate(answers):
        session.add(SessionEntry(Message("user", f"question {n}")))
        session.add(SessionEntry(Message("assistant", answer)))
    return session.id


@pytest.mark.parametrize("size", [(100, 30), (40, 10)])
async def test_a_chat_is_found_by_its_words_and_opened_where_they_are(size):
    deep("nothing")
    there = deep(*(["filler\n\n" * 40] * 30), "The Quetzal flies.", *(["filler\n\n" * 40] * 30))
    async with chat(size=size) as c:
        await c.pilot.press("ctrl+o")
        await c.sees("on the disk")
        await c.pilot.press(*"quetzal")
        await c.sees("1 of 2 chats")
        if size[0] > 60:
            await c.sees("The Quetzal flies.")
        await c.pilot.press("enter")
        await c.sees("1 of 1", "The Quetzal flies.")
        assert c.app.conversation.session.id == there


async def test_words_in_another_version_let_it_stand():
    session = Session.create("Fake 1B")
    session.add(SessionEntry(Message("user", "which bird?")))
    asked = session.tree.current
    session.add(SessionEntry(Message("assistant", "a quetzal")))
    session.tree.go_to(asked)
    session.add(SessionEntry(Message("assistant", "a wren")))
    async with chat(resume=session.id) as c:
        await c.sees("a wren")
        await c.pilot.press("ctrl+o", *"quetzal")
        await c.sees("a quetzal")
        await c.pilot.press("enter")
        await c.sees("1 of 1", "a quetzal", "1/2")


async def test_several_chats_are_deleted_together_with_their_words():
    kept, *gone = saved("apples"), saved("pears"), saved("plums")
    async with chat() as c:
        await c.pilot.press("ctrl+o")
        await c.sees("3 chats", "plums", "pears", "apples")
        await c.until(lambda: c.app.shelf.search("answer to p"))
        await c.pilot.press("tab", "tab")
        await c.sees("● plums", "● pears")
        await c.pilot.press("delete")
        await c.sees("Delete 2 chats for good?")
        await c.pilot.press("delete")
        await c.sees("1 chat ·")
        assert [each.id for each in SavedChats().chats()] == [kept]
        await c.until(lambda: not c.app.shelf.search("plums"))
        data = WordIndex().path.read_bytes()
        assert b"apples" in data
        assert b"plums" not in data
        assert all(not Session(each).path.exists() for each in gone)


async def test_a_chat_that_is_open_elsewhere_is_continued_in_a_copy():
    other = Session(saved("apples"))
    other.claim()
    async with chat([Say("More."), End()]) as c:
        await c.pilot.press("ctrl+o")
        await c.sees("apples")
        await c.pilot.press("enter")
        await c.sees("open in another window", "Open a copy here")
        await c.pilot.press("enter")
        await c.sees("answer to apples", "Resumed the chat")
        assert c.app.conversation.session.id != other.id
        await c.type("more")
        await c.ready()
    other.release()
    assert len(Session.load(other.id).entries) == 2
    assert sorted(each.title for each in SavedChats().chats()) == ["apples", "apples (copy)"]


async def test_a_chat_is_named_and_copied_by_command():
    async with chat([Say("Fine."), End()]) as c:
        await c.type("/fork")
        await c.sees("Nothing to copy yet")
        await c.type("pears")
        await c.ready()
        await c.type("/rename My  fruit")
        await c.sees("This chat is called My fruit.")
        await c.type("/fork")
        await c.sees("Resumed the chat", "Fine.")
    assert sorted(each.title for each in SavedChats().chats()) == ["My fruit", "My fruit (copy)"]


async def test_an_index_that_cannot_be_used_is_said_and_titles_are_searched():
    saved("apples")
    WordIndex().path.mkdir()
    async with chat() as c:
        await c.pilot.press("ctrl+o")
        await c.sees("apples", "texts not searched")
        await c.pilot.press(*"app")
        await c.sees("apples")
        await c.pilot.press("escape", "ctrl+r")
        await c.sees("No earlier message.")


def test_a_chat_of_a_newer_version_is_listed_and_says_so():
    session = Session(saved("apples"))
    data = session.path.read_text().replace("steprun.session/2", "steprun.session/9")
    session.path.write_text(data)
    for _ in range(2):
        (listed,) = SavedChats().chats()
        assert listed.title == "(made by a newer version: update steprun to open it)"
    session.path.write_text(data.replace("steprun.session/9", "steprun.session/2"))
    assert [each.title for each in SavedChats().chats()] == ["apples"]


async def test_messages_of_all_chats_are_searched_this_chats_first():
    saved("apples are red")
    saved("pears")
    async with chat([Say("Fine."), End()], [Say("Fine."), End()]) as c:
        await c.type("plums")
        await c.ready()
        await c.type("pears")
        await c.ready()
        await c.pilot.press("ctrl+r")
        await c.sees("Earlier messages · 3")
        assert isinstance(c.app.screen, Chooser)
        rows = [row.text for row in c.app.screen.choices]
        assert rows == ["pears", "plums", "apples are red"]
        await c.pilot.press(*"red", "enter")
        await c.until(lambda: c.app.composer.text == "apples are red")


async def test_the_search_ends_where_another_chat_is_opened():
    saved("apples")
    async with chat([Say("Fine."), End()]) as c:
        await c.type("plums")
        await c.ready()
        await c.type("/find fine")
        await c.sees("1 of 1")
        await c.pilot.press("ctrl+o")
        await c.sees("apples")
        await c.pilot.press("ctrl+f", *"apples", "enter")
        await c.sees("answer to apples")
        await c.gone("1 of 1")
