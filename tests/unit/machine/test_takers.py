"""Who holds the most memory is named, and nobody can break a sentence by the name of a process."""

from collections.abc import Mapping
from types import SimpleNamespace

import psutil
import pytest

from runner.machine.captures.capture import Capture, Ran, Replay
from runner.machine.probes import takers as module
from runner.machine.probes.takers import Taker, in_words, takers

GIB = 1 << 30
TOTALS, TABLE = (" ".join(argv) for argv in (module._GPU_TOTALS, module._GPU_TABLE))


class Fake:
    """A process as psutil has it."""

    def __init__(
        self, pid: int, name: str, rss: float, shared: float = 0, *, exe: str = "", cmd: str = ""
    ) -> None:
        self.pid, self._name, self._exe, self._cmd = pid, name, exe, cmd
        self._memory = SimpleNamespace(rss=int(rss * GIB), shared=int(shared * GIB))

    def name(self) -> str:
        return self._name

    def exe(self) -> str:
        if not self._exe:
            raise psutil.AccessDenied(self.pid)
        return self._exe

    def cmdline(self) -> list[str]:
        return self._cmd.split(" ")

    def memory_info(self) -> SimpleNamespace:
        if self._name == "hidden":
            raise psutil.AccessDenied(self.pid)
        return self._memory


def seen(
    monkeypatch: pytest.MonkeyPatch,
    running: list[Fake],
    files: Mapping[str, str | None] | None = None,
    commands: Mapping[str, Ran | None] | None = None,
    without: tuple[int, ...] = (),
) -> tuple[Taker, ...]:
    """Return who is named on a machine with these processes, files and tools."""
    monkeypatch.setattr(psutil, "process_iter", lambda: iter(running))
    known = Capture("linux-x86_64", files or {}, commands or {})
    return takers(without, Replay(known))


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
    found = seen(monkeypatch, running, without=(11,))
    assert found == (Taker("llama-server", 22 * GIB), Taker("firefox", 6 * GIB), found[2])
    assert found[2].bytes == 3 * GIB
    said = in_words(found)
    assert said.startswith("The largest now: llama-server (22.00 GiB), firefox (6.00 GiB), ")
    assert said.isprintable()


def test_nobody_large_is_no_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_words(seen(monkeypatch, [Fake(1, "bash", 0.01)])) == ""


def test_a_program_is_its_file_whatever_its_processes_are_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fox = "/usr/lib/firefox/firefox"
    apps = "/Applications/Google Chrome.app/Contents"
    helper = f"{apps}/Frameworks/X.framework/Helpers/Google Chrome Helper.app/Contents/MacOS/Helper"
    running = [
        Fake(1, "firefox", 1, exe=fox),
        Fake(2, "Isolated Web Co", 2, exe=fox),
        Fake(3, "Google Chrome He", 3, exe=helper),
        Fake(4, "Google Chrome", 2, exe=f"{apps}/MacOS/Google Chrome"),
    ]
    assert seen(monkeypatch, running) == (
        Taker("Google Chrome", 5 * GIB),
        Taker("firefox", 3 * GIB),
    )


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python3 -u /home/x/comfy/main.py --key secret", "python3.12 main.py"),
        ("python3 -m vllm.entrypoints.openai.api_server --api-key secret", None),
        ("python3 -c secret=1;run()", "python3.12"),
        ("python3 -u -c secret", "python3.12"),
        ("python3 /tmp/\x1b[31m.py", "python3.12"),
        ("python3 -", "python3.12"),
        ("python3", "python3.12"),
    ],
)
def test_an_interpreter_is_named_with_its_script_and_nothing_else_of_its_line(
    monkeypatch: pytest.MonkeyPatch, command: str, name: str | None
) -> None:
    running = [Fake(1, "python3", 2, exe="/usr/bin/python3.12", cmd=command)]
    (found,) = seen(monkeypatch, running)
    assert found.name == (name or "python3.12 vllm.entrypoints.openai.api_server")
    assert "secret" not in found.name


