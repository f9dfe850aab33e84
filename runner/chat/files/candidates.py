"""What a path that is being typed may become. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A path to take, as it is mentioned: a folder ends in a slash. `detail` explains it."""

    path: str
    detail: str = ""

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.endswith("/")


@dataclass(frozen=True, slots=True)
class Candidates:
    """What fits `typed`. `cut`: not everything was looked at."""

    typed: str
    rows: tuple[Candidate, ...] = ()
    cut: bool = False
