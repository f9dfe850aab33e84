"""Models: another one of the server's, or the engine here started in another way."""

from runner.base.errors import SteprunError, UsageError
from runner.base.shell import shell_line
from runner.base.text import clean_name
from runner.base.units import duration
from runner.chat.dialect import Offer
from runner.chat.host import Another, Find, Models
from runner.tui.chooser import Choice, Chooser
from runner.tui.costs import reading_again
from runner.tui.shared import MODEL
from runner.tui.typed_choices import model_typed
from runner.tui.wings.wing import Wing


class ModelWing(Wing):
    """Changes the model of a server that has several, or the engine of this chat."""

    title = "Models"

    def choose(self, name: str) -> None:
        """Talk to another model of the server; without a name, choose from what it offers."""
        chat = self.chat
        if chat.busy:
            chat.hint("Still answering: Esc stops it.")
        elif chat.setup.models is None:
            self._choose_other(name)
        else:
            chat.run_worker(
                self._choose(chat.setup.models, name), group="models", exit_on_error=False
            )

    async def _choose(self, models: Models, name: str) -> None:
        chat = self.chat
        chat.hint("Asking the server for its models.")
        try:
            offers = await models.offered()
        except SteprunError as error:
            chat.problem(error)
            return
        chat.hint("")
        if name:
            try:
                name = model_typed(name, [offer.name for offer in offers])
            except UsageError as error:
                chat.composer.give_back(f"/model {name}", ())
                chat.problem(error)
                return
        if name:
            await self._use(name)
        elif offers:
            chat.push_screen(
                Chooser("Models", [self._row(offer) for offer in offers]), self._chosen
            )
        else:
            chat.hint("The server lists no models: /model NAME asks for one.")

    def _row(self, offer: Offer) -> Choice:
        size = f"{offer.context:,} tokens" if offer.context else ""
        now = "now" if offer.name == self.chat.options.model else ""
        return Choice(offer.name, offer.name, " · ".join(filter(None, (now, size))))

    def _chosen(self, name: str | None) -> None:
        if name:
            self.chat.call_later(self._use, name)

    async def _use(self, name: str) -> None:
        chat, models = self.chat, self.chat.setup.models
        if name == chat.options.model:
            chat.hint(f"This chat talks to {clean_name(name)} already.")
        elif models is not None:
            await self._change(models.finding(name), f"Now with {clean_name(name)}.")

    async def _change(self, find: Find, now: str) -> None:
        """Talk to another model, or to another engine; the conversation stays."""
        chat = self.chat
        if chat.busy or chat.leaving:
            chat.hint("Still answering: Esc stops it.")
            return
        price = reading_again(chat)
        chat.transcript.notice(None)
        await chat.host_task.change(find, chat.setup)
        chat.show_status()
        chat.hint(f"{now}{price}")

    # --- engines of our own ------------------------------------------------------------------

    def _choose_other(self, typed: str) -> None:
        """Choose how else to run the model here, with what that costs in sight."""
        chat = self.chat
        shows = any(turn.pictures for turn in chat.conversation.turns)
        able = [other for other in chat.setup.others if other.sees or not shows]
        fit = [other for other in able if typed.casefold() in " ".join(other.words).casefold()]
        if typed and len(fit) == 1:
            chat.call_later(self._start, fit[0])
        elif able:
            loads = chat.host_task.loaded_s
            took = f" in about {duration(loads)}" if loads >= 1 else ""
            rows = [Choice(each.what, each, shell_line(each.words)) for each in able]
            title = f"Start the engine again{took}.{reading_again(chat)}".rstrip(".")
            chat.push_screen(Chooser(title, rows), self._chosen_other)
        else:
            why = ": it has images" if shows and chat.setup.others else ""
            chat.hint(f"This chat cannot change its engine{why}.")

    def _chosen_other(self, other: Another | None) -> None:
        if other is not None:
            self.chat.call_later(self._start, other)

    async def _start(self, other: Another) -> None:
        await self._change(other.find, f"Starting the engine: {shell_line(other.words)}.")

    actions = (MODEL.by(choose),)
