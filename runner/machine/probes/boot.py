"""Where a kernel module's option is set under Linux, and how to change it there.

kmod appends the kernel's command line after the files of modprobe.d, and the last value wins: an
option that stands on the command line must be changed there, and the old value must be removed.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runner.base.toml import Strict, read_toml
from runner.machine.captures.capture import Reader
from runner.machine.probes.read import pairs, strip_codes

# Options of these modules are looked for; `-` and `_` are the same to the kernel.
_OPTION = re.compile(r"(ttm|amdttm|amdgpu)\.([a-z_-]+)=([0-9]{1,15})")
_FILE = "/etc/modprobe.d/zz-steprun.conf"  # zz: read last, so that it wins
_REBUILD = "then rebuild the initramfs (update-initramfs -u, or dracut -f) and restart"


class _Loader(Strict, frozen=True):
    """One way to change the kernel's command line; the file describes the fields."""

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    where: str
    edit: str
    needs: tuple[str, ...] = ()
    delete_flag: str = "{}"
    add_flag: str = "{}"
    always: bool = False
    by_hand: bool = False

    def fill(self, old: Sequence[str], new: Sequence[str]) -> str:
        """Return the command that replaces parameters by others."""
        words = {
            "sed": shlex.quote(_sed(old, new)),
            "delete": " ".join(self.delete_flag.format(each) for each in old),
            "add": " ".join(self.add_flag.format(each) for each in new),
            "key": (*old, *new)[0].partition("=")[0],
        }
        return re.sub(" +", " ", self.edit.format(**words))


class _Loaders(Strict, frozen=True):
    loader: tuple[_Loader, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """How to set an option: `how` completes a sentence after a comma; commands to do and undo."""

    how: str
    command: str
    undo: str


def on_command_line(reader: Reader) -> dict[str, str]:
    """Return the options of graphics modules on the kernel's command line, the last of each."""
    found = {}
    for word in (reader.file("/proc/cmdline") or "").split():
        if match := _OPTION.fullmatch(word.strip('"')):
            found[f"{match[1]}.{match[2].replace('-', '_')}"] = match[3]
    return found


def set_option(
    reader: Reader, option: str, value: int, *, remove: Sequence[str] = (), inside: bool = False
) -> Change:
    """Return how to set `module.name` here; `remove`: options that would stand in the way.

    `inside`: in a container, whose files tell nothing of how its host is started.
    """
    line = on_command_line(reader)
    old = [f"{name}={line[name]}" for name in (option, *remove) if name in line]
    new = [f"{option}={value}"]
    loader = None if inside else _loader(reader)
    if not old and not (loader and loader.always):
        return _in_file(reader, option, value)
    if loader is None:
        return _unknown(old, new)
    stands = f"{' and '.join(old)} {'stand' if len(old) > 1 else 'stands'} on the kernel's "
    stands += "command line, which overrides files in /etc/modprobe.d"
    if loader.by_hand:
        do = f"replace {' '.join(old)} with" if old else "add"
        how = f"{do} {' '.join(new)} {loader.where}, then restart"
        undone = f"put {' '.join(old)} back" if old else f"remove {' '.join(new)}"
        undo = f"{undone} {loader.where}, then: sudo nixos-rebuild boot"
        return Change(f"{stands}: {how}" if old else how, loader.edit, undo)
    how = f"{stands}: change it {loader.where}, then restart" if old else "then restart"
    return Change(how, loader.fill(old, new), loader.fill(new, old))


def _in_file(reader: Reader, option: str, value: int) -> Change:
    """Return how to set an option in modprobe.d: where it is set already, in that file."""
    module, _, name = option.partition(".")
    wanted = re.compile(rf"^[ \t]*options[ \t]+{module}[ \t][^\n]*\b{name}=([0-9]+)", re.MULTILINE)
    for path in reversed(reader.glob("/etc/modprobe.d/*.conf")):
        values = wanted.findall(reader.file(path) or "")
        if values and path != _FILE:
            old, new = f"{name}={values[-1]}", f"{name}={value}"
            edit = f"sudo sed -i {{}} {shlex.quote(path)}"
            return Change(
                f"{option} is set in {path}: change it there, {_REBUILD}",
                edit.format(shlex.quote(_sed([old], [new]))),
                edit.format(shlex.quote(_sed([new], [old]))),
            )
    text = f"options {module} {name}={value}"
    how = f"{_REBUILD}. On the kernel's command line the same is {option}={value}"
    return Change(how, f"echo '{text}' | sudo tee {_FILE}", f"sudo rm {_FILE}")


def _unknown(old: Sequence[str], new: Sequence[str]) -> Change:
    """Return what to do where the boot loader is not known: find the place, and edit it."""
    files = "/etc/default /etc/kernel /boot/loader /boot/grub /efi/loader"
    key = old[0].partition("=")[0]
    return Change(
        f"{' and '.join(old)} on the kernel's command line overrides files in /etc/modprobe.d: in "
        f"the boot loader's configuration, which the command finds, replace it with "
        f"{' '.join(new)}, then restart",
        f"sudo grep -rs '{key}=' {files}",
        f"replace {' '.join(new)} with {' '.join(old)} in the same place, then restart",
    )


def _sed(old: Sequence[str], new: Sequence[str]) -> str:
    """Return the expression that puts `new` in the place of the first and removes the others."""
    first, *others = [re.sub(r"([.\[\]*^$/\\])", r"\\\1", each) for each in old] or [""]
    steps = [f"s/{first}\\b/{' '.join(new)}/"]
    return "; ".join(steps + [f"s/ *{each}\\b//" for each in others])


def _loader(reader: Reader) -> _Loader | None:
    release = pairs(reader.file("/etc/os-release"), "=")
    names = f"{release.get('ID', '')} {release.get('ID_LIKE', '')} {release.get('VARIANT_ID', '')}"
    ids = set(strip_codes(names.replace('"', " ")).lower().split())
    for loader in _loaders():
        there = any(map(reader.glob, loader.paths)) or not ids.isdisjoint(loader.ids)
        if there and all(map(reader.glob, loader.needs)):
            return loader
    return None


@cache
def _loaders() -> tuple[_Loader, ...]:
    path = Path(__file__).with_name("boot_loaders.toml")
    return read_toml(path, _Loaders, "the list of boot loaders").loader