def test_what_is_shared_counts_once_and_files_of_the_disk_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each has 3 GiB resident: one of its own, one of files, one that both share.
    books = "Rss: 9 kB\nPss: 9 kB\nPss_Anon: 1048576 kB\nPss_File: 99999 kB\nPss_Shmem: 524288 kB"
    files = {f"/proc/{pid}/smaps_rollup": books for pid in (1, 2)}
    running = [Fake(pid, "postgres", 3, 2) for pid in (1, 2)]
    assert seen(monkeypatch, running, files) == (Taker("postgres", 3 * GIB),)


def test_what_lies_in_dev_shm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": f"MemTotal: 99999999 kB\nShmem: {5 << 20} kB",
        "/proc/1/smaps_rollup": f"Pss_Anon: 0 kB\nPss_Shmem: {1 << 20} kB",
    }
    found = seen(monkeypatch, [Fake(1, "mapper", 1, 1)], files)
    assert found[0] == Taker("files in memory, such as those in /dev/shm", 4 * GIB)
    assert found[1] == Taker("mapper", GIB)


def test_on_a_gb10_what_the_driver_holds_for_a_program_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second engine there holds nothing that /proc shows; the answers are as recorded."""
    running = [Fake(7, "llama-server", 0.4), Fake(8, "Xorg", 0.1)]
    table = Ran(0, "7, 22528\n8, 43\n9, [N/A]\nNo running processes\n")
    commands = {TOTALS: Ran(0, "[N/A]\n"), TABLE: table}
    (found,) = seen(monkeypatch, running, commands=commands)
    assert found == Taker("llama-server", 22 * GIB + int(0.4 * GIB))
    commands[TOTALS] = Ran(0, "32607\n")  # a card's memory is its own
    found, also = seen(monkeypatch, running, commands=commands)
    assert found == Taker("llama-server on a graphics card", 22 * GIB)
    assert also == Taker("llama-server", int(0.4 * GIB))
    assert seen(monkeypatch, running, commands={TOTALS: None, TABLE: None}) == (also,)


def test_what_no_program_holds_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 GiB that a driver has kept after an engine stopped, as seen on GB10."""
    total = 121 << 20
    named = "Buffers: 0 kB\nCached: 2097152 kB\nAnonPages: 2097152 kB\nSlab: 1048576 kB"
    files = {"/proc/meminfo": f"MemTotal: {total} kB\nMemFree: {36 << 20} kB\n{named}"}
    (found,) = seen(monkeypatch, [], files)
    assert found.bytes == 80 * GIB
    assert found.name.startswith("no program")
    table = {TOTALS: Ran(0, "[N/A]\n"), TABLE: Ran(0, f"7, {79 << 10}\n")}
    found = seen(monkeypatch, [Fake(7, "llama-server", 0.4)], files, table)[0]
    assert found.name == "llama-server", "known to be that one's, and not said twice"


def test_what_graphics_map_of_main_memory_is_counted_once_for_each_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = f"pos: 0\ndrm-driver: amdgpu\ndrm-client-id: 5\ndrm-memory-gtt: {60 << 20} KiB"
    one += f"\ndrm-memory-vram: {2 << 20} KiB"
    two = f"drm-client-id: 6\ndrm-memory-gtt: 1 KiB\ndrm-resident-gtt: {1 << 20} KiB"
    files = {
        "/dev/dri/renderD128": "",
        "/proc/7/fdinfo/3": one,
        "/proc/7/fdinfo/4": one,
        "/proc/7/fdinfo/5": two,
        "/proc/7/fdinfo/6": "pos: 0\nflags: 02",
    }
    assert seen(monkeypatch, [Fake(7, "llama-server", 1)], files) == (
        Taker("llama-server", 62 * GIB),
        Taker("llama-server on a graphics card", 2 * GIB),
    )


def test_a_container_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    number = "3fa9c2d1e4b5" + "0" * 52
    for path in (
        f"0::/system.slice/docker-{number}.scope",
        f"4:memory:/docker/{number}",
        f"0::/machine.slice/libpod-{number}.scope/container",
    ):
        (found,) = seen(monkeypatch, [Fake(7, "vllm", 9)], {"/proc/7/cgroup": path})
        assert found.name == "vllm in container 3fa9c2d1e4b5"


def test_this_machine_can_be_looked_at() -> None:
    assert all(each.bytes > 0 and each.name for each in takers())
