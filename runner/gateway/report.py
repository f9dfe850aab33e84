"""What the operator of a gateway is told while it runs."""

from typing import Protocol

from runner.base.errors import SteprunError
from runner.base.loaded import Loaded


class Report(Protocol):
    """Whoever tells the operator what happens."""

    def listening(self, port: int) -> None:
        """Say that the gateway answers, while the model is still loading."""

    def loading(self, seconds: float, loaded: Loaded | None) -> None:
        """Say for how long the model has been loading, and how far it is, if that is known."""

    def ready(self, log: str) -> None:
        """Say that the model answers, also after a restart. `log`: the path of the engine's log."""

    def changed(self, news: str) -> None:
        """Say that a file that the gateway follows has changed."""

    def restarting(self, why: SteprunError, seconds: float) -> None:
        """Say that the engine ended or hangs, why, and in how many seconds it is started again."""

    def retiring(self) -> None:
        """Say that the engine is ended in order, and is started again at once."""

    def lacking(self, missing: int) -> None:
        """Say that the engine is started again when so many bytes of memory have come free."""

    def asleep(self, why: SteprunError | None) -> None:
        """Say that the engine is unloaded until somebody asks; `why` it cannot be loaded now."""

    def resumed(self, seconds: float) -> None:
        """Say that the computer itself slept for so long, and the engine answers again."""

    def short(self, left: int | None) -> None:
        """Say that so many bytes of memory are left, and requests wait; None: there is enough."""

    def noticed(self, what: str) -> None:
        """Say that something went wrong with an answer or with the engine's speed."""

    def draining(self, answers: int, seconds: float) -> None:
        """Say that a stop waits for so many answers, so long at most."""
