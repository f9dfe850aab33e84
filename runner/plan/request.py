"""What a user may request of a plan. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Profile(StrEnum):
    """`see`: image input, no draft heads (the default). `fast`: draft heads, no image input.

    `text`: neither, which leaves the most memory for the quant and the context.
    """

    SEE = "see"
    FAST = "fast"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What the user requested; None leaves the choice to the plan.

    `with_mtp`: the user named a file of draft heads, which is used whatever the profile.
    `without`: the features that failed this engine's self-test and stay off (`picture`, `mtp`, and
    `mtp_picture`: both at once).
    """

    quant: str | None = None
    context: int | None = None
    kv_type: str | None = None
    ubatch: int | None = None
    parallel: int = 1
    profile: Profile = Profile.SEE
    with_mtp: bool = False
    allow_paging: bool = False
    without: frozenset[str] = frozenset()

    @property
    def see(self) -> bool:
        """Whether pictures are wanted, and the engine can take them."""
        return self.profile is Profile.SEE and "picture" not in self.without

    def drafts(self, *, see: bool) -> bool:
        """Whether draft heads are wanted, and the engine can use them beside what it has."""
        fails = {"mtp", "mtp_picture"} if see else {"mtp"}
        wanted = self.with_mtp or (not see and self.profile is not Profile.TEXT)
        return wanted and not fails & self.without

    def words(self) -> tuple[str, ...]:
        """Return the command-line options of this request."""
        valued = (
            ("--quant", self.quant),
            ("--ctx", self.context),
            ("--kv", self.kv_type),
            ("--ubatch", self.ubatch),
            ("--parallel", self.parallel if self.parallel > 1 else None),
            ("--profile", self.profile if self.profile is not Profile.SEE else None),
        )
        words = [str(word) for flag, value in valued if value for word in (flag, value)]
        return (*words, *(("--allow-paging",) if self.allow_paging else ()))
