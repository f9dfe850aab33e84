"""The reference says what the code does: variables, exit codes, JSON documents, files, errors."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.base import paths
from runner.base.errors import Exit
from tests.unit.docs import texts

ROOT = texts.ROOT
FACTS: dict[str, Any] = tomllib.loads((ROOT / "scripts/reference.toml").read_text("utf-8"))
VARIABLES = {name for table in FACTS["variables"] for row in table["rows"] for name in row["names"]}
DOCUMENTS = {each["schema"]: [name for name, _ in each["fields"]] for each in FACTS["json"]}

# Read by the code and of no use to a user.
INTERNAL = {"TMPDIR", "TEMP", "TMP", "ProgramFiles", "CONFIG_FILE"}
# Honoured by the libraries, programs and scripts that do the work, not by the lines of `runner/`.
BY_OTHERS = {"STEPRUN_VENV", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "HF_HUB_DISABLE_XET"}


def read_by_the_code() -> Iterator[str]:
    """Yield the names of the environment variables that `runner/` and `builds/` look up."""
    for path in sorted((ROOT / "runner").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and re.search(
                r"\b(environ|env|getenv)\b", ast.unparse(node.func)
            ):
                yield from _names(node.args[:1])
            elif isinstance(node, ast.Subscript) and "environ" in ast.unparse(node.value):
                yield from _names([node.slice])
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if {ast.unparse(target) for target in targets} & {"VARIABLES", "kept_too"}:
                    yield from _names(ast.walk(node.value))
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from re.findall(r"(?:^|[:;{])\$\{?([A-Z][A-Z_]+)", node.value)
    for path in (*(ROOT / "builds").glob("*.toml"), *(ROOT / "runner").rglob("*.toml")):
        for line in path.read_text("utf-8").splitlines():
            if line.lstrip().startswith(("programs", "places", "files", '"$', "folders", "moved")):
                yield from re.findall(r"\$\{?([A-Z][A-Z_]+)", line)


def _names(nodes: Any) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and re.fullmatch(r"[A-Z][A-Z_]+", str(node.value)):
            yield str(node.value)


def test_every_variable_that_is_read_is_documented() -> None:
    read = set(read_by_the_code())
    assert {"STEPRUN_HOME", "HF_HUB_CACHE", "CC", "GIT_SSH", "VULKAN_SDK", "LLAMA_CACHE"} <= read
    assert read - VARIABLES - INTERNAL == set()


def test_every_documented_variable_is_read() -> None:
    everything = "\n".join(path.read_text("utf-8") for path in (ROOT / "runner").rglob("*.py"))
    unread = VARIABLES - set(read_by_the_code()) - BY_OTHERS
    assert {name for name in unread if name not in everything} == set()


def test_every_exit_code_is_documented() -> None:
    assert {int(code) for code in FACTS["exits"]} == set(Exit)


def test_the_folders_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPRUN_HOME", "/home-of-steprun")
    ours = {f().name for f in (paths.cache_dir, paths.data_dir, paths.config_dir, paths.state_dir)}
    assert {row["home"] for row in FACTS["folders"]} == ours


def test_every_document_that_help_names_is_documented() -> None:
    named = set(re.findall(r"steprun\.\w+/\d+", "\n".join(t.text for t in texts.help_texts())))
    assert named
    assert named <= set(DOCUMENTS)


@pytest.mark.parametrize(
    "argv",
    [
        ["plan", "--machine", "m4-max-128"],
        ["plan", "--machine", "4x5090"],
        ["plan", "--machine", "cpu-24"],
        ["machine"],
        ["models"],
        ["engine", "list"],
        ["doctor"],
    ],
)
def test_every_field_is_documented(argv: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "runner", *argv, "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    document = json.loads(ran.stdout)
    known = [_pattern(name) for name in DOCUMENTS[document.pop("schema")]]
    unknown = {path for path in paths_of(document) if not any(p.fullmatch(path) for p in known)}
    assert unknown == set()


def _pattern(name: str) -> re.Pattern[str]:
    """Return what a documented path matches: `*` is any name, and what lies below it."""
    return re.compile(re.escape(name).replace(r"\*", r".+"))


def paths_of(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each leaf; an empty list or object has none."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from paths_of(below, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for below in value:
            yield from paths_of(below, f"{path}[]")
    else:
        yield path


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_page_exists(page: Path) -> None:
    """Each `steprun ...` line names a command, and options that this command has."""
    known = dict(texts.commands())
    pattern = r"(?:^|[`(|;]|\$ )(?:\./scripts/)?(steprun [^\n`#|]+)"
    lines = re.findall(pattern, _code(page), re.MULTILINE)
    assert lines or page.name in {"reference.md", "explanation.md"}
    for line in lines:
        words = line.split()
        name = "steprun"
        for word in words[1:]:
            if f"{name} {word}" not in known:
                break
            name += f" {word}"
        options = {opt for p in known[name].params for opt in (*p.opts, *p.secondary_opts)}
        group = hasattr(known[name], "commands")
        assert not group or len(words) > 1, line
        used = {w.split("=")[0] for w in words if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", w)}
        unknown = used - options - {"--help", "-h", "--version"}
        assert not unknown, f"{page.name}: {line}"
        bad = known[name] is known["steprun"] and len(words) > 1 and words[1][0].islower()
        assert not bad, f"{page.name}: {line}"


def _code(page: Path) -> str:
    """Return the code of a page: fenced blocks and what stands between backticks."""
    text = page.read_text("utf-8")
    if page.name == "reference.md":
        return ""  # generated from these very commands
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"(?ms)^```.*?^```$|^#.*?$", "", text)  # a heading may quote an error
    spans = re.findall(r"`(steprun [^`]+)`", prose)
    return "\n".join(re.sub(r'"[^"]*"', "TEXT", part) for part in (*blocks, *spans))


def test_errors_in_troubleshooting_are_errors_of_the_code() -> None:
    """Each quoted error is one that `runner/` can print; a `...` in it stands for any value."""
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    quoted = re.findall(r"^#+ `(.+)`$", page, re.MULTILINE)
    assert len(quoted) > 10
    known = "\n".join(each.text.replace(texts.HOLE, "...") for each in texts.literals())
    assert [each for each in quoted if each not in known] == []
