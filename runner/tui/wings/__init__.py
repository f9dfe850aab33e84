"""The parts of the chat, each with its own commands, keys, panels and messages.

A further feature is a further wing in `WINGS`: nothing else lists what the chat can do.
"""

from typing import Final

from runner.tui.actions import ActionGroup
from runner.tui.wings.completing import Completing
from runner.tui.wings.composing import Composing
from runner.tui.wings.copying import Copying
from runner.tui.wings.editing_pictures import PictureEditing
from runner.tui.wings.files import Files
from runner.tui.wings.finding import FindWing
from runner.tui.wings.going_on import GoingOn
from runner.tui.wings.looks import Looks
from runner.tui.wings.mcp_servers import McpServers
from runner.tui.wings.models import ModelWing
from runner.tui.wings.pasting import Pasting
from runner.tui.wings.permission import Permission
from runner.tui.wings.pictures import PictureWing
from runner.tui.wings.saving import Saving
from runner.tui.wings.sending import Sending
from runner.tui.wings.server_wait import WaitingForServers
from runner.tui.wings.sessions import Sessions
from runner.tui.wings.showing_pictures import PictureShow
from runner.tui.wings.status_panel import StatusPanel
from runner.tui.wings.switches import Switches
from runner.tui.wings.thinking import Thinking
from runner.tui.wings.tools import ToolWing
from runner.tui.wings.versions import Versions
from runner.tui.wings.window import Window
from runner.tui.wings.wing import Wing

# In the order of the help.
WINGS: Final[tuple[type[Wing], ...]] = (
    *(Sending, Versions, Composing, PictureWing, Pasting, PictureEditing, PictureShow),
    *(Files, Completing, Thinking, GoingOn, ToolWing, McpServers, WaitingForServers, Permission),
    *(Copying, FindWing, Saving, Sessions, Switches, ModelWing, Looks, StatusPanel, Window),
)
GROUPS: Final = tuple(ActionGroup(wing.title, wing.actions) for wing in WINGS if wing.actions)
