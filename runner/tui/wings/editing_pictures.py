"""Making attached pictures cheaper: the next smaller size that costs less, or a part of one."""

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from textual.message import Message

from runner.base.errors import SteprunError
from runner.base.text import clean_name
from runner.chat.export import TIMES
from runner.chat.images.tokens import cheaper_size
from runner.chat.wire import Picture
from runner.tui.actions import Action
from runner.tui.apart import in_workshop
from runner.tui.talking import ChatTalk
from runner.tui.wings.pictures import Load, PictureWing
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp
    from runner.tui.picture_screens import Box

BACK = "undo"


class Edit(NamedTuple):
    """What a picture was made from. `only_size`: what it shows is the same."""

    made: Picture
    before: Picture
    only_size: bool


class PictureEditing(Wing):
    """Shrinks and crops what is attached; what it was is kept until it is sent."""

    title = "Smaller pictures"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._edits: list[Edit] = []
        self._one_at_a_time = asyncio.Lock()

    def shrink(self, typed: str) -> None:
        """Make picture N, or the last one, smaller, or take that back."""
        words = typed.split()
        number = next((word for word in words if word != BACK), "")
        if BACK in words:
            if (picture := self._picture(number)) is not None:
                self._take_back(picture)
        elif self._picture(number) is not None:
            self._begin(self._shrink(number))

    def crop(self, number: str) -> None:
        """Frame the part of picture N, or of the last one, that is to be sent."""
        from runner.tui.picture_screens import CropScreen  # noqa: PLC0415 - the window opens without

        picture = self._picture(number)
        if picture is not None:
            whole = self._whole(picture)  # a part of it is as sharp as it was
            self.chat.push_screen(
                CropScreen(whole, self.chat.composer.price), partial(self._cropped, picture, whole)
            )

    def _cropped(self, picture: Picture, whole: Picture, box: "Box | None") -> None:
        if box is not None:
            change = self._change(
                picture, picture, lambda shop: shop.cropped(whole, box), only_size=False
            )
            self._begin(change)

    def _picture(self, number: str) -> Picture | None:
        """Return the picture of a number, the last one without; None, and a hint: there is none."""
        pictures = self.chat.composer.pictures
        which = int(number) if number.isdecimal() else 0
        if not pictures or (number and not 0 < which <= len(pictures)):
            self.chat.hint("No such image." if pictures else "No image is attached.")
            return None
        return pictures[which - 1]

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self.chat.loading_pictures += 1  # Enter waits for it
        self.chat.show_status()
        self.chat.run_worker(self._in_turn(work), group="pictures", exit_on_error=False)

    async def _in_turn(self, work: Coroutine[Any, Any, None]) -> None:
        failed = True
        try:
            async with self._one_at_a_time:
                await work
            failed = False
        except SteprunError as error:
            self.chat.call_later(self.chat.problem, error)
        finally:
            self.chat.call_later(self.chat.wing(PictureWing).settle, failed=failed)

    async def _shrink(self, number: str) -> None:
        # Looked up only now: a key that was pressed twice means two steps.
        picture = self._picture(number)
        if picture is None:
            return
        size = cheaper_size(picture.width, picture.height)
        if size is None:
            self.chat.hint(f"{clean_name(picture.name)} costs the least that an image can.")
            return
        whole = self._whole(picture)  # from which each size is made: nothing is blurred twice
        await self._change(picture, whole, lambda shop: shop.scaled(whole, *size), only_size=True)

    async def _change(
        self,
        picture: Picture,
        source: Picture,
        make: Load,
        *,
        only_size: bool,
    ) -> None:
        made = await in_workshop(make)
        if self.chat.composer.swap(picture, made):
            self._edits.append(Edit(made, picture, only_size))
            self._report(source if only_size else picture, made)
        self.forget()

    def _report(self, before: Picture, made: Picture) -> None:
        sizes = f"{before.width}{TIMES}{before.height} → {made.width}{TIMES}{made.height}"
        price = self.chat.composer.price(made.tokens)
        tokens = f", {before.tokens:,} → {price}" if price else ""
        self.chat.hint(f"{sizes}{tokens}. /shrink undo takes it back.")

    def _take_back(self, picture: Picture) -> None:
        edit = self._of(picture)
        if edit is None:
            self.chat.hint(f"{clean_name(picture.name)} is as it was attached.")
            return
        self.chat.composer.swap(picture, edit.before)
        self.chat.hint(f"{edit.before.width}{TIMES}{edit.before.height} again.")
        self.chat.unsent.changed()

    def _of(self, picture: Picture) -> Edit | None:
        return next((edit for edit in self._edits if edit.made is picture), None)

    def _whole(self, picture: Picture) -> Picture:
        """Return what a picture was before it was shrunk."""
        while (edit := self._of(picture)) is not None and edit.only_size:
            picture = edit.before
        return picture

    def forget(self, _: Message | None = None) -> None:
        """Let go of what pictures were that are not attached any more."""
        kept: list[Edit] = []
        for picture in (*self.chat.composer.pictures, *self._waiting()):
            while (edit := self._of(picture)) is not None:
                kept.append(edit)
                picture = edit.before  # noqa: PLW2901 - a chain
        self._edits = kept

    def _waiting(self) -> list[Picture]:
        return [picture for message in self.chat.waiting for picture in message.pictures]

    actions = (
        Action(
            *("pictures.shrink", "make the last image, or image N, the next cheaper size", shrink),
            *("shrink", "[N|undo]"),
            keys=("alt+s",),
        ),
        Action(
            "pictures.crop", "send only a part of the last image, or of image N", crop,
            *("crop", "[N]"),
            keys=("alt+c",),
        ),
    )  # fmt: skip
    hears: ClassVar[Mapping[type[Message], Hear]] = {ChatTalk.Ended: forget}
