"""What is chosen in a plain chat: how the model answers, and which model does."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Final

from runner.base.shell import shell_line
from runner.base.text import clean, clean_name
from runner.chat.host import Another, Find
from runner.tui import shared
from runner.tui.costs import reading_again
from runner.tui.plain.messages import PlainMessages
from runner.tui.plain.wing import PlainWing
from runner.tui.settings import write_quietly
from runner.tui.typed_choices import (
    DEFAULT,
    NONE,
    effort_typed,
    limit_text,
    limit_typed,
    model_typed,
    temperature_text,
    temperature_typed,
)

LISTED: Final = 50  # models of a server at a time


class PlainChoices(PlainWing):
    """Changes how the model answers; some of it is remembered, some is the chat's own."""

    title = "Model and settings"

    def think(self, _: str) -> None:
        """Show or hide the reasoning."""
        self.talk.thinking = not self.talk.thinking
        shown = "shown" if self.talk.thinking else "hidden"
        self.out.say(f"The reasoning is {shown}, from the next question on.")

    async def set_effort(self, typed: str) -> None:
        """Set the reasoning effort; the next one without a name."""
        talk = self.talk
        chosen = effort_typed(typed, talk.options.effort)
        sent = "" if chosen == DEFAULT else chosen
        changes = (talk.options.effort or "") != sent
        talk.options = replace(talk.options, effort=sent or None)
        # Step's template says it at the beginning of the prompt.
        price = reading_again(talk) if talk.setup.prices and changes else ""
        self.out.say(f"Reasoning effort: {chosen}, from the next question on.{price}")
        await self._remember(effort=sent)

    async def limit(self, typed: str) -> None:
        """Limit the tokens of the thinking; say how it is now."""
        talk = self.talk
        if typed:
            cap = limit_typed(typed, talk.options.dialect)
            talk.options = replace(talk.options, thinking_cap=cap)
            await self._remember(max_thinking="" if cap is None else str(cap))
        self.out.say(limit_text(talk.options.thinking_cap))

    async def _remember(self, **choices: str) -> None:
        if self.talk.settings.choose(**choices):
            error = await asyncio.to_thread(write_quietly, self.talk.settings)
            if error is not None:
                self.out.say(str(error))

    async def set_temperature(self, typed: str) -> None:
        """Set the sampling temperature of this chat; say how it is now."""
        talk = self.talk
        if typed:
            await self._choose(temperature=temperature_typed(typed))
        chosen = talk.conversation.chosen.temperature
        self.out.say(temperature_text(chosen, talk.options.temperature))

    def set_system(self, typed: str) -> None:
        """Set the system prompt of this chat, or edit it."""
        conversation = self.talk.conversation
        text = typed or self.chat.wing(PlainMessages).edited(conversation.chosen.system)
        text = "" if typed.lower() == NONE else text.strip()
        if text == conversation.chosen.system:
            self.out.say(
                "The system prompt is as it was." if text else "There is no system prompt."
            )
            return
        self.chat.wait(self._choose(system=text))
        what = "The system prompt is changed." if text else "There is no system prompt any more."
        self.out.say(f"{what}{reading_again(self.talk)}")

    async def _choose(self, **settings: str | float | None) -> None:
        self.talk.conversation.choose(**settings)
        await self.talk.save()

    # --- the model ---------------------------------------------------------------------------

    async def choose_model(self, name: str) -> None:
        """Talk to another model of the server, or start the engine here in another way."""
        talk = self.talk
        if talk.setup.models is None:
            await self._choose_engine(name)
            return
        offers = await talk.setup.models.offered()
        names = [offer.name for offer in offers]
        if not name:
            for each in names[:LISTED]:
                now = ", now" if each == talk.options.model else ""
                self.out.say(f"{clean_name(each)}{now}")
            more = f" {len(names) - LISTED:,} more are not listed." if len(names) > LISTED else ""
            none = "" if names else "The server lists no models. "
            self.out.say(f"{none}/model NAME talks to one; a part of its name will do.{more}")
            return
        name = model_typed(name, names)
        if name == talk.options.model:
            self.out.say(f"This chat talks to {clean_name(name)} already.")
        else:
            await self._change(talk.setup.models.finding(name), f"Now with {clean_name(name)}.")

    async def _choose_engine(self, typed: str) -> None:
        talk = self.talk
        shows = any(turn.pictures for turn in talk.conversation.turns)
        able = [other for other in talk.setup.others if other.sees or not shows]
        meant = _meant(typed, able)
        if meant is not None:
            words = shell_line(meant.words)
            await self._change(meant.find, f"Starting the engine again: {words}.")
        elif able:
            for number, each in enumerate(able, 1):
                self.out.say(f"{number}. {each.what}: {shell_line(each.words)}")
            self.out.say(f"/model NUMBER starts the engine again.{reading_again(talk)}")
        else:
            why = ": it has images" if shows and talk.setup.others else ""
            self.out.say(f"This chat cannot change its engine{why}.")

    async def _change(self, find: Find, now: str) -> None:
        price = reading_again(self.talk)
        self.out.say(f"{now}{price}")
        await self.talk.change_host(find)

    # --- how it is ---------------------------------------------------------------------------

    async def status(self, _: str) -> None:
        """Say all that is known of the server, of the last answer and of what is chosen."""
        talk = self.talk
        shown = await asyncio.to_thread(import_module, "runner.tui.figure_rows")  # brings Rich
        figures = None
        if talk.host is not None:
            module = await asyncio.to_thread(import_module, "runner.chat.figures")
            figures = await module.ask_figures(talk.host.endpoint)
        conversation, turns = talk.conversation, talk.conversation.turns
        used, limited = conversation.context_used(), bool(talk.options.dialect.thinking_cap)
        state = "ready" if talk.host_alive else ("not ready" if talk.setup.own else "no answer yet")
        rows = [("model", talk.setup.title)]
        rows += shown.server_rows(state, figures, used, talk.setup.context)
        memory = shown.memory_rows(figures, bar=False) if figures is not None else []
        rows += [(f"memory, {name}", text) for name, text in memory]
        rows += shown.answer_rows(turns[-1]) if turns else []
        rows += shown.setting_rows(talk.options, conversation.chosen, limited=limited)
        rows += [("chat", conversation.session.id)] if conversation.saved else []
        unsent = talk.unsent
        rows += [("images", f"{len(unsent.pictures)} for the next message")] * bool(unsent.pictures)
        rows += [("files", f"{len(unsent.files)} for the next message")] * bool(unsent.files)
        for name, text in rows:
            self.out.say(f"{name.capitalize()}: {clean(text)}")
        talk.report_kept()

    actions = (
        shared.THINK.by(think),
        shared.EFFORT.by(set_effort),
        shared.MAX_THINKING.by(limit),
        shared.TEMPERATURE.by(set_temperature),
        shared.SYSTEM.by(set_system),
        shared.MODEL.by(choose_model),
        shared.STATUS.by(status),
    )


def _meant(typed: str, able: Sequence[Another]) -> Another | None:
    """Return the engine that a number or a word names, None where none or several are."""
    if typed.isdecimal() and len(typed) < 4:
        return able[int(typed) - 1] if 1 <= int(typed) <= len(able) else None
    fit = [each for each in able if typed.casefold() in " ".join(each.words).casefold()]
    return fit[0] if typed and len(fit) == 1 else None
