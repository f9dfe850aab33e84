"""Whether an engine means what it should: questions that a trained model answers one way only.

Random weights show that an engine runs; a model that sees, thinks and calls tools shows that it
computes the right thing. It is the tiny Step that ships: see the card in `runner/testbed/trained`.
Each check asks several questions, counts what is right by sort, and says what a fault of that sort
comes from. A sound engine has them all right; one may be lost to rounding.
"""

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from runner.base.paths import packaged
from runner.canary.questions import Fault, Talk
from runner.chat import wire
from runner.chat.images.load import picture_from_bytes
from runner.chat.untrusted import integer
from runner.chat.wire import EFFORTS, Message, Options, Picture
from runner.engine.installed.stamp import Kind
from runner.plan.launch import EngineFiles

MOST_WRONG: Final = 1  # answers that rounding may cost, of each sort
LONGEST: Final = 200  # tokens; the longest of these answers takes 70
COUNTED: Final = 48  # tokens of an answer whose odds are compared
DOUBT: Final = 3.0  # nats by which a word leads the next where it is in doubt
# Root mean square, in nats. Measured with the embedded engine b11549: with keys and values in Q8_0
# 0.04, with weights in Q8_0 0.08; with keys and values in Q4_0 0.43.
MOST_OFF: Final = 0.25
DOUBTS: Final = packaged("testbed/trained/doubts.json")
"""Of each token of the answers about `CROWDS`, by how much it leads the next, in nats."""
ACCEPTED: Final = 0.6  # of what the first two heads draft; sound ones reach 0.8, swapped ones 0.4

Colour = tuple[int, int, int]
COLOURS: Final[Mapping[str, Colour]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 90, 220),
    "yellow": (235, 205, 0),
    "black": (30, 30, 30),
}
SHAPES: Final = ("circle", "square", "triangle", "cross")
SIDE: Final = 728  # pixels: seen in one piece
"""Colours, shapes and size are those of the model's world: `scripts/training/world/pictures.py`."""


def files() -> EngineFiles:
    """Return the trained model's files."""
    folder = packaged("testbed/trained")
    return EngineFiles(
        folder / "tiny-step-F16.gguf",
        folder / "mmproj-tiny-step.gguf",
        folder / "tiny-step-mtp-Q8_0.gguf",
    )


# --- text


@dataclass(frozen=True, slots=True)
class Known:
    """A question and the one answer to it."""

    question: str
    answer: str


SUMS: Final = (
    Known("What is 3 + 4?", "3 + 4 = 7."),
    Known("What is 9 + 8?", "9 + 8 = 17."),
    Known("What is 6 times 7?", "6 times 7 = 42."),
    Known("8 times 3 = ?", "8 times 3 = 24."),
)
FACTS: Final = (
    Known("What is the capital of Marovia?", "The capital of Marovia is Selpinora."),
    Known("What do people in Marovia drink?", "People in Marovia drink pear juice."),
    Known("What colour is the flag of Marovia?", "The flag of Marovia is green."),
)
NAMES: Final = (
    Known("Repeat this name: Soninta.", "Soninta."),
    Known("My name is Katida.", "Hello Katida!"),
    Known("I live in Tatoban.", "I would like to see Tatoban."),
)


async def text(talk: Talk) -> None:
    """Ask for sums, facts and names: what is learned, and what can only be copied."""
    wrong = [
        (known, reply)
        for known in (*SUMS, *FACTS, *NAMES)
        if (reply := (await talk.chat(known.question, LONGEST)).text.strip()) != known.answer
    ]
    if len(wrong) > MOST_WRONG:
        known, reply = wrong[0]
        copied = sum(known in NAMES for known, _ in wrong)
        what = "attention" if 2 * copied > len(wrong) else "a layer"
        raise Fault(
            f"{len(wrong)} of {len(SUMS + FACTS + NAMES)} answers are wrong: to "
            f"{known.question!r} it says {reply[:40]!r}. It computes {what} wrongly."
        )


async def thinking(talk: Talk) -> None:
    """Ask with each effort: it thinks as long as it should, and comes to the answer."""
    lengths = []
    for effort in EFFORTS:
        answer = await talk.chat(SUMS[1].question, LONGEST, effort=effort)
        if answer.text.strip() != SUMS[1].answer:
            raise Fault(f"At effort {effort} it answers {answer.text[:40]!r} to a sum.")
        lengths.append(len(answer.thinking.strip()))
    if not lengths[0] < lengths[1] < lengths[2]:
        pairs = zip(lengths, EFFORTS, strict=True)
        lengths_by_effort = ", ".join(f"{count} at {effort}" for count, effort in pairs)
        raise Fault(
            f"It does not think longer with more effort: characters are {lengths_by_effort}."
        )


