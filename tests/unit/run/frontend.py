"""A front end without a terminal: it notes what is reported, and answers as it is told."""

from collections.abc import Callable
from contextlib import nullcontext

from runner.base.progress import ignore
from runner.run.download_missing import DownloadOffer, Frontend


def quiet(
    heard: list[str] | None = None, ask: Callable[[DownloadOffer], bool] | None = None
) -> Frontend:
    """Return one that adds all messages to `heard`."""
    messages = [] if heard is None else heard
    return Frontend(messages.append, lambda: nullcontext(ignore), ask)
