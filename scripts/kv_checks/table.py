"""What a prompt costs that was read before: each kind of case, against reading it cold.

For each case one request is sent, something happens (nothing, or the server is restarted), and a
second request follows. The second one is also sent to a server that has read nothing: its time to
the first token, and its greedy answer, are what the kept cache is measured against.
"""

import argparse
import base64
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway_checks import serving
from kv_checks.agents import prose
from kv_checks.asking import Answer, Ask, ask
from kv_checks.day import Server, characters_of

GOAL: Final = 0.05
ANSWER_TOKENS: Final = 16
Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """A first and a second request. `between`: another one that takes the slot meanwhile."""

    what: str
    first: Messages
    second: Messages
    restart: bool = False
    between: Messages | None = None


def picture(colour: tuple[int, int, int]) -> dict[str, Any]:
    """Return a picture of one colour, as a part of a message."""
    from PIL import Image  # noqa: PLC0415 - of steprun's own environment

    file = io.BytesIO()
    Image.new("RGB", (240, 240), colour).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def user(content: Any) -> dict[str, Any]:
    """Return a message of the user."""
    return {"role": "user", "content": content}


def cases(characters: int, *, sees: bool) -> list[Case]:
    """Return all cases, with prompts of so many characters."""
    document, other = prose(characters, 3), prose(characters, 4)
    system = {"role": "system", "content": "You read carefully.\n" + document}
    said = {"role": "assistant", "content": "A red circle."}
    chat = [user(document + "\nWhat is it about?")]
    turn = [*chat, said, user("And then?")]
    long = [*turn, said, user("Tell me more about it.")]
    side = [user("A title for: the sea.")]
    found = [
        Case("next turn", chat, turn),
        Case("next turn, restart", chat, turn, restart=True),
        Case("next turn, a title between", chat, turn, between=side),
        Case("next turn, another long chat between", chat, turn, between=[user(other)]),
        Case("same system prompt", [system, user("Hello")], [system, user("What is a test?")]),
        Case(
            "same system prompt, restart",
            [system, user("Hello")],
            [system, user("What is a test?")],
            restart=True,
        ),
        Case("branch: the last question edited", turn, [*turn[:-1], user("Why?")]),
        Case("an earlier turn edited", long, [*chat, said, user("Say it again."), *long[3:]]),
        Case("the same document, another question", chat, [user(document + "\nWho wrote it?")]),
        Case(
            "the same document, another question, restart",
            chat,
            [user(document + "\nWho wrote it?")],
            restart=True,
        ),
    ]
    if sees:
        red, blue = picture((200, 30, 30)), picture((30, 30, 200))
        one = [user([{"type": "text", "text": document}, red])]
        two = [user([{"type": "text", "text": document}, red, blue])]
        for what, start in (("a picture", one), ("two pictures", two)):
            follow = [*start, said, user("Which colour was it?")]
            found.append(Case(what, start, follow))
            found.append(Case(f"{what}, restart", start, follow, restart=True))
        for what, start in (("the same picture", one), ("the same two pictures", two)):
            asked, other_question = (
                [user([*start[0]["content"], {"type": "text", "text": text}])]
                for text in ("Which colour is it?", "Is it round?")
            )
            for restart in (False, True):
                name = f"{what}, another question{', restart' if restart else ''}"
                found.append(Case(name, asked, other_question, restart=restart))
        swapped = [user([{"type": "text", "text": document}, blue]), said, user("Which colour?")]
        found.append(Case("the picture replaced, restart", one, swapped, restart=True))
    return found


def homes(place: Path, engines: Path | None) -> tuple[Path, Path]:
    """Return two new homes, with the engines of another one where it is named."""
    both = place / "kept", place / "cold"
    if engines is not None:
        for home in both:
            (home / "cache").mkdir(parents=True)
            (home / "cache" / "engines").symlink_to(engines)
    return both


def measure(place: Path, case: Case, args: argparse.Namespace) -> tuple[Answer, Answer]:
    """Return the second request's answer, with the kept cache and cold."""
    arguments, (kept_home, cold_home) = _arguments(args), homes(place, args.engines)
    server = Server(kept_home, arguments)
    try:
        ask(server.served, _ask(case.first))
        if case.between is not None:
            ask(server.served, _ask(case.between))
        if case.restart:
            server.restart()
        kept = ask(server.served, _ask(case.second))
    finally:
        server.close()
    server = Server(cold_home, [*arguments, "--kv-disk", "off"])
    try:
        ask(server.served, _ask([user("Hello")]))  # the first answer of an engine is slower
        cold = ask(server.served, _ask(case.second))
    finally:
        server.close()
    return kept, cold


def _ask(messages: Messages) -> Ask:
    body = {"model": "any", "messages": messages, "max_tokens": ANSWER_TOKENS}
    return Ask("table", "/v1/chat/completions", body)


def _arguments(args: argparse.Namespace) -> list[str]:
    projector = ["--projector", args.projector] if args.projector else []
    return ["--model", args.model, "--ctx", str(args.ctx), *projector, *args.more]


def main() -> int:
    """Measure all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a GGUF file, such as the tiny Step")
    parser.add_argument("--projector", help="its projector: cases with pictures")
    parser.add_argument("--prompt-tokens", type=int, default=6500)
    parser.add_argument("--ctx", type=int, default=16_384)
    parser.add_argument("--engines", type=Path, help="a folder of engines, for --engine")
    parser.add_argument("--only", help="cases whose name holds this")
    parser.add_argument("more", nargs="*", help="further options of `steprun serve`, after --")
    args = parser.parse_args()
    serving.end_in_order()
    well = True
    with tempfile.TemporaryDirectory(prefix="kv_table") as name:
        server = Server(
            homes(Path(name) / "count", args.engines)[1], [*_arguments(args), "--kv-disk", "off"]
        )
        try:
            characters = characters_of(server.served, args.prompt_tokens)
        finally:
            server.close()
        print(f"{'case':46}{'tokens':>8}{'cold':>8}{'read':>8}{'restored':>10}{'first ÷ cold':>14}")
        for number, case in enumerate(cases(characters, sees=bool(args.projector))):
            if args.only and args.only not in case.what:
                continue
            kept, cold = measure(Path(name) / str(number), case, args)
            ratio = kept.first_s / max(cold.first_s, 1e-9)
            same = "same answer" if kept.text == cold.text else "ANOTHER ANSWER"
            because = f"  ({kept.because})" if kept.because else ""
            print(
                f"{case.what:46}{kept.prompt:8,}{cold.read:8,}{kept.read:8,}{kept.restored:10,}"
                f"{ratio:14.3f}  {same}{because}",
                flush=True,
            )
            well = well and ratio <= GOAL and kept.text == cold.text
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
