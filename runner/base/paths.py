"""Where files live: platformdirs, or all under STEPRUN_HOME; and the data shipped with steprun."""

import os
from pathlib import Path
from typing import Final

from platformdirs import PlatformDirs

_PACKAGE = Path(__file__).parents[1]


# The home folder of a user who has none. Source: Debian Policy Manual, 9.2.3.
_NO_HOME: Final = "/nonexistent"


def must_have_home() -> None:
    """Name a home folder where a user has none: HOME unset, and a number that no one is known by.

    Without it, every `~` raises, here as in pip and huggingface_hub. What cannot be written below
    this folder is reported like any other.
    """
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - Path.home raises
        os.environ["HOME"] = _NO_HOME


def _home() -> Path | None:
    home = os.environ.get("STEPRUN_HOME")
    # Path.expanduser raises for the `~name` of a user who does not exist; this leaves it alone.
    return Path(os.path.expanduser(home)).absolute() if home else None  # noqa: PTH111


def cache_dir() -> Path:
    """Return the folder of what can be fetched or made again: demo weights, engines."""
    home = _home()
    return home / "cache" if home else PlatformDirs("steprun", False).user_cache_path


def data_dir() -> Path:
    """Return the folder of what is the user's: chat sessions."""
    home = _home()
    return home / "data" if home else PlatformDirs("steprun", False).user_data_path


def config_dir() -> Path:
    """Return the folder of settings and of keys (files of mode 0600)."""
    home = _home()
    return home / "config" if home else PlatformDirs("steprun", False).user_config_path


def state_dir() -> Path:
    """Return the folder of logs, locks and the record of running engines."""
    home = _home()
    return home / "state" if home else PlatformDirs("steprun", False).user_state_path


def packaged(name: str) -> Path:
    """Return a data file or folder that lies inside the package itself: `testbed/trained`."""
    return _PACKAGE / name


def shipped(name: str) -> Path:
    """Return a data file or folder that ships with steprun: `models.toml`, `builds`.

    In the wheel they lie inside the package; in a checkout at the top level.
    """
    packed = _PACKAGE / "data" / name
    return packed if packed.exists() else _PACKAGE.parent / name
