"""Any order of saving, killing, restoring, evicting and damaging: the store stays what it says."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runner.kv.saved import Pending, Saved
from runner.kv.shelf import Shelf
from runner.kv.store import Store
from tests.unit.kv.stores import DEPENDS, WIDE, conversation, new_store

BUDGET = 4000
TURNS = ("Hello", "Good day", "How are you?", "Fine", "And now?")
PROMPTS = [
    conversation(*TURNS[:length], system=system)
    for system in ("You are kind.", "You are terse.")
    for length in (1, 3, 5)
]


class _Crashed(Store):
    """A store whose process is killed: its rows are a dead one's."""

    def kill(self) -> None:
        with self._index.change() as db:
            db.execute("UPDATE pending SET pid = -1")
        self._index.close()


class AnyOrder(RuleBasedStateMachine):
    """One process at a time; what each file must contain is known by its ID."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kv-states-"))
        self.contents: dict[str, bytes] = {}
        self.damaged: set[str] = set()
        self.pending: list[Pending] = []
        self.saved: list[Saved] = []
        self.open_store()

    def open_store(self) -> None:
        self.store = _Crashed(self.folder / "prompts", DEPENDS, replace(WIDE, budget_bytes=BUDGET))

    @rule(number=st.integers(0, len(PROMPTS) - 1), bytes_=st.integers(1, 3000))
    def begin(self, number: int, bytes_: int) -> None:
        pending = self.store.begin(PROMPTS[number], bytes_)
        if isinstance(pending, Pending):
            self.pending.append(pending)
        else:
            assert pending.endswith(".")

    @precondition(lambda self: self.pending)
    @rule(bytes_=st.integers(0, 3000), read_s=st.floats(0, 1e6))
    def finish(self, bytes_: int, read_s: float) -> None:
        pending = self.pending.pop()
        data = (pending.id.encode() * 200)[:bytes_]
        (self.store.slot_folder / pending.name).write_bytes(data)
        finished = self.store.finish(pending, 1, read_s, bytes_)
        if isinstance(finished, Saved):
            self.saved.append(finished)
            self.contents[finished.id] = data
        else:
            assert finished.endswith(".")

    @precondition(lambda self: self.pending)
    @rule()
    def abandon(self) -> None:
        self.store.abandon(self.pending.pop())

    @precondition(lambda self: self.pending)
    @rule(data=st.binary(max_size=50))
    def write_and_be_killed(self, data: bytes) -> None:
        (self.store.slot_folder / self.pending[-1].name).write_bytes(data)
        self.be_killed()

    @rule()
    def be_killed(self) -> None:
        self.pending.clear()
        self.store.kill()
        self.open_store()

    @precondition(lambda self: self.saved)
    @rule(data=st.data(), tokens=st.integers(0, 2))
    def restore(self, data: st.DataObject, tokens: int) -> None:
        saved = data.draw(st.sampled_from(self.saved))
        name = self.store.open(saved)
        if name is not None:
            content = (self.store.slot_folder / name).read_bytes()
            assert content == self.contents[saved.id]
            self.store.used(saved, tokens, 1.0)

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        saved = data.draw(st.sampled_from(self.saved))
        path = self.store.slot_folder / f"{saved.id}.kv"
        if path.exists():
            path.write_bytes(b"-" * saved.bytes)
            self.damaged.add(saved.id)

    @rule(number=st.integers(0, len(PROMPTS) - 1))
    def find(self, number: int) -> None:
        found = self.store.find(PROMPTS[number])
        depths = [each.blocks for each in found]
        assert depths == sorted(depths, reverse=True)
        assert all(0 < each <= len(PROMPTS[number].chain()) for each in depths)

    @invariant()
    def the_budget_holds_and_index_and_disk_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        totals = self.store.totals()
        assert not self.store.off
        assert totals.bytes <= BUDGET
        on_disk = {path.name for path in self.store.slot_folder.glob("*.kv")}
        assert on_disk == {f"{each.id}.kv" for each in self.store.listed()}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.kill()
            shelf = Shelf(self.folder / "prompts")
            assert not list((self.folder / "prompts").glob("*/*.new"))
            assert all(each.id in self.contents for each in shelf.listed())
            shelf.close()
            shutil.rmtree(self.folder)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_a_store_can_be_closed_twice(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    store.close()
    store.close()
