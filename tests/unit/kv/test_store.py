"""The store: what is saved is found and given back, and nothing else is."""

import os
import sqlite3
import stat
from dataclasses import replace
from io import FileIO
from pathlib import Path
from threading import Thread

import pytest

from runner.kv import files
from runner.kv.policy import Bounds, Candidate
from runner.kv.prompt import Part, Prompt, part
from runner.kv.saved import Pending, Saved
from runner.kv.shelf import Shelf
from runner.kv.store import FAILURES, Store
from tests.unit.kv.stores import DEPENDS, FILE, WIDE, conversation, files_of, new_store, save, write

HELLO = conversation("Hello")
LATER = conversation("Hello", "Good day", "How are you?")
OTHER = conversation("What is the time?")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path)


def test_what_was_saved_is_found_and_given_back(store: Store) -> None:
    saved = save(store, HELLO)
    (match,) = store.find(LATER)
    assert match.saved == saved
    assert (match.blocks, match.characters) == (2, HELLO.characters)
    assert store.open(saved) == f"{saved.id}.kv"
    assert saved.title == "system prompt, 1 message"


def test_the_longest_match_comes_first_and_the_smallest_file_of_equal_ones(store: Store) -> None:
    large = save(store, OTHER, 3000)
    small = save(store, conversation("Which day is it?"), 2000)
    longer = save(store, LATER)
    found = store.find(LATER)
    assert [(each.saved.id, each.blocks) for each in found] == [
        *((longer.id, 4), (small.id, 1), (large.id, 1)),
    ]
    assert [each.saved.id for each in store.find(LATER, most=2)] == [longer.id, small.id]


def test_a_prompt_with_nothing_in_common_finds_nothing(store: Store) -> None:
    save(store, HELLO)
    assert store.find(conversation("Hello", system="You are terse.")) == ()
    assert store.find(Prompt(())) == ()


@pytest.mark.parametrize("name", ["engine", "weights", "projector", "draft_heads", "kv_type"])
def test_what_depends_on_something_else_is_never_found(tmp_path: Path, name: str) -> None:
    saved = save(new_store(tmp_path), HELLO)
    other = new_store(tmp_path, depends=replace(DEPENDS, **{name: "other"}))
    assert other.find(HELLO) == ()
    assert other.open(saved) is None
    assert new_store(tmp_path).open(saved)


def test_files_are_private(store: Store) -> None:
    saved = save(store, HELLO)
    modes = {
        path: stat.S_IMODE(path.stat().st_mode)
        for path in (
            *(store.folder, store.slot_folder, store.folder / "index.sqlite"),
            store.slot_folder / f"{saved.id}.kv",
        )
    }
    assert list(modes.values()) == [0o700, 0o700, 0o600, 0o600]


def test_no_word_of_a_prompt_is_kept(store: Store) -> None:
    save(store, conversation("The secret is Rumpelstiltskin", system="Call me Grimm"))
    for path in store.folder.iterdir():
        if path.is_file():
            assert not any(word in path.read_bytes() for word in (b"Rumpel", b"Grimm"))


# ------------------------------------------------------------------ whole or not at all


