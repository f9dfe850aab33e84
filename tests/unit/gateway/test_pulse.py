"""When an engine hangs, and when it only looks so."""

from dataclasses import replace

import pytest

from runner.engine.process.supervisor import ANSWER_S, VitalSigns
from runner.gateway.engine.pulse import GAP_S, IDLE_CORES, Pulse
from runner.gateway.timing import USUAL

LOOK_S = 5.0


def hangs_after(
    signs: VitalSigns, *, cores: float = 0.0, log: int = 0, heard: int = 0, waiting: int = 1
) -> float:
    """Return after how many seconds an engine is given up that goes on so; 0 in an hour: never."""
    pulse, seconds = Pulse(), 0.0
    for look in range(720):
        seconds = look * LOOK_S
        shown = replace(
            signs,
            log_bytes=look * log,
            cpu_s=seconds * cores,
            progress=look * log + seconds * cores,
        )
        if pulse.look(seconds, shown, waiting=waiting, heard=look * heard):
            return seconds
    return 0.0


STILL, ANSWERS = VitalSigns(answers=False), VitalSigns(answers=True)


@pytest.mark.parametrize(
    ("signs", "does", "after_s"),
    [
        (STILL, {}, USUAL.still_s),  # SIGSTOP
        (STILL, {"waiting": 0}, 0),  # nobody asks
        (STILL, {"cores": 0.01}, USUAL.idle_s),  # a machine that swaps: slow, not still
        (STILL, {"cores": 2.0}, 0),  # busy: 20 streams took all of its HTTP threads
        (ANSWERS, {}, USUAL.idle_s),  # a deadlock
        (ANSWERS, {"cores": 0.003}, USUAL.idle_s),  # more than answering `/health` takes
        (ANSWERS, {"cores": 1.0}, 0),  # a processor reads a prompt, or waits for a card by spinning
        (ANSWERS, {"log": 90}, 0),  # a card reads a prompt: a line for each batch
        (ANSWERS, {"heard": 200}, 0),  # tokens
    ],
)
def test_what_hangs_and_what_does_not(
    signs: VitalSigns, does: dict[str, float], after_s: float
) -> None:
    assert hangs_after(signs, **does) == pytest.approx(after_s, abs=LOOK_S)  # type: ignore[arg-type]


def test_a_batch_of_a_slow_card_is_not_a_hang() -> None:
    """49 tokens a second on a Strix Halo by StepFun's table: a batch of 2,048 takes 42 s."""
    assert USUAL.idle_s > 2048 / 49 * 10
    assert IDLE_CORES * USUAL.idle_s >= 10, "of processor time, or a few threads' polling hides it"


def test_a_processor_that_waits_for_its_gpu_by_spinning_is_seen_on_a_gpu_only() -> None:
    for on_gpu, after_s in ((True, USUAL.mute_s), (False, 0.0)):
        pulse, ended = Pulse(on_gpu=on_gpu), 0.0
        for look in range(720):
            seconds = look * LOOK_S
            signs = VitalSigns(answers=True, cpu_s=seconds, progress=seconds)
            if not ended and pulse.look(seconds, signs, waiting=1, heard=7):
                ended = seconds
        assert ended == pytest.approx(after_s, abs=LOOK_S)


def test_a_machine_that_slept_proves_nothing() -> None:
    pulse = Pulse()
    assert not pulse.look(0, STILL, waiting=1, heard=0)
    assert not pulse.look(3600, STILL, waiting=1, heard=0)
    assert ANSWER_S + USUAL.look_s + USUAL.poll_s < GAP_S, "a look that nobody answers is none"
