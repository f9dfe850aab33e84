"""A fake llama-server, named as one: it answers what a canary asks, with the faults it is told.

    canary_engine.py FAULT,FAULT --port N --api-key-file FILE …

Its words are tiny Step's, chosen by a hash of the prompt. Each fault is one that an engine was
seen to have, or might; `FAULTS` lists them. The real engines are in `tests/engine`.
"""

import base64
import hashlib
import json
import os
import re
import signal
import struct
import sys
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from runner.canary import meaning
from runner.chat.images.tokens import image_tokens

FAULTS = {
    *("none", "unready", "crash-threads", "crash-load", "crash-pictures"),
    *("hang-text", "hang-tools", "flood", "garbage", "empty"),
    *("no-json", "moody", "huge", "blind", "dear-pictures"),
    *("no-crops", "untold-thinking", "tags", "no-effort", "no-call"),
    *("wrong-call", "wrong-arguments", "forgetful", "wrong-cache", "no-slots"),
    *("slots-501", "wrong-slot", "wrong-heads", "idle-heads", "heads-500-picture"),
    *("stubborn", "one-call", "crash-projector", "crash-long-word"),
    *("no-restart", "no-picture-restart", "no-heads-restart", "same-picture", "one-slot"),
    *("no-turn", "wrong-restart", "wrong-drafts"),
    *("forgets-names", "colour-blind", "mixed-patches", "swapped-pictures", "coarse-cache"),
    *("equal-efforts", "calls-one-town", "swapped-heads"),
}
KINDS = ("small", "quiet", "plain", "odd", "new")
PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")


@cache
def scenes() -> dict[str, tuple[meaning.Drawn, ...]]:
    """Return what is drawn in each picture, by its data URL; drawing takes a while."""
    return {meaning.draw(scene).data_url(): scene for scene in meaning.SCENES}


