"""What was said in a plain chat: shown again, walked through, searched."""

import asyncio
from typing import Final

from runner.base.errors import UsageError
from runner.chat.export import picture_label
from runner.chat.files.attached import labels, own_pictures
from runner.chat.finding import find_in, needle, snippet, texts_of
from runner.chat.turn import Turn
from runner.tui import shared
from runner.tui.plain.wing import PlainWing
from runner.tui.plain.words import AnswerWords

LISTED: Final = 20  # places that have the words


class PlainVersions(PlainWing):
    """Shows what was said, in this version or in another one."""

    title = "Versions and words"

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
                self.out.say(f"Version {version + step} of {count}.")
                self.show_turn(shown)
                await talk.save()
                return
        self.out.say(f"There is no {'earlier' if step < 0 else 'later'} version.")

    def show_turn(self, turn: Turn) -> None:
        """Print a turn that is over: the question and the answer."""
        talk = self.talk
        for number, picture in enumerate(own_pictures(turn.pictures, turn.files), 1):
            self.out.say(picture_label(number, picture, prices=talk.setup.prices))
        for line in labels(turn.files):
            self.out.say(line)
        if turn.text:
            self.out.say("\n".join(f"> {line}" for line in turn.text.split("\n")))
        self.out.write(AnswerWords(thinking=talk.thinking).more(turn, end=True))
        self.out.end_line()
        if note := turn.note(talk.setup.context):
            self.out.say(note)

    async def find(self, typed: str) -> None:
        """List the places in this chat that have some words; a number shows that turn."""
        turns = list(self.talk.conversation.turns)
        if typed.isdecimal() and len(typed) < 5 and 1 <= int(typed) <= len(turns):
            self.show_turn(turns[int(typed) - 1])
            return
        if (wanted := needle(typed)) is None:
            raise UsageError("Type /find WORDS.", why="They are looked for in this chat.")
        hits = await asyncio.to_thread(find_in, turns, wanted)
        shown = list(dict.fromkeys((hit.turn, hit.place) for hit in hits))
        for index, place in shown[:LISTED]:
            texts = (text for where, _, text in texts_of(turns[index]) if where is place)
            piece = next(filter(None, (snippet(text, wanted) for text in texts)), "")
            self.out.say(f"{index + 1}. {str(place).capitalize()}: {piece}")
        if not hits:
            self.out.say("This chat does not have these words.")
            return
        places = "1 place has" if len(hits) == 1 else f"{len(hits):,} places have"
        self.out.say(f"{places} these words. /find NUMBER shows the question and its answer.")

    actions = (
        shared.EARLIER.by(earlier),
        shared.LATER.by(later),
        shared.FIND.by(find),
    )
