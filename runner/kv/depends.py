"""What a saved KV cache depends on: an engine gets one only if all of it is equal. Pure."""

from dataclasses import astuple, dataclass
from hashlib import blake2b
from typing import Final

FORMAT: Final = 1  # of what steprun keeps beside the engine's file


@dataclass(frozen=True, slots=True)
class Depends:
    """Everything outside a prompt that makes a cache what it is.

    `engine`: its name, version and what its program is, so that a rebuilt one is another.
    `weights`, `projector`, `draft_heads`: what the files are (their SHA-256 where it is known,
    else size and header), empty where there is none. `kv_type`: of keys and values. `template`: of
    the chat, where it is not that of the weights.
    """

    engine: str
    weights: str
    projector: str
    draft_heads: str
    kv_type: str
    template: str = ""

    def key(self) -> str:
        """Return what all of it comes to: 32 hexadecimal digits. Equal keys, equal caches."""
        words = (str(FORMAT), *astuple(self))
        joined = b"\0".join(word.encode("utf-8", "surrogatepass") for word in words)
        return blake2b(joined, digest_size=16).hexdigest()