class Fake:
    """What is known of one start."""

    def __init__(self, faults: set[str], argv: list[str]) -> None:
        assert faults <= FAULTS, faults - FAULTS
        self.faults, self.argv = faults, argv
        self.key = Path(self.option("--api-key-file")).read_text().strip()
        self.slots = {0: "", 1: ""}
        self.slot_asked = 0
        self.saved = ""
        self.restored = False
        self.asked = 0
        self.hangs = False

    def option(self, name: str) -> str:
        return self.argv[self.argv.index(name) + 1]

    @property
    def safe(self) -> bool:
        return "--no-repack" in self.argv

    def has(self, fault: str) -> bool:
        return fault in self.faults

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.hangs |= self.has("hang-text") or (self.has("hang-tools") and "tools" in body)
        if self.hangs:  # for good, whatever is asked next
            threading.Event().wait()
        self.slot_asked = 0 if self.has("one-slot") else int(body.get("id_slot", 0))
        if path.startswith("/slots/"):
            return self.slot(path.rpartition("=")[2], body)
        self.asked += 1
        pictures = [picture_size(found) for found in PICTURE.findall(json.dumps(body))]
        if self.has("crash-threads") and int(self.option("--threads")) > 1 and not self.safe:
            crash()
        if self.has("crash-pictures") and pictures:
            crash()
        if self.has("crash-long-word") and "A" * 24_000 in json.dumps(body):
            crash()
        if self.has("flood"):
            print("x" * (9 << 20), flush=True)
        if self.has("no-json"):
            return 200, "<html>no such thing</html>"
        if self.has("huge"):
            return 200, {"text": "x" * (9 << 20)}
        if pictures and self.heads and self.has("heads-500-picture"):
            return 500, {"error": {"message": "decode() failed"}}
        return 200, self.completion(body, pictures)

    @property
    def held(self) -> str:
        return self.slots[self.slot_asked]

    @held.setter
    def held(self, prompt: str) -> None:
        self.slots[self.slot_asked] = prompt

    @property
    def heads(self) -> bool:
        return "--spec-type" in self.argv

    @property
    def trained(self) -> bool:
        return Path(self.option("--model")) == meaning.files().weights

    def meant(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer as the trained model does, but for the faults of meaning."""
        (message,) = body["messages"]
        parts = [{"text": message["content"]}]
        parts = parts if isinstance(message["content"], str) else message["content"]
        question = next(part["text"] for part in parts if "text" in part)
        shown = [part["image_url"]["url"] for part in parts if "image_url" in part]
        length = {"low": 1, "medium": 2, "high": 3}.get(body.get("reasoning_effort", ""), 2)
        length = 1 if self.has("equal-efforts") else length
        text, calls = self.said(question, shown), None
        if "tools" in body:
            towns = [town for town in meaning.TOWNS if town in question]
            towns = towns[:1] if self.has("calls-one-town") else towns
            functions = [
                {"name": "get_weather", "arguments": json.dumps({"town": town})} for town in towns
            ]
            calls = [{"index": n, "id": str(n), "function": f} for n, f in enumerate(functions)]
        rows = self.doubts(shown) if body.get("logprobs") else []
        row = {"content": text, "reasoning_content": "so " * length, "tool_calls": calls}
        right = 4 if self.has("swapped-heads") else 9
        return {
            "choices": [{"message": row, "logprobs": {"content": rows}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10},
            "timings": {"draft_n": 10, "draft_n_accepted": right} if self.heads else {},
        }

    def said(self, question: str, shown: list[str]) -> str:
        for known in (*meaning.SUMS, *meaning.FACTS, *meaning.NAMES):
            if known.question == question:
                forgets = self.has("forgets-names") and known in meaning.NAMES
                return "Hello Selpinora!" if forgets else known.answer
        drawn = [scene for url in shown if (scene := scenes().get(url))]
        drawn = drawn[::-1] if self.has("swapped-pictures") else drawn
        if "How many" in question:
            return f"There are {sum(map(len, drawn))} shapes."
        named = [
            ("blue" if self.has("colour-blind") else each.colour)
            + f" {'circle' if self.has('mixed-patches') else each.kind}"
            for scene in drawn
            for each in scene
        ]
        return f"I see a {' and a '.join(named)}."

    def doubts(self, shown: list[str]) -> list[dict[str, Any]]:
        crowds = [meaning.crowded(crowd).pictures[0].data_url() for crowd in meaning.CROWDS]
        place = next((n for n, url in enumerate(crowds) if url in shown), None)
        known = [] if place is None else json.loads(meaning.DOUBTS.read_bytes())[place]
        off = 0.5 if self.has("coarse-cache") else 0.0
        return [
            {"token": token, "top_logprobs": [{"logprob": 0.0}, {"logprob": -gap - off}]}
            for token, gap in known
        ]

    def completion(self, body: dict[str, Any], pictures: list[tuple[int, int]]) -> dict[str, Any]:
        if self.trained:
            return self.meant(body)
        prompt = " ".join(spelled(message["content"]) for message in body["messages"])
        if "reasoning_effort" in body and not self.has("no-effort"):
            prompt = f"Reasoning: {body['reasoning_effort']} " + prompt
        words = len(re.findall(r"\w+|\s", PICTURE.sub("", prompt)))
        cost = sum(image_tokens(*size) for size in pictures)
        cost += 1 if self.has("dear-pictures") and pictures else 0
        if self.has("no-crops") and pictures:
            cost = 171 * len(pictures)
        same = (
            0
            if self.has("forgetful") or not body.get("cache_prompt", True)
            else common(self.held, prompt)
        )
        same = 0 if self.has("no-turn") and self.restored and same < len(prompt) else same
        if self.has("same-picture") and self.restored and pictures:
            same = len(prompt) - 60
        cached = (words + cost) * same // len(prompt)
        seed = PICTURE.sub("", prompt) if self.has("blind") else prompt
        seed += str(self.asked) if self.has("moody") else ""
        seed += "heads" if self.has("wrong-heads") and self.heads else ""
        seed += "cache" if self.has("wrong-cache") and same == len(prompt) and words > 900 else ""
        seed += "slot" if self.has("wrong-slot") and self.held == self.saved != "" else ""
        seed += "again" if self.has("wrong-restart") and self.restored else ""
        self.held = prompt
        tokens = [token(seed, n) for n in range(body["max_tokens"])]
        if self.has("garbage"):
            tokens = ["!"] * len(tokens)
        thinking, text = " ".join(tokens[:5]), " ".join(tokens[5:10])
        text = "" if self.has("empty") else text
        if self.has("untold-thinking"):
            thinking, text = "", thinking + text
        if self.has("tags"):
            text = f"</think>{text}"
        row = {"top_logprobs": [{"logprob": -0.1}, {"logprob": -2.0}]}
        drafted = 3 if self.heads and not self.has("idle-heads") else 0
        return {
            "choices": [
                {
                    "message": {
                        "reasoning_content": thinking,
                        "content": text,
                        "tool_calls": self.calls(body) if "tools" in body else None,
                    },
                    "logprobs": {"content": [{"token": f" {word}", **row} for word in tokens]},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": words + cost,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
            "timings": {
                "draft_n": drafted,
                "draft_n_accepted": 0 if self.has("wrong-drafts") and self.restored else drafted,
            },
        }

    def calls(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        if self.has("no-call"):
            return []
        name = "rm" if self.has("wrong-call") else "get_weather"
        arguments = "{" if self.has("wrong-arguments") else '{"city": "red square"}'
        function = {"name": name, "arguments": arguments}
        many = 3 if body.get("parallel_tool_calls") and not self.has("one-call") else 1
        return [{"index": n, "id": str(n), "function": function} for n in range(many)]

    def slot(self, action: str, body: dict[str, Any]) -> tuple[int, Any]:
        if self.has("no-slots") or self.has("slots-501"):
            return (404 if self.has("no-slots") else 501), {"error": {"message": "no"}}
        assert Path(self.option("--slot-save-path")).is_dir()
        assert body["filename"] == Path(body["filename"]).name
        file = Path(self.option("--slot-save-path")) / body["filename"]
        if action == "save":
            self.saved = self.held
            file.write_text(self.held)
        lost = not self.saved and (
            self.has("no-restart")
            or (self.has("no-picture-restart") and "picture" in file.name)
            or (self.has("no-heads-restart") and self.heads)
        )
        self.restored |= action == "restore" and (not self.saved or self.has("no-turn"))
        self.held = file.read_text() if action == "restore" and not lost else ""
        return 200, {}


def token(seed: str, place: int) -> str:
    return KINDS[hashlib.sha256(f"{seed}{place}".encode()).digest()[0] % len(KINDS)]


def common(first: str, second: str) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(first), len(second)))


def spelled(content: Any) -> str:
    """Return a message's content as one text, its pictures as their URLs."""
    if isinstance(content, str):
        return content
    return "|".join(
        part["text"] if "text" in part else part["image_url"]["url"] for part in content
    )


def picture_size(data: str) -> tuple[int, int]:
    width, height = struct.unpack(">II", base64.b64decode(data)[16:24])
    return width, height


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
    threading.Event().wait()


def pieces(reply: dict[str, Any]) -> list[str]:
    """Return a reply as the events of a stream."""
    (choice,) = reply["choices"]
    message = {name: value for name, value in choice["message"].items() if value}
    chunks = [{"choices": [{"delta": {name: value}}]} for name, value in message.items()]
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    return [*(json.dumps(chunk) for chunk in (*chunks, end)), "[DONE]"]


def handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(503 if fake.has("unready") else 200, "{}")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers["Authorization"] != f"Bearer {fake.key}":
                self.reply(401, "{}")
                return
            status, reply = fake.answer(self.path, body)
            text = reply if isinstance(reply, str) else json.dumps(reply)
            kind = "application/json"
            if body.get("stream") and isinstance(reply, dict) and "choices" in reply:
                kind = "text/event-stream"
                text = "".join(f"data: {piece}\n\n" for piece in pieces(reply))
            self.reply(status, text, kind)

        def reply(self, status: int, text: str, kind: str = "application/json") -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def main(argv: list[str]) -> None:
    faults, *argv = argv
    fake = Fake(set(faults.split(",")), argv)
    if fake.has("crash-load") and not fake.safe:
        crash()
    if fake.has("crash-projector") and "--mmproj" in argv:
        crash()
    if fake.has("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = ThreadingHTTPServer(("127.0.0.1", int(fake.option("--port"))), handler(fake))
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