def _cut(path: Path) -> None:
    os.truncate(path, FILE - 1)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[FILE // 2] ^= 1
    path.write_bytes(data)


def _link(path: Path) -> None:
    other = path.with_name("other")
    path.replace(other)
    path.symlink_to(other)


def _second_name(path: Path) -> None:
    os.link(path, path.with_name("other"))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _sparse(path: Path) -> None:
    path.unlink()
    path.touch()
    os.truncate(path, 1 << 40)


def _gone(path: Path) -> None:
    path.unlink()


DAMAGES = [_cut, _flip, _link, _second_name, _pipe, _folder, _sparse, _gone]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("again", [False, True])
def test_a_damaged_file_is_never_given_back(tmp_path: Path, damage: object, again: bool) -> None:
    store = new_store(tmp_path)
    saved, whole = save(store, HELLO), save(store, OTHER)
    damage(store.slot_folder / f"{saved.id}.kv")  # type: ignore[operator]
    if again:
        store.close()
        store = new_store(tmp_path)
    assert store.open(saved) is None
    assert store.listed() == (whole,)
    assert store.open(whole)


def test_a_file_is_hashed_once_while_it_is_unchanged(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = save(store, HELLO)
    hashed: list[str] = []
    digest = files.digest

    def counted(file: FileIO) -> bytes:
        hashed.append(str(file.name))
        return digest(file)

    monkeypatch.setattr(files, "digest", counted)
    assert store.open(saved) == store.open(saved) != None  # noqa: E711
    assert not hashed  # it was when it was finished
    again = new_store(tmp_path)
    assert again.open(saved) == again.open(saved) != None  # noqa: E711
    assert len(hashed) == 1


def test_what_the_engine_says_and_what_it_wrote_must_agree(store: Store) -> None:
    pending = store.begin(HELLO, FILE)
    assert isinstance(pending, Pending)
    write(store, pending, b"half")
    why = store.finish(pending, 10, 1.0, written=FILE)
    assert why == "The engine says that it saved 1,000 bytes, and the file has 4."
    assert files_of(store) == set()
    assert store.totals().written_today == 0 + len(b"half")


def test_what_the_engine_never_wrote_is_not_kept(store: Store) -> None:
    pending = store.begin(HELLO, FILE)
    assert isinstance(pending, Pending)
    assert "missing" in str(store.finish(pending, 10, 1.0))
    assert store.find(HELLO) == ()
    assert "not being saved" in str(store.finish(pending, 10, 1.0))


def test_abandoned_files_leave_nothing(store: Store) -> None:
    pending = store.begin(HELLO, FILE)
    assert isinstance(pending, Pending)
    write(store, pending, b"x" * 300)
    store.abandon(pending)
    assert files_of(store) == set()
    assert store.totals().written_today == 300


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_seconds_that_are_none_do_no_harm(store: Store, seconds: float) -> None:
    saved = save(store, HELLO, read_s=seconds)
    store.used(saved, 1, seconds)
    (only,) = store.listed()
    assert 0 <= only.read_s <= 366 * 86400
    assert 0 <= only.saved_s <= 366 * 86400
    assert not store.off


# ------------------------------------------------------------------ conversations


def test_the_next_turn_takes_the_place_of_the_one_before(store: Store) -> None:
    first = save(store, HELLO)
    store.used(first, 100, 30.0)
    later = save(store, LATER)
    assert store.listed() == (later,)
    assert (later.restores, later.saved_s) == (1, 30.0)
    assert files_of(store) == {f"{later.id}.kv"}


def test_a_turn_from_which_another_branch_goes_out_is_kept(store: Store) -> None:
    first = save(store, HELLO)
    branch = save(store, conversation("Hello", "Good day", "Who are you?"))
    assert store.listed() == (branch,)  # so far it is one line
    first = save(store, HELLO)  # going back to the first turn
    later = save(store, LATER)
    assert {each.id for each in store.listed()} == {first.id, branch.id, later.id}


def test_the_same_prompt_saved_again_replaces_the_old_file(store: Store) -> None:
    save(store, HELLO)
    again = save(store, HELLO)
    assert store.listed() == (again,)


def test_a_system_prompt_is_for_all_conversations(store: Store) -> None:
    system = save(store, Prompt(HELLO.parts[:1]))
    save(store, HELLO)
    save(store, LATER)
    assert system in store.listed()
    assert len(store.listed()) == 2


def test_the_kinds_of_a_prompt_are_named() -> None:
    from runner.kv.saved import title_of

    parts: tuple[Part, ...] = (
        part("tools", "tool get_weather", "{}"),
        *LATER.parts,
        part("picture", "message 3", ""),
    )
    assert title_of(Prompt(parts)) == "system prompt, tools, 3 messages, 1 picture"


def test_a_cache_that_held_is_worth_more(store: Store) -> None:
    saved, other = save(store, HELLO), save(store, OTHER)
    store.used(saved, 100, 12.0)
    (first, second) = store.listed()
    assert (first.id, first.restores, first.saved_s) == (saved.id, 1, 12.0)
    assert second.id == other.id


def test_a_cache_that_is_read_in_vain_goes(store: Store) -> None:
    saved = save(store, HELLO)
    for count in range(FAILURES):
        assert len(store.listed()) == 1, count
        store.used(saved, 0, 0.0)
    assert store.listed() == ()
    assert files_of(store) == set()


# ------------------------------------------------------------------ owners


def test_a_chat_takes_its_files_along(store: Store) -> None:
    save(store, HELLO, owner="chat-1")
    other = save(store, OTHER, owner="chat-2")
    assert store.owners() == {"chat-1", "chat-2"}
    assert len(store.clear(owner="chat-1")) == 1
    assert store.listed() == (other,)


def test_what_is_being_written_for_a_deleted_chat_is_not_kept(store: Store) -> None:
    pending = store.begin(HELLO, FILE, "chat-1")
    assert isinstance(pending, Pending)
    write(store, pending, b"x" * FILE)
    store.clear(owner="chat-1")
    assert "removed" in str(store.finish(pending, 10, 1.0))
    assert files_of(store) == set()


def test_clear_takes_all_or_what_is_selected(tmp_path: Path) -> None:
    clock = [1000.0]
    store = new_store(tmp_path, now=lambda: clock[0])
    old, new = save(store, HELLO), None
    clock[0] += 500
    new = save(store, OTHER)
    assert store.clear(unused_s=501) == ()
    assert store.clear(unused_s=500) == (old,)
    assert store.clear(ids=["0" * 16]) == ()
    assert store.clear(ids=[new.id]) == (new,)
    third = save(store, LATER)
    assert Shelf(tmp_path / "prompts").clear() == (third,)
    assert store.open(third) is None


# ------------------------------------------------------------------ bounds


def test_the_least_valuable_go_first(tmp_path: Path) -> None:
    store = new_store(tmp_path, replace(WIDE, budget_bytes=3 * FILE))
    quick = save(store, conversation("quick"), read_s=1.0)
    slow = save(store, conversation("slow"), read_s=100.0)
    often = save(store, conversation("often"), read_s=10.0)
    store.used(often, 10, 10.0)
    save(store, conversation("new"), read_s=50.0)
    left = {each.id for each in store.listed()}
    assert quick.id not in left
    assert {slow.id, often.id} < left
    assert len(files_of(store)) == 3


def test_what_was_worth_much_grows_old(tmp_path: Path) -> None:
    store = new_store(tmp_path, replace(WIDE, budget_bytes=3 * FILE))
    old = save(store, conversation("old"), read_s=100.0)
    for number in range(40):
        save(store, conversation(f"new {number}"), read_s=10.0)
    assert old.id not in {each.id for each in store.listed()}


def test_a_file_that_is_open_stays(tmp_path: Path) -> None:
    store = new_store(tmp_path, replace(WIDE, budget_bytes=FILE))
    saved = save(store, HELLO)
    assert store.open(saved)
    assert "budget" in str(store.begin(OTHER, FILE))
    store.used(saved, 10, 1.0)
    save(store, OTHER)
    assert store.open(saved) is None


@pytest.mark.parametrize(
    ("bounds", "word"),
    [
        (Bounds(FILE - 1, 0, 1 << 40), "larger than the disk budget"),
        (Bounds(1 << 30, 1 << 60, 1 << 40), "too full"),
        (Bounds(1 << 30, 0, FILE - 1), "a day"),
    ],
)
def test_each_bound_refuses_in_words(tmp_path: Path, bounds: Bounds, word: str) -> None:
    store = new_store(tmp_path, bounds)
    why = store.begin(HELLO, FILE)
    assert isinstance(why, str)
    assert word in why
    assert why.endswith(".")


def test_bytes_of_a_day_are_counted_over_restarts(tmp_path: Path) -> None:
    clock = [86400 * 20000.0]
    bounds = replace(WIDE, bytes_a_day=2 * FILE + 1)
    for number in range(2):
        store = new_store(tmp_path, bounds, now=lambda: clock[0])
        save(store, conversation(f"{number}"))
        store.close()
    store = new_store(tmp_path, bounds, now=lambda: clock[0])
    assert "a day" in str(store.begin(HELLO, FILE))
    clock[0] += 86400
    assert isinstance(store.begin(HELLO, FILE), Pending)


def test_a_file_larger_than_announced_makes_room_or_goes(tmp_path: Path) -> None:
    store = new_store(tmp_path, replace(WIDE, budget_bytes=3 * FILE))
    first, second = save(store, HELLO), save(store, OTHER)
    pending = store.begin(LATER, FILE)
    assert isinstance(pending, Pending)
    write(store, pending, b"x" * 2 * FILE)
    assert isinstance(store.finish(pending, 10, 100.0), Saved)
    assert store.totals().bytes <= 3 * FILE
    pending = store.begin(conversation("huge"), FILE)
    assert isinstance(pending, Pending)
    write(store, pending, b"x" * 4 * FILE)
    assert "budget" in str(store.finish(pending, 10, 100.0))
    assert store.totals().bytes <= 3 * FILE
    assert first != second


def test_narrower_bounds_hold_from_the_start(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    for number in range(5):
        save(store, conversation(f"{number}"))
    store.close()
    store = new_store(tmp_path, replace(WIDE, budget_bytes=2 * FILE))
    assert store.totals().bytes == 2 * FILE
    assert len(files_of(store)) == 2


@pytest.mark.parametrize("jump", [-1e9, 1e9, 1e12, -1e12])
def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, jump: float) -> None:
    clock = [1.8e9]
    store = new_store(tmp_path, replace(WIDE, budget_bytes=2 * FILE), now=lambda: clock[0])
    first = save(store, HELLO)
    clock[0] += jump
    save(store, OTHER)
    assert store.open(first)
    store.used(first, 10, 1.0)
    clock[0] -= jump
    third = save(store, conversation("third"))
    assert {each.id for each in store.listed()} == {first.id, third.id}


# ------------------------------------------------------------------ starts


def test_a_start_removes_what_a_dead_process_left(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    whole = save(store, OTHER)
    pending = store.begin(HELLO, FILE)
    assert isinstance(pending, Pending)
    write(store, pending, b"half")
    assert new_store(tmp_path).listed() == (whole,)
    assert len(files_of(store)) == 2  # its process lives
    with sqlite3.connect(store.folder / "index.sqlite") as db:
        db.execute("UPDATE pending SET pid = 4194305")
    db.close()
    assert new_store(tmp_path).listed() == (whole,)
    assert files_of(store) == {f"{whole.id}.kv"}
    assert store.open(whole)


def test_files_that_are_not_the_stores_are_left_alone(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    saved = save(store, HELLO)
    foreign = [
        store.folder / "notes.txt",
        store.folder / "0123456789abcdef.kv",
        store.slot_folder / "my.kv",
        store.slot_folder / "0123456789abcdef.kv.bak",
    ]
    orphans = [store.slot_folder / "0123456789abcdef.kv", store.slot_folder / f"{saved.id}.new"]
    for path in (*foreign, *orphans):
        path.write_text("x")
    assert new_store(tmp_path).open(saved)
    assert all(path.exists() for path in foreign)
    assert not any(path.exists() for path in orphans)


def test_a_key_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    saved = save(store, HELLO)
    other = new_store(tmp_path, depends=replace(DEPENDS, engine="other"))
    other.slot_folder.symlink_to(store.slot_folder)
    assert new_store(tmp_path).open(saved)
    save(other, OTHER)
    assert not other.slot_folder.is_symlink()
    assert store.open(saved)


def _nonsense(path: Path) -> None:
    path.write_bytes(b"nonsense" * 1000)


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def _without_a_table(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE blocks")
    db.close()


def _middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def _escaping(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE saved SET id = '../../x', depends = '..'")
    db.close()


def _other_types(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE saved SET tokens = 'many', worth = x'00'")
    db.close()


def _as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _as_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("elsewhere"))


INDEX_DAMAGES = [
    *(_nonsense, _newer, _without_a_table, _middle, _escaping, _other_types),
    *(_as_pipe, _as_folder, _as_link),
]


@pytest.mark.parametrize("damage", INDEX_DAMAGES)
def test_an_index_that_is_wrong_is_begun_again(tmp_path: Path, damage: object) -> None:
    store = new_store(tmp_path)
    save(store, HELLO)
    store.close()
    for path in store.folder.glob("index.sqlite-*"):
        path.unlink()
    damage(store.folder / "index.sqlite")  # type: ignore[operator]
    store = new_store(tmp_path)
    assert store.find(HELLO) == ()
    assert store.listed() == ()
    assert not store.off
    assert files_of(store) == set()
    assert not (store.folder / "elsewhere").exists()
    saved = save(store, HELLO)
    assert store.open(saved)


@pytest.mark.parametrize("statement", ["DELETE FROM clock", "UPDATE clock SET worth = 'noon'"])
def test_damage_that_is_met_late_costs_one_save(tmp_path: Path, statement: str) -> None:
    store = new_store(tmp_path)
    save(store, HELLO)
    with sqlite3.connect(store.folder / "index.sqlite") as db:
        db.execute(statement)
    db.close()
    pending = store.begin(OTHER, FILE)
    assert isinstance(pending, Pending)
    write(store, pending, b"x" * FILE)
    assert isinstance(store.finish(pending, 1, 1.0), str)
    assert (store.listed(), files_of(store), store.off) == ((), set(), "")
    assert store.open(save(store, OTHER))


def test_an_index_that_another_process_replaced_is_opened_again(tmp_path: Path) -> None:
    store, other = new_store(tmp_path), new_store(tmp_path)
    save(store, HELLO)
    for path in store.folder.glob("index.sqlite*"):
        path.unlink()
    saved = save(other, OTHER)
    assert store.listed() == (saved,)


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    import shutil

    store = new_store(tmp_path)
    save(store, HELLO)
    shutil.rmtree(store.folder)
    assert store.find(HELLO) == ()
    saved = save(store, HELLO)
    assert store.open(saved)


def test_two_stores_share_one_folder(tmp_path: Path) -> None:
    one, two = new_store(tmp_path), new_store(tmp_path)
    saved = save(one, HELLO)
    assert two.open(saved)
    two.drop(saved)
    assert one.open(saved) is None
    assert one.find(HELLO) == ()


def test_threads_and_processes_use_it_at_once(tmp_path: Path) -> None:
    """Two stores stand for two processes: each has an index of its own on the same file."""
    stores = [new_store(tmp_path, replace(WIDE, budget_bytes=6 * FILE)) for _ in range(2)]
    wrong: list[object] = []

    def work(number: int) -> None:
        store = stores[number % 2]
        try:
            for turn in range(12):
                pending = store.begin(conversation(f"{number} {turn}"), FILE)
                if isinstance(pending, Pending):
                    write(store, pending, b"x" * FILE)
                    finished = store.finish(pending, 1, 1.0, FILE)
                    if isinstance(finished, Saved) and store.open(finished):
                        store.used(finished, 1, 1.0)
                elif not pending:
                    wrong.append("refused without a word")
                store.find(conversation(f"{number} {turn}", "more"))
                if turn % 5 == 4:
                    store.clear(unused_s=0.0)
        except BaseException as error:  # noqa: BLE001 - of a thread, pytest would not see it
            wrong.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [each.off for each in stores] == ["", ""]
    listed = stores[0].listed()
    assert files_of(stores[0]) == {f"{each.id}.kv" for each in listed}
    assert sum(each.bytes for each in listed) <= 6 * FILE


def test_a_file_where_the_folder_belongs_is_said(tmp_path: Path) -> None:
    (tmp_path / "prompts").write_text("mine")
    store = new_store(tmp_path)
    assert store.find(HELLO) == ()
    why = store.begin(HELLO, FILE)
    assert isinstance(why, str)
    assert why == store.off
    assert (tmp_path / "prompts").read_text() == "mine"
    (tmp_path / "prompts").unlink()
    store._again_at = 0.0  # a minute later
    assert isinstance(store.begin(HELLO, FILE), Pending)
    assert not store.off


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    store = new_store(tmp_path)
    assert "cannot" in str(store.begin(HELLO, FILE))
    tmp_path.chmod(0o700)


def test_a_disk_that_fails_turns_the_store_off(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    saved = save(store, HELLO)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(store.folder))

    monkeypatch.setattr(files, "opened", fail)
    assert store.open(saved) is None
    assert "cannot be read or written" in store.off
    assert store.find(HELLO) == ()
    store.used(saved, 1, 1.0)
    store.drop(saved)
    assert store.clear() == ()


def test_a_full_disk_refuses_and_does_not_turn_the_store_off(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    saved = save(store, HELLO)
    pending = store.begin(OTHER, FILE)
    assert isinstance(pending, Pending)
    write(store, pending, b"x" * FILE)

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    assert "too full" in str(store.finish(pending, 10, 1.0))
    assert files_of(store) == {f"{saved.id}.kv"}
    assert not store.off
    assert store.open(saved)


def test_a_store_remembers_the_latest_checks_only(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.kv.opened.CHECKED", 2)
    first, *others = (save(store, conversation(str(number))) for number in range(4))
    read: list[FileIO] = []
    digest = files.digest

    def noted(file: FileIO) -> bytes:
        read.append(file)
        return digest(file)

    monkeypatch.setattr(files, "digest", noted)
    assert store.open(others[-1])
    assert not read
    assert store.open(first)
    assert store.open(first)
    assert len(read) == 1


def test_what_files_are_worth_is_asked_where_one_has_to_go_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store(tmp_path, replace(WIDE, budget_bytes=3 * FILE))
    asked: list[int] = []
    kept = store._index.kept

    def noted() -> list[Candidate]:
        asked.append(1)
        return kept()

    monkeypatch.setattr(store._index, "kept", noted)
    for number in range(3):
        save(store, conversation(str(number)))
    assert not asked
    save(store, conversation("one more"))
    assert asked
    assert len(store.listed()) == 3