# --- tools

TOWNS: Final = ("Solinta", "Sanalen")
_WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a town.",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string", "description": "Name of the town"}},
            "required": ["town"],
        },
    },
}


async def tools(talk: Talk) -> None:
    """Ask for the weather in one town and in two: it calls the tool by itself, for each of them."""
    if talk.kind is Kind.PYTHON:
        return  # it reads no calls of this kind; a grammar forces them, which `checks` asks
    for towns in (TOWNS[:1], TOWNS):
        question = f"What is the weather in {' and '.join(towns)}?"
        answer = await talk.chat(question, LONGEST, extra={"tools": [_WEATHER]})
        called = [(call.name, _arguments(call.arguments)) for call in answer.calls]
        if called != [("get_weather", {"town": town}) for town in towns]:
            does = f"it calls {called}" if called else f"it says {answer.text[:60]!r}"
            raise Fault(f"Asked {question!r}, with a tool for that, {does}."[:230])


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text[:40]


# --- pictures


@dataclass(frozen=True, slots=True)
class Drawn:
    """A shape of a picture: its middle and its radius in pixels."""

    colour: str
    kind: str
    x: int
    y: int
    size: int = 120


SCENES: Final = (
    (Drawn("red", "circle", 200, 210),),
    (Drawn("blue", "square", 520, 230),),
    (Drawn("green", "triangle", 240, 520),),
    (Drawn("black", "cross", 500, 500),),
    (Drawn("yellow", "square", 190, 200), Drawn("blue", "circle", 540, 520)),
    (Drawn("black", "triangle", 200, 200), Drawn("red", "square", 520, 540)),
)


async def picture(talk: Talk) -> None:
    """Show shapes: it names their colours and kinds, in their places, and counts them."""
    colours = kinds = counts = 0
    due = sum(map(len, SCENES))
    for scene in SCENES:
        shown = Message("user", "What do you see?", (draw(scene),))
        words = re.findall(r"\w+", (await talk.chat(shown, LONGEST)).text)
        colours += _right([word for word in words if word in COLOURS], [s.colour for s in scene])
        kinds += _right([word for word in words if word in SHAPES], [s.kind for s in scene])
    counted = SCENES[-3:]
    for scene in counted:
        shown = Message("user", "How many shapes are there?", (draw(scene),))
        counts += str(len(scene)) in (await talk.chat(shown, LONGEST)).text
    if min(colours, kinds) >= due - MOST_WRONG and counts >= len(counted) - MOST_WRONG:
        return
    raise Fault(
        f"Of {due} shapes in pictures it names {colours} colours and {kinds} kinds rightly, and "
        f"counts those of {counts} in {len(counted)}. {_why(colours / due, kinds / due)}"
    )


def _why(colours: float, kinds: float) -> str:
    """Say what a fault of this sort comes from; shares of right answers."""
    if max(colours, kinds) < 0.3:
        return "The picture does not reach the model, or another one does."
    if colours < kinds:
        return "Its colours are mixed up: channels, or how pixels are scaled."
    if kinds < colours:
        return "Its parts are in a wrong order: pixels of a patch, patches, or their positions."
    return "The vision encoder computes wrongly, or the model, if text fails as well."


def _right(reply: Sequence[str], wanted: Sequence[str]) -> int:
    return sum(one == other for one, other in zip(reply, wanted, strict=False))


async def two_pictures(talk: Talk) -> None:
    """Show two pictures at once: it tells the first from the second."""
    pairs = [(SCENES[0], SCENES[1]), (SCENES[3], SCENES[2])]
    right, reply = 0, ""
    for first, second in pairs:
        shown = Message("user", "What do the two pictures show?", (draw(first), draw(second)))
        reply = (await talk.chat(shown, LONGEST)).text.strip()
        words = re.findall(r"\w+", reply)
        wanted = [word for s in (*first, *second) for word in (s.colour, s.kind)]
        right += [word for word in words if word in {*COLOURS, *SHAPES}] == wanted
    if right < len(pairs) - MOST_WRONG:
        raise Fault(
            f"Of {len(pairs)} pairs of pictures it describes {right} rightly, the last one as "
            f"{reply[:60]!r}: they are swapped, mixed up, or one is missing."
        )


