"""The scenes: what is typed, and when a picture is taken.

`pictures` and `talk` are answered by real models. The others are answered by a fake server with a
script (`tests.fakes.sse_server`), where a small model cannot show what is to be seen: it stands for
Step-3.7-Flash, and nothing in its pictures says what that model would have answered. The chat, what
it draws, its tools and the MCP server are real in all of them.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from screenshots.desk import ROOT, Desk
from screenshots.subjects import TABLE
from tests.fakes.sse_server import Call, End, FakeServer, Gate, Read, Say, Step, Think

STEP: Final = {
    "/props": {
        "default_generation_settings": {"n_ctx": 65536},
        "modalities": {"vision": True},
        "model_path": "/models/Step-3.7-Flash-IQ4_XS-00001-of-00003.gguf",
    },
    "/v1/models": {"data": [{"id": "Step-3.7-Flash"}]},
}
THOUGHT: Final = (
    "The user wants to know what a Bloom filter does and what it costs. I should give the numbers "
    "for a few sizes: with m/n bits per item the best number of hashes is (m/n) ln 2, so 8 bits "
    "per item give 5.5, rounded to 6, and a share of false answers of about 2 percent. A table "
    "says that best, and a few lines of code show how an item is added."
)


@contextmanager
def scripted(*scripts: list[Step]) -> Iterator[FakeServer]:
    """Serve answers from a script, as a server of Step-3.7-Flash would."""
    with FakeServer(*scripts) as server:
        server.pages = STEP
        yield server


def pictures(desk: Desk) -> None:
    """Show two pictures with their prices; the trained tiny Step thinks and answers."""
    with desk.chat("--demo", "pictures", "--temperature", "0", "--own") as chat:
        chat.sees("ready")
        chat.sees("[Image #1] shapes.png")  # the demo's own
        chat.type(f"/image {desk.files / 'sign.png'}")
        chat.press("Enter")
        chat.sees("[Image #2]")
        chat.type("What is different?")
        desk.save("two-pictures", chat)
        chat.press("Enter")
        chat.sees("· ready", "tokens/s")
        desk.save("two-pictures-answered", chat)
        chat.press("C-t")
        desk.save("thinking-open", chat)


def streaming(desk: Desk) -> None:
    """Show an answer under way: its thinking, then its text, then the whole."""
    thinking, saying = Gate(), Gate()
    half = TABLE.index("```python") + 90
    pieces = [Think(f"{word} ") for word in THOUGHT.split()]
    script: list[Step] = [
        Read(300, 900), Read(900, 900), *pieces, thinking,
        Say(TABLE[:half]), saying, Say(TABLE[half:]), End(prompt=900, tokens=412, tps=23.4),
    ]  # fmt: skip
    with scripted(script) as server, desk.chat("--url", server.url, "--show-thinking") as chat:
        chat.sees("ready")
        chat.type("What is a Bloom filter, and what does it cost?")
        chat.press("Enter")
        chat.sees("item is added")
        desk.save("streaming-thinking", chat, still=False)
        thinking.open()
        chat.sees("seed in range")
        desk.save("streaming-answer", chat, still=False)
        saying.open()
        chat.sees("· ready")
        desk.save("answered", chat)


def zoom(desk: Desk) -> None:
    """Show the model looking closer: the chat's own code crops."""
    part = json.dumps({"image": 1, "x": 570, "y": 360, "w": 260, "h": 420})
    place = json.dumps({"image": 1, "x": 625, "y": 690, "w": 130, "h": 60, "label": "K-217"})
    scripts: list[list[Step]] = [
        [Think("The letters on the hull are small."), Call("zoom", part), End("tool_calls")],
        [Call("mark", place), End("tool_calls")],
        [Say("The boat is the **Alma**, with the number **K-217** on her hull."), End(tokens=40)],
    ]
    with scripted(*scripts) as server, desk.chat("--url", server.url) as chat:
        chat.sees("ready")
        chat.type(f"/image {desk.files / 'harbour.jpg'}")
        chat.press("Enter")
        chat.sees("[Image #1]")
        chat.type("What is the boat called?")
        chat.press("Enter")
        chat.sees("K-217 on her", "· ready")
        desk.save("zoom", chat)
        chat.press("C-t")
        desk.save("zoom-open", chat)


def mcp(desk: Desk) -> None:
    """Show what asks for a call of an MCP server's tool; the server is a real one."""
    server_file = ROOT / "tests/fakes/mcp_server.py"
    desk.configure("mcp.toml", f'[server.fake]\ncommand = "{sys.executable}"\n'
                   f'args = ["{server_file}"]\n')  # fmt: skip
    call = Call("fake__add", json.dumps({"a": 1, "b": 41}))
    scripts: list[list[Step]] = [
        [Say("I add them."), call, End("tool_calls")],
        [Say("The sum is 42."), End()],
    ]
    with scripted(*scripts) as server, desk.chat("--url", server.url, "--mcp", "fake") as chat:
        chat.sees("fake is on")
        chat.type("What is 1 + 41?")
        chat.press("Enter")
        chat.sees("wants to run")
        desk.save("mcp-asked", chat)
        chat.press("M-p")
        chat.sees("wants to run", gone="Alt+P first")
        chat.still()
        chat.press("y")
        chat.sees("press Enter")
        chat.press("Enter")
        chat.sees("42", "· ready")
        desk.save("mcp-answered", chat)
        chat.type("/mcp")
        chat.press("Enter")
        desk.save("mcp-servers", chat)


