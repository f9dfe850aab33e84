"""A download for people, before it begins: how much, from where, to where, for how long."""

from collections.abc import Sequence

from runner.base.units import download_size, duration, rate, size
from runner.catalog import shards
from runner.catalog.model import ModelFile, Role
from runner.run.download_missing import DownloadOffer

NAMES: dict[Role, str] = {
    "weights": "model",
    "projector": "vision encoder (mmproj)",
    "mtp": "draft heads (MTP)",
}


def offer_text(offer: DownloadOffer) -> str:
    """Return an offer in a few lines."""
    done = offer.total_bytes - offer.left_bytes
    begun = f", {size(done)} already downloaded" if done else ""
    lines = [
        f"{_parts(offer.files)}, {download_size(offer.total_bytes)}{begun}",
        f"  from  {' and '.join(offer.repos)} at {offer.host}",
        f"  to    {offer.folder} ({size(offer.free_bytes)} free)",
    ]
    if offer.rate:
        time = duration(offer.left_bytes / offer.rate)
        lines.append(f"  takes about {time} at {rate(offer.rate)}")
    lines += [
        f"  was linked from {folder}, which is missing. Is that disk mounted?"
        for folder in offer.unmounted
    ]
    if offer.programs:
        programs = " and ".join(offer.programs)
        lines.append(f"  perhaps already downloaded by {programs}: steprun models adopt")
    lines += [
        f"  already downloaded: {quant} (steprun chat --quant {quant})"
        for quant in offer.installed_quants
    ]
    return "\n".join(lines)


def _parts(files: Sequence[ModelFile]) -> str:
    """Say which kinds of files they are: 3 parts and the vision encoder (mmproj)."""
    kinds = []
    for role, name in NAMES.items():
        count = sum(file.role == role for file in files)
        if count:
            alone = role != "weights" or all(len(shards.series(f.path)) == 1 for f in files)
            kinds.append(f"the {name}" if alone else f"{count} part{'s' * (count > 1)}")
    return " and ".join((", ".join(kinds[:-1]), kinds[-1])) if len(kinds) > 1 else kinds[0]
