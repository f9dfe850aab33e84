"""Who holds the most memory is named, and nobody can break a sentence by the name of a process."""

from types import SimpleNamespace

import psutil
import pytest

from runner.machine.probes.takers import Taker, in_words, takers

GIB = 1 << 30


class Fake:
    """A process as psutil has it."""

    def __init__(self, pid: int, name: str, rss: float, shared: float = 0.0) -> None:
        self.pid, self._name = pid, name
        self._memory = SimpleNamespace(rss=int(rss * GIB), shared=int(shared * GIB))

    def name(self) -> str:
        return self._name

    def memory_info(self) -> SimpleNamespace:
        if self._name == "hidden":
            raise psutil.AccessDenied(self.pid)
        return self._memory


def test_the_largest_are_named_with_all_their_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    running = [
        *(Fake(pid, "firefox", 1.5, 0.5) for pid in range(6)),
        Fake(10, "llama-server", 22),
        Fake(11, "steprun", 50),
        Fake(12, "hidden", 90),
        Fake(13, "bash", 0.01),
        Fake(14, "\x1b[31mred\u202e\n", 3),
        Fake(15, "fourth", 1),
    ]
    monkeypatch.setattr(psutil, "process_iter", lambda: iter(running))
    found = takers(without=[11])
    assert found == (Taker("llama-server", 22 * GIB), Taker("firefox", 6 * GIB), found[2])
    assert found[2].bytes == 3 * GIB
    said = in_words(found)
    assert said.startswith("The largest now: llama-server (22.00 GiB), firefox (6.00 GiB), ")
    assert said.isprintable()


def test_nobody_large_is_no_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([Fake(1, "bash", 0.01)]))
    assert in_words(takers()) == ""


def test_this_machine_can_be_looked_at() -> None:
    assert all(each.bytes > 0 and each.name for each in takers())
