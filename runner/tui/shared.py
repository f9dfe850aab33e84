"""The actions that the window and the chat in plain lines both have: each in the same words. Pure.

What carries one out differs: `Action.by` adds it.
"""

from typing import Final

from runner.chat.wire import EFFORTS
from runner.tui.actions import Action
from runner.tui.typed_choices import DEFAULT, NONE

RETRY: Final = Action("chat.retry", "ask the last question again", command="retry")
CONTINUE: Final = Action(
    "chat.continue",
    "continue an answer that broke off; Enter does it too, where the answer says so",
    command="continue",
)
ANSWER: Final = Action("chat.answer", "end the thinking, and have the answer now", command="answer")
EDIT: Final = Action("versions.edit", "edit your last message and ask it again", command="edit")
EARLIER: Final = Action(
    "versions.earlier",
    "show the version before: of an answer asked again, or of an edited message",
    command="earlier",
)
LATER: Final = Action("versions.later", "show the version after", command="later")
EDITOR: Final = Action(
    "composer.editor", "write in your own editor ($VISUAL, $EDITOR)", command="editor"
)
ATTACH: Final = Action(
    "pictures.attach", "attach an image", command="image", args="PATH", needs_args=True
)
DETACH: Final = Action(
    "pictures.detach", "remove image N, or the last", command="detach", args="[N]"
)
ATTACH_FILE: Final = Action(
    "files.attach",
    "attach a text file, a folder or a PDF",
    command="attach",
    args="PATH",
    needs_args=True,
)
THINK: Final = Action("chat.thinking", "show or hide the reasoning", command="think")
EFFORT: Final = Action(
    "chat.effort",
    f"set the reasoning effort: {', '.join(EFFORTS)} or {DEFAULT}; the next one without LEVEL",
    command="effort",
    args="[LEVEL]",
)
MAX_THINKING: Final = Action(
    "chat.max-thinking",
    "limit the thinking to so many tokens, 0 for none, or default for no limit",
    command="thinking",
    args=f"[N|{DEFAULT}]",
)
TEMPERATURE: Final = Action(
    "chat.temperature",
    f"set the sampling temperature of this chat; 0 always takes the likeliest word, {DEFAULT} is "
    "the server's own",
    command="temperature",
    args=f"[X|{DEFAULT}]",
)
SYSTEM: Final = Action(
    "chat.system",
    "set the system prompt of this chat, or write it in your own editor",
    command="system",
    args=f"[TEXT|{NONE}]",
)
MODEL: Final = Action(
    "chat.model",
    "talk to another model of the server, or start the engine here in another way",
    command="model",
    args="[NAME]",
)
STATUS: Final = Action(
    "chat.status",
    "all figures: the memory against the plan, what the last answer took, the settings",
    command="status",
)
FIND: Final = Action("find.open", "find words in this chat", command="find", args="[WORDS]")
TOOLS: Final = Action(
    "tools.switch",
    "list what the model may call; switch zoom and mark, which look closer at images, on or off",
    command="tools",
    args="[on|off]",
)
MCP: Final = Action(
    "mcp.servers",
    "list MCP servers and their tools, or switch one on or off",
    command="mcp",
    args="[NAME]",
)
SAVE: Final = Action(
    "chat.save",
    "save the chat to a new file: .md, .html with the images in it, or .json",
    command="save",
    args="PATH",
    needs_args=True,
)
OPEN: Final = Action(
    "chat.open",
    "open a chat that was saved as .json, as a new one",
    command="open",
    args="PATH",
    needs_args=True,
)
NAME: Final = Action("chat.name", "name this chat", command="rename", args="NAME", needs_args=True)
FORK: Final = Action("chat.fork", "continue in a copy of this chat", command="fork")
NEW: Final = Action("chat.new", "start a new chat", command="new")
HELP: Final = Action("chat.help", "commands and keys", command="help")
QUIT: Final = Action("chat.quit", "end the chat", command="quit")
