"""Every text that a user may read, with the place where it stands: help, messages, data, docs."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

from runner.cli.main import steprun

ROOT = Path(__file__).parents[3]
_PRINTS = {"echo", "secho", "confirm", "prompt", "say"}  # click's, and ours
_ERRORS = {"SteprunError", "ClickException"}
_PARTS = ("what", "why", "next")
_FENCES = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
HOLE = "\0"  # stands for a value in an f-string


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text and where it stands. `part`: of an error, `what`, `why` or `next`; else empty."""

    place: str
    text: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.text.replace(HOLE, '{}')!r}"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, the top one first."""

    def below(
        command: click.Command, context: click.Context
    ) -> Iterator[tuple[str, click.Command]]:
        yield context.command_path, command
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from below(found, click.Context(found, info_name=name, parent=context))

    yield from below(steprun, click.Context(steprun, info_name="steprun"))


def help_texts() -> Iterator[Sentence]:
    """Yield what `--help` prints, text by text."""
    for name, command in commands():
        for text in (command.help, command.epilog, command.short_help):
            if text:
                yield Sentence(f"{name} --help", text)
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.help:
                yield Sentence(f"{name} {parameter.opts[-1]}", parameter.help)
        for line, (_, about) in getattr(command, "table", {}).items():
            yield Sentence(f"{name} --help, {line}", about)


@cache
def messages() -> tuple[Sentence, ...]:
    """Return the literals of errors and of what is printed, in all of `runner/`."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in _modules()}
    errors = _error_names(trees.values())
    found: list[Sentence] = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                found += _of_call(node, path.relative_to(ROOT).as_posix(), errors)
    return tuple(found)


@cache
def literals() -> tuple[Sentence, ...]:
    """Return every string of two words or more in `runner/` that is not a docstring."""
    found: list[Sentence] = []
    for path in _modules():
        if path.parts[-2] != "testbed":  # its words are a model's vocabulary
            visitor = _Strings(path.relative_to(ROOT).as_posix())
            visitor.visit(ast.parse(path.read_text("utf-8")))
            found += visitor.found
    return tuple(found)


@cache
def names() -> tuple[Sentence, ...]:
    """Return every name that `runner/` gives: modules, classes, functions, arguments, variables."""
    found: list[Sentence] = []
    for path in _modules():
        place = path.relative_to(ROOT).as_posix()
        found.append(Sentence(place, path.stem))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.append(Sentence(f"{place}:{node.lineno}", node.name))
            elif isinstance(node, ast.arg):
                found.append(Sentence(f"{place}:{node.lineno}", node.arg))
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.append(Sentence(f"{place}:{node.lineno}", node.id))
    return tuple(found)


class _Strings(ast.NodeVisitor):
    """Collects whole strings: an f-string is one, and a docstring none."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.found: list[Sentence] = []

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        self._keep(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._keep(node)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)

    def _keep(self, node: ast.expr) -> None:
        text = literal(node)
        if len(text.split()) > 1:
            self.found.append(Sentence(f"{self.path}:{node.lineno}", text))


def _modules() -> list[Path]:
    return sorted((ROOT / "runner").rglob("*.py"))


def _error_names(trees: object) -> set[str]:
    """Return the names of SteprunError and of all classes below it, and of what makes them."""
    names, before = set(_ERRORS), 0
    while len(names) != before:
        before = len(names)
        for tree in trees:  # type: ignore[attr-defined]
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and {_name(b) for b in node.bases} & names:
                    names.add(node.name)
    return names


def _of_call(call: ast.Call, path: str, errors: set[str]) -> Iterator[Sentence]:
    name = _name(call.func)
    place = f"{path}:{call.lineno}"
    if name in errors or name in _PRINTS:
        part = "what" if name in errors else ""
        if call.args and (text := literal(call.args[0])):
            yield Sentence(place, text, part)
    for keyword in call.keywords:
        if keyword.arg in (*_PARTS, "help") and (text := literal(keyword.value)):
            part = keyword.arg if name in errors and keyword.arg in _PARTS else ""
            yield Sentence(f"{path}:{keyword.value.lineno}", text, part)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def literal(node: ast.expr) -> str:
    """Return a string as written, each value in it as a hole; empty where it is not a string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) or HOLE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = literal(node.left), literal(node.right)
        return (left or HOLE) + (right or HOLE) if left or right else ""
    return ""


def data() -> Iterator[Sentence]:
    """Yield the texts in data files that commands print."""
    catalog = tomllib.loads((ROOT / "models.toml").read_text("utf-8"))
    for model in catalog["model"]:
        for row in (model, *model.get("quant", ())):
            if "note" in row:
                yield Sentence(f"models.toml, {row['name']}", row["note"])
    for path in sorted((ROOT / "runner/machine/captures/known").glob("*.json")):
        yield Sentence(path.relative_to(ROOT).as_posix(), json.loads(path.read_text())["about"])


def docs() -> Iterator[Sentence]:
    """Yield the pages, line by line, without code: help texts are looked at by themselves."""
    pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    for path in (*(ROOT / name for name in pages), *sorted((ROOT / "docs").rglob("*.md"))):
        text = _FENCES.sub(lambda m: "\n" * m[0].count("\n"), path.read_text("utf-8"))
        for number, line in enumerate(text.splitlines(), 1):
            yield Sentence(f"{path.relative_to(ROOT).as_posix()}:{number}", line)
