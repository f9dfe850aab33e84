"""The programs that are measured: how each is started, so that it asks the scripted engine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from chat_rates.terminal import Terminal

# The chat that oterm opens, stored by its own code, whatever its tables are.
_OTERM_CHAT = """
import asyncio
from oterm.store.store import Store
from oterm.types import ChatModel

async def save():
    store = await Store.get_store()
    await store.save_chat(ChatModel(name="rates", model="m", provider="openai-compat/rates"))

asyncio.run(save())
"""


@dataclass(frozen=True)
class Program:
    """A program in a folder of its own. `painted` is on the screen once its window is there.

    `ready` is on it once a question is answered at once.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path
    painted: str
    ready: str

    def start(self) -> Terminal:
        """Start it in a terminal."""
        common = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        return Terminal(list(self.argv), os.environ | common | dict(self.env), self.folder)


def steprun(checkout: Path, port: int, folder: Path) -> Program:
    """Return steprun's chat, of a checkout, run by this Python.

    Its bytecode is kept, as an installed program's is: to compile it took 0.1 s of each start.
    """
    argv = (sys.executable, "-P", "-m", "runner", "chat", "--url", f"http://127.0.0.1:{port}")
    env = {"PYTHONPATH": str(checkout.resolve()), "STEPRUN_HOME": str(folder)}
    env |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    # The cursor stands on the placeholder's first letter, in colors of its own.
    return Program("steprun", argv, env, folder, "essage the model", "ready")


def oterm(program: Path, port: int, folder: Path) -> Program:
    """Return oterm (PyPI), which is an interface of Textual's as well."""
    server = {"rates": {"base_url": f"http://127.0.0.1:{port}/v1"}}
    config = {"splash-screen": False, "theme": "textual-dark", "openaiCompatible": server}
    (folder / "config.json").write_text(json.dumps(config))
    env = {"OTERM_DATA_DIR": str(folder)}
    python = program.parent / "python"
    subprocess.run([python, "-c", _OTERM_CHAT], env=os.environ | env, check=True)
    return Program("oterm", (str(program),), env, folder, "model: m", "model: m")


def vibe(program: Path, port: int, folder: Path) -> Program:
    """Return mistral-vibe (PyPI), a native program from its version 3 on."""
    (folder / "config.toml").write_text(
        'active_model = "m"\nenable_update_checks = false\nenable_telemetry = false\n'
        "enable_auto_update = false\n"
        f'[[providers]]\nname = "rates"\napi_base = "http://127.0.0.1:{port}/v1"\n'
        'api_key_env_var = "VIBE_KEY"\nbackend = "generic"\n'
        '[[models]]\nname = "m"\nprovider = "rates"\nalias = "m"\n'
    )
    env = {"VIBE_HOME": str(folder), "VIBE_KEY": "x", "MISTRAL_API_KEY": "x"}
    return Program("vibe", (str(program), "--trust"), env, folder, ">", "k tokens")


def checkout(path: Path, port: int, folder: Path) -> Program:
    """Return steprun's chat of another checkout, to compare it before and after a change."""
    return replace(steprun(path, port, folder), name="checkout")


PEERS: Mapping[str, Callable[[Path, int, Path], Program]] = {
    "checkout": checkout,
    "oterm": oterm,
    "vibe": vibe,
}
