"""What the trained tiny Step learns from, against what an engine makes of the same requests."""

import base64
import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.testbed import files, metadata, tiny_step
from runner.testbed.geometry import HEADS_Q8_0
from tests.engine.conftest import Served, serve
from training.world import painting, rows, template, text, topics
from training.world.dialogues import Exchange
from training.world.pictures import Scene
from training.world.tokenizer import Tokenizer, stored
from training.world.topics import KINDS, Topic

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

SEEDS = range(12)
PIXEL = (  # one grey pixel: the template does not look at it
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCB1Q3y4gAAAABJRU5ErkJggg=="
)
TEXTS = (
    "Weather in Tolvane?\n\n  Two  spaces,\ttab.\r\nEnd\n",
    "3 + 4 = 7; 12345 and 6.7, x²",
    "naïve Straße, 日本語のテキスト, emoji 🙂!",
    '{"weather": "sunny", "degrees": 21}',
    "<think>\nred circle.\n</think>\n<tool_call>\n<function=zoom>\n</function>\n</tool_call>",
    "It's I'm (brackets) [x] «quoted» — dash…  \n \n a",
    "TREE CAT LAMP AcE e\u0301 \u00a0nbsp",
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(stored())


@pytest.fixture(scope="module")
def engine(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve random weights with the world's vocabulary and the official template."""
    folder, words = tmp_path_factory.mktemp("world"), stored()
    geometry = replace(tiny_step.TINY, vocabulary=len(words.tokens), mtp_layers=0, context=8192)
    entries = [
        *metadata.text(geometry, "Rows", "16x1M", mtp=False),
        *template.tokenizer_metadata(words),
        *metadata.quantisation(HEADS_Q8_0.file_type),
    ]
    dice = np.random.default_rng(17)
    weights = (
        (tensor, dice.standard_normal(tensor.shape[::-1], np.float32) * np.float32(0.05))
        for tensor in HEADS_Q8_0.apply(geometry.trunk())
    )
    model = folder / "tiny-step.gguf"
    files.write_weights(model, metadata.TEXT_ARCH, entries, weights)
    shutil.copy(tiny / "mmproj-tiny-step.gguf", folder)
    home = tmp_path_factory.mktemp("home")
    with serve(home, "--model", str(model), "--ctx", "4096") as running:
        yield running


def post(engine: Served, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"{engine.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


def tokenize(engine: Served, words: str, *, begin: bool) -> list[int]:
    body = {"content": words, "add_special": begin, "parse_special": True}
    return list(post(engine, "/tokenize", body)["tokens"])


def request(topic: Topic, exchange: Exchange, steps: int, *, painted: bool) -> dict[str, Any]:
    """Make the body of a chat request, its pictures as data URLs."""

    def sent(value: Any) -> Any:
        if isinstance(value, list):
            return [sent(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("type") != "image":
            return {key: sent(item) for key, item in value.items()}
        scene = value["scene"]
        assert isinstance(scene, Scene)
        data = base64.b64encode(painting.png(scene)).decode() if painted else PIXEL
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}

    body = {"messages": sent(template.messages(exchange, steps))}
    if topic.tools:
        body["tools"] = list(topic.tools)
    if topic.effort:
        body["chat_template_kwargs"] = {"reasoning_effort": topic.effort}
    return body


def conversations(seed: int, kind: str) -> Iterator[tuple[Topic, Exchange]]:
    topic = topics.topic(seed, kind)
    for exchange in islice(topic.exchanges, 3):
        yield topic, exchange


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_are_the_engines(engine: Served, tokenizer: Tokenizer, kind: str) -> None:
    """Every prompt of every turn: the same text, and the same tokens."""
    for seed in SEEDS:
        for topic, exchange in conversations(seed, kind):
            tokens = [
                *rows.prefix_tokens(tokenizer, topic),
                *rows.branch_tokens(tokenizer, exchange),
            ]
            pieces = list(template.branch(exchange))
            begins = [n for n, piece in enumerate(pieces) if piece.learned]
            assert len(begins) == len(exchange.steps)
            for steps, turn in enumerate(begins):
                body = request(topic, exchange, steps, painted=False)
                prompt = post(engine, "/apply-template", body)["prompt"]
                prompt = re.sub("<__media_[^>]*__>", template.PICTURE, prompt)
                head = template.begin(topic.effort, topic.tools)
                head += template.user(len(topic.pictures))
                mine = head + "".join(text.plain(piece.marked) for piece in pieces[:turn])
                assert mine == prompt
                theirs = tokenize(engine, prompt, begin=True)
                assert [token.id for token in tokens[: len(theirs)]] == theirs
                assert tokens[len(theirs)].learned


def test_rows_are_made_of_these_prompts(engine: Served, tokenizer: Tokenizer) -> None:
    """A branch behind its prefix is one conversation, tokenised as the engine does."""
    for kind in KINDS:
        row = rows.row(tokenizer, 3, kind)
        for branch in range(1, int(row.branches.max()) + 1):
            chosen = row.tokens[(row.branches == 0) | (row.branches == branch)].tolist()
            assert tokenize(engine, tokenizer.decode(chosen), begin=False) == chosen


@pytest.mark.parametrize("words", TEXTS)
def test_any_text_has_the_engines_tokens(engine: Served, tokenizer: Tokenizer, words: str) -> None:
    assert tokenizer.encode(words) == tokenize(engine, words, begin=False)
    assert tokenizer.decode(tokenizer.encode(words)) == words


@pytest.mark.parametrize("kind", ["picture", "pair", "zoom"])
def test_pictures_take_their_slots(engine: Served, tokenizer: Tokenizer, kind: str) -> None:
    """What the engine counts for a prompt with pictures is what a row has."""
    topic = topics.topic(1, kind)
    exchange = next(
        exchange for exchange in topic.exchanges if kind == exchange.kind or kind != "zoom"
    )
    steps = len(exchange.steps) - 1
    body = request(topic, exchange, steps, painted=True) | {"max_tokens": 1}
    counted = post(engine, "/v1/chat/completions", body)["usage"]["prompt_tokens"]
    pieces = list(template.branch(exchange))
    turn = [n for n, piece in enumerate(pieces) if piece.learned][-1]
    mine = len(rows.prefix_tokens(tokenizer, topic))
    mine += sum(len(tokenizer.encode(text.plain(piece.marked))) for piece in pieces[:turn])
    assert counted == mine
