"""Jobs run at once, stop together, and none keeps the program from ending."""

import threading

import pytest

from runner.base.work import Stopped, run_all


class Waits:
    """A job that waits until it is told to stop, or for ever."""

    def __init__(self, *, deaf=False):
        self.deaf, self.aborted, self.left, self.began = deaf, False, False, threading.Event()
        self.end = threading.Event()

    def run(self, stop):
        self.began.set()
        (self.end if self.deaf else stop).wait(60)
        if not self.deaf:
            raise Stopped

    def abort(self):
        self.aborted = True

    def left_behind(self):
        self.left = True


class Fails:
    def __init__(self, beside):
        self.beside = beside

    def run(self, stop):
        self.beside.began.wait(60)
        raise ValueError("it is broken")

    def abort(self):
        pass

    def left_behind(self):
        pass


class Quick(Fails):
    def run(self, stop):
        self.beside.append(threading.current_thread().name)


def test_all_run_and_the_caller_looks():
    ran: list[str] = []
    run_all([Quick(ran), Quick(ran)], lambda: None)
    assert len(set(ran)) == 2


def test_the_first_error_stops_the_others():
    waits = Waits()
    with pytest.raises(ValueError, match="broken"):
        run_all([waits, Fails(waits)], lambda: None)
    assert not waits.left


def test_what_the_look_raises_stops_all():
    waits = Waits()

    def look():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all([waits], look)
    assert waits.aborted
    assert not waits.left


def test_a_job_that_does_not_hear_is_left_behind_and_told():
    deaf = Waits(deaf=True)
    try:
        with pytest.raises(ValueError, match="broken"):
            run_all([deaf, Fails(deaf)], lambda: None, leave_s=0.05)
        assert deaf.aborted
        assert deaf.left
    finally:
        deaf.end.set()
