"""llama.cpp's own server tests, through the gateway and against the engine by hand.

Each test is run twice: against the engine started by hand, and through `steprun serve` whose engine
has the same flags. What passes by hand must pass through the gateway, but for the differences that
`server_tests.toml` lists with a reason each.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway_checks.serving import ROOT, end_in_order, engine_alone, flags_of, gateway

TABLE: Final = Path(__file__).with_name("server_tests.toml")
CACHE: Final = ROOT / ".cache" / "server-tests"
INSIDE: Final = "vendor/llama.cpp/tools/server/tests"
# What the tests import. Their requirements.txt pins old versions that this Python may not build.
PACKAGES: Final = (
    *("pytest>=8.3,<9", "pytest-timeout", "filelock", "numpy", "openai", "prometheus-client"),
    *("requests", "wget", "aiohttp"),
)
# A request that is not answered fails its test by then, instead of after ten minutes.
_PLUGIN: Final = """
import functools, requests
_send = requests.Session.request
@functools.wraps(_send)
def _bounded(self, method, url, **options):
    options["timeout"] = min(options.get("timeout") or LIMIT, LIMIT)
    return _send(self, method, url, **options)
requests.Session.request = _bounded
"""
Outcome = Literal["passed", "failed", "skipped"]
Results = dict[str, Outcome]


class Profile(msgspec.Struct, frozen=True):
    """How the server runs for some of the tests."""

    name: str
    arguments: tuple[str, ...]
    key: str = ""
    files: tuple[str, ...] = ()


class LeftOut(msgspec.Struct, frozen=True):
    """A file that is not run."""

    file: str
    why: str


class OnPurpose(msgspec.Struct, frozen=True):
    """A test that passes by hand and shall not through the gateway.

    `test`: FILE::NAME; without its [parameters], all of them.
    """

    test: str
    why: str


class Suite(msgspec.Struct, frozen=True):
    """What `server_tests.toml` says."""

    release: str
    profile: tuple[Profile, ...]
    left_out: tuple[LeftOut, ...] = ()
    on_purpose: tuple[OnPurpose, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """The tests of a profile, by how they went; each named once."""

    both_pass: tuple[str, ...]
    both_fail: tuple[str, ...]
    only_gateway_fails: tuple[str, ...]
    only_hand_fails: tuple[str, ...]
    skipped: tuple[str, ...]


def load_suite(path: Path = TABLE) -> Suite:
    """Return the table. Raises msgspec.ValidationError where it is wrong."""
    return msgspec.toml.decode(path.read_bytes(), type=Suite)


def compare(by_hand: Mapping[str, Outcome], through: Mapping[str, Outcome]) -> Comparison:
    """Sort tests by how they went; one that did not run on a side has failed there."""
    kinds: dict[tuple[bool, bool], list[str]] = {}
    skipped = []
    for test in sorted({*by_hand, *through}):
        pair = (by_hand.get(test, "failed"), through.get(test, "failed"))
        if "skipped" in pair:
            skipped.append(test)
        else:
            kinds.setdefault((pair[0] == "passed", pair[1] == "passed"), []).append(test)
    return Comparison(
        both_pass=tuple(kinds.get((True, True), ())),
        both_fail=tuple(kinds.get((False, False), ())),
        only_gateway_fails=tuple(kinds.get((True, False), ())),
        only_hand_fails=tuple(kinds.get((False, True), ())),
        skipped=tuple(skipped),
    )


def parse_junit(text: str) -> tuple[Results, dict[str, str]]:
    """Return the outcome of each test, and why each failed, out of pytest's JUnit XML."""
    outcomes: Results = {}
    reasons = {}
    for case in ET.fromstring(text).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        file = case.get("classname", "").rpartition(".")[2]
        test = f"{file}.py::{case.get('name', '')}"
        bad = [*case.findall("failure"), *case.findall("error")]
        if bad:
            outcomes[test] = "failed"
            reasons[test] = (bad[0].get("message") or "").splitlines()[0][:300]
        else:
            outcomes[test] = "skipped" if case.find("skipped") is not None else "passed"
    return outcomes, reasons


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs the tests in `folder` with `python`. `limit_s`: of one request and, twice, of a test."""

    folder: Path
    python: Path
    work: Path
    limit_s: int

    def run(self, port: int, chosen: Iterable[str], name: str) -> tuple[Results, dict[str, str]]:
        """Run tests (files, or FILE::NAME) against the server at `port`."""
        report = self.work / f"{name}.xml"
        report.unlink(missing_ok=True)
        plugins = self.work / "plugins"
        plugins.mkdir(exist_ok=True)
        (plugins / "bounded_requests.py").write_text(f"LIMIT = {self.limit_s}\n{_PLUGIN}")
        argv = [
            *(str(self.python), "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-p", "bounded_requests", "--tb=line", f"--timeout={2 * self.limit_s}"),
            *("-m", "not slow", "--durations=10"),  # their tests.sh: slow ones load other models
            *("-o", "junit_family=xunit1", f"--junitxml={report}"),
            *(f"unit/{each}" for each in chosen),
        ]
        environment = {
            **os.environ,
            "DEBUG_EXTERNAL": "1",
            "PORT": str(port),
            "PYTHONPATH": str(plugins),
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with (self.work / f"{name}.log").open("wb") as log:
            subprocess.run(
                argv, cwd=self.folder, env=environment, stdout=log, stderr=log, check=False
            )
        if not report.exists():
            sys.exit(f"pytest wrote no report; read {self.work / name}.log")
        return parse_junit(report.read_text("utf-8"))


def _run_profile(
    profile: Profile, files: tuple[str, ...], runner: Runner, model: list[str]
) -> tuple[Comparison, dict[str, tuple[str, str]]]:
    """Run one profile on both sides; run again what differs, on both, to leave out chance.

    Also returns why each failed: by hand, and through the gateway.
    """
    with tempfile.TemporaryDirectory(prefix="steprun-tests-") as name:
        folder = Path(name)
        key_file = None
        arguments = [*model, *profile.arguments]
        if profile.key:
            key_file = folder / "key"
            key_file.touch(mode=0o600)
            key_file.write_text(profile.key + "\n", "utf-8")
            arguments += ["--api-key-file", str(key_file)]
        with gateway(folder / "home", arguments) as served:
            engine = served.engine()
            if engine is None:
                sys.exit("The gateway has no engine.")
            argv, port = flags_of(engine), int(served.url.rpartition(":")[2])
            print(f"{profile.name}: the engine's flags are {' '.join(argv[1:])}", flush=True)
            through, why = runner.run(port, files, f"{profile.name}-gateway")
            with engine_alone(argv, key_file=key_file, log=runner.work / "engine.log") as url:
                alone = int(url.rpartition(":")[2])
                by_hand, why_by_hand = runner.run(alone, files, f"{profile.name}-hand")
                found = compare(by_hand, through)
                if differ := (*found.only_gateway_fails, *found.only_hand_fails):
                    again, more = runner.run(port, differ, f"{profile.name}-gateway-again")
                    through, why = {**through, **again}, {**why, **more}
                    again, more = runner.run(alone, differ, f"{profile.name}-hand-again")
                    by_hand, why_by_hand = {**by_hand, **again}, {**why_by_hand, **more}
    return compare(by_hand, through), {
        test: (why_by_hand.get(test, ""), why.get(test, "")) for test in {*why, *why_by_hand}
    }


def main(argv: list[str] | None = None) -> int:
    """Run the tests, print the table; 1 where a test fails only through the gateway."""
    options = _options(argv)
    end_in_order()
    suite = load_suite()
    work = options.work or CACHE / "runs"
    work.mkdir(parents=True, exist_ok=True)
    folder = options.tests or _download(suite.release)
    runner = Runner(folder, options.python or _environment(), work, options.limit)
    left_out = {each.file for each in suite.left_out}
    meant = {each.test: each.why for each in suite.on_purpose}
    faults = 0
    report = {}
    for profile in suite.profile:
        if options.profile and profile.name not in options.profile:
            continue
        every = profile.files or tuple(p.name for p in sorted((folder / "unit").glob("test_*.py")))
        files = tuple(
            name
            for name in every
            if name not in left_out and (not options.file or name in options.file)
        )
        if options.again:
            earlier = json.loads(options.again.read_bytes())
            files = tuple(earlier.get(profile.name, {}).get("only_gateway_fails", ()))
        if not files:
            continue
        found, reasons = _run_profile(profile, files, runner, ["--model", str(options.model)])
        faults += print_profile(profile.name, found, reasons, meant)
        report[profile.name] = {
            **msgspec.to_builtins(found),
            "why": {test: list(pair) for test, pair in sorted(reasons.items())},
        }
    for each in suite.left_out:
        print(f"left out: {each.file}: {each.why}")
    (work / "report.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(f"report: {work / 'report.json'}")
    return 1 if faults else 0


def print_profile(
    name: str,
    found: Comparison,
    reasons: Mapping[str, tuple[str, str]],
    meant: Mapping[str, str],
) -> int:
    """Print one profile; return how many tests fail through the gateway without a reason."""
    why_meant = {
        test: why
        for test in (*found.only_gateway_fails, *found.both_pass)
        if (why := meant.get(test) or meant.get(test.partition("[")[0]))
    }
    unmeant = [test for test in found.only_gateway_fails if test not in why_meant]
    print(f"{name}: pass/pass {len(found.both_pass)}, fail/fail {len(found.both_fail)}, ", end="")
    print(f"fail only through the gateway {len(found.only_gateway_fails)} ", end="")
    print(f"({len(found.only_gateway_fails) - len(unmeant)} on purpose), ", end="")
    print(f"fail only by hand {len(found.only_hand_fails)}, skipped {len(found.skipped)}")
    for test in found.only_gateway_fails:
        why = f"on purpose: {why_meant[test]}" if test in why_meant else reasons[test][1]
        print(f"  only through the gateway: {test}: {why}")
    for test in found.only_hand_fails:
        print(f"  only by hand: {test}: {reasons[test][0]}")
    for test in found.both_fail:
        if reasons[test][0] != reasons[test][1]:
            print(f"  both, differently: {test}: {reasons[test][0]} | {reasons[test][1]}")
    for test in sorted(set(why_meant) & set(found.both_pass)):
        print(f"  listed as failing on purpose, but passes: {test}")
    return len(unmeant)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/run_server_tests", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="GGUF that is served")
    parser.add_argument("--tests", type=Path, help="tools/server/tests of llama.cpp")
    parser.add_argument("--python", type=Path, help="a Python that has what the tests import")
    parser.add_argument("--profile", action="append", help="only this profile")
    parser.add_argument("--file", action="append", help="only this file of tests")
    parser.add_argument("--again", type=Path, help="only what failed in this report.json")
    parser.add_argument("--limit", type=int, default=30, help="seconds for one request (30)")
    parser.add_argument("--work", type=Path, help="where logs and the report are written")
    return parser.parse_args(argv)


def _download(release: str) -> Path:
    """Return the tests' folder, downloading the release's source (77 MB) the first time."""
    folder = CACHE / f"tests-{release}"
    if (folder / "unit").is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    argv = [*(sys.executable, "-m", "pip", "download", f"llama-cpp-python=={release}")]
    argv += ["--no-deps", "--no-binary", ":all:", "--dest", str(CACHE)]
    if subprocess.call(argv):
        sys.exit("The source cannot be downloaded. Give a checkout's folder with --tests.")
    (archive,) = CACHE.glob(f"llama_cpp_python-{release}.tar.gz")
    with tempfile.TemporaryDirectory(dir=CACHE) as name, tarfile.open(archive) as tar:
        tar.extractall(name, filter="data")
        (source,) = Path(name).iterdir()
        shutil.move(source / INSIDE, folder)
    archive.unlink()
    return folder


def _environment() -> Path:
    """Return the Python of an environment for the tests, making it the first time."""
    home = CACHE / "venv"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        (home / "complete").touch()
    return python