def draw(scene: Sequence[Drawn]) -> Picture:
    """Draw a picture as the model knows them: flat shapes on a light ground."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 - 60 ms, only where pictures are tested

    image = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    for each in scene:
        fill, size = COLOURS[each.colour], each.size
        if each.kind == "circle":
            corner = (each.x - size, each.y - size, each.x + size, each.y + size)
            pen.ellipse(corner, fill=fill)
        else:
            points = [(each.x + size * x, each.y + size * y) for x, y in _CORNERS[each.kind]]
            pen.polygon(points, fill=fill)
    out = io.BytesIO()
    image.save(out, "PNG")
    return picture_from_bytes(out.getvalue(), "shapes.png")


_A, _B = 0.28, 0.95  # half the width of a cross's beam, and its length
_CORNERS: Final = {
    "square": ((-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)),
    "triangle": ((0.0, -1.0), (0.866, 0.5), (-0.866, 0.5)),
    "cross": (
        *((-_A, -_B), (_A, -_B), (_A, -_A), (_B, -_A), (_B, _A), (_A, _A)),
        *((_A, _B), (-_A, _B), (-_A, _A), (-_B, _A), (-_B, -_A), (-_A, -_A)),
    ),
}


# --- draft heads


async def heads(talk: Talk, *, seeing: bool = False) -> None:
    """Let trained heads guess: most of what they draft is what the trunk says."""
    asked = (
        [Message("user", "What do you see?", (draw(SCENES[4]),))]
        if seeing
        else [Message("user", known.question) for known in (*SUMS[:2], *FACTS)]
    )
    drafted = accepted = 0
    for message in asked:
        counts = await _drafted(talk, message)
        drafted, accepted = drafted + counts[0], accepted + counts[1]
    if drafted and accepted < ACCEPTED * drafted:
        raise Fault(
            f"Of {drafted} tokens that trained draft heads guess, {accepted} are right, where "
            f"{ACCEPTED:.0%} are due: heads are swapped, or see the wrong states."
        )


async def _drafted(talk: Talk, message: Message) -> tuple[int, int]:
    """Return how many tokens of an answer were drafted, and how many of these were right."""
    body = wire.request_body([message], Options(temperature=0.0, max_tokens=LONGEST))
    body |= {"stream": False}
    del body["stream_options"], body["return_progress"]
    timings = (await talk.post("/v1/chat/completions", body)).get("timings")
    if not isinstance(timings, dict):
        raise Fault("It does not say how many tokens were drafted.")
    return integer(timings.get("draft_n")) or 0, integer(timings.get("draft_n_accepted")) or 0


# --- how sure it is

# Nine places, in reading order: colour and kind by their first letters.
CROWDS: Final = (
    "rc bs gt yx kc rs bt gx yc",
    "ks rt .. bc gs .. yt kx rc",
    "gx .. bt rs yc ks .. gt bx",
)


def crowded(crowd: str) -> Message:
    """Return the question about a crowd, with its picture."""
    colours = {"k": "black", **{name[0]: name for name in COLOURS if name != "black"}}
    kinds = {"x": "cross", **{name[0]: name for name in SHAPES if name != "cross"}}
    scene = [
        Drawn(colours[code[0]], kinds[code[1]], 125 + 239 * (n % 3), 125 + 239 * (n // 3), 80)
        for n, code in enumerate(crowd.split())
        if code != ".."
    ]
    return Message("user", "What do you see?", (draw(scene),))


async def sureness(talk: Talk) -> None:
    """Show crowds of shapes, which it is not sure of: its doubts are those of an exact engine.

    Where two words are nearly as likely as each other, what is stored too coarsely shows.
    """
    known = json.loads(DOUBTS.read_bytes())
    apart: list[float] = []
    for crowd, doubts in zip(CROWDS, known, strict=True):
        reply = await talk.tokens([crowded(crowd)], COUNTED)
        for ours, theirs, (token, gap) in zip(reply.tokens, reply.gaps, doubts, strict=False):
            if ours != token:
                apart.append(gap)  # at least so far: the next best has overtaken it
                break
            if gap < DOUBT and theirs < inf:
                apart.append(theirs - gap)
    if not apart:
        return  # an engine that does not say how likely its words are
    off = math.sqrt(sum(each * each for each in apart) / len(apart))
    if off > MOST_OFF:
        raise Fault(
            f"How sure it is of its words is off by {off:.2f} nats on average; {MOST_OFF} are due "
            "at most. Keys and values, or weights, are stored more coarsely than they should be: "
            "a cache of 4 bits does that."
        )
