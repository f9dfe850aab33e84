"""`--demo [talk|pictures]`: two small models, told apart by what they can do."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from runner.catalog import models_toml
from runner.cli.chat_here import AskedChat
from runner.cli.commands import chat as chatting
from runner.cli.commands.chat import chat
from runner.cli.options import DEMOS, demo_option, typed_again

PICTURE = Path(models_toml.load_catalog().model("tiny-step").picture)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Path, ...]]]:
    """Note which model a chat would begin with, and which pictures."""
    seen: list[tuple[str, tuple[Path, ...]]] = []

    def find(asked: AskedChat) -> Any:
        seen.append((asked.request.model, asked.common["pictures"]))
        raise click.exceptions.Exit(0)

    monkeypatch.setattr("runner.cli.chat_here.find", find)
    monkeypatch.setattr(chatting, "read_prompt", lambda prompt: prompt)
    return seen


def test_each_demo_can_do_what_its_name_says() -> None:
    known = models_toml.load_catalog()
    talk, pictures = (known.model(name) for name in DEMOS.values())
    assert talk.demo
    assert (talk.projector, talk.picture) == (None, "")
    assert pictures.projector
    assert pictures.ships, "no download"
    assert all(model.hint.endswith((".", "?", "PATH")) for model in (talk, pictures))


def test_the_picture_that_comes_along_is_seen_in_one_piece() -> None:
    with Image.open(PICTURE) as picture:
        assert picture.size == (728, 728)
    assert PICTURE.stat().st_size < 40_000


@pytest.mark.parametrize(
    ("words", "model", "pictures"),
    [
        (("--demo",), "demo", ()),
        (("--demo", "talk"), "demo", ()),
        (("--demo", "pictures"), "tiny-step", (PICTURE,)),
        (("--demo", "pictures", "--image", "mine.png"), "tiny-step", (Path("mine.png"),)),
        (("--demo", "pictures", "--profile", "fast"), "tiny-step", ()),
        (("--model", "tiny-step"), "tiny-step", ()),
        (("--model", "step-3.7-flash", "--demo"), "demo", ()),
    ],
)
def test_a_demo_names_its_model_and_brings_its_picture(
    started: list[Any], words: tuple[str, ...], model: str, pictures: tuple[Path, ...]
) -> None:
    CliRunner().invoke(chat, [*words, "-p", "How many shapes are there?"], catch_exceptions=False)
    assert started == [(model, pictures)]


def test_another_demo_is_refused_by_name() -> None:
    result = CliRunner().invoke(chat, ["--demo", "music", "-p", "x"])
    assert result.exit_code == 2
    assert "'talk', 'pictures'" in result.output


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        (("--demo",), "steprun try --demo --port 8081"),
        (("--demo", "pictures"), "steprun try --demo pictures --port 8081"),
    ],
)
def test_a_demo_is_typed_again_as_it_was(typed: tuple[str, ...], again: str) -> None:
    found = []

    @click.command("try")
    @demo_option("Try")
    @click.option("--port", type=int)
    @click.pass_context
    def command(context: click.Context, /, **_: Any) -> None:
        found.append(typed_again(context, "--port", "8081"))

    CliRunner().invoke(command, typed, catch_exceptions=False)
    assert found == [again]
