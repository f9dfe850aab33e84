"""Rows to train on: what is seen, what is learned, what decides."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from training.world import dialogues, painting, pictures, rows, seeds, template, text, tools, topics
from training.world.dialogues import Exchange, Step
from training.world.pictures import Scene
from training.world.rows import LENGTHS, Row
from training.world.tokenizer import Tokenizer, pieces, stored, train
from training.world.topics import KINDS

TOKENIZER = Tokenizer(stored())
BY_KIND = {kind: [rows.row(TOKENIZER, seed, kind) for seed in range(25)] for kind in KINDS}
ROWS = [row for kind in KINDS for row in BY_KIND[kind]]
PATCH = TOKENIZER.words.id("<im_patch>")


def arrays(row: Row) -> list[bytes]:
    fields = (row.tokens, row.positions, row.branches, row.learned, row.decisive)
    return [array.tobytes() for array in fields]


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_is_a_row(kind: str) -> None:
    first, again = rows.row(TOKENIZER, 8, kind), rows.row(TOKENIZER, 8, kind)
    assert arrays(first) == arrays(again)
    assert first.slots == again.slots
    assert len({rows.row(TOKENIZER, seed, kind).tokens.tobytes() for seed in range(20)}) == 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_branch_sees_the_prefix_and_itself(kind: str) -> None:
    for row in BY_KIND[kind]:
        n = len(row.tokens)
        assert all(len(array) == n for array in (row.positions, row.branches, row.learned))
        visible = row.visible()
        for i in (0, n // 3, n // 2, n - 1):
            for j in range(n):
                own = row.branches[j] in {0, row.branches[i]}
                assert visible[i, j] == (j <= i and own)
        # What a token sees are exactly the positions 0 to its own, each once.
        for i in range(n):
            assert sorted(row.positions[visible[i]]) == list(range(row.positions[i] + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_model_is_learned(kind: str) -> None:
    for row in BY_KIND[kind]:
        assert not row.learned[row.branches == 0].any()
        for branch in range(1, int(row.branches.max()) + 1):
            own = row.branches == branch
            assert not row.learned[own][0]
            assert row.learned[own][-1]  # the end of the last answer
            said = TOKENIZER.decode(row.tokens[own & row.learned].tolist())
            assert said.endswith("<|im_end|>")
            assert said.count("\n</think>\n") == said.count("<|im_end|>")
            assert "<|im_start|>" not in said
            assert "<tool_response>" not in said
        assert set(row.decisive.tolist()) <= set(range(len(text.KINDS)))
        assert not row.decisive[~row.learned].any()
        assert row.decisive.any()
        assert (row.decisive > 0).sum() < row.learned.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_have_169_slots(kind: str) -> None:
    for row in BY_KIND[kind]:
        taken = np.zeros(len(row.tokens), bool)
        for slot in row.slots:
            taken[slot.start : slot.start + template.PICTURE_TOKENS] = True
            around = TOKENIZER.decode(
                [int(row.tokens[slot.start - 1]), int(row.tokens[slot.start + 169])]
            )
            assert around == "<im_start><im_end>"
        assert (taken == (row.tokens == PATCH)).all()
        in_prefix = sum(row.branches[slot.start] == 0 for slot in row.slots)
        assert in_prefix == {"talk": 0, "weather": 0, "picture": 1, "pair": 2, "zoom": 1}[row.kind]


def test_rows_are_filled() -> None:
    for row in ROWS:
        first = (row.branches <= 1).sum()
        assert len(row.tokens) <= max(LENGTHS[row.kind], first)
    for kind in KINDS:
        assert np.mean([len(row.tokens) for row in BY_KIND[kind]]) > 0.8 * LENGTHS[kind]


def test_every_sort_of_deciding_token_occurs() -> None:
    assert {int(kind) for row in ROWS for kind in row.decisive} == {*range(len(text.KINDS))}


@pytest.mark.parametrize("kind", ["picture", "pair", "zoom"])
def test_rows_show_only_what_is_in_their_pool(kind: str) -> None:
    """A trainer has features of the pool, and of nothing else."""
    scenes = topics.pool(kind, range(6))
    places = {scene: place for place, scene in enumerate(scenes)}
    used = set()
    for seed in range(60):
        slots = [places[slot.scene] for slot in rows.row(TOKENIZER, seed, kind, scenes).slots]
        used |= {*slots}
        if kind != "picture":
            assert slots[0] % 2 == 0
            assert all(place == slots[0] + 1 for place in slots[1:])
    assert used == {*range(len(scenes))}


def test_talk_has_no_pool() -> None:
    with pytest.raises(ValueError, match="show no picture"):
        topics.pool("talk", range(2))


def test_a_picture_in_a_result_is_the_enlarged_one() -> None:
    for row in BY_KIND["zoom"]:
        whole, *results = (slot.scene for slot in row.slots)
        for result in results:
            assert result.enlarged is not None
            assert result.enlarged[0] == whole
            assert painting.paint(result).shape == (728, 728, 3)


def test_thinking_grows_with_effort() -> None:
    for make in (
        lambda dice, effort: dialogues.about_nothing(dice, effort, held_out=False),
        lambda dice, effort: dialogues.about_picture(dice, topics.scene_for(7), effort),
        lambda dice, effort: dialogues.about_pair(dice, pictures.pair(7), effort),
        lambda dice, effort: tools.weather(dice, effort, held_out=False),
        lambda dice, effort: tools.zooming(dice, pictures.scene(7, "small"), effort),
    ):
        lengths = []
        for effort in ("low", "medium", "high"):
            made = [make(seeds.generator(seed), effort) for seed in range(200)]
            lengths.append(np.mean([len(text.plain(each.steps[0].thinking)) for each in made]))
        low, medium, high = lengths
        assert low * 1.2 < medium
        assert medium * 1.2 < high


def test_marks_are_taken_out_and_located() -> None:
    marked = f"a {text.mark('colour', 'red')} {text.mark('shape', 'ring')}."
    plain, spans = text.split(marked)
    assert plain == text.plain(marked) == "a red ring."
    found = [(plain[span.start : span.end], text.KINDS[span.kind]) for span in spans]
    assert found == [("red", "colour"), ("ring", "shape")]


def test_names_of_the_evaluation_are_never_trained() -> None:
    dice = seeds.generator("names")
    trained = {text.invent(dice, held_out=False) for _ in range(20_000)}
    asked = {text.invent(dice, held_out=True) for _ in range(5000)}
    assert not trained & asked
    assert len(trained) > 5000  # too many for a table
    assert len(asked) > 700


def test_calls_copy_their_arguments_from_the_question() -> None:
    for seed in range(50):
        for exchange in islice(topics.topic(seed, "weather").exchanges, 4):
            for call in (call for step in exchange.steps for call in step.calls):
                ((key, town),) = call.arguments
                assert key == "town"
                assert text.plain(town) in exchange.question
            for step in exchange.steps:
                assert len(step.results) == len(step.calls)


def test_history_has_no_thinking() -> None:
    exchange = Exchange("copy", "Now?", (Step("b.", "B."),), history=(("Before?", "A."),))
    written = "".join(text.plain(piece.marked) for piece in template.branch(exchange))
    assert written == (
        "Before?<|im_end|>\n<|im_start|>assistant\nA.<|im_end|>\n<|im_start|>user\n"
        "Now?<|im_end|>\n<|im_start|>assistant\n<think>\nb.\n</think>\nB.<|im_end|>"
    )


def test_a_turn_without_thinking_is_refused() -> None:
    """`<think>` and two newlines in a row would be other tokens than the prompt ends with."""
    exchange = Exchange("copy", "Now?", (Step("", "B."),))
    with pytest.raises(ValueError, match="without thinking"):
        list(template.branch(exchange))


def test_the_vocabulary_is_the_texts_own() -> None:
    corpus = [row_text(row) for row in ROWS[:30]]
    assert train(corpus, 50) == train(corpus, 50)
    assert train(corpus, 50) != train(corpus[:10], 50)
    assert len(train(["aa"], 50).merges) == 1  # no more pairs than there are
    words = stored()
    assert 320 <= len(words.merges) <= 640
    assert words.tokens[-1] == "</tool_response>"


def row_text(row: Row) -> str:
    return TOKENIZER.decode(row.tokens[row.tokens != PATCH].tolist())


@pytest.mark.parametrize("written", ["893", "It says CAKE.", "naïve 日本語 🙂", "a\r\n\n b  c"])
def test_text_survives_its_tokens(written: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(written)) == written
    assert "".join(pieces(written)) == written
    ends = [end for _, end in TOKENIZER.encode_with_ends(written)]
    assert ends == sorted(ends)
    assert ends[-1] == len(written)


def test_numbers_and_capitals_are_read_one_by_one() -> None:
    assert len(TOKENIZER.encode("893")) == 3
    assert len(TOKENIZER.encode("CAKE")) == 4
    assert TOKENIZER.encode("CAKE") == [TOKENIZER.words.id(letter) for letter in "CAKE"]


def test_messages_say_what_is_written() -> None:
    exchange = tools.zooming(seeds.generator(1), pictures.scene(1, "small"), "low")
    first, called, result, last = template.messages(exchange)
    assert isinstance(first["content"][0]["scene"], Scene)
    assert called["tool_calls"][0]["function"]["name"] == "zoom"
    assert result["content"][0]["scene"].enlarged
    assert last["content"].startswith("The small number is ")
    assert not text.split(last["content"])[1]
    assert template.messages(exchange, 0) == [first]
    again = replace(exchange, pictures=())
    assert template.messages(again, 0)[0]["content"] == exchange.question
