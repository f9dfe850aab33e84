"""The guard: starts one engine, keeps its log within bounds, and never outlives its owner.

Runs as a process of its own, `python -I -S guard.py --log FILE -- ENGINE…`, on the standard
library alone, between steprun and the engine. Its standard input is a pipe that steprun holds:
when steprun dies, however it dies, the pipe ends and the guard kills the engine. The line
`stop` asks for the same, politely. The engine has no terminal, no standard input, and its
output goes to the log.

With floors it also watches the memory that is left (`memory_watch.py`), and kills the engine before
the machine runs out of it.

The guard writes to its standard output: `pid N` first, then, where it watches, `low N` or `fine N`
at once where the memory that is left, N bytes, falls below the floor or is above it again, and once
a second, so that its owner knows that it still looks; `blind 0` while nothing can be read. It exits
as the engine did.

With `--tree` it guards a build instead: what is started starts others, and all of them end. They
are always asked first, as only ninja and make know their compilers, and which files are whole.
"""

import argparse
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO

GRACE_S = 5.0  # between the polite and the hard stop; an idle llama-server needs about 0.1 s
BEAT_S = 1.0  # at least so often it says what it sees; see `guarded.Silence`
BLIND_LOOKS = 20  # about 5 s in which nothing could be read
BLIND = b"\nsteprun cannot read how much memory is left: nothing stops the engine in time.\n"
LOG_BYTES = 4 << 20  # a log longer than this moves to FILE.1: twice this is the most on disk


class BoundedLog:
    """An append-only log that starts anew when full and keeps one older part."""

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self._path = path
        self._limit = limit
        self._file = path.open("wb", buffering=0)
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append, and turn the page first where it would not fit."""
        if self._size and self._size + len(data) > self._limit:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("wb", buffering=0)
            self._size = 0
        self._file.write(data)
        self._size += len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _in_child(stack: int) -> None:
    """Run in the engine's process before it starts (Linux): die with the guard, die first.

    A machine that runs out of memory should take the engine, not the desktop. `stack`: the limit of
    its stack in bytes, which its threads take over; 0 leaves it as it is.
    """
    if stack:
        import resource  # noqa: PLC0415 - only here, only on Linux

        with contextlib.suppress(OSError, ValueError):
            limits = (stack, resource.getrlimit(resource.RLIMIT_STACK)[1])
            resource.setrlimit(resource.RLIMIT_STACK, limits)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    import ctypes  # noqa: PLC0415 - only here, only on Linux

    pr_set_pdeathsig = 1  # <linux/prctl.h>
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _pump(source: IO[bytes], log: BoundedLog) -> None:
    """Copy the engine's output to the log. A full disk must not stop the engine."""
    read1 = source.read1  # type: ignore[attr-defined]  # whatever has arrived, without waiting for more
    while data := read1(1 << 16):
        with contextlib.suppress(OSError, ValueError):
            log.write(data)


def _watch_owner(engine: subprocess.Popen[bytes], *, tree: bool) -> None:
    """Wait for the owner's word or death, then end the engine."""
    polite = sys.stdin.buffer.readline().strip() == b"stop"
    if tree:
        _end_tree(engine.pid, signal.SIGTERM)
    elif polite:
        engine.terminate()
    if tree or polite:
        with contextlib.suppress(subprocess.TimeoutExpired):
            engine.wait(GRACE_S)
    if engine.poll() is None:
        engine.kill()


def _beside(name: str) -> ModuleType:
    """Return a module from beside this file: no package can be imported here."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AssertionError
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Voice:
    """Tells the owner what the watch sees. It never waits: an owner may be stopped itself."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self._clock, self._write = clock, write
        self._said, self._at = "", 0.0
        if os.name == "posix":
            os.set_blocking(1, False)

    def say(self, state: str, left: int) -> None:
        """Say it where it is new, or a second has passed."""
        now = self._clock()
        if state == self._said and 0 <= now - self._at < BEAT_S:
            return
        self._said, self._at = state, now
        with contextlib.suppress(OSError):  # the owner is gone, or does not listen
            self._write(1, f"{state} {left}\n".encode())


