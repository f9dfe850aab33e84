"""What a gateway is told at its start: frozen, decided by the command line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runner.engine.process.servers import Command, Served
from runner.kv.kept import Kept

PictureUrls = Literal["public", "off", "all"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a gateway listens, and what it serves.

    `port` 0: a free one. `model`: the name that clients see; `title` the one for people. `context`
    in tokens of one conversation, `parallel` how many are answered at once. `longest_word`: the
    most characters without a break that the engine bears, 0 for any. `sees`: pictures may be sent.
    `arch`, `embedding` (its width) and `weights_bytes` describe the model, `on_gpu` where
    it runs. `key_file`: of the API keys, None where no key is needed. `picture_urls`: which
    pictures by address are downloaded. `drain_s`: how long a stop waits for the answers that have
    begun. `keep_headers`: what clients change in the beginning of every prompt is passed on.
    `allow_repetition`: an answer that repeats itself without end is not ended.
    `certificate` and `certificate_key`: TLS. `allow_origins`, `allow_hosts`: beside those of this
    machine. `served`: the same model, as other commands of steprun are told of it. `kept`: how
    prompts that were read are kept, None where the engine is left to itself. `command`: what the
    gateway belongs to. `less_because`: why pictures or the context are less than planned, in a
    sentence, empty where they are not. `on_demand`: the first request loads the model.
    `idle_unload_s`: it is unloaded after so long without one, 0 for never.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    model: str = ""
    title: str = ""
    quant: str = ""
    context: int = 0
    parallel: int = 1
    sees: bool = False
    longest_word: int = 0
    arch: str = ""
    embedding: int = 0
    weights_bytes: int = 0
    on_gpu: bool = False
    key_file: Path | None = None
    picture_urls: PictureUrls = "public"
    drain_s: float = 30.0
    keep_headers: bool = False
    allow_repetition: bool = False
    certificate: Path | None = None
    certificate_key: Path | None = None
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    served: Served = field(default_factory=Served)
    kept: Kept | None = None
    command: Command = "serve"
    less_because: str = ""
    on_demand: bool = False
    idle_unload_s: float = 0.0
