"""Why an engine ended: the exit status first, and of its log only what belongs to the end."""

import pytest

from runner.base.errors import BadFile
from runner.engine.process.diagnose import by_itself, diagnose, how, signal_of

# What the embedded engine wrote, levels and stamps as they are.
SAMPLER = """\
0.20.100.000 I srv  params_from_: Chat format: peg-native
0.20.101.000 I slot launch_slot_: id  0 | task 0 | processing task, is_child = 0
\trepeat_last_n = 64, repeat_penalty = 1.000, frequency_penalty = 0.000
\tmirostat = 0, mirostat_lr = 0.100, mirostat_ent = 5.000
"""
OLD_COMPLAINT = """\
0.10.000.000 E mtmd_helper_bitmap_init_from_buf: failed to decode image bytes
0.10.000.100 E srv    operator(): failed to decode buffer as either image/audio/video
0.25.000.000 I slot print_timing: id  0 | prompt eval time = 72.34 ms
"""
ABORT = """\
0.30.000.000 I slot launch_slot_: id  0 | task 9 | processing task
/src/ggml/src/ggml.c:1234: GGML_ASSERT(ne00 == ne10) failed
#0  0x00007f in raise () from /lib/libc.so.6
"""


@pytest.mark.parametrize(
    ("status", "log", "what", "why"),
    [
        (137, SAMPLER, "was killed while it was answering (SIGKILL)", "memory runs out"),
        (139, OLD_COMPLAINT, "crashed while it was answering (SIGSEGV)", "fault of the engine"),
        (0xC0000005, OLD_COMPLAINT, "crashed while it was answering", "fault of the engine"),
        (143, OLD_COMPLAINT, "was stopped while it was answering (SIGTERM)", "sent it that"),
        (134, ABORT, "stopped while it was answering (SIGABRT)", "GGML_ASSERT(ne00 == ne10)"),
        (134, OLD_COMPLAINT, "(SIGABRT)", "does not say why"),
        (1, SAMPLER, "(exit status 1)", "does not say why"),
        (1, OLD_COMPLAINT + "0.25.000.200 E cuda: out of memory\n", "(exit", "E cuda: out of"),
        (1, "terminate called after throwing an instance of 'x'\n", "(exit", "terminate called"),
        (1, "ValueError: no\n0.25.000.200 I later\n", "(exit", "does not say why"),
        (-9, SAMPLER, "was killed while it was answering (SIGKILL)", "memory runs out"),
        (None, "", "(no exit status)", "does not say why"),
    ],
)
def test_the_end_of_an_engine_that_had_served(
    status: int | None, log: str, what: str, why: str
) -> None:
    error = diagnose(status, log, "/x.log", ready=True)
    assert what in error.what
    assert why in error.why
    assert "/x.log" in error.next
    assert "mirostat" not in str(error)
    assert "image/audio/video" not in str(error)


def test_an_old_log_is_not_quoted() -> None:
    error = diagnose(1, ABORT, "/x.log", ready=True, fresh=False)
    assert "GGML_ASSERT" not in error.why


def test_a_load_that_was_killed_is_not_explained_by_its_log() -> None:
    log = "0.01.000.000 W warning: failed to allocate a hint\n"
    assert "was killed while it was loading" in diagnose(137, log, "/x.log", ready=False).what
    log = "0.01.000.000 E failed to load model\n"
    assert isinstance(diagnose(1, log, "/x.log", ready=False), BadFile)


def test_signals_and_decisions_are_told_apart() -> None:
    assert [signal_of(each) for each in (0, 1, 127, 137, -9, None, 0xC0000005)] == [
        *(0, 0, 0, 9, 9, 0, 0)
    ]
    assert [by_itself(each) for each in (0, 1, 127, 137, -9, None, 0xC0000005)] == [
        *(True, True, True, False, False, False, False)
    ]
    assert how(137) == "SIGKILL"
    assert how(0xC0000005) == "Windows status 0xC0000005"


@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        "CUDA error: unspecified launch failure",
        "CUDA error: no CUDA-capable device is detected",
        "HW Exception by GPU node-1 (Agent handle: 0x5586) reason :GPU Hang",
        "terminate called after throwing an instance of 'vk::DeviceLostError'",
        "error: command buffer 0 failed with status 5: kIOGPUCommandBufferCallbackErrorHang",
    ],
)
def test_a_gpu_that_vanished_is_named_with_what_to_do(line: str, ready: bool) -> None:
    log = f"0.01.000.000 I srv: all is well\n{line}\n  current device: 0, in function x\n"
    error = diagnose(134, log, "/x.log", ready=ready)
    assert error.what.startswith("The GPU failed while")
    assert line in error.why
    assert "steprun doctor" in error.next


def test_a_gpu_that_was_lost_in_an_old_log_is_not_named() -> None:
    error = diagnose(1, "CUDA error: GPU is lost\n", "/x.log", ready=True, fresh=False)
    assert "GPU" not in error.what
