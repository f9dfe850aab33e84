"""What a user may ask of the plan. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Profile(StrEnum):
    """`see`: pictures, no draft heads (the default). `fast`: draft heads, no pictures."""

    SEE = "see"
    FAST = "fast"


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What the user asked for; None leaves the choice to the plan.

    `with_mtp`: draft heads were named by hand, and are taken whatever the profile. `without`: what
    the engine's canary saw fail there, which is left out whatever was asked (`picture`, `mtp`, and
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
        return (self.with_mtp or not see) and not fails & self.without

    def words(self) -> tuple[str, ...]:
        """Return the options that ask for this."""
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