def _watch_memory(
    engine: subprocess.Popen[bytes],
    log: BoundedLog,
    modules: tuple[ModuleType, ModuleType],
    args: argparse.Namespace,
) -> None:
    """Tell the owner where memory is short, and kill the engine before there is none."""
    watch, signs = modules
    meter = watch.meter(engine.pid, args.mapped)
    if meter is None:
        return
    judge, voice, stalled = (
        watch.Judge(args.low, args.least),
        _Voice(),
        signs.SideReader(meter.stalls),
    )
    blind = 0
    while engine.returncode is None:
        left = None
        with contextlib.suppress(Exception):  # whatever a reading does, the watch goes on
            left = meter.left()
        if left is None:  # it may be readable again: the machine is no safer for giving up
            voice.say("blind", 0)
            blind += 1
            if blind == BLIND_LOOKS:
                with contextlib.suppress(OSError, ValueError):
                    log.write(BLIND)
            time.sleep(watch.LONGEST_S)
            continue
        blind = 0
        state = judge.look(time.monotonic(), left, meter.swap, stalled.share())
        if state == "over":
            engine.kill()
            watch.give_back(engine.pid)
            why = f"{left >> 20:,} MiB of memory were left, and {args.least >> 20:,} must stay."
            if left >= args.least and stalled.share() >= watch.STALLED:
                why = (
                    f"{left >> 20:,} MiB of memory were left, and for {signs.WINDOW_S:.0f} s "
                    f"programs did little but wait for it ({stalled.share():.0%} of the time)."
                )
            with contextlib.suppress(OSError, ValueError):
                log.write(f"\n{watch.MARK}{why}\n".encode())
            while engine.returncode is None:  # a driver may be long in letting go of its memory
                voice.say("low", left)
                time.sleep(watch.LONGEST_S)
            return
        voice.say(state, left)
        time.sleep(judge.pause(left))


def _end_tree(pid: int, number: int) -> None:
    """Send a signal to a build and all that it started; Windows knows only the hard one."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: they are zombies
            os.killpg(pid, number)
    else:
        argv = ["taskkill", "/F", "/T", "/PID", str(pid)]
        subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _end_rest(session: int) -> None:
    """Kill what is left of a build, and wait until it is gone.

    ninja gives each compiler a process group of its own: all that they share is the session.
    """
    deadline = time.monotonic() + GRACE_S
    while (left := _members(session)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _members(session: int) -> list[int]:
    if sys.platform == "linux":
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid="], stdout=subprocess.PIPE, check=False)
        pids = [int(pid) for pid in listed.stdout.split()]
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if os.getsid(pid) == session:
                found.append(pid)
    return found


def main(argv: list[str]) -> int:
    """Run the guard; returns the engine's exit status (128 + N for signal N)."""
    parser = argparse.ArgumentParser(prog="guard")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--tree", action="store_true")
    parser.add_argument("--stack", type=int, default=0)
    for name in ("--low", "--least", "--mapped"):
        parser.add_argument(name, type=int, default=0)
    parser.add_argument("engine", nargs="+")
    args = parser.parse_args(argv)
    # The owner decides when to stop; a Ctrl-C in its terminal is not meant for the engine.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = BoundedLog(args.log)
    # Before there is an engine to watch.
    memory = (_beside("memory_watch"), _beside("memory_signs")) if args.least else None
    threading.stack_size(1 << 19)  # locked in memory, the usual 8 MiB of each would be taken
    try:
        engine = subprocess.Popen(
            args.engine,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=args.tree and os.name == "posix",
            # Safe here: no thread runs yet.
            preexec_fn=(lambda: _in_child(args.stack)) if sys.platform == "linux" else None,  # noqa: PLW1509
        )
    except OSError as error:
        log.write(f"cannot start {args.engine[0]}: {error}\n".encode())
        return 127
    sys.stdout.write(f"pid {engine.pid}\n")
    sys.stdout.flush()
    if engine.stdout is None:
        raise AssertionError
    pump = threading.Thread(target=_pump, args=(engine.stdout, log), daemon=True)
    pump.start()
    watch = threading.Thread(
        target=_watch_owner, args=(engine,), kwargs={"tree": args.tree}, daemon=True
    )
    watch.start()
    watchers = []
    if memory is not None:
        memory[0].keep_in_memory()
        looks = (engine, log, memory, args)
        watchers.append(threading.Thread(target=_watch_memory, args=looks, daemon=True))
        watchers[0].start()
    status = engine.wait()
    for each in watchers:
        each.join(GRACE_S)  # until it has reported why
    pump.join(GRACE_S)  # until all that write to the log have ended
    if args.tree and os.name == "posix":
        _end_rest(engine.pid)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    # Skip the interpreter's shutdown: a daemon thread may be waiting in a read of the pipe.
    # A Windows status such as 0xC0000005 is larger than the int that _exit takes.
    ended = main(sys.argv[1:])
    os._exit(ended - (1 << 32) if ended >= 1 << 31 else ended)
