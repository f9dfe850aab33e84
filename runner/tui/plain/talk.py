"""The course of a plain chat: the host opens, questions are asked, answers are printed, the end.

All of it runs in the thread of the event loop, but for what says otherwise.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from importlib import import_module
from typing import Any, Final

from runner.base.errors import Exit, SteprunError
from runner.chat.answering import answer
from runner.chat.clock import AnswerClock
from runner.chat.conversation import Conversation
from runner.chat.events import Failed
from runner.chat.going_on import can_write_on
from runner.chat.host import ChatHost, ChatSetup, Find
from runner.chat.host_news import HostNews
from runner.chat.host_task import HostEvent, HostKnown, HostReady, HostTask
from runner.chat.thinking_end import ThinkingEnd, end_of_thinking
from runner.chat.tools.toolboxes import Toolboxes
from runner.chat.turn import Turn, TurnState
from runner.tui.offered import picture_tools
from runner.tui.plain.keyboard import Keyboard
from runner.tui.plain.output import PlainOutput
from runner.tui.plain.unsent_text import UnsentText
from runner.tui.plain.words import AnswerWords, WaitingWords, host_waits, waits_for
from runner.tui.settings import SettingsFile, as_remembered

TICK_S: Final = 0.1  # between two looks at an answer: what arrives is printed by then
AUTOSAVE_S: Final = 0.25  # as in the window
AGAIN_S: Final = 1.0  # after a disk that was full
QUOTED: Final = 200  # characters of a text that is shown to be recognised


async def _nothing() -> None:
    """Wait for nothing."""


class PlainTalk:
    """Talks to the host, and saves the conversation. `failure`: why the last try came to nothing.

    `thinking`: the reasoning is printed, too.
    """

    def __init__(self, setup: ChatSetup, keyboard: Keyboard, out: PlainOutput) -> None:
        self.settings = SettingsFile()
        setup = as_remembered(setup, self.settings.now)
        self.setup = setup
        self.options = replace(setup.options, controlled=True)
        self.keyboard = keyboard
        self.out = out
        self.thinking = setup.show_thinking
        self.conversation = Conversation(setup.title, setup.resume)
        self.conversation.warnings += filter(None, [self.settings.warning])
        self.unsent = UnsentText(keyboard)
        self.tools = Toolboxes(picture_tools(self))
        self._noted_refusal = False
        self.failure: SteprunError | None = None
        self.leaving = False
        self._host = HostTask(setup.open_host, self._changed, setup.find)
        # What is waited for before a question is sent, beside the host.
        self.before_asking: Callable[[], Awaitable[None]] = _nothing
        self.live: Turn | None = None  # is being answered
        self.has_asked = False  # in this run: before that, nobody knows how a chat was read
        self._clock, self._words = AnswerClock(), AnswerWords()
        self._to_answer: Turn | None = None  # is being stopped, to go on with its answer
        self._opened = asyncio.Event()  # or it is known that it cannot be
        self._work: asyncio.Task[Any] | None = None  # what Ctrl+C stops
        self._saver: asyncio.Task[None] | None = None
        self._preload: asyncio.Task[Any] | None = None

    # --- beginning and end -------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to open the host, and to save what is typed."""
        if (draft := self.conversation.draft) is not None:
            self.unsent.give_back(draft.text, draft.pictures)
        self._host.start()
        # With the HTTP library it takes long to import: while the host opens, it costs no time.
        self._preload = asyncio.create_task(asyncio.to_thread(import_module, "runner.chat.client"))
        self._saver = asyncio.create_task(self._save_often())

    async def end(self) -> None:
        """Stop what runs, save all, close the host; safe to call twice."""
        self.leaving = True
        self.stop()
        if (work := self._work) is not None:
            await asyncio.wait([work])
        if self._saver is not None:
            self._saver.cancel()
        self._keep()
        await asyncio.to_thread(self.conversation.flush)
        await self._host.stop()
        await asyncio.to_thread(self.conversation.close)

    @property
    def exit_code(self) -> int:
        """The exit code: not 0 where the last thing that was tried has failed."""
        return self.failure.exit_code if self.failure is not None else Exit.DONE

    # --- the host ----------------------------------------------------------------------------

    def _changed(self, event: HostEvent) -> None:
        match event:
            case HostKnown(setup):
                setup = as_remembered(setup, self.settings.now)
                self.setup = replace(setup, greeting=self.setup.greeting, find=self.setup.find)
                known = setup.options
                self.options = replace(
                    self.options,
                    model=known.model,
                    dialect=known.dialect,
                    effort=self.options.effort or known.effort,
                    thinking_cap=known.thinking_cap
                    if self.options.thinking_cap is None
                    else self.options.thinking_cap,
                )
                self.conversation.call_model(setup.title)
                self.ask_for_tools_again()  # it may be another server
            case HostReady():
                self.failure = None
                self._opened.set()
            case HostNews(words) as news:
                self.setup = news.known(self.setup)
                if self._work is None and not self.leaving:
                    self.keyboard.say_meanwhile(words)
                else:  # between two pieces of an answer
                    self.conversation.warnings.append(words)
            case Failed(error):
                self.failure = error
                self._opened.set()
                if self._work is None and not self.leaving:  # nobody waits for it: it is told
                    self._problem_meanwhile(error)

    def _problem_meanwhile(self, error: SteprunError) -> None:
        self.keyboard.say_meanwhile(f"{error}\n/retry {self._retries}.")

    @property
    def _retries(self) -> str:
        return "starts the engine again" if self.setup.own else "looks for the server again"

    def ask_for_tools_again(self) -> None:
        """Offer tools to a server that may have refused them."""
        self.tools.refused = self._noted_refusal = False

    @property
    def host(self) -> ChatHost | None:
        """What is talked to, None while there is none."""
        return self._host.host

    async def change_host(self, find: Find) -> None:
        """Talk to another model, or to another engine; the conversation stays."""
        self._opened.clear()
        await self._host.change(find, self.setup)

    @property
    def host_alive(self) -> bool:
        """Whether the host answers."""
        return self._host.alive()

    async def open_host(self) -> None:
        """Return when the host answers; raise why it does not. What takes long is told."""
        if self._host.alive():
            return
        if not self._host.loading:
            self._opened.clear()
            await self._host.restart()
        began = time.monotonic()
        waiting = WaitingWords(began)
        while not self._host.alive():
            if self._opened.is_set() and not self._host.loading:
                raise self.failure or SteprunError("The host does not answer.")
            await asyncio.sleep(TICK_S)
            if waiting.due(now := time.monotonic()):
                waited, loaded = now - self._host.loading_since, self._host.loaded()
                self.out.say(host_waits(waited, loaded, own=self.setup.own))
            self.report_warnings()
        self.failure = None

    async def _ready(self) -> None:
        """Return when the host answers, and it is known which tools there are."""
        await self.open_host()
        await self.before_asking()

    # --- asking ------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop what runs: an answer, or waiting for the host."""
        if self._work is not None:
            self._work.cancel()

    async def _stoppable(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do something that `stop` can end; return whether it did not. Raises what it raises."""
        task = self._work = asyncio.create_task(work)
        try:
            await asyncio.wait([task])
        finally:
            self._work = None
        if task.cancelled():
            return False
        task.result()
        return True

    async def ask(self, turn: Turn) -> None:
        """Ask the conversation's last turn and print its answer; one that is not sent comes back.

        What failed or is missing is said, and nothing is raised for it.
        """
        self._keep()
        try:
            opened = await self._stoppable(self._ready())
        except SteprunError as error:
            self._not_asked(turn, f"{error}\n/retry {self._retries}.")
            return
        if not opened:
            self._not_asked(turn, "Not sent.")
            return
        turn.begin()
        self.live, self.has_asked = turn, True
        clock = self._clock = AnswerClock()
        clock.ask(time.monotonic())
        self._words = AnswerWords(thinking=self.thinking)
        asking = self._stoppable(
            answer(
                *(self.conversation, turn, self._host.host, self.options),
                clock=clock,
                tools=self.tools,
            )
        )
        showing = asyncio.create_task(self._show(turn, clock))
        try:
            await asking
        except Exception as error:  # noqa: BLE001 - the turn has it already, and the chat goes on
            turn.error = turn.error or SteprunError("The answer failed.", why=f"{error!r}.")
        finally:
            self.live = None
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
        self.out.write(self._words.more(turn, end=True))
        self.out.end_line()
        to_answer, self._to_answer = self._to_answer, None
        if to_answer is turn and turn.phase is TurnState.STOPPED:
            await self.ask(self.conversation.continued(turn, answers=True))
            return
        self._report_end(turn)
        self.report_warnings()

    @property
    def thinks(self) -> bool:
        """Whether an answer is in its thinking now."""
        return self.live is not None and self.live.phase is TurnState.THINKING

    def print_so_far(self) -> None:
        """Print what there is of the answer, now."""
        if self.live is not None:
            self.out.write(self._words.more(self.live))

    def answer_now(self) -> None:
        """End the thinking of the answer under way."""
        if (turn := self.live) is not None and self.thinks:
            self._ending = asyncio.create_task(self._end_thinking(turn))

    async def _end_thinking(self, turn: Turn) -> None:
        end = await end_of_thinking(
            self._host.host,
            self.options.dialect,
            self._clock,
            lambda: self.live is turn and self.thinks,
        )
        if end is ThinkingEnd.BY_SERVER:
            self.out.say("The thinking ends here; the answer follows.")
        elif end is ThinkingEnd.NOT_BY_SERVER and can_write_on(turn, self.options.dialect):
            self._to_answer = turn
            self.stop()
        elif end is ThinkingEnd.NOT_BY_SERVER:
            self.out.say("This server cannot be told to answer now. Ctrl+C stops it.")

    async def _show(self, turn: Turn, clock: AnswerClock) -> None:
        """Print what arrives while it arrives, and for what one waits where nothing does."""
        waiting = WaitingWords(time.monotonic())
        while not turn.phase.over:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            if turn.phase is TurnState.ASKING:  # the user reads, and answers
                waiting.heard(now)
                continue
            if more := self._words.more(turn):
                self.out.write(more)
                waiting.heard(now)
            elif waiting.due(now) and not turn.phase.over:
                self.out.say(waits_for(turn, clock, now, own=self.setup.own))
            self.report_warnings()

    def _not_asked(self, turn: Turn, why: str) -> None:
        """Take a question back that was not sent; one that was asked before stands as it did."""
        again = bool(turn.asked_id)
        self.conversation.withdraw(turn)
        if not again:
            self.unsent.give_back(turn.text, turn.pictures, turn.files)
        self.out.say(why)
        if not again:
            self.report_kept()

    def _report_end(self, turn: Turn) -> None:
        stands = turn in self.conversation.turns
        self.failure = turn.error
        if self.tools.refused and not self._noted_refusal:
            self._noted_refusal = True
            self.out.say("This server takes no tools, so none are offered.")
        if turn.error is not None:
            self.out.say(str(turn.error))
            if not self._host.alive():
                self.out.say(f"/retry {self._retries} and asks again.")
            if not stands:
                self.out.say("The earlier answer stands; /retry asks again.")
        elif turn.phase is TurnState.STOPPED:
            goes_on = "/answer has the answer now." if turn.thinks_only else "/continue resumes it."
            quits = "Ctrl+C again quits." if self.keyboard.terminal else ""
            sentences = ("Stopped.", goes_on if turn.steps else "", quits)
            self.out.say(" ".join(filter(None, sentences)))
        else:
            for line in filter(None, (turn.note(self.setup.context), turn.reading())):
                self.out.say(line)

    # --- what is said ------------------------------------------------------------------------

    def report_kept(self) -> None:
        """Say that there is a text that was not sent."""
        if text := " ".join(self.unsent.kept.split()):
            shown = text if len(text) <= QUOTED else f"{text[:QUOTED]} …"
            self.out.say(
                f"Not sent, and kept: {shown}\n"
                "/send sends it, /editor changes it, /drop forgets it."
            )

    def report_warnings(self) -> None:
        """Say what could not be saved or read, once."""
        for warning in (warnings := list(self.conversation.warnings)):
            self.keyboard.say_meanwhile(warning)
        del self.conversation.warnings[: len(warnings)]  # a thread may have added one

    # --- what is typed -----------------------------------------------------------------------

    def _keep(self) -> None:
        draft = self.unsent.now()
        self.conversation.keep_draft(draft.text, draft.pictures)

    async def _save_often(self) -> None:
        """Save what is typed within a moment: even a killed chat loses no more than that."""
        saved, written = None, True
        while True:
            await asyncio.sleep(AUTOSAVE_S if written else AGAIN_S)
            draft = self.unsent.now()
            if draft == saved and written:
                continue
            self._keep()
            written, saved = await asyncio.to_thread(self.conversation.flush), draft
            if self.keyboard.asking:
                self.report_warnings()

    async def save(self) -> None:
        """Save what is typed, now."""
        self._keep()
        await asyncio.to_thread(self.conversation.flush)
        self.report_warnings()

    async def exchange(self, opened: Conversation) -> None:
        """Go on with another conversation; what is not sent stays with the one that it is of."""
        self._keep()
        await asyncio.to_thread(self.conversation.close)
        self.unsent.drop()
        self.conversation = opened
        if (draft := opened.draft) is not None:
            self.unsent.give_back(draft.text, draft.pictures)
        self.remember_history()

    def remember_history(self) -> None:
        """Let Up find the messages of this chat."""
        with contextlib.suppress(Exception):  # a history is no reason to fail
            self.keyboard.remember(list(self.conversation.history()))
