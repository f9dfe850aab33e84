"""Models: another one of the server's, or how to start another engine here."""

from dataclasses import replace

from runner.base.errors import SteprunError, UsageError
from runner.base.shell import as_typed, shell_line
from runner.base.text import clean_name
from runner.base.units import duration
from runner.chat.dialect import Offer
from runner.chat.host import Models
from runner.tui.actions import Action
from runner.tui.chooser import Choice, Chooser
from runner.tui.costs import reading_again
from runner.tui.wings.wing import Wing


class ModelWing(Wing):
    """Changes the model of a server that has several."""

    title = "Models"

    def choose(self, name: str) -> None:
        """Talk to another model of the server; without a name, choose from what it offers."""
        chat = self.chat
        if chat.busy:
            chat.hint("Still answering: Esc stops it.")
        elif chat.setup.models is None:
            self._show_others()
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
        names = [offer.name for offer in offers]
        if name and offers and name not in names:
            near = [each for each in names if name.casefold() in each.casefold()]
            if len(near) != 1:
                chat.composer.give_back(f"/model {name}", ())
                chat.problem(
                    UsageError(
                        f"The server offers no model {clean_name(name)!r}.",
                        why=f"It offers {len(names)}."
                        if not near
                        else f"{len(near)} have it in their name.",
                        next="/model lists them",
                    )
                )
                return
            name = near[0]
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
        elif chat.busy or models is None:
            chat.hint("Still answering: Esc stops it.")
        else:
            price = reading_again(chat)
            chat.options = replace(chat.options, model=name)
            chat.transcript.notice(None)
            await chat.host_task.restart(models.finding(name))
            chat.show_status()
            chat.hint(f"Now with {clean_name(name)}.{price}")

    def _show_others(self) -> None:
        """Say with which commands this chat continues with another engine, and what that costs."""
        chat, conversation = self.chat, self.chat.conversation
        if not chat.setup.others:
            chat.hint("This chat cannot change its model: see steprun chat --help.")
            return
        saved = conversation.saved
        kept = ("--resume", conversation.session.id) if saved else ()
        lines = [
            f"{other.what}: {shell_line(('steprun', 'chat', *kept, *other.words))}"
            for other in chat.setup.others
        ]
        loads = chat.host_task.loaded_s
        took = f" The engine took {duration(loads)} to load this time." if loads >= 1 else ""
        chat.problem(
            SteprunError(
                "The engine of this chat is chosen when it starts.",
                why=f"Leave with Ctrl+Q, then type one of these.{took}{reading_again(chat)}\n"
                + "\n".join(as_typed(line) for line in lines),
            )
        )

    actions = (
        Action(
            "chat.model",
            "talk to another model of the server, or see how to start another engine",
            choose,
            *("model", "[NAME]"),
        ),
    )