def talk(desk: Desk) -> None:
    """Show versions of an answer, search, palette, and the picker with a hit in a text."""
    said = [
        "Fort Point was lit in 1853.",
        "The *Fresnel lens* bends light into a beam that is seen 20 nautical miles away.",
        "A lens in rings is thin, and bends light into one beam.",
        "Rings of glass do the work of one thick lens: **less glass, the same beam**.",
    ]
    scripts: list[list[Step]] = [[Say(each), End(prompt=40, tokens=18, tps=24.1)] for each in said]
    with scripted(*scripts) as server:
        with desk.chat("--url", server.url) as chat:
            chat.sees("ready")
            chat.type("When was the first lighthouse of the west coast lit?")
            chat.press("Enter")
            chat.sees("1853", "· ready")
            chat.press("C-q")
            chat.sees("Resume with")
        with desk.chat("--url", server.url) as chat:
            chat.sees("ready")
            chat.type("How does a Fresnel lens work?")
            chat.press("Enter")
            chat.sees("nautical", "· ready")
            for word in ("rings is thin", "less glass"):
                chat.type("/retry")
                chat.press("Enter")
                chat.sees(word, "· ready")
            chat.press("M-Left")
            chat.sees("2/3")
            desk.save("versions", chat)
            chat.press("C-f")
            chat.type("lens")
            desk.save("search", chat)
            chat.press("Escape")
            chat.press("C-p")
            chat.still()
            desk.save("palette", chat)
            chat.type("th")
            desk.save("palette-typed", chat)
            chat.press("Escape", "C-o")
            chat.still()
            desk.save("picker", chat)
            chat.type("nautical")
            desk.save("picker-hit", chat)
            chat.press("Escape", "F1")
            desk.save("help", chat)


def refusals(desk: Desk) -> None:
    """Show a broken picture, and a file, a server and an engine that are not there."""
    with scripted() as server, desk.chat("--url", server.url) as chat:
        chat.sees("ready")
        chat.type(f"/image {desk.files / 'broken.png'}")
        chat.press("Enter")
        desk.save("refused-picture", chat)
        chat.press("Escape", "C-u")
        chat.type("/attach missing.txt")
        chat.press("Enter")
        desk.save("refused-file", chat)
    with desk.chat("--url", "http://127.0.0.1:9") as chat:
        chat.until(lambda shown: "127.0.0.1:9" in shown and "No server" in shown)
        desk.save("refused-server", chat)
    with desk.chat("--demo", "pictures", "--engine", "nothing") as chat:
        chat.sees("nothing")
        desk.save("refused-engine", chat)


def small(desk: Desk) -> None:
    """Show forty columns and ten rows."""
    script: list[Step] = [Think(THOUGHT), Say(TABLE), End(prompt=900, tokens=412, tps=23.4)]
    with (
        scripted(script) as server,
        desk.chat("--url", server.url, size=(40, 10)) as chat,
    ):
        chat.sees("ready")
        desk.save("small-empty", chat)
        chat.type(f"/image {desk.files / 'harbour.jpg'}")
        chat.press("Enter")
        chat.sees("[Image #1]")
        desk.save("small-picture", chat)
        chat.type("What is it?")
        chat.press("Enter")
        chat.sees("ready")
        chat.still()
        desk.save("small", chat)
        chat.press("PageUp")
        desk.save("small-up", chat)


def light(desk: Desk) -> None:
    """Show a light terminal, which the theme follows."""
    script: list[Step] = [Think(THOUGHT), Say(TABLE), End(prompt=900, tokens=412, tps=23.4)]
    with scripted(script) as server, desk.chat("--url", server.url, light=True) as chat:
        chat.sees("ready")
        chat.type(f"/image {desk.files / 'harbour.jpg'}")
        chat.press("Enter")
        chat.sees("[Image #1]")
        chat.type("What is a Bloom filter?")
        desk.save("light-picture", chat)
        chat.press("Enter")
        chat.sees("The share is")
        desk.save("light", chat)
        chat.press("C-p")
        desk.save("light-palette", chat)


def files(desk: Desk) -> None:
    """Show a file mentioned by @, with its price."""
    with scripted() as server, desk.chat("--url", server.url) as chat:
        chat.sees("ready")
        chat.type("Which berth is free at noon? @no")
        desk.save("mention-list", chat)
        chat.press("Tab")
        chat.type(" @berths/")
        desk.save("mention-folder", chat)
        chat.press("Escape")
        desk.save("mention-price", chat)
        chat.press("Enter")
        chat.sees("thank you")
        desk.save("mention-sent", chat)


def plain(desk: Desk) -> None:
    """Show the plain chat, which a terminal that can only print gets by itself."""
    script: list[Step] = [
        Read(300, 900), Read(900, 900), Think(THOUGHT), Say(TABLE),
        End(prompt=900, tokens=412, tps=23.4),
    ]  # fmt: skip
    with (
        scripted(script) as server,
        desk.chat("--url", server.url, size=(80, 30), term="dumb") as chat,
    ):
        chat.still()
        chat.type("What is a Bloom filter?")
        chat.press("Enter")
        chat.sees("The share is")
        chat.still()
        chat.type("/status")
        chat.press("Enter")
        desk.save("plain", chat)


SCENES: Final[Mapping[str, Callable[[Desk], None]]] = {
    scene.__name__: scene
    for scene in (
        streaming, pictures, zoom, mcp, talk, refusals, small, light, files, plain
    )
}  # fmt: skip
