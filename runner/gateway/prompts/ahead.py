"""What of a prompt is read ahead of the rest: a document or a picture that is asked about. Pure.

An engine with a sliding window goes back only to its checkpoints, and llama.cpp makes none between
a picture or a document and the question behind it in the same message: with another question, all
of it is read again. It makes one where a request begins that has less than a micro-batch left to
read, and 4 tokens before a prompt's end (b11549, `server-context.cpp`, "near_prompt_end"). So what
is before the question is read in a request of its own, which writes nothing. Then a checkpoint lies
where other questions begin, and a saved slot has it, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from runner.gateway.aside import Aside, Buffer
from runner.kv.prompt import Prompt, part

# Of a question, in characters: fewer tokens than the smallest usual micro-batch of 512, or the
# engine makes no checkpoint where it begins.
QUESTION_CHARACTERS: Final = 2000
# Of a text that is read ahead, in tokens. Without it, up to a micro-batch is read again with the
# next question; that is worth two short batches more only where the text itself has several.
LEAST_TOKENS: Final = 1024
# While a prompt is read ahead, its client does not see how far that is. Who asked to see it waits
# so long for it at most. A judgement.
UNSEEN_S: Final = 5.0
# Behind a picture, so that with the end of a message, which has two tokens in the templates of Step
# and of its kind, there are just four: then the checkpoint lies at the picture's end. It takes that
# where the whole prompt is shorter than the sliding window. In others the words do no harm.
_BEHIND_PICTURE: Final = {"type": "text", "text": "a a"}
_CHAT: Final = "/v1/chat/completions"
# Of the whole request, not of what is read ahead: how the answer is written and sent.
_ANSWER: Final = frozenset(
    {"stream", "stream_options", "return_progress", "n", "n_cmpl", "max_tokens", "n_predict"}
    | {"max_completion_tokens", "add_generation_prompt", "id_slot", "reasoning_control"}
)
_NOTHING_WRITTEN: Final = {"n_predict": 0, "add_generation_prompt": False}


@dataclass(frozen=True, slots=True)
class Ahead:
    """The beginning of a prompt that other prompts may have, too.

    `write`: makes the body of the request that reads it. `seen`: the client asked to see how far
    the reading is.
    """

    prompt: Prompt
    write: Callable[[], Sequence[Buffer]]
    seen: bool = False

    def is_worth(self, tokens: float, left_s: float) -> bool:
        """Return whether it is read ahead.

        `tokens`: that it has. `left_s`: what reading the rest of the whole prompt takes.
        """
        if self.seen and left_s > UNSEEN_S:
            return False
        return tokens >= LEAST_TOKENS or self.prompt.parts[-1].kind == "picture"


def reaches(beginning: Prompt, blocks: int) -> bool:
    """Return whether a prompt with so many blocks of a beginning has all of it.

    The last block of a text has the question behind it in the whole prompt: it is another one.
    """
    last = beginning.parts[-1]
    return blocks >= sum(1 for _ in beginning.blocks()) - (last.kind != "picture")


def beginning_of(
    path: str, document: dict[str, Any], aside: Aside, prompt: Prompt | None
) -> Prompt | None:
    """Return what of a prompt is before the question at its end; None where that is not known.

    `document`: the body of a chat completion, without what is set `aside`; of other APIs there is
    none.
    """
    if prompt is None or path != _CHAT or (content := _before(document)) is None:
        return None
    last = prompt.parts[-1]
    if _shows(content[-1]):
        return Prompt(prompt.parts[:-1])
    texts: list[str] = []
    for each in reversed(content):
        if _shows(each):
            break
        texts.insert(0, aside.whole(each["text"]))
    join = "\n" if any(map(_shows, content)) else " "
    return Prompt((*prompt.parts[:-1], part(last.kind, last.name, join.join(texts))))


def body_of(document: dict[str, Any], aside: Aside) -> list[Buffer]:
    """Return the body of the request that reads it. Call it where `beginning_of` found something.

    Raises ValueError where it cannot be written.
    """
    content = _before(document)
    if content is None:
        raise ValueError("no question is seen")
    if _shows(content[-1]):
        content = [*content, _BEHIND_PICTURE]
    messages = document["messages"]
    last = {**messages[-1], "content": content}
    rest = {name: value for name, value in document.items() if name not in _ANSWER}
    cut = {**rest, "messages": [*messages[:-1], last], **_NOTHING_WRITTEN}
    try:
        return aside.parts(msgspec.json.encode(cut))
    except (OverflowError, RecursionError) as error:
        raise ValueError("it cannot be written again") from error


def _before(document: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the content of the last message without its question, as parts."""
    messages = document.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict) or last.get("role") != "user":
        return None
    content = last.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(_shows(each) or _says(each) for each in parts):
        return None
    *before, question = parts or [{}]
    if not _says(question):
        return None
    if len(question["text"]) <= QUESTION_CHARACTERS:
        return before or None
    text = question["text"]
    at = _question_at(text)
    return [*before, {**question, "text": text[:at]}] if at else None


def _question_at(text: str) -> int:
    """Return where the last paragraph of a text begins, else its last line; 0 where it is long."""
    earliest = len(text) - QUESTION_CHARACTERS
    for gap in ("\n\n", "\n"):
        at = text.rstrip().rfind(gap, earliest)
        if at >= 0:
            return at + len(gap)
    return 0


def _shows(given: Any) -> bool:
    return isinstance(given, dict) and given.get("type") == "image_url"


def _says(given: Any) -> bool:
    return isinstance(given, dict) and isinstance(given.get("text"), str)
