"""Addresses of models on the network: `hf:OWNER/REPO/FILE.gguf[@REVISION]`, or a URL.

The hub is the one that `HF_ENDPOINT` names; nothing else is read. What is shown to people leaves
out the query of a URL: that is where a signed link keeps its signature.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, urlsplit

from runner.base.errors import UsageError
from runner.base.text import shown
from runner.hub.settings import endpoint
from runner.net.endpoint import same_origin, split_url

EXAMPLE = "hf:stepfun-ai/Step-3.7-Flash-GGUF/IQ4_XS/Step-3.7-flash-IQ4_XS-00001-of-00003.gguf"

_SCHEMES = ("hf:", "https:", "http:")
_PIECE = r"(?!\.{1,2}/)[^/\x00-\x20\x7f]+"
_HUB_FILE = re.compile(
    rf"hf:(?P<repo>[\w.-]+/[\w.-]+)/(?P<path>(?:{_PIECE}/)*[^/\x00-\x20\x7f]+\.gguf)"
    r"(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?",
    re.ASCII | re.IGNORECASE,
)
_PINNED = re.compile(r"/resolve/[0-9a-f]{40}/")


@dataclass(frozen=True, slots=True)
class Address:
    """One file on the network.

    `url`: where to request it. `text`: what people are shown. `name`: the file's own name.
    `pinned`: the address names a commit, so what lies there never changes.
    """

    url: str
    text: str
    name: str
    pinned: bool

    def beside(self, name: str) -> "Address":
        """Return the address of another file in the same folder."""
        parts = urlsplit(self.url)
        folder = parts.path.rpartition("/")[0]
        head, _, tail = self.text.rpartition("/")
        return replace(
            self,
            url=parts._replace(path=f"{folder}/{quote(name)}").geturl(),
            text=f"{head}/{tail.replace(self.name, name)}",
            name=name,
        )


def is_remote(text: str) -> bool:
    """Tell whether a `--model` names something on the network, well or badly."""
    return text.lower().startswith(_SCHEMES)


@dataclass(frozen=True, slots=True)
class HubName:
    """A file of the hub as `hf:` names it; `revision` is a branch, a tag or a commit."""

    repo: str
    path: str
    revision: str = "main"


def hub_name(text: str) -> HubName | None:
    """Take `hf:OWNER/REPO/FILE.gguf[@REVISION]` apart; None where it is something else."""
    match = _HUB_FILE.fullmatch(text) if text.isprintable() else None
    if match is None:
        return None
    name = HubName(match["repo"], match["path"], match["revision"] or "main")
    dotted = {".", ".."} & {*name.repo.split("/"), *name.revision.split("/")}
    return None if dotted else name


def address(text: str) -> Address:
    """Read what the user typed; UsageError where it names no file."""
    return _hub_file(text) if text.lower().startswith("hf:") else _web_file(text)


def _hub_file(text: str) -> Address:
    name = hub_name(text)
    if name is None:
        raise UsageError(
            f"{shown(text)} does not name a file of the hub.",
            why="It must have an owner, a repository and the path of a .gguf file.",
            next=f"For example: --model {EXAMPLE}",
        )
    url = f"{endpoint()}/{name.repo}/resolve/{quote(name.revision, safe='')}/{quote(name.path)}"
    return Address(url, text, name.path.rpartition("/")[2], bool(_PINNED.search(url)))


def _web_file(text: str) -> Address:
    parts = split_url(text)
    if parts is None:
        raise _no_address(text, "It is not a web address.")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "A web address must not contain a password.",
            why="It would be shown in plans and kept in logs.",
            next="Use a link without one; for the hub, log in: hf auth login",
        )
    hub = same_origin(text, endpoint())
    # The page that shows a file, and the file: people copy the first.
    path = re.sub(r"^(/[^/]+/[^/]+)/blob/", r"\1/resolve/", parts.path) if hub else parts.path
    name = unquote(path.rpartition("/")[2])
    if not name.lower().endswith(".gguf") or not name.isprintable() or "/" in name:
        raise _no_address(text, "It does not end in the name of a .gguf file.")
    url = parts._replace(path=quote(path, safe="/%:@!$&'()*+,;=~"), fragment="").geturl()
    plain = parts._replace(path=path, query="", fragment="").geturl()
    return Address(url, plain, name, hub and bool(_PINNED.search(path)))


def _no_address(text: str, why: str) -> UsageError:
    return UsageError(
        f"{shown(text.partition('?')[0])} does not name a file.",
        why=why,
        next=f"Give a link to a .gguf file, or for example: --model {EXAMPLE}",
    )
