"""Messages of a plain chat: sent, kept, asked again, continued, edited."""

from runner.base.errors import SteprunError
from runner.chat.going_on import GO_ON, LESS_EFFORT, can_write_on, open_ended, up_to_results
from runner.chat.turn import Turn, TurnState
from runner.tui import shared
from runner.tui.actions import Action
from runner.tui.editor import edit_text, editor_command
from runner.tui.plain.attaching import PlainAttaching
from runner.tui.plain.keyboard import MESSAGE_BYTES
from runner.tui.plain.wing import PlainWing


class PlainMessages(PlainWing):
    """Asks, and asks again."""

    title = "Messages"

    async def send(self, text: str, *, pasted: bool = False) -> None:
        """Ask a question, with what is attached and what it mentions.

        `pasted`: it may be somebody else's text, so that it attaches nothing.
        """
        unsent = self.talk.unsent
        try:
            await self.chat.wing(PlainAttaching).take_mentioned(text, pasted=pasted)
        except SteprunError:
            unsent.give_back(text)
            self.talk.report_kept()
            raise
        attached = unsent.take_attached()
        await self.talk.ask(self.talk.conversation.append(text, *attached))

    async def send_kept(self, _: str) -> None:
        """Send the text that was not sent, or images and files alone."""
        unsent = self.talk.unsent
        if unsent.kept or unsent.pictures or unsent.files:
            text = unsent.take_text()
            await self.send(text, pasted="\n" in text)
        else:
            self.out.say("There is nothing to send.")

    async def drop(self, _: str) -> None:
        """Forget what was not sent."""
        self.talk.unsent.drop()
        await self.talk.save()
        self.out.say("Nothing is kept that was not sent.")

    async def retry(self, _: str) -> None:
        """Ask the last question again; open the host again where there is none."""
        talk = self.talk
        if talk.unsent.kept and not talk.host_alive:
            await self.send_kept("")
        elif (turn := talk.conversation.retriable()) is not None:
            await talk.ask(talk.conversation.regenerate(turn))
        else:
            self.out.say("There is nothing to ask again.")

    async def resume_answer(self, _: str) -> None:
        """Go on with the last answer, where it broke off."""
        turn = self.talk.conversation.retriable()
        if turn is None:
            self.out.say("There is no answer to continue.")
        elif not open_ended(turn, self.talk.setup.context):
            self.out.say("This answer is whole.")
        else:
            await self._go_on(turn, answers=turn.thinks_only and turn.finish == "stop")

    async def answer_now(self, _: str) -> None:
        """Have the answer to what was thought before."""
        turn = self.talk.conversation.retriable()
        if turn is not None and turn.thinks_only:
            await self._go_on(turn, answers=True)
        else:
            self.out.say("There is no thinking without an answer.")

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
        elif steps := up_to_results(turn):
            await talk.ask(talk.conversation.continued(turn, steps=steps))
        elif turn.answered:
            await talk.ask(talk.conversation.append(GO_ON, ()))
        else:
            again = talk.conversation.regenerate(turn)
            again.effort = LESS_EFFORT if turn.thinks_only else again.effort
            self.out.say("It cannot be continued from there: the question is asked again.")
            await talk.ask(again)

    def edit(self, _: str) -> None:
        """Edit the last message in the user's editor, and ask it."""
        talk = self.talk
        turn = talk.conversation.retriable()
        if turn is None:
            self.out.say("There is no message to edit.")
            return
        text = self.edited(turn.text)
        if text.strip() == turn.text.strip() or not text.strip():
            self.out.say("The message was not changed.")
        else:
            self.chat.wait(
                talk.ask(talk.conversation.edit(turn, text.strip(), turn.pictures, turn.files))
            )

    def compose(self, _: str) -> None:
        """Write a message in the user's editor, from what is kept; it is sent when that closes."""
        text = self.edited(self.talk.unsent.take_text()).strip()
        if text:
            self.chat.wait(self.send(text))
        else:
            self.out.say("The message is empty, and was not sent.")

    def edited(self, text: str) -> str:
        """Return a text as the user's editor leaves it. Blocks, in the main thread."""
        with self.chat.terminal_lent():
            return edit_text(editor_command(), text, MESSAGE_BYTES)

    actions = (
        shared.RETRY.by(retry),
        shared.CONTINUE.by(resume_answer),
        shared.ANSWER.by(answer_now),
        shared.EDIT.by(edit),
        shared.EDITOR.by(compose),
        Action(
            "plain.send", "send a text that was kept, or images and files alone", send_kept, "send"
        ),
        Action("plain.drop", "forget a text, images and files that were not sent", drop, "drop"),
    )
