"""The canary against the fake engine of `tests/fakes/canary_engine.py`: every fault is found."""

import asyncio
import os
import sys
from math import inf
from pathlib import Path

import psutil
import pytest

from runner import canary
from runner.canary import checks, model, rounds
from runner.canary.questions import Talk, Tokens
from runner.canary.rounds import Limits
from runner.engine.installed.stamp import FEATURES, Feature, Kind, Origin, Stamp
from runner.engine.installed.store import InstalledEngine
from runner.machine.facts import Backend
from runner.plan.launch import EngineFiles

FAKE = Path(__file__).parents[2] / "fakes" / "canary_engine.py"
FLAGS = frozenset(
    {
        *("--model", "--mmproj", "--threads", "--spec-type", "--spec-draft-model"),
        *("--slot-save-path", "--no-repack", "--port", "--host", "--api-key-file"),
        *("--parallel", "--kv-unified"),
    }
)
SAFE = ("--no-repack",)
SHORT = Limits(start_s=20, check_s=20)
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def engine(faults: str, flags: frozenset[str] = FLAGS) -> InstalledEngine:
    program = (sys.executable, str(FAKE), faults)
    stamp = Stamp("fake", Kind.SERVER, Backend.CPU, Origin("folder"), program, flags=flags)
    return InstalledEngine(stamp, Path())


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The fake loads nothing, so that nothing need be made."""
    made = EngineFiles(*(tmp_path / name for name in ("t.gguf", "p.gguf", "m.gguf")))
    monkeypatch.setattr(model, "files", lambda: made)


def only(monkeypatch: pytest.MonkeyPatch, *features: str) -> None:
    steps = tuple(step for step in checks.STEPS if step.feature in features)
    monkeypatch.setattr(rounds, "STEPS", steps)


def ask(
    faults: str, flags: frozenset[str] = FLAGS, limits: Limits = SHORT
) -> tuple[dict[str, Feature], tuple[str, ...]]:
    return asyncio.run(rounds.ask_features(engine(faults, flags), SAFE, lambda *_: None, limits))


def results(features: dict[str, Feature]) -> dict[str, str]:
    return {name: found.result for name, found in features.items()}


ALL_PASS = dict.fromkeys(FEATURES, "pass")


def nothing_runs(home: Path) -> bool:
    family = psutil.Process().children(recursive=True)
    left = {path.name for path in (home / "state" / "engines").iterdir()}
    return left <= {"start.lock"} and not any(str(FAKE) in p.cmdline() for p in family)


def test_a_healthy_engine_passes_everything(home: Path) -> None:
    told: list[str] = []
    features, safe = canary.run(engine("none"), SAFE, lambda name, _: told.append(name))
    assert results(dict(features)) == ALL_PASS
    assert {found.why for found in features.values()} == {""}
    assert all(found.seconds_s > 0 for found in features.values())
    assert safe == ()
    assert sorted(told) == sorted(FEATURES), "each is told once"
    assert nothing_runs(home)


@pytest.mark.parametrize(
    ("fault", "feature", "why"),
    [
        ("garbage", "text", "makes no sense: '! ! ! ! !'"),
        ("empty", "text", "is empty"),
        ("no-json", "text", "cannot be understood"),
        ("moody", "text", "gets two answers"),
        ("huge", "slots", "more than 4 MiB"),
        ("blind", "picture", "the engine ignores them"),
        ("dear-pictures", "picture", "300 x 200 px cost 172 tokens; Step's own processor counts"),
        ("no-crops", "two_pictures", "300 x 200 and 900 x 600 px cost 342 tokens"),
        ("untold-thinking", "thinking", "thinking is not separated"),
        ("tags", "thinking", "a thinking tag is left"),
        ("no-effort", "thinking", "does not reach the model"),
        ("no-call", "tools", "none was made"),
        ("one-call", "tools", "only one was returned"),
        ("wrong-call", "tools", "calls 'rm'"),
        ("wrong-arguments", "tools", "calls get_weather with '{'"),
        ("wrong-cache", "long_prompt", "With the prompt cached the answer differs"),
        ("forgetful", "long_prompt", "are processed again"),
        ("forgetful", "slots", "are processed again"),
        ("wrong-slot", "slots", "After a slot is restored the answer differs"),
        ("wrong-heads", "mtp", "With draft heads the answer differs"),
        ("idle-heads", "mtp", "draft nothing"),
        ("heads-500-picture", "mtp_picture", "decode() failed"),
        ("one-slot", "spare_slot", "After a request in another slot"),
        ("no-turn", "resume_turn", "After a slot is restored"),
        ("no-restart", "resume_restart", "After a restart"),
        ("wrong-restart", "resume_restart", "After a restart the answer differs"),
        ("no-picture-restart", "resume_picture", "With a picture, after a restart"),
        ("same-picture", "resume_picture", "is taken for another one"),
        ("no-heads-restart", "resume_mtp", "With draft heads, after a restart"),
        ("wrong-drafts", "resume_mtp", "none of 3 drafts is accepted"),
        ("flood", "text", "floods its log"),
        ("forgets-names", "text", "3 of 10 answers are wrong: to 'Repeat this name: Soninta.'"),
        ("equal-efforts", "thinking", "characters are 2 at low, 2 at medium, 2 at high"),
        ("calls-one-town", "tools", "Asked 'What is the weather in Solinta and Sanalen?'"),
        ("colour-blind", "picture", "names 2 colours and 8 kinds rightly"),
        ("colour-blind", "picture", "Its colours are mixed up"),
        ("mixed-patches", "picture", "Its parts are in a wrong order"),
        ("coarse-cache", "picture", "a cache of 4 bits does that"),
        ("swapped-pictures", "two_pictures", "swapped, mixed up, or one is missing"),
        ("swapped-heads", "mtp", "Of 50 tokens that trained draft heads guess, 20 are right"),
        ("swapped-heads", "mtp_picture", "Of 10 tokens that trained draft heads guess, 4 are"),
    ],
)
def test_a_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, fault: str, feature: str, why: str
) -> None:
    only(monkeypatch, feature)
    features, safe = ask(fault)
    assert features[feature].result == "fail"
    assert why in features[feature].why
    assert "\n" not in features[feature].why
    assert safe == ()


@pytest.mark.parametrize("fault", ["no-slots", "slots-501"])
def test_what_is_not_there_is_absent(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    only(monkeypatch, "slots")
    features, _ = ask(fault)
    assert results(features) == {"slots": "absent"}


def test_what_no_flag_offers_is_not_asked_for() -> None:
    flags = FLAGS - {"--spec-type", "--mmproj", "--slot-save-path"}
    features, _ = ask("none", flags)
    seen = ("picture", "two_pictures", "mtp", "mtp_picture")
    gone = (*seen, "slots", *(name for name in FEATURES if name.startswith("resume_")))
    assert results(features) == ALL_PASS | dict.fromkeys(gone, "absent")
    assert features["mtp"].why == "It lacks --spec-type."


def test_one_fault_leaves_the_others_alone(home: Path) -> None:
    features, _ = ask("no-call,heads-500-picture")
    off = {"tools": "fail", "mtp_picture": "fail"}
    assert results(features) == ALL_PASS | off
    assert nothing_runs(home)


# --- crashes


@posix
def test_a_projector_that_does_not_load_leaves_the_rest(home: Path) -> None:
    features, _ = ask("crash-projector")
    blind = dict.fromkeys(("picture", "two_pictures", "mtp_picture", "resume_picture"), "fail")
    assert results(features) == ALL_PASS | blind
    assert nothing_runs(home)


@posix
@pytest.mark.parametrize(
    ("fault", "threads"), [("crash-threads", "2 threads"), ("crash-load", "1 thread")]
)
def test_a_crash_that_the_safe_flags_mend_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, fault: str, threads: str, home: Path
) -> None:
    asked = ("text", "threads", "thinking", "mtp")
    only(monkeypatch, *asked)
    features, safe = ask(fault)
    assert results(features) == dict.fromkeys(asked, "pass")
    assert safe == SAFE
    assert f"Without --no-repack it fails with {threads}" in features["threads"].why
    assert "SIGSEGV" in features["threads"].why
    assert nothing_runs(home)


@posix
def test_safe_flags_that_the_engine_does_not_list_are_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(monkeypatch, "text", "threads", "thinking")
    features, safe = ask("crash-threads", FLAGS - set(SAFE))
    assert results(features) == {"text": "pass", "threads": "fail", "thinking": "fail"}
    assert "SIGSEGV" in features["threads"].why
    assert safe == ()


@posix
def test_a_long_word_that_kills_the_engine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "slots", "long_word")
    features, safe = ask("crash-long-word")
    assert results(features) == {"slots": "pass", "long_word": "fail"}
    assert "while it was answering (SIGSEGV)" in features["long_word"].why
    assert safe == ()


@posix
def test_a_crash_that_nothing_mends_costs_only_its_feature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(monkeypatch, "text", "threads", "picture", "thinking", "tools")
    features, safe = ask("crash-pictures")
    passed = dict.fromkeys(("text", "threads", "thinking", "tools"), "pass")
    assert results(features) == {**passed, "picture": "fail"}
    assert "while it was answering (SIGSEGV)" in features["picture"].why
    assert safe == ()


def test_an_engine_that_is_no_program_is_not_asked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    program = ("/does/not/exist",)
    stamp = Stamp("none", Kind.SERVER, Backend.CPU, Origin("folder"), program, flags=FLAGS)
    features, _ = canary.run(InstalledEngine(stamp, Path()), SAFE)
    assert results(dict(features)) == dict.fromkeys(FEATURES, "fail")
    assert "could not be started" in features["text"].why
    assert features["slots"].why.startswith("Not tested")


# --- hangs


def test_a_hang_is_given_up_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    keys: list[str] = []  # each start has its own

    async def tools(talk: Talk) -> None:
        keys.append(talk.endpoint.api_key)
        await checks.tools(talk)

    async def slots(talk: Talk) -> None:  # needs no time, however busy the machine
        keys.append(talk.endpoint.api_key)

    steps = [checks.Step("tools", checks.ONE, tools), checks.Step("slots", checks.ONE, slots)]
    monkeypatch.setattr(rounds, "STEPS", steps)
    features, _ = ask("hang-tools", limits=Limits(check_s=1))
    assert results(features) == {"tools": "fail", "slots": "pass"}
    assert features["tools"].why == "No answer within 1 s."
    assert len(set(keys)) == 2, "the rest is asked of a new start"
    assert nothing_runs(home)


def test_an_engine_that_hangs_over_a_text_is_not_asked_on() -> None:
    features, _ = ask("hang-text", limits=Limits(check_s=0.5))
    assert results(features) == dict.fromkeys(FEATURES, "fail")
    assert features["threads"].why.startswith("Not tested")


def test_an_engine_that_never_gets_ready_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "text")
    features, _ = ask("unready", limits=Limits(start_s=1, check_s=1))
    assert features["text"].why == "It was not ready within 1 s."


async def test_stopping_the_canary_stops_its_engine(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    asked = asyncio.Event()

    async def notice(_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    step = checks.Step("text", checks.ONE, notice)
    monkeypatch.setattr(rounds, "STEPS", (step,))
    task = asyncio.create_task(
        rounds.ask_features(engine("stubborn"), SAFE, lambda *_: None, SHORT)
    )
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nothing_runs(home)


# --- comparing answers


def tokens(text: str, gaps: tuple[float, ...] = ()) -> Tokens:
    words = tuple(text.split())
    return Tokens(words, gaps or (inf,) * len(words), 10, 0, 0)


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        (tokens("a b c"), tokens("a b c"), True),
        (tokens("a b c"), tokens("a x c"), False),
        (tokens("a b c"), tokens("a b"), False),
        (tokens("a b c", (2.0, 0.1, 2.0)), tokens("a x z"), True),
        (tokens("a b c", (0.1, 2.0, 2.0)), tokens("a x c"), False),
    ],
)
def test_answers_may_part_at_a_near_tie_only(ours: Tokens, theirs: Tokens, *, same: bool) -> None:
    assert ours.same(theirs) is same


@pytest.mark.parametrize(
    ("text", "sensible"),
    [
        ("One is nearly tiny sentence.", True),
        ("This new question seems round</think>It is nearly<tool_call>\nSome", True),
        ("!!!!!!!!!!", False),
        ("One", False),
        ("One is nearly tiny sentenceabc.", False),
        ("", False),
    ],
)
def test_the_model_keeps_to_its_words(text: str, *, sensible: bool) -> None:
    assert model.sensible(text) is sensible


def test_a_long_text_is_as_long_as_it_says() -> None:
    words = model.long_text(4096).split()
    assert len(words) * model.SENTENCE_TOKENS / len(model.SENTENCE.split()) >= 4096
