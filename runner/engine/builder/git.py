"""Downloads the source of an engine with git: one commit, without hooks, settings or submodules."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.progress import OnProgress, Phase, Progress
from runner.base.text import clean
from runner.engine.process.guarded import Guarded

STALL_S: Final = 120.0  # git prints its progress every second, once it has reached its host
ALTERNATIVE: Final = "steprun engine build --source xllamacpp"
_FETCHED = "FETCH_HEAD"
_POLL_S = 0.1
_QUICK_S = 30.0
_TAIL_BYTES = 8192
_STEP = re.compile(r"([A-Z][A-Za-z ]+):\s+\d+% \((\d{1,12})/(\d{1,12})\)")
_SETTINGS = (
    f"core.hooksPath={os.devnull}",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "submodule.recurse=false",
    "protocol.ext.allow=never",
    "advice.detachedHead=false",
    "gc.auto=0",
    "maintenance.auto=false",
    # Below 1 kB a second for a minute: it is given up.
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
)
_UNREACHABLE = re.compile(
    r"could not resolve|failed to connect|couldn't connect|connection (refused|timed out|reset)|"
    r"unable to access|unable to look up|operation (timed out|too slow)|network is unreachable|"
    r"could not read (from remote|username)|early eof|hung up|ssl|proxy|the requested URL",
    re.IGNORECASE,
)
_INSTALL = {
    "linux": "sudo apt install git (or your system's own package)",
    "darwin": "xcode-select --install",
    "win32": "winget install Git.Git",
}


def clone(folder: Path, url: str, ref: str, report: OnProgress, *, new: bool) -> str:
    """Download a branch, tag or commit of `url` into a repository in `folder`; return its commit.

    `new`: the folder holds no repository yet. Files are not touched. Raises Refused (no git),
    UsageError (no such branch) or SteprunError.
    """
    for command in clone_commands(folder, url, ref, new=new):
        _run(command, folder, report, url, ref)
    return commit(folder, _FETCHED)


def clone_commands(folder: Path, url: str, ref: str, *, new: bool) -> list[list[str]]:
    """Return the commands of `clone`. Raises Refused where git is missing."""
    shallow = ("--depth=1", "--no-tags", "--no-recurse-submodules", "--progress", "--force")
    init = [_git("init", "--quiet", "--template=", str(folder))] if new else []
    return [*init, _git("-C", str(folder), "fetch", *shallow, "--", url, ref)]


def check_out(folder: Path, report: OnProgress) -> None:
    """Make the files of a folder those of the commit that `clone` has fetched, and no others."""
    for command in check_out_commands(folder):
        _run(command, folder, report, "", _FETCHED)


def check_out_commands(folder: Path) -> list[list[str]]:
    """Return the commands of `check_out`. Raises Refused where git is missing."""
    check_out = ["checkout", "--progress", "--force", "--detach", _FETCHED]
    return [_git("-C", str(folder), *words) for words in (check_out, ["clean", "-ffdxq"])]


def commit(folder: Path, ref: str = "HEAD") -> str:
    """Return the commit that a checkout is at; empty where it is not one, or git is missing."""
    if not (folder / ".git").exists():
        return ""  # never the commit of a repository that happens to lie around the folder
    try:
        done = subprocess.run(
            _git("-C", str(folder), "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_QUICK_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, Refused):
        return ""
    found = done.stdout.decode("ascii", "replace").strip()
    return found if done.returncode == 0 and re.fullmatch(r"[0-9a-f]{40,64}", found) else ""


def _git(*words: str) -> list[str]:
    program = shutil.which("git")
    if program is None:
        install = _INSTALL.get(sys.platform, "Install git")
        raise Refused(
            "git is not installed.",
            why="The source lies in a git repository.",
            next=f"{install} - or build without it: {ALTERNATIVE}",
        )
    settings = (word for setting in _SETTINGS for word in ("-c", setting))
    return [program, *settings, *words]


def _environment() -> dict[str, str]:
    kept_too = ("GIT_SSH_COMMAND", "GIT_SSH", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_EXEC_PATH")
    # Variables such as GIT_DIR, set by a hook that runs us, would lead git to another repository.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    kept |= {name: os.environ[name] for name in kept_too if name in os.environ}
    return {
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        **kept,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GCM_INTERACTIVE": "never",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C",
    }


def _protocol(url: str) -> str:
    """Return the one way to reach an address, so that no redirect leads to another."""
    scheme, sign, _ = url.partition("://")
    return scheme if sign else "file" if Path(url).is_absolute() else "ssh"


def _run(command: list[str], folder: Path, report: OnProgress, url: str, ref: str) -> None:
    """Run git to its end; it never outlives us. Raises what its log says where it fails."""
    folder.mkdir(exist_ok=True)
    log = folder.with_name(f"{folder.name}.log")
    allowed = (("GIT_ALLOW_PROTOCOL", _protocol(url)),)
    try:
        with Guarded(command, log, env=allowed, base=_environment(), tree=True) as git:
            if _watch(git, report):
                raise _error(_tail(git), url, ref)
    finally:
        log.unlink(missing_ok=True)


def _watch(git: Guarded, report: OnProgress) -> int:
    """Return git's exit status; meanwhile tell how far it is."""
    seen, moved = "", time.monotonic()
    while (status := git.status(_POLL_S)) is None:
        now = _tail(git)
        if now != seen:
            seen, moved = now, time.monotonic()
        elif time.monotonic() - moved > STALL_S:
            raise SteprunError(
                "git has stopped responding.",
                why=f"It has printed nothing for {STALL_S:.0f} s.",
                next=f"Check the network, or build without git: {ALTERNATIVE}",
            )
        steps = _STEP.findall(seen)
        what, done, total = steps[-1] if steps else ("asking the repository", "0", "0")
        report(Progress(Phase.CLONING, int(done), int(total), what.lower()))
    return status


def _tail(git: Guarded) -> str:
    return clean(git.log.tail(_TAIL_BYTES))


def _error(output: str, url: str, ref: str) -> SteprunError:
    lines = [line for line in output.splitlines() if re.match(r"fatal|error|ssh|warning", line)]
    why = f"{(lines or ['git printed nothing'])[-1][:300].rstrip('.')}."
    if "find remote ref" in output:
        return UsageError(
            f"{url} has no branch or tag {ref}.", why=why, next="Choose another: --at REF"
        )
    if re.search(r"no space left|disk quota", output, re.IGNORECASE):
        return Refused(
            "There is not enough disk space for the source.",
            why=why,
            next="Free some space, or set STEPRUN_HOME to a folder on another disk.",
        )
    what = (
        f"{url} could not be reached."
        if _UNREACHABLE.search(output)
        else f"{url} could not be downloaded."
    )
    return SteprunError(
        what, why=why, next=f"Check the network, or build from another source: {ALTERNATIVE}"
    )
