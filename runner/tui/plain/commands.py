"""The commands of a plain chat: those of the window that make sense without one, and a few more."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.text import clean_name
from runner.chat.conversation import Conversation
from runner.chat.export import picture_label
from runner.chat.files.attached import PICTURES, label, labels, own_pictures
from runner.chat.going_on import GO_ON, LESS_EFFORT, can_write_on, open_ended
from runner.chat.images.load import load_picture
from runner.chat.sessions.index import ChatTitle, list_chats
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import EFFORTS
from runner.tui import shared
from runner.tui.actions import Action, ActionGroup, by_command
from runner.tui.editor import edit_text, editor_command
from runner.tui.paste import PATHS, find_pictures
from runner.tui.plain.keyboard import MESSAGE_BYTES
from runner.tui.plain.talk import PlainTalk
from runner.tui.plain.words import AnswerWords
from runner.tui.save_as import save_as
from runner.tui.settings import write_quietly

if TYPE_CHECKING:
    from runner.tui.plain.chat import PlainChat

LISTED: Final = 20  # chats at a time

HELP_AFTER: Final = (
    "A line is a message. A backslash at its end continues it in the next line; lines that are "
    "pasted together are one message. The path of an image attaches it.",
    "Ctrl+C stops an answer; twice, it ends the chat, as Ctrl+D does.",
)


class PlainCommands:
    """What the user can type. Each method takes what follows its command."""

    def __init__(self, talk: PlainTalk, chat: "PlainChat") -> None:
        self.talk = talk
        self.chat = chat
        self._listed: tuple[ChatTitle, ...] = ()

    # --- messages ----------------------------------------------------------------------------

    async def send(self, text: str) -> None:
        """Ask a question, with what is attached."""
        attached = self.talk.unsent.take_attached()
        await self.talk.ask(self.talk.conversation.append(text, *attached))

    async def send_kept(self, _: str) -> None:
        """Send the text that was not sent, or images and files alone."""
        unsent = self.talk.unsent
        if unsent.kept or unsent.pictures or unsent.files:
            await self.send(unsent.take_text())
        else:
            self.talk.out.say("There is nothing to send.")

    async def drop(self, _: str) -> None:
        """Forget what was not sent."""
        self.talk.unsent.drop()
        await self.talk.save()
        self.talk.out.say("Nothing is kept that was not sent.")

    async def retry(self, _: str) -> None:
        """Ask the last question again; open the host again where there is none."""
        talk = self.talk
        if talk.unsent.kept and not talk.host_alive:
            await self.send_kept("")
        elif (turn := talk.conversation.retriable()) is not None:
            await talk.ask(talk.conversation.regenerate(turn))
        else:
            talk.out.say("There is nothing to ask again.")

    async def resume_answer(self, _: str) -> None:
        """Go on with the last answer, where it broke off."""
        talk = self.talk
        turn = talk.conversation.retriable()
        if turn is None:
            talk.out.say("There is no answer to continue.")
        elif not open_ended(turn, talk.setup.context):
            talk.out.say("This answer is whole.")
        else:
            await self._go_on(turn, answers=turn.thinks_only and turn.finish == "stop")

    async def answer_now(self, _: str) -> None:
        """Have the answer to what was thought before."""
        turn = self.talk.conversation.retriable()
        if turn is not None and turn.thinks_only:
            await self._go_on(turn, answers=True)
        else:
            self.talk.out.say("There is no thinking without an answer.")

    async def entered(self) -> None:
        """Go on, as Enter with nothing typed does below an answer that says so."""
        turn = self.talk.conversation.retriable()
        done = turn is not None and turn.phase is TurnState.DONE
        if turn is not None and done and open_ended(turn, self.talk.setup.context):
            await self.resume_answer("")

    async def _go_on(self, turn: Turn, *, answers: bool) -> None:
        talk = self.talk
        if can_write_on(turn, talk.options.dialect):
            await talk.ask(talk.conversation.continued(turn, answers=answers))
        elif turn.answered:
            await talk.ask(talk.conversation.append(GO_ON, ()))
        else:
            again = talk.conversation.regenerate(turn)
            again.effort = LESS_EFFORT if turn.thinks_only else again.effort
            talk.out.say("It cannot be continued from there: the question is asked again.")
            await talk.ask(again)

    def edit(self, _: str) -> None:
        """Edit the last message in the user's editor, and ask it."""
        talk = self.talk
        turn = talk.conversation.retriable()
        if turn is None:
            talk.out.say("There is no message to edit.")
            return
        text = self._edited(turn.text)
        if text.strip() == turn.text.strip() or not text.strip():
            talk.out.say("The message was not changed.")
        else:
            self.chat.wait(
                talk.ask(talk.conversation.edit(turn, text.strip(), turn.pictures, turn.files))
            )

    def compose(self, _: str) -> None:
        """Write a message in the user's editor, from what is kept; it is sent when that closes."""
        unsent = self.talk.unsent
        text = self._edited(unsent.take_text()).strip()
        if text:
            self.chat.wait(self.send(text))
        else:
            self.talk.out.say("The message is empty, and was not sent.")

    def _edited(self, text: str) -> str:
        with self.chat.terminal_lent():
            return edit_text(editor_command(), text, MESSAGE_BYTES)

    # --- images ------------------------------------------------------------------------------

    async def attach(self, path: str) -> None:
        """Attach an image, or several."""
        await self.load(find_pictures(path) or [_expanded(path)])

    async def load(self, paths: list[str]) -> None:
        """Attach images; say of each that it is, or why not."""
        talk = self.talk
        if not talk.setup.sees:
            talk.out.say(f"This model cannot see images. {talk.setup.blind_why}".strip())
            return
        for path in paths:
            if len(talk.unsent.pictures) >= PATHS:
                talk.out.say(f"A message can have {PATHS} images. Send these first: /send")
                break
            try:
                picture = await asyncio.to_thread(load_picture, Path(path))
            except SteprunError as error:
                talk.out.say(str(error))
                continue
            talk.unsent.pictures.append(picture)
            number = len(talk.unsent.pictures)
            label = picture_label(number, picture, prices=talk.setup.prices)
            talk.out.say(f"{label}, sent with the next message.")
        await talk.save()

    async def attach_file(self, path: str) -> None:
        """Attach a text file, a folder or a PDF."""
        await self.load_files((Path(_expanded(path)),))

    async def load_files(self, paths: tuple[Path, ...]) -> None:
        """Attach files. Raises `SteprunError` for the first that fails."""
        from runner.chat.files.attaching import attach_all  # noqa: PLC0415 - most chats have none

        talk = self.talk
        there = talk.unsent.pictures, *(each.pictures for each in talk.unsent.files)
        room = PICTURES - sum(map(len, there))
        for each in await attach_all(paths, sees=talk.setup.sees, pictures=room):
            talk.unsent.files.append(each)
            parts = (label(each.file), *each.notes)
            talk.out.say(f"{' · '.join(parts)}, sent with the next message.")

    async def detach(self, number: str) -> None:
        """Remove an image."""
        pictures = self.talk.unsent.pictures
        which = int(number) if number.isdecimal() and len(number) < 4 else len(pictures)
        if (number and not number.isdecimal()) or not 1 <= which <= len(pictures):
            self.talk.out.say("There is no such image.")
        else:
            self.talk.out.say(f"Removed {clean_name(pictures.pop(which - 1).name)}.")
            await self.talk.save()

    # --- versions ----------------------------------------------------------------------------

    async def earlier(self, _: str) -> None:
        """Show the version before."""
        await self._step(-1)

    async def later(self, _: str) -> None:
        """Show the version after."""
        await self._step(1)

    async def _step(self, step: int) -> None:
        talk = self.talk
        for turn in reversed(talk.conversation.turns):
            version, count = talk.conversation.siblings(turn)
            if 1 <= version + step <= count:
                shown = talk.conversation.switch(turn, step)
                talk.out.say(f"Version {version + step} of {count}.")
                self.show_turn(shown)
                await talk.save()
                return
        talk.out.say(f"There is no {'earlier' if step < 0 else 'later'} version.")

    def show_turn(self, turn: Turn) -> None:
        """Print a turn that is over: the question and the answer."""
        talk = self.talk
        for number, picture in enumerate(own_pictures(turn.pictures, turn.files), 1):
            talk.out.say(picture_label(number, picture, prices=talk.setup.prices))
        for line in labels(turn.files):
            talk.out.say(line)
        if turn.text:
            talk.out.say("\n".join(f"> {line}" for line in turn.text.split("\n")))
        talk.out.write(AnswerWords(thinking=talk.thinking).more(turn, end=True))
        talk.out.end_line()
        if note := turn.note(talk.setup.context):
            talk.out.say(note)

    # --- the model ---------------------------------------------------------------------------

    def think(self, _: str) -> None:
        """Show or hide the reasoning."""
        self.talk.thinking = not self.talk.thinking
        shown = "shown" if self.talk.thinking else "hidden"
        self.talk.out.say(f"The reasoning is {shown}, from the next question on.")

    async def set_effort(self, effort: str) -> None:
        """Set the reasoning effort; the next one without a name."""
        talk, efforts = self.talk, (shared.DEFAULT_EFFORT, *EFFORTS)
        now = efforts.index(talk.options.effort or shared.DEFAULT_EFFORT)
        chosen = effort.lower() or efforts[(now + 1) % len(efforts)]
        if chosen not in efforts:
            raise UsageError(
                f"{effort[:40]!r} is not a reasoning effort.",
                next=f"It can be {', '.join(EFFORTS)} or {shared.DEFAULT_EFFORT}.",
            )
        sent = "" if chosen == shared.DEFAULT_EFFORT else chosen
        talk.options = replace(talk.options, effort=sent or None)
        talk.out.say(f"Reasoning effort: {chosen}, from the next question on.")
        if talk.settings.choose(effort=sent):
            error = await asyncio.to_thread(write_quietly, talk.settings)
            if error is not None:
                talk.out.say(str(error))

    async def status(self, _: str) -> None:
        """Say what is talked to, and how full the context is."""
        talk = self.talk
        used, context = talk.conversation.context_used(), talk.setup.context
        size = f" of {context:,}" if context else ""
        lines = [f"Model: {talk.setup.title}.", f"Context: {used:,}{size} tokens."]
        lines.append(f"Reasoning effort: {talk.options.effort or shared.DEFAULT_EFFORT}.")
        turns = talk.conversation.turns
        if turns and (rate := turns[-1].rate()):
            lines.append(f"Last answer: {rate:.1f} tokens/s.")
        if count := len(talk.unsent.pictures):
            lines.append(f"Images for the next message: {count}.")
        if count := len(talk.unsent.files):
            lines.append(f"Files for the next message: {count}.")
        if not talk.host_alive:
            own = talk.setup.own
            lines.append("The engine is not ready." if own else "The server has not answered yet.")
        talk.out.say("\n".join(lines))
        talk.report_kept()

    # --- chats -------------------------------------------------------------------------------

    async def start_new(self, _: str) -> None:
        """Start a new chat; the previous one can be resumed."""
        talk = self.talk
        old = talk.conversation.session.id if talk.conversation.saved else ""
        new = await asyncio.to_thread(Conversation, talk.setup.title)
        await talk.exchange(new)
        again = f" The previous one: /resume {old}" if old else ""
        talk.out.say(f"New chat.{again}")

    async def list_chats(self, words: str) -> None:
        """List the saved chats, the last used one first; `words`: that their titles have."""
        talk = self.talk
        found = await asyncio.to_thread(list_chats)
        wanted = words.lower().split()
        found = tuple(each for each in found if all(w in each.title.lower() for w in wanted))
        self._listed = found[:LISTED]
        for number, each in enumerate(self._listed, 1):
            answers = "1 answer" if each.answers == 1 else f"{each.answers:,} answers"
            talk.out.say(f"{number}. {each.title or '(no title)'}, {answers}, {each.id}")
        if not found:
            talk.out.say("No saved chat has these words." if wanted else "No chat is saved yet.")
            return
        more = len(found) - len(self._listed)
        others = f" {more:,} more: /chats WORDS finds them by their titles." if more > 0 else ""
        talk.out.say(f"/resume NUMBER or /resume ID opens one.{others}")

    async def resume(self, which: str) -> None:
        """Open a saved chat, by its ID or by its number in the last list."""
        talk = self.talk
        if which.isdecimal() and len(which) < 4 and 1 <= int(which) <= len(self._listed):
            which = self._listed[int(which) - 1].id
        if which == talk.conversation.session.id:
            talk.out.say("This chat is open already.")
            return
        await talk.exchange(await asyncio.to_thread(Conversation, talk.setup.title, which))
        self.show_resumed()

    def show_resumed(self) -> None:
        """Say what the chat that was opened has, and print its last turn."""
        talk = self.talk
        turns = talk.conversation.turns
        questions = "1 question" if len(turns) == 1 else f"{len(turns):,} questions"
        last = " The last one:" if turns else ""
        talk.out.say(f"Resumed the chat {talk.conversation.session.id}: {questions}.{last}")
        if turns:
            self.show_turn(turns[-1])
        talk.report_kept()
        talk.report_warnings()

    async def save(self, path: str) -> None:
        """Write the conversation to a new file."""
        talk = self.talk
        turns = list(talk.conversation.turns)
        target = await asyncio.to_thread(save_as, path, turns, talk.setup.title)
        talk.out.say(f"Saved to {target}")

    # --- the chat ----------------------------------------------------------------------------

    def show_help(self, _: str) -> None:
        """Say what can be typed."""
        out = self.talk.out
        for action in (each for group in self.groups for each in group.actions):
            out.say(f"{action.usage}: {action.does}")
        for line in HELP_AFTER:
            out.say(line)

    def leave(self, _: str) -> None:
        """End the chat."""
        self.chat.left = True

    actions: ClassVar[tuple[Action, ...]] = (
        shared.RETRY.by(retry),
        shared.CONTINUE.by(resume_answer),
        shared.ANSWER.by(answer_now),
        shared.EDIT.by(edit),
        shared.EDITOR.by(compose),
        Action(
            "plain.send", "send a text that was kept, or images and files alone", send_kept, "send"
        ),
        Action("plain.drop", "forget a text, images and files that were not sent", drop, "drop"),
        shared.ATTACH.by(attach),
        shared.DETACH.by(detach),
        shared.ATTACH_FILE.by(attach_file),
        shared.EARLIER.by(earlier),
        shared.LATER.by(later),
        shared.THINK.by(think),
        shared.EFFORT.by(set_effort),
        Action("plain.status", "the model, the context, what is not sent", status, "status"),
        shared.NEW.by(start_new),
        Action("plain.chats", "list the saved chats", list_chats, "chats", "[WORDS]"),
        Action(
            *("plain.resume", "open a saved chat, by its ID or its number in the list", resume),
            *("resume", "ID"),
            needs_args=True,
        ),
        shared.SAVE.by(save),
        replace(shared.HELP.by(show_help), does="list the commands"),
        shared.QUIT.by(leave),
    )
    groups: ClassVar[tuple[ActionGroup, ...]] = (ActionGroup("Commands", actions),)
    commands: ClassVar = by_command(groups)


def _expanded(path: str) -> str:
    return os.path.expanduser(path)  # noqa: PTH111 - Path raises for `~nobody`


def needs(action: Action) -> Refused:
    """Return the error of a command without what it needs."""
    return Refused(f"Type {action.usage}.", why=f"{action.sentence}.")
