"""Who may ask what: names and origins, keys, and the kinds of bodies. Pure."""

from runner.gateway.admission.origins import preflight
from runner.gateway.admission.rules import Rules, WrongKey, admit, enter

__all__ = ["Rules", "WrongKey", "admit", "enter", "preflight"]
