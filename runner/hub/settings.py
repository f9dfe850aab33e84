"""The user's settings of the hub, as huggingface_hub reads them: mirror, offline mode, token.

Each is read when it is needed: HF_ENDPOINT, HF_HUB_OFFLINE, and HF_TOKEN or the file that `hf auth
login` writes.
"""

import os
import re
from typing import Final

from runner.base.errors import UsageError
from runner.base.text import shown
from runner.net.endpoint import split_url

HUB: Final = "https://huggingface.co"
_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})


def endpoint() -> str:
    """Return the hub's address, without a slash at the end."""
    url = (os.environ.get("HF_ENDPOINT") or HUB).strip().rstrip("/")
    parts = split_url(url)
    if parts is None:
        raise UsageError(
            "HF_ENDPOINT is not a web address.",
            why=f"It is {shown(url)}.",
            next=f"Unset it, or give it the form {HUB}",
        )
    return parts.geturl()


def offline() -> bool:
    """Tell whether the user wants nothing from the network."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in _TRUE for name in names)


def token() -> str:
    """Return the hub's token, empty if there is none. Raises UsageError if a header cannot hold it.

    The token itself is never shown.
    """
    from huggingface_hub import get_token  # noqa: PLC0415 - 50 ms, and only the network needs it

    found = get_token() or ""
    if found and not re.fullmatch(r"[!-~]+", found):
        raise UsageError(
            "The hub's token (HF_TOKEN, or the file that `hf auth login` writes) cannot be used.",
            why="It has spaces or other characters that no HTTP header may carry.",
            next="Log in again: hf auth login",
        )
    return found
