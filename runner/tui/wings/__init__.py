"""The parts of the chat, each with its own commands, keys, panels and messages.

A further feature is a further wing in `WINGS`: nothing else lists what the chat can do.
"""

from typing import Final

from runner.tui.actions import ActionGroup
from runner.tui.wings.completing import Completing
from runner.tui.wings.composing import Composing
from runner.tui.wings.copying import Copying
from runner.tui.wings.files import Files
from runner.tui.wings.looks import Looks
from runner.tui.wings.pictures import PictureWing
from runner.tui.wings.saving import Saving
from runner.tui.wings.sending import Sending
from runner.tui.wings.sessions import Sessions
from runner.tui.wings.thinking import Thinking
from runner.tui.wings.versions import Versions
from runner.tui.wings.window import Window
from runner.tui.wings.wing import Wing

# In the order of the help.
WINGS: Final[tuple[type[Wing], ...]] = (
    *(Sending, Versions, Composing, PictureWing, Files, Completing, Thinking),
    *(Copying, Saving, Sessions, Looks, Window),
)
GROUPS: Final = tuple(ActionGroup(wing.title, wing.actions) for wing in WINGS)
