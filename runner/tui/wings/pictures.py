"""Pictures: found in what is pasted or typed, loaded in a thread, attached to the message."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message

from runner.base.errors import Refused, SteprunError
from runner.chat.files.attached import PICTURES
from runner.chat.wire import Picture
from runner.tui.apart import in_workshop
from runner.tui.composer import PASTE_BYTES, Prompt
from runner.tui.paste import find_pictures
from runner.tui.shared import ATTACH, DETACH
from runner.tui.wings.built_in import built_in
from runner.tui.wings.files import Files
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp
    from runner.tui.workshop import Workshop

Load = Callable[["Workshop"], Picture]


def _loaded_from(path: str, workshop: "Workshop") -> Picture:
    return workshop.load(Path(path))


@dataclass(slots=True)
class LoadedPictures:
    """Pictures that were loaded, or could not be. `typed`: what to give back on an error.

    `given`: by the command line.
    """

    typed: str
    given: bool = False
    pictures: list[Picture] = field(default_factory=list)
    errors: list[SteprunError] = field(default_factory=list)


class PictureWing(Wing):
    """Attaches pictures to the message that is being typed."""

    title = "Pictures"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self.send_when_loaded = False

    def started(self) -> None:
        """Attach the pictures that the command line named."""
        if self.chat.setup.pictures:
            self.load([str(path) for path in self.chat.setup.pictures], given=True)

    @property
    def loading(self) -> bool:
        """Whether pictures are being loaded."""
        return self.chat.loading_pictures > 0

    def pasted(self, message: Prompt.Pasted) -> None:
        """Attach the pictures that a pasted text names, or let it be text."""
        size = len(message.text.encode("utf-8", "replace"))
        if size > PASTE_BYTES:
            self.chat.problem(
                Refused(
                    "The pasted text is too long.",
                    why=f"It has {size:,} bytes; the limit is {PASTE_BYTES:,}.",
                    next="Paste a part.",
                )
            )
        elif paths := find_pictures(message.text):
            if self.chat.setup.sees:
                self.load(paths)
            else:
                self.chat.problem(self.chat.blind())
                self.chat.composer.insert(message.text)
        elif not self.chat.wing(Files).dropped(message.text):
            self.chat.composer.insert(message.text)

    def emptied(self, _: Prompt.Emptied) -> None:
        """Remove the last picture: Backspace was pressed before the first character."""
        self.chat.composer.detach()
        self.chat.unsent.changed()

    def attach(self, path: str) -> None:
        """Attach an image file, or several."""
        paths = find_pictures(path) or [os.path.expanduser(path)]  # noqa: PTH111 - Path raises for `~nobody`
        self.load(paths, typed=f"/image {path}")

    def detach(self, number: str) -> None:
        """Remove an image."""
        which = int(number) if number.isdecimal() else 0
        if (number and not which) or not self.chat.composer.detach(which):
            self.chat.hint("No such image.")
        self.chat.unsent.changed()

    def load(self, paths: Sequence[str], *, typed: str = "", given: bool = False) -> None:
        """Load images in a thread and attach them, or show why not. See `LoadedPictures`."""
        if not self.chat.setup.sees:
            self.chat.problem(self.chat.blind())
            if typed:
                self.chat.composer.give_back(typed, ())
            return
        loads = [partial(_loaded_from, path) for path in paths]
        self.attach_all(loads, typed=typed, given=given)

    def attach_all(self, pictures: Sequence[Load], *, typed: str = "", given: bool = False) -> None:
        """Attach what these functions return, or show why not; each runs in a thread."""
        self.chat.loading_pictures += 1
        self.chat.show_status()
        loading = self._load(pictures, LoadedPictures(typed, given))
        self.chat.run_worker(loading, group="pictures", exit_on_error=False)

    async def _load(self, pictures: Sequence[Load], result: LoadedPictures) -> None:
        for load in pictures[:PICTURES]:
            try:
                result.pictures.append(await in_workshop(load))
            except SteprunError as error:
                result.errors.append(error)
        self.chat.call_later(self._loaded, result)

    async def _loaded(self, loaded: LoadedPictures) -> None:
        chat = self.chat
        errors = list(loaded.errors)
        chat.unsent.given += loaded.pictures if loaded.given else ()
        left_out = sum(not chat.composer.attach(picture) for picture in loaded.pictures)
        if left_out:
            errors.append(
                Refused(
                    f"A message can have {PICTURES} images.",
                    why=f"{left_out} more were left out.",
                    next="Send these first, then the others.",
                )
            )
        if errors:
            chat.problem(*errors)
            if loaded.typed and not loaded.pictures:
                chat.composer.give_back(loaded.typed, ())
        self.settle(failed=bool(errors))

    def settle(self, *, failed: bool) -> None:
        """Send what waited for a picture that is ready now; not where it `failed`."""
        self.chat.loading_pictures -= 1
        if failed:
            self.send_when_loaded = False
        elif self.send_when_loaded and not self.loading:
            self.send_when_loaded = False
            self.chat.composer.prompt.action_send()
        self.chat.unsent.changed()
        self.chat.show_status()

    actions = (
        ATTACH.by(attach),
        DETACH.by(detach),
        built_in(
            Prompt.BINDINGS, "composer.backspace", does="at the very start: remove the last image"
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        Prompt.Pasted: pasted,
        Prompt.Emptied: emptied,
    }
