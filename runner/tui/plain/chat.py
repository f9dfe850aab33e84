"""The chat in plain lines as its user drives it, one message after the other: the main thread."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Iterator
from inspect import isawaitable
from types import FrameType
from typing import Any, Final, TypeVar

from runner.base.errors import Exit, SteprunError
from runner.base.files import write_trace
from runner.chat.farewell import farewell
from runner.chat.host import ChatSetup
from runner.tui import shared
from runner.tui.actions import Action, parse_command
from runner.tui.paste import find_pictures
from runner.tui.plain.attaching import PlainAttaching
from runner.tui.plain.chats import PlainChats
from runner.tui.plain.commands import PlainCommands, SomeWing
from runner.tui.plain.keyboard import Keyboard
from runner.tui.plain.loop_thread import LoopThread
from runner.tui.plain.messages import PlainMessages
from runner.tui.plain.output import PlainOutput
from runner.tui.plain.talk import PlainTalk
from runner.tui.plain.tools import PlainTools

T = TypeVar("T")

TWICE_S: Final = 3.0  # two presses of Ctrl+C within it quit, as in the window
ANSWER_NOW: Final = f"/{shared.ANSWER.command}"
INSIST_S: Final = 0.1  # a signal is handled at once where it is not lost


class Terminated(BaseException):
    """The system ends the chat, or its terminal was closed."""


class PlainChat:
    """`PlainChat(setup, keyboard, out).run()` returns the exit code."""

    def __init__(self, setup: ChatSetup, keyboard: Keyboard, out: PlainOutput) -> None:
        self._keyboard = keyboard
        self._out = out
        self._loop = LoopThread()
        self._interrupted_at = float("-inf")
        self.left = False
        self.talk = PlainTalk(setup, keyboard, out)
        self.commands = PlainCommands(self)
        self.talk.before_asking = self.wing(PlainTools).settled

    def run(self) -> int:
        """Chat until the user leaves or the messages end. Blocks."""
        code: int | None = None
        with self._loop, _signals():
            try:
                self.wait(self._begin())
                self._greet()
                while not self.left and not self._out.gone:
                    self._next()
            except Terminated:
                self._out.write("\n")  # nothing was entered after the prompt
                code = Exit.INTERRUPTED
            finally:
                self._end()
        if code is None and (failure := self._out.failure) is not None:
            raise SteprunError(
                "The chat cannot be printed.",
                why=f"{failure.strerror or failure}.",
                next="What was said is saved. Resume it with: steprun chat --resume",
            )
        return self.talk.exit_code if code is None else code

    async def _begin(self) -> None:
        await self.talk.start()
        self.wing(PlainTools).start(self.talk.setup.mcp)

    def wing(self, kind: type[SomeWing]) -> SomeWing:
        """Return the wing of a kind."""
        return self.commands.wing(kind)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what comes of some work; Ctrl+C stops what of it can be stopped."""
        return self._loop.wait(work, self._interrupt_work, self._look_ahead)

    async def ask_here(self, function: Callable[[], T]) -> T:
        """Have the main thread, which waits for this, call a function that asks the user."""
        return await self._loop.ask(function)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the loop, soon; from any thread, also when all is over."""
        with contextlib.suppress(RuntimeError):
            self._loop.call(function)

    @contextlib.contextmanager
    def terminal_lent(self) -> Iterator[None]:
        """Within it, another program has the terminal: a Ctrl+C is meant for that."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    # --- one message -------------------------------------------------------------------------

    def _greet(self) -> None:
        talk = self.talk
        if talk.setup.greeting:
            self._out.say(talk.setup.greeting)
        if self._keyboard.terminal:
            self._out.say("/help lists the commands. Ctrl+D ends the chat.")
        if talk.setup.resume:
            self.wing(PlainChats).show_resumed()
        else:
            talk.report_kept()
        talk.report_warnings()
        if talk.setup.hint:
            self._out.say(talk.setup.hint)
        if talk.setup.pictures:
            self.wait(self.wing(PlainAttaching).load([str(path) for path in talk.setup.pictures]))
        if talk.setup.files:
            try:
                self.wait(self.wing(PlainAttaching).load_files(talk.setup.files))
            except SteprunError as error:
                self._out.say(str(error))
        talk.remember_history()
        self._keyboard.watch()

    def _next(self) -> None:
        """Read a message and do what it says."""
        try:
            self._obey(self._keyboard.message())
        except EOFError:
            self._out.write("\n")  # nothing was entered after the prompt
            self.left = True
        except KeyboardInterrupt:
            self._interrupted()
        except SteprunError as error:
            self._out.say(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the chat goes on
            log = write_trace(error)
            self._out.say(
                f"steprun failed: {type(error).__name__}. This is a bug in steprun: please report "
                f"it, with the trace in {log}."
            )

    def _obey(self, text: str) -> None:
        if not text.strip():
            if self._keyboard.terminal:  # in a pipe, a blank line is no Enter
                self.wait(self.wing(PlainMessages).entered())
            return
        typed = parse_command(text, PlainCommands.commands)
        if typed is not None:
            self._run(*typed)
        elif paths := find_pictures(text):
            self.wait(self.wing(PlainAttaching).load(paths))
        else:
            self.wait(self.wing(PlainMessages).send(text, pasted=self._keyboard.pasted))

    def _run(self, action: Action, args: str) -> None:
        if isawaitable(outcome := self.commands.run(action, args)):
            self.wait(_coroutine(outcome))

    # --- Ctrl+C, the end ---------------------------------------------------------------------

    def _interrupted(self) -> None:
        """Take a Ctrl+C at the prompt: what was typed is kept; the second one quits."""
        self._out.write("\n")
        if typed := self._keyboard.typed():
            self._keep(typed)
        if self._twice():
            self.left = True
        else:
            self._out.say("Ctrl+C again quits.")

    def _keep(self, typed: str) -> None:
        """Keep what is typed and not sent, and say so."""
        self.talk.unsent.give_back(typed)
        self._keyboard.forget_typed()
        self.talk.report_kept()

    def _look_ahead(self) -> None:
        """Read what is typed while an answer runs: one command is obeyed at once."""
        lines = self._keyboard.take_waiting()
        if lines and lines[-1].strip().lower() == ANSWER_NOW and self.talk.thinks:
            self._keyboard.forget_last()
            self.call(self.talk.answer_now)

    def _interrupt_work(self) -> None:
        self._loop.call(self.talk.stop)
        if typed := self._keyboard.typed():
            self._keep(typed)
        if self._twice():
            self.left = True

    def _twice(self) -> bool:
        before, self._interrupted_at = self._interrupted_at, time.monotonic()
        return self._interrupted_at - before < TWICE_S

    async def _finish(self) -> None:
        await self.talk.end()
        await self.wing(PlainTools).close()

    def _end(self) -> None:
        """Save, stop the engine, and say how to go on; a further Ctrl+C does not cut it short."""
        self._keyboard.watch_no_more()
        with self.terminal_lent():
            if self.talk.setup.own and self.talk.host_alive:
                self._out.say("Stopping the engine.")
            self._loop.wait(self._finish(), lambda: None)
            self.talk.report_warnings()
            for line in farewell(self.talk.conversation, self.talk.setup.all_words):
                self._out.say(line)


async def _coroutine(outcome: Any) -> Any:
    return await outcome


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP end the chat in order."""
    over = threading.Event()

    def end(_: int, __: FrameType | None) -> None:
        if not over.is_set():
            over.set()
            raise Terminated

    here = threading.current_thread() is threading.main_thread()
    before = {}
    for name in ("SIGTERM", "SIGHUP") if here else ():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, end)
    try:
        with _insisting(before, over):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _insisting(numbers: Collection[int], over: threading.Event) -> Iterator[None]:
    """Send a signal again until it is `over`: one that comes between two looks of readline is lost.

    readline handles a signal that interrupts its waiting for a key. Before that, while Python's
    hook runs, it is noted only, and handled after the next key, which may never come.
    """
    main = threading.main_thread().ident
    if not hasattr(signal, "pthread_kill") or main is None or not numbers:
        yield
        return
    hears, wakes = os.pipe()
    os.set_blocking(wakes, False)

    def insist() -> None:
        while came := os.read(hears, 64):
            for number in came:
                while number in numbers and not over.wait(INSIST_S):
                    signal.pthread_kill(main, number)

    thread = threading.Thread(target=insist, name="signals", daemon=True)
    woken = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        over.set()
        os.close(wakes)
        thread.join()
        os.close(hears)


def run_plain(setup: ChatSetup) -> int:
    """Chat on this terminal, or with the lines of a pipe; return the exit code."""
    out = PlainOutput(sys.stdout)
    return PlainChat(setup, Keyboard(sys.stdin, out, edits=True), out).run()
