"""Which API key of the environment goes to which server. Pure.

A key is sent where it belongs, and nowhere else: whoever owns `--url` may be anybody.
"""

from collections.abc import Mapping
from typing import Final

from runner.base.errors import Refused
from runner.net.endpoint import is_loopback, split_url

ANY: Final = "STEPRUN_API_KEY"  # to whatever server `--url` names
# To the services that give them out, and to servers on this machine.
BELONGS: Final[Mapping[str, tuple[str, ...]]] = {
    "STEP_API_KEY": ("stepfun.ai", "stepfun.com"),
    "OPENAI_API_KEY": ("openai.com",),
}


def key_for(url: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the key for a server, empty where there is none, and how to send one.

    Raises Refused where a key cannot be sent in a header.
    """
    parts = split_url(url)
    host, secure = (parts.hostname or "", parts.scheme == "https") if parts else ("", False)
    local = is_loopback(url)
    kept = ""
    for name in (ANY, *BELONGS):
        key = environment.get(name, "").strip()
        if not key:
            continue
        owned = any(host == each or host.endswith(f".{each}") for each in BELONGS.get(name, ()))
        if name == ANY or local or (owned and secure):
            if not (key.isascii() and key.isprintable()) or " " in key:
                raise Refused(
                    f"The key in {name} cannot be sent.",
                    why="It has characters that a key does not have.",
                    next=f"Set {name} again, to the key alone.",
                )
            return key, ""
        kept = kept or name
    if not kept:
        return "", ""
    return "", (
        f"{kept} is set, and goes only to {' and '.join(BELONGS[kept])} by https. To send it to "
        f"this server as well, set {ANY} to it."
    )
