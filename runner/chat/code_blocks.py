"""Whether a text that arrives in pieces has come to stand in code, by Markdown's marks. Pure."""

_FENCES = ("```", "~~~")


class InCode:
    """Takes a text piece by piece; how it is cut changes nothing."""

    def __init__(self) -> None:
        self._fenced = False
        self._begin = ""  # of the line, without its blanks
        self._ticks = 0  # in the line

    @property
    def inside(self) -> bool:
        """Whether the text so far ends inside a fenced block, or a code span of its last line."""
        return self._fenced or self._ticks % 2 == 1

    def take(self, text: str) -> None:
        """Add a piece."""
        for number, part in enumerate(text.split("\n")):
            if number:  # a line has ended
                self._fenced ^= self._begin in _FENCES
                self._begin, self._ticks = "", 0
            self._begin = (self._begin + part).lstrip(" \t")[: len(_FENCES[0])]
            self._ticks += part.count("`")
